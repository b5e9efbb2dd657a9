//! Bodies of requests: one JSON object each.

use serde::de::DeserializeOwned;
use serde_json::error::Category;

use super::Problem;

/// Reads a body. What is wrong is told by place and by name of field: a message never repeats a value, which may be
/// secret.
///
/// # Errors
/// [`super::Kind::BadParameter`].
pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    // A derived reader would take the fields of an array in their order too.
    if body.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
        return Err(Problem::bad("The request body must be a JSON object"));
    }
    serde_json::from_slice(body).map_err(|error| Problem::bad(text(&error)))
}

fn text(error: &serde_json::Error) -> String {
    let place = format!("line {}, column {}", error.line(), error.column());
    match error.classify() {
        Category::Data => {
            // Of the texts of serde only this one names nothing but a field.
            let whole = error.to_string();
            let missing =
                whole.starts_with("missing field `").then(|| whole.split(" at line").next());
            let what =
                missing.flatten().unwrap_or("a field has a value of another form than it must");
            format!("The request body does not fit this operation: {what} ({place})")
        }
        Category::Eof => "The request body ends within its JSON".to_owned(),
        Category::Syntax | Category::Io => format!("The request body is not JSON ({place})"),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    struct Body {
        #[serde(rename = "n")]
        _n: u8,
    }

    fn refusal(body: &str) -> String {
        parse::<Body>(body.as_bytes()).unwrap_err().message
    }

    #[test]
    fn what_is_wrong_is_told_without_values() {
        assert!(parse::<Body>(b" {\"n\":1,\"more\":2}").is_ok());
        assert!(refusal("{}").contains("missing field `n`"));
        for wrong in ["", "[7]", "7", "null", "{", "{\"n\":", "{\"n\":1}}", "{\"n\":1,\"n\":1}"] {
            assert!(!refusal(wrong).is_empty(), "{wrong}");
        }
        for secret in
            ["{\"n\":\"hunter2\"}", "{\"n\":hunter2}", "\"hunter2\"", "{\"n\":{\"hunter2\":1}}"]
        {
            assert!(!refusal(secret).contains("hunter2"), "{secret}");
        }
        assert!(parse::<Body>("[".repeat(10_000).as_bytes()).is_err());
        assert!(parse::<Body>(format!("{{\"x\":{}", "[".repeat(10_000)).as_bytes()).is_err());
    }
}
