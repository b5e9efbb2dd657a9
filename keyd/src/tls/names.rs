//! The names under which the daemon is reached: each *base* name has the vaults below it (`prod.localhost`), all other
//! names are those of the default vault.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use thiserror::Error;

/// Longest DNS name and label, characters (RFC 1035, section 2.3.4).
const NAME_LEN_MAX: usize = 253;
const LABEL_LEN_MAX: usize = 63;

/// The base name that every daemon has; it always means this host (RFC 6761, section 6.3).
const LOCALHOST: &str = "localhost";

/// A DNS name of a host, in lower case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DnsName(String);

/// Not a name of a host.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "'{0}' is not a host name: it has labels of letters, digits and hyphens with dots between, such as keys.example.org"
)]
pub struct NoHost(String);

impl DnsName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its first label and the name above.
    #[must_use]
    pub fn split(&self) -> Option<(&str, Self)> {
        let (label, above) = self.0.split_once('.')?;
        Some((label, Self(above.to_owned())))
    }
}

impl FromStr for DnsName {
    type Err = NoHost;

    fn from_str(text: &str) -> Result<Self, NoHost> {
        let is_label = |label: &str| {
            let bytes = label.as_bytes();
            (1..=LABEL_LEN_MAX).contains(&bytes.len())
                && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
                && bytes.first() != Some(&b'-')
                && bytes.last() != Some(&b'-')
        };
        // A name that ends in a number is an address to many programs (WHATWG URL, 3.5).
        let last = text.rsplit('.').next().unwrap_or_default();
        let numeric = last.bytes().all(|byte| byte.is_ascii_digit());
        if text.len() > NAME_LEN_MAX || numeric || !text.split('.').all(is_label) {
            return Err(NoHost(text.chars().take(NAME_LEN_MAX).collect()));
        }
        Ok(Self(text.to_ascii_lowercase()))
    }
}

impl fmt::Display for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A host, as a URL names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Host {
    /// By name.
    Dns(DnsName),
    /// By address.
    Ip(IpAddr),
}

impl FromStr for Host {
    type Err = NoHost;

    /// Takes an IPv6 address with and without the brackets of a URL.
    fn from_str(text: &str) -> Result<Self, NoHost> {
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
        match (bare, text.parse()) {
            (Some(bare), _) => {
                bare.parse().map(|ip| Self::Ip(IpAddr::V6(ip))).map_err(|_| NoHost(text.to_owned()))
            }
            (None, Ok(ip)) => Ok(Self::Ip(ip)),
            (None, Err(_)) => text.parse().map(Self::Dns),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => name.fmt(f),
            Self::Ip(ip) => ip.fmt(f),
        }
    }
}

/// What a host that was asked for stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A vault, by its label, below a base name.
    Vault(String, DnsName),
    /// The default vault.
    Default,
}

/// All names of a daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    bases: Vec<DnsName>,
    others: Vec<Host>,
}

impl Names {
    /// `localhost` and 127.0.0.1 always, base names to have vaults below, and other names.
    #[must_use]
    pub fn new(public: &[DnsName], others: &[Host]) -> Self {
        let mut bases = vec![DnsName(LOCALHOST.to_owned())];
        bases.extend_from_slice(public);
        let mut all = vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
            .into_iter()
            .map(Host::Ip)
            .collect::<Vec<_>>();
        all.extend_from_slice(others);
        bases.sort();
        bases.dedup();
        all.sort();
        all.dedup();
        Self { bases, others: all }
    }

    /// What a host is here; nothing if it is not served.
    #[must_use]
    pub fn place(&self, host: &Host) -> Option<Place> {
        if self.others.contains(host) {
            return Some(Place::Default);
        }
        let Host::Dns(name) = host else { return None };
        if self.bases.contains(name) {
            return Some(Place::Default);
        }
        let (label, base) = name.split()?;
        self.bases.contains(&base).then(|| Place::Vault(label.to_owned(), base))
    }

    /// The base names.
    #[must_use]
    pub fn bases(&self) -> &[DnsName] {
        &self.bases
    }

    /// Names and addresses that are not below a base.
    #[must_use]
    pub fn others(&self) -> &[Host] {
        &self.others
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> Host {
        text.parse().unwrap()
    }

    #[test]
    fn hosts_are_told_apart() {
        assert!(
            matches!(host("Prod.LOCALHOST"), Host::Dns(name) if name.as_str() == "prod.localhost")
        );
        assert_eq!(host("127.0.0.1"), Host::Ip(Ipv4Addr::LOCALHOST.into()));
        assert_eq!(host("[::1]"), host("::1"));
        for wrong in [
            "",
            ".",
            "a..b",
            "-a",
            "a-",
            "a_b",
            "a.",
            "käse",
            "1.2.3",
            "a.7",
            "[a]",
            "[127.0.0.1]",
            "a b",
        ] {
            assert!(wrong.parse::<Host>().is_err(), "{wrong}");
        }
        assert!("a.".repeat(126).trim_end_matches('.').parse::<DnsName>().is_ok());
        assert!(format!("{}.x", "a".repeat(64)).parse::<DnsName>().is_err());
    }

    #[test]
    fn vaults_are_below_base_names_and_nowhere_else() {
        let names =
            Names::new(&["Keys.example.org".parse().unwrap()], &[host("kv"), host("10.0.0.1")]);
        let vault =
            |label: &str, base: &str| Some(Place::Vault(label.into(), base.parse().unwrap()));
        assert_eq!(names.place(&host("prod.localhost")), vault("prod", "localhost"));
        assert_eq!(names.place(&host("a.keys.example.org")), vault("a", "keys.example.org"));
        for own in ["localhost", "127.0.0.1", "::1", "kv", "10.0.0.1", "keys.example.org"] {
            assert_eq!(names.place(&host(own)), Some(Place::Default), "{own}");
        }
        for foreign in
            ["example.org", "a.b.localhost", "prod.kv", "10.0.0.2", "localhost.example.org"]
        {
            assert_eq!(names.place(&host(foreign)), None, "{foreign}");
        }
    }
}
