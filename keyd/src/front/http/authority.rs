//! Which vault a request is for, by the host it asked, and how that host is called in answers.

use http::{HeaderMap, Uri, header::HOST};
use hyper::http;
use keyd_client::VaultName;

use crate::{
    keyvault::{Origin, Problem},
    tls::{
        Host, Names,
        names::{DnsName, Place},
    },
};

const SCHEME: &str = "https://";

/// Where a request was sent to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    /// The vault.
    pub(super) vault: VaultName,
    /// The vault's own URL.
    pub(super) origin: Origin,
    /// The URL of the name above all vaults: for this, clients are told, a token is. They check that the vault's host
    /// is below it.
    pub(super) resource: Origin,
}

impl Asked {
    /// Reads the host of a request, from its URL if that is absolute (RFC 9112, section 3.2.2), else from `Host`.
    ///
    /// # Errors
    /// [`crate::keyvault::Kind::BadParameter`]: none, several, or one that is not served.
    pub(super) fn parse(
        scheme: &'static str,
        uri: &Uri,
        headers: &HeaderMap,
        names: &Names,
    ) -> Result<Self, Problem> {
        let mut hosts = headers.get_all(HOST).iter();
        let host = hosts.next().and_then(|host| host.to_str().ok());
        let authority = match (uri.authority(), host) {
            _ if hosts.next().is_some() => None,
            (Some(absolute), Some(host)) if !host.eq_ignore_ascii_case(absolute.as_str()) => None,
            (Some(absolute), _) => Some(absolute.as_str()),
            (None, host) => host,
        };
        let authority = authority.ok_or_else(|| Problem::bad("a request has one Host"))?;
        let (host, port) = split(authority)?;
        let (vault, base) = match names.place(&host) {
            Some(Place::Vault(label, base)) => (vault(&label)?, base.to_string()),
            Some(Place::Default) => (VaultName::default_vault(), above(&host)),
            None => return Err(foreign()),
        };
        let origin = Origin { scheme, authority: authority.to_ascii_lowercase() };
        let resource = Origin { scheme, authority: format!("{base}{port}") };
        Ok(Self { vault, origin, resource })
    }
}

/// Whether a token for this resource is one for keyd: its URL names a host under which vaults are reached, or the one
/// above that clients are told. Any port is one, as it may be another outside.
pub(super) fn is_resource(text: &str, names: &Names) -> bool {
    let scheme = text.get(..SCHEME.len()).filter(|scheme| scheme.eq_ignore_ascii_case(SCHEME));
    let rest = scheme.map(|_| &text[SCHEME.len()..]);
    let host = rest.and_then(|rest| split(rest.strip_suffix('/').unwrap_or(rest)).ok());
    host.is_some_and(|(host, _)| {
        let is_above = || names.others().iter().any(|other| above(other) == host.to_string());
        names.place(&host).is_some() || is_above()
    })
}

/// A host, and its port with the colon.
fn split(authority: &str) -> Result<(Host, &str), Problem> {
    let colon = match authority.rfind([':', ']']) {
        Some(at) if authority.as_bytes()[at] == b':' => at,
        _ => authority.len(),
    };
    let (host, port) = authority.split_at(colon);
    let is_port =
        port.is_empty() || port[1..].parse::<u16>().is_ok_and(|_| !port.starts_with(":+"));
    let host = host.parse().ok().filter(|_| is_port).ok_or_else(foreign)?;
    Ok((host, port))
}

fn vault(label: &str) -> Result<VaultName, Problem> {
    label.parse().map_err(|error: keyd_client::ids::IdError| Problem::bad(error.to_string()))
}

/// The name above a host that has one, else the host.
fn above(host: &Host) -> String {
    match host {
        Host::Dns(name) => {
            let parent = name.split().map(|(_, above): (_, DnsName)| above);
            parent.as_ref().unwrap_or(name).to_string()
        }
        Host::Ip(ip) if ip.is_ipv6() => format!("[{ip}]"),
        Host::Ip(ip) => ip.to_string(),
    }
}

