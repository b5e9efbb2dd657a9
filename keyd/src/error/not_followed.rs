//! Why a set does not follow its key to the newest version by itself, and the ways out.

use std::fmt;

use keyd_client::{DesName, KeyId, KeyVersion, message::UnixSeconds};

use crate::clock;

/// A version that a set is not put on without somebody's word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotFollowed {
    /// The set.
    pub set: DesName,
    /// Its key.
    pub key: KeyId,
    /// The key's newest version.
    pub version: KeyVersion,
    /// What is wrong with it.
    pub why: Why,
}

/// What is wrong with a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Its private part came from outside.
    Imported,
    /// It was brought back from a backup.
    Restored,
    /// It is not valid before then.
    NotYetValid(UnixSeconds),
    /// It ends then: in a day or less, or it has ended.
    EndsSoon(UnixSeconds),
    /// The version that the set is on is not the key's: that key was purged, and another one has its name.
    AnotherKey,
    /// It ends then, and the version that the set is on ends later, or never.
    EndsSooner(UnixSeconds, Option<UnixSeconds>),
}

impl fmt::Display for NotFollowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { set, key, version, why } = self;
        let moment = |seconds: UnixSeconds| clock::text(seconds.saturating_mul(1000));
        let all_the_same = format!("'keyd des set-key {set} --key {key} --version {version}'");
        write!(f, "version {version} of key '{key}' ")?;
        match *why {
            Why::Imported | Why::Restored => {
                let (what, danger) = match why {
                    Why::Imported => ("was imported", "others may have its private part"),
                    _ => ("was restored from a backup", "it may be an old one"),
                };
                write!(
                    f,
                    "{what}, and {danger}: the set follows it only when somebody who manages the set says so by {all_the_same}; 'keyd key rotate {key}' makes a version that the set follows by itself"
                )
            }
            Why::AnotherKey => write!(
                f,
                "is of another key than the set was put on, which was purged: the set follows this one when somebody who manages the set says so by {all_the_same}"
            ),
            Why::NotYetValid(from) => write!(
                f,
                "is not valid before {}: the set follows it then, or at once after 'keyd key set {key} --version {version} --not-before never'",
                moment(from)
            ),
            Why::EndsSoon(end) => write!(
                f,
                "ends at {}, which is too soon: 'keyd key rotate {key}' makes another, 'keyd key set {key} --version {version} --expires never' lets the set follow this one, {all_the_same} puts the set on it as it is",
                moment(end)
            ),
            Why::EndsSooner(end, present) => write!(
                f,
                "ends at {}, and the version that the set is on ends {}: 'keyd key set {key} --version {version} --expires never' lets the set follow it, {all_the_same} puts the set on it as it is",
                moment(end),
                present.map_or_else(|| "never".to_owned(), |end| format!("at {}", moment(end)))
            ),
        }
    }
}
