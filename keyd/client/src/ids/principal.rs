//! Who can be given a permission.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{AppName, DesName, IdError};

/// A principal, as text `uid:1000`, `app:backup` or `des:prod-disks`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Principal {
    /// A user of this host, known by the credentials of its process (SO_PEERCRED, unix(7)).
    User(u32),
    /// An application, known by its token or client certificate.
    App(AppName),
    /// The identity of a disk encryption set (Azure: its managed identity).
    Des(DesName),
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(uid) => write!(f, "uid:{uid}"),
            Self::App(name) => write!(f, "app:{name}"),
            Self::Des(name) => write!(f, "des:{name}"),
        }
    }
}

impl FromStr for Principal {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let wrong = || IdError::Principal(text.chars().take(64).collect());
        let (kind, name) = text.split_once(':').ok_or_else(wrong)?;
        match kind {
            "uid" => name.parse().map(Self::User).map_err(|_| wrong()),
            "app" => name.parse().map(Self::App),
            "des" => name.parse().map(Self::Des),
            _ => Err(wrong()),
        }
    }
}

impl TryFrom<String> for Principal {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl From<Principal> for String {
    fn from(principal: Principal) -> Self {
        principal.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn principals_parse_back() {
        for text in ["uid:0", "uid:4294967295", "app:ci", "des:prod-disks"] {
            assert_eq!(text.parse::<Principal>().unwrap().to_string(), text);
        }
        for wrong in ["", "1000", "uid:", "uid:-1", "uid:4294967296", "app:", "app:a b", "root:x"] {
            assert!(wrong.parse::<Principal>().is_err(), "{wrong}");
        }
    }
}
