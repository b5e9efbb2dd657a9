//! Root becomes somebody else.

use std::{ffi::CString, fmt, io, os::unix::fs::lchown, path::Path, str::FromStr};

use nix::unistd::{Gid, Uid, User, initgroups, setgroups, setresgid, setresuid};
use thiserror::Error;

/// setresuid(2) and its like take it for "leave as it is": who becomes this stays root.
const UNCHANGED: u32 = u32::MAX;

/// Why nobody else can be become.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum UserError {
    /// No such name.
    #[error("there is no user '{0}': give a name that 'getent passwd' knows, or UID:GID")]
    Unknown(String),
    /// A number alone.
    #[error("user {0} has no entry of its own: say its group, too, as {0}:GID")]
    NoGroup(u32),
    /// Not a number.
    #[error("'{0}' is no group id: give its number")]
    Group(String),
    /// It would give up nothing.
    #[error("--user is for who is not to be root: give another")]
    Root,
    /// The user database cannot be read.
    #[error("looking up a user: {0}")]
    Lookup(nix::Error),
}

/// A user to become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    uid: Uid,
    gid: Gid,
    /// Whose further groups are taken on; a number without an entry has none.
    name: Option<CString>,
}

impl FromStr for Account {
    type Err = UserError;

    /// `NAME`, `NAME:GID`, `UID` of a user with an entry, or `UID:GID`.
    fn from_str(text: &str) -> Result<Self, UserError> {
        let (user, group) = text.split_once(':').map_or((text, None), |(u, g)| (u, Some(g)));
        let group = group.map(|gid| gid.parse().map_err(|_| UserError::Group(gid.to_owned())));
        let group = group.transpose()?.map(Gid::from_raw);
        let number: Option<u32> = user.parse().ok();
        let entry = match number {
            Some(uid) => User::from_uid(Uid::from_raw(uid)),
            None => User::from_name(user),
        };
        let entry = entry.map_err(UserError::Lookup)?;
        let uid = match (&entry, number) {
            (Some(entry), _) => entry.uid,
            (None, Some(uid)) => Uid::from_raw(uid),
            (None, None) => return Err(UserError::Unknown(user.to_owned())),
        };
        if uid.is_root() {
            return Err(UserError::Root);
        }
        if uid.as_raw() == UNCHANGED {
            return Err(UserError::Unknown(user.to_owned()));
        }
        let gid = group.or(entry.as_ref().map(|entry| entry.gid));
        let gid = gid.ok_or(UserError::NoGroup(uid.as_raw()))?;
        if gid.as_raw() == UNCHANGED {
            return Err(UserError::Group(gid.to_string()));
        }
        Ok(Self { uid, gid, name: entry.and_then(|entry| CString::new(entry.name).ok()) })
    }
}

impl Account {
    /// Becomes this user, for good: no id of root's is kept anywhere. What root has made for it at these paths
    /// becomes the user's, too. To be called before there are threads.
    ///
    /// # Errors
    /// What the system says; who is not root cannot become somebody else.
    pub(crate) fn take_over(&self, made: &[&Path]) -> io::Result<()> {
        for path in made {
            lchown(path, Some(self.uid.as_raw()), Some(self.gid.as_raw()))?;
        }
        match &self.name {
            Some(name) => initgroups(name, self.gid),
            None => setgroups(&[self.gid]),
        }?;
        setresgid(self.gid, self.gid, self.gid)?;
        Ok(setresuid(self.uid, self.uid, self.uid)?)
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "user {}:{}", self.uid, self.gid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(text: &str) -> Result<(u32, u32), UserError> {
        text.parse().map(|account: Account| (account.uid.as_raw(), account.gid.as_raw()))
    }

    #[test]
    fn a_user_is_a_name_or_a_number() {
        assert_eq!(account("nobody"), Ok((65534, 65534)));
        assert_eq!(account("65534"), Ok((65534, 65534)));
        assert_eq!(account("nobody:7"), Ok((65534, 7)));
        assert_eq!(account("4000000:7"), Ok((4_000_000, 7)));
    }

    #[test]
    fn who_is_nobody_or_root_is_refused() {
        assert_eq!(account("nosuchuser"), Err(UserError::Unknown("nosuchuser".to_owned())));
        assert_eq!(account("4000000"), Err(UserError::NoGroup(4_000_000)));
        assert_eq!(account("nobody:x"), Err(UserError::Group("x".to_owned())));
        assert_eq!(account("root"), Err(UserError::Root));
        assert_eq!(account("0:7"), Err(UserError::Root));
        assert_eq!(account("4294967295:7"), Err(UserError::Unknown("4294967295".to_owned())));
        assert_eq!(account("nobody:4294967295"), Err(UserError::Group("4294967295".to_owned())));
    }
}
