//! Grants as `keyd serve --grant` takes them: `USER=PERMISSION,PERMISSION`, where one for disks says which:
//! `attach:des=NAME`, `attach:disk=ID`, `attach:all-disks`.

use std::{
    collections::{BTreeMap, BTreeSet},
    str::FromStr,
};

use keyd_client::{
    Principal, Scope,
    ids::IdError,
    permission::{Permission, UnknownPermission},
    value::{NobodyError, principal},
};
use thiserror::Error;

/// Permissions of one principal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Who.
    pub who: Principal,
    /// What they may, by what for.
    pub permissions: BTreeMap<Scope, BTreeSet<Permission>>,
}

/// Why a text is not a grant.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum GrantError {
    /// No `=`.
    #[error("a grant is USER=PERMISSION,PERMISSION, such as libvirt-qemu=attach:des=prod-disks")]
    Form,
    /// Nobody's name.
    #[error(transparent)]
    Nobody(#[from] NobodyError),
    /// Not a set, not a disk.
    #[error(transparent)]
    Id(#[from] IdError),
    /// No such permission.
    #[error(transparent)]
    Permission(#[from] UnknownPermission),
    /// A permission for disks, and not for which.
    #[error("'{0}' is for some disks: write {0}:des=SET, {0}:disk=ID, or {0}:all-disks")]
    WhichDisks(Permission),
    /// Another permission for some disks.
    #[error("'{0}' is not for some disks but for the daemon as a whole: write {0}")]
    NotForDisks(Permission),
}

impl FromStr for Grant {
    type Err = GrantError;

    fn from_str(text: &str) -> Result<Self, GrantError> {
        let (who, given) = text.split_once('=').ok_or(GrantError::Form)?;
        let who = principal(who)?;
        let mut permissions: BTreeMap<Scope, BTreeSet<Permission>> = BTreeMap::new();
        for word in given.split(',') {
            let (scope, permission) = scoped(word)?;
            permissions.entry(scope).or_default().insert(permission);
        }
        Ok(Self { who, permissions })
    }
}

fn scoped(word: &str) -> Result<(Scope, Permission), GrantError> {
    let (permission, which) = match word.split_once(':') {
        Some((permission, which)) => (permission.parse()?, Some(which)),
        None => (word.parse::<Permission>()?, None),
    };
    let scope = match which.map(|which| which.split_once('=').unwrap_or((which, ""))) {
        None if permission.is_for_disks() => return Err(GrantError::WhichDisks(permission)),
        None => Scope::All,
        Some(_) if !permission.is_for_disks() => return Err(GrantError::NotForDisks(permission)),
        Some(("all-disks", "")) => Scope::All,
        Some(("des", name)) => Scope::Set(name.parse()?),
        Some(("disk", id)) => Scope::Disk(id.parse()?),
        Some(_) => return Err(GrantError::WhichDisks(permission)),
    };
    Ok((scope, permission))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "1f3e0000-0000-4000-8000-000000000001";

    #[test]
    fn principals_go_by_number_name_or_kind() {
        let grant: Grant = "1000=audit,read".parse().unwrap();
        assert_eq!(grant.who, Principal::User(1000));
        let both = BTreeSet::from([Permission::Audit, Permission::Read]);
        assert_eq!(grant.permissions, BTreeMap::from([(Scope::All, both)]));
        assert_eq!("root=audit".parse::<Grant>().unwrap().who, Principal::User(0));
        let app: Grant = "app:ci=audit".parse().unwrap();
        assert_eq!(app.who.to_string(), "app:ci");
    }

    #[test]
    fn what_is_for_disks_says_for_which() {
        let text = format!("5=attach:des=db,create-disk:des=db,attach:disk={ID},read");
        let grant: Grant = text.parse().unwrap();
        let told = |scope: &str| grant.permissions[&scope.parse().unwrap()].clone();
        assert_eq!(told("des:db"), [Permission::Attach, Permission::CreateDisk].into());
        assert_eq!(told(&format!("disk:{ID}")), [Permission::Attach].into());
        assert_eq!(told("all"), [Permission::Read].into());
        let all: Grant = "5=attach:all-disks".parse().unwrap();
        assert_eq!(all.permissions[&Scope::All], [Permission::Attach].into());
        for bare in ["5=attach", "5=create-disk", "5=read,attach", "5=attach:", "5=attach:all"] {
            assert!(matches!(bare.parse::<Grant>(), Err(GrantError::WhichDisks(_))), "{bare}");
        }
        assert!(matches!("5=read:des=db".parse::<Grant>(), Err(GrantError::NotForDisks(_))));
        assert!(matches!("5=attach:des=a b".parse::<Grant>(), Err(GrantError::Id(_))));
    }

    #[test]
    fn wrong_grants_say_what_is_wrong() {
        assert_eq!("x".parse::<Grant>(), Err(GrantError::Form));
        assert!(matches!(
            "no-such-user-here=read".parse::<Grant>(),
            Err(GrantError::Nobody(NobodyError::User(_)))
        ));
        assert!(matches!("1=read,all".parse::<Grant>(), Err(GrantError::Permission(_))));
        assert!(matches!("x:y=read".parse::<Grant>(), Err(GrantError::Nobody(NobodyError::Id(_)))));
        assert!("1=".parse::<Grant>().is_err());
    }
}