fn foreign() -> Problem {
    Problem::bad(
        "no vault is reached by this Host: it is NAME.localhost, or NAME and a name of 'keyd serve --public-name'",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(uri: &str, hosts: &[&str]) -> Result<Asked, Problem> {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(HOST, host.parse().unwrap());
        }
        let names = Names::new(
            &["keys.example.org".parse().unwrap()],
            &["kv.example.org".parse().unwrap()],
        );
        Asked::parse("https", &uri.parse().unwrap(), &headers, &names)
    }

    fn told(host: &str) -> (String, String, String) {
        let asked = asked("/keys", &[host]).unwrap();
        (asked.vault.to_string(), asked.origin.to_string(), asked.resource.to_string())
    }

    #[test]
    fn a_vault_is_found_by_its_label_and_its_parent_is_the_resource() {
        for (host, vault, resource) in [
            ("prod.localhost:8443", "prod", "https://localhost:8443"),
            ("PROD.localhost", "prod", "https://localhost"),
            ("a-b.keys.example.org:443", "a-b", "https://keys.example.org:443"),
            ("kv.example.org:1", "default", "https://example.org:1"),
            ("localhost:8443", "default", "https://localhost:8443"),
            ("127.0.0.1:8443", "default", "https://127.0.0.1:8443"),
            ("[::1]:8443", "default", "https://[::1]:8443"),
        ] {
            let origin = format!("https://{}", host.to_lowercase());
            assert_eq!(told(host), (vault.to_owned(), origin, resource.to_owned()));
        }
    }

    #[test]
    fn an_absolute_url_must_agree_with_the_host() {
        let host = "prod.localhost:8443";
        assert!(asked("https://prod.localhost:8443/keys", &[host]).is_ok());
        assert!(asked("https://prod.localhost:8443/keys", &[]).is_ok());
        assert!(asked("https://other.localhost:8443/keys", &[host]).is_err());
    }

    #[test]
    fn a_resource_is_keyds_if_clients_could_have_been_told_of_it() {
        let names = Names::new(
            &["keys.example.org".parse().unwrap()],
            &["kv.example.net".parse().unwrap()],
        );
        for ours in [
            "https://localhost:8443",
            "https://localhost:8443/",
            "https://localhost",
            "HTTPS://LocalHost:1",
            "https://keys.example.org:443",
            "https://prod.keys.example.org",
            "https://kv.example.net:1",
            "https://example.net:1",
            "https://127.0.0.1:8443",
            "https://[::1]:8443",
        ] {
            assert!(is_resource(ours, &names), "{ours}");
        }
        for other in [
            "",
            "https://",
            "localhost",
            "http://localhost:8443",
            "https://management.azure.com",
            "https://management.azure.com/",
            "https://vault.azure.net",
            "https://example.org",
            "https://localhost.example.com",
            "https://localhost:8443/x",
            "https://localhost:8443//",
            "https://localhost@example.com",
            "https://a.b.localhost",
            "httpsé//localhost",
        ] {
            assert!(!is_resource(other, &names), "{other}");
        }
    }

    #[test]
    fn other_hosts_are_refused() {
        assert!(asked("/keys", &[]).is_err());
        assert!(asked("/keys", &["prod.localhost", "prod.localhost"]).is_err());
        for wrong in [
            "",
            "example.org",
            "a.b.localhost",
            "localhost.",
            ".localhost",
            "prod.localhost:",
            "prod.localhost:x",
            "prod.localhost:99999",
            "prod.localhost:+1",
            "prod.localhost:1:2",
            "x@prod.localhost",
            "[::1",
            "::1",
            "ab.localhost",
            "prod_.localhost",
            "-.localhost",
        ] {
            assert!(asked("/keys", &[wrong]).is_err(), "{wrong}");
        }
    }
}
