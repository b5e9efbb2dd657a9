//! Which disks a permission is for.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{DesName, DiskId, IdError};

/// What a grant is for, as text `all`, `des:prod-disks` or `disk:1f3e…`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Scope {
    /// The daemon as a whole, and so every disk.
    All,
    /// The disks, snapshots and images of a set, those to come included.
    Set(DesName),
    /// One disk, snapshot or image.
    Disk(DiskId),
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Set(name) => write!(f, "des:{name}"),
            Self::Disk(id) => write!(f, "disk:{id}"),
        }
    }
}

impl FromStr for Scope {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        match text.split_once(':') {
            Some(("des", name)) => name.parse().map(Self::Set),
            Some(("disk", id)) => id.parse().map(Self::Disk),
            None if text == "all" => Ok(Self::All),
            _ => Err(IdError::Scope(text.chars().take(64).collect())),
        }
    }
}

impl TryFrom<String> for Scope {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl From<Scope> for String {
    fn from(scope: Scope) -> Self {
        scope.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_parse_back() {
        for text in ["all", "des:prod-disks", "disk:1f3e0000-0000-4000-8000-000000000001"] {
            assert_eq!(text.parse::<Scope>().unwrap().to_string(), text);
        }
        for wrong in ["", "all:", "des", "des:", "des:a b", "disk:x", "set:x"] {
            assert!(wrong.parse::<Scope>().is_err(), "{wrong}");
        }
    }
}
