//! Grants as `keyd serve --grant` takes them: `USER=permission,permission`.

use std::{collections::BTreeSet, fs, str::FromStr};

use thiserror::Error;

/// What can be granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Permission {
    /// Take DEKs under a lease.
    Attach,
    /// Make disks, confirm and abandon one's own.
    CreateDisk,
    /// List and show keys, sets and disks.
    Read,
    /// Make, switch and rotate keys; make sets.
    ManageKeys,
    /// Get a DEK for good.
    ReleaseKey,
    /// Read and check the audit log.
    Audit,
}

impl Permission {
    /// All, in the order of the help text.
    pub const ALL: [Self; 6] = [
        Self::Attach,
        Self::CreateDisk,
        Self::Read,
        Self::ManageKeys,
        Self::ReleaseKey,
        Self::Audit,
    ];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Attach => "attach",
            Self::CreateDisk => "create-disk",
            Self::Read => "read",
            Self::ManageKeys => "manage-keys",
            Self::ReleaseKey => "release-key",
            Self::Audit => "audit",
        }
    }
}

/// Permissions of one user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The user.
    pub uid: u32,
    /// What they may.
    pub permissions: BTreeSet<Permission>,
}

/// Why a text is not a grant.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum GrantError {
    /// No `=`.
    #[error("a grant is USER=PERMISSION,PERMISSION, such as libvirt-qemu=attach")]
    Form,
    /// No such user.
    #[error("no user '{0}' in /etc/passwd: give the number of the user id")]
    User(String),
    /// No such permission.
    #[error(
        "no permission '{0}': there are attach, create-disk, read, manage-keys, release-key and audit"
    )]
    Permission(String),
}

impl FromStr for Grant {
    type Err = GrantError;

    fn from_str(text: &str) -> Result<Self, GrantError> {
        let (user, permissions) = text.split_once('=').ok_or(GrantError::Form)?;
        let uid = user
            .parse()
            .ok()
            .or_else(|| uid_of(user))
            .ok_or_else(|| GrantError::User(user.to_owned()))?;
        let permissions = permissions.split(',').map(permission).collect::<Result<_, _>>()?;
        Ok(Self { uid, permissions })
    }
}

fn permission(name: &str) -> Result<Permission, GrantError> {
    Permission::ALL
        .into_iter()
        .find(|permission| permission.name() == name)
        .ok_or_else(|| GrantError::Permission(name.to_owned()))
}

/// Users of directories (LDAP) are given by number: resolving them needs the C library's name service.
fn uid_of(user: &str) -> Option<u32> {
    let passwd = fs::read_to_string("/etc/passwd").ok()?;
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let uid = fields.nth(1)?.parse().ok()?;
        (name == user).then_some(uid)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_go_by_number_or_name() {
        let grant: Grant = "1000=attach,read".parse().unwrap();
        assert_eq!(grant.uid, 1000);
        assert_eq!(grant.permissions, BTreeSet::from([Permission::Attach, Permission::Read]));
        assert_eq!("root=audit".parse::<Grant>().unwrap().uid, 0);
    }

    #[test]
    fn wrong_grants_say_what_is_wrong() {
        assert_eq!("x".parse::<Grant>(), Err(GrantError::Form));
        assert!(matches!("no-such-user-here=attach".parse::<Grant>(), Err(GrantError::User(_))));
        assert_eq!("1=attach,all".parse::<Grant>(), Err(GrantError::Permission("all".to_owned())));
        assert!("1=".parse::<Grant>().is_err());
    }
}
