//! The query of a request: `api-version`, and for lists `maxresults` and `$skiptoken`.

use std::collections::BTreeMap;

use super::{ApiVersion, Octets, Problem, base64url};
use crate::limits::{LIST_PAGE_MAX, QUERY_LEN_MAX};

/// A judged query. Parameters that the API does not have are ignored, as the service does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Which version of the API.
    pub api_version: ApiVersion,
    /// Entries of a list at once, 1 to 25.
    pub limit: usize,
    /// The entry that the page before ended with, as the link to this page named it.
    after: Option<String>,
}

impl Query {
    /// Judges a query, the part of a URL after the `?`.
    ///
    /// # Errors
    /// [`super::Kind::BadParameter`].
    pub fn parse(raw: &str) -> Result<Self, Problem> {
        let mut parameters = Parameters::parse(raw)?;
        let version = parameters.take("api-version");
        let version = version.ok_or_else(|| {
            Problem::bad("api-version must be specified, such as api-version=7.4")
        })?;
        let (limit, after) = (parameters.take("maxresults"), parameters.take("$skiptoken"));
        Ok(Self {
            api_version: ApiVersion::parse(&version)?,
            limit: limit.map_or(Ok(LIST_PAGE_MAX), |text| page_len(&text))?,
            after: after.map(|text| open(&text)).transpose()?,
        })
    }

    /// The last entry of the page before, if this is not the first.
    ///
    /// # Errors
    /// [`super::Kind::BadParameter`]: the link was not made here, or for another list.
    pub fn after<T: std::str::FromStr>(&self) -> Result<Option<T>, Problem> {
        self.after.as_deref().map(|text| text.parse().map_err(|_| foreign_token())).transpose()
    }
}

/// The parameters of a query, decoded; names in lower case. None comes twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameters(BTreeMap<String, String>);

impl Parameters {
    /// Takes a query apart.
    ///
    /// # Errors
    /// [`super::Kind::BadParameter`].
    pub fn parse(raw: &str) -> Result<Self, Problem> {
        if raw.len() > QUERY_LEN_MAX {
            return Err(Problem::bad("the query is too long"));
        }
        let mut parameters = BTreeMap::new();
        for pair in raw.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode(name)?.to_ascii_lowercase();
            if parameters.insert(name, decode(value)?).is_some() {
                return Err(Problem::bad("a parameter of the query is given twice"));
            }
        }
        Ok(Self(parameters))
    }

    /// The value of one, if it was given.
    pub fn take(&mut self, name: &str) -> Option<String> {
        self.0.remove(name)
    }
}

/// What a link to the page after `last` says. It gives away nothing that the page did not show, and is judged when it
/// comes back: nobody gains by writing one.
#[must_use]
pub fn skip_token(last: &impl std::fmt::Display) -> String {
    base64url::encode(last.to_string().as_bytes())
}

fn open(token: &str) -> Result<String, Problem> {
    let octets = Octets::parse(token).map_err(|_| foreign_token())?;
    String::from_utf8(octets.as_bytes().to_vec()).map_err(|_| foreign_token())
}

fn foreign_token() -> Problem {
    Problem::bad("$skiptoken is not one of this list: follow nextLink as it is, or begin anew")
}

fn page_len(text: &str) -> Result<usize, Problem> {
    let number = text.parse().ok().filter(|number| (1..=LIST_PAGE_MAX).contains(number));
    number.ok_or_else(|| Problem::bad(format!("maxresults is 1 to {LIST_PAGE_MAX}")))
}

/// Percent-decoding (RFC 3986, section 2.1).
fn decode(text: &str) -> Result<String, Problem> {
    let wrong = || Problem::bad("the query is not percent-encoded text");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let (byte, after) = match (first, after) {
            (b'%', [high, low, after @ ..]) => {
                let digit = |byte: &u8| char::from(*byte).to_digit(16);
                let value = digit(high).zip(digit(low)).map(|(high, low)| high * 16 + low);
                (value.and_then(|value| u8::try_from(value).ok()).ok_or_else(wrong)?, after)
            }
            (b'%', _) => return Err(wrong()),
            (byte, after) => (*byte, after),
        };
        bytes.push(byte);
        rest = after;
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use keyd_client::{KeyName, KeyVersion};

    use super::*;

    #[test]
    fn queries_of_the_sdks_are_read() {
        let query = Query::parse("api-version=7.4").unwrap();
        assert_eq!((query.api_version.as_str(), query.limit), ("7.4", 25));
        assert_eq!(query.after::<KeyName>(), Ok(None));
        // Azure's client for Python percent-encodes the dollar.
        let token = skip_token(&"prod");
        let query = Query::parse(&format!("maxresults=2&%24skiptoken={token}&api-version=7.4&x=1"));
        let query = query.unwrap();
        assert_eq!((query.limit, query.after()), (2, Ok(Some("prod".parse::<KeyName>().unwrap()))));
        assert!(query.after::<KeyVersion>().is_err(), "the token of another list");
    }

    #[test]
    fn wrong_queries_are_refused() {
        for wrong in [
            "",
            "api-version",
            "api-version=1",
            "api-version=7.4&api-version=7.4",
            "api-version=7.4&maxresults=0",
            "api-version=7.4&maxresults=26",
            "api-version=7.4&maxresults=-1",
            "api-version=7.4&maxresults=99999999999999999999999",
            "api-version=7.4&$skiptoken=*",
            "api-version=7.4&$skiptoken=_w",
            "api-version=7.4&maxresults=%zz",
            "api-version=7.4&maxresults=%é9",
            "api-version=7.4&%2",
            "api-version=%ff",
        ]
        .into_iter()
        .chain([format!("api-version=7.4&x={}", "y".repeat(QUERY_LEN_MAX)).as_str()])
        {
            assert!(Query::parse(wrong).is_err(), "{wrong}");
        }
        let foreign = Query::parse(&format!("api-version=7.4&$skiptoken={}", skip_token(&"a/b")));
        assert!(foreign.unwrap().after::<KeyName>().is_err());
    }
}
