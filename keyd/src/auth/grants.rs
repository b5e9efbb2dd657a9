//! Grants as `keyd serve --grant` takes them: `USER=permission,permission`.

use std::{collections::BTreeSet, fs, str::FromStr};

use keyd_client::{
    Principal,
    ids::IdError,
    permission::{Permission, UnknownPermission},
};
use thiserror::Error;

/// Permissions of one principal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Who.
    pub who: Principal,
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
    /// Not a principal.
    #[error(transparent)]
    Principal(#[from] IdError),
    /// No such permission.
    #[error(transparent)]
    Permission(#[from] UnknownPermission),
}

impl FromStr for Grant {
    type Err = GrantError;

    fn from_str(text: &str) -> Result<Self, GrantError> {
        let (who, permissions) = text.split_once('=').ok_or(GrantError::Form)?;
        let permissions =
            permissions.split(',').map(str::parse).collect::<Result<_, UnknownPermission>>()?;
        Ok(Self { who: principal(who)?, permissions })
    }
}

/// A principal as people name one: `uid:1000`, `app:ci`, `des:prod`, a user's number, or a user's name.
///
/// # Errors
/// [`GrantError::User`], [`GrantError::Principal`].
pub fn principal(text: &str) -> Result<Principal, GrantError> {
    if text.contains(':') {
        return Ok(text.parse()?);
    }
    let uid = text.parse().ok().or_else(|| uid_of(text));
    uid.map(Principal::User).ok_or_else(|| GrantError::User(text.to_owned()))
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
    fn principals_go_by_number_name_or_kind() {
        let grant: Grant = "1000=attach,read".parse().unwrap();
        assert_eq!(grant.who, Principal::User(1000));
        assert_eq!(grant.permissions, BTreeSet::from([Permission::Attach, Permission::Read]));
        assert_eq!("root=audit".parse::<Grant>().unwrap().who, Principal::User(0));
        let app: Grant = "app:ci=audit".parse().unwrap();
        assert_eq!(app.who.to_string(), "app:ci");
    }

    #[test]
    fn wrong_grants_say_what_is_wrong() {
        assert_eq!("x".parse::<Grant>(), Err(GrantError::Form));
        assert!(matches!("no-such-user-here=attach".parse::<Grant>(), Err(GrantError::User(_))));
        assert!(matches!("1=attach,all".parse::<Grant>(), Err(GrantError::Permission(_))));
        assert!(matches!("x:y=attach".parse::<Grant>(), Err(GrantError::Principal(_))));
        assert!("1=".parse::<Grant>().is_err());
    }
}
