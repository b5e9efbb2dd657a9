//! Who may do what. [`Auth::authorize`] is the only maker of a [`Permit`], and every operation takes the permit for
//! itself: an operation that nobody checked cannot be written down. A permit is of the moment at which it was asked
//! for; [`crate::core::Core::commit`] asks again in the transaction, as what was permitted may have waited for it.

pub mod credentials;
pub mod grants;
pub mod op;
pub mod place;
mod reach;

use std::{collections::BTreeSet, fmt, marker::PhantomData};

use keyd_client::{
    Principal, Scope, VaultName,
    message::{GrantSource, GrantStatus},
    permission::{KeyPermission, Permission},
};

pub use credentials::Credentials;
pub use grants::Grant;
pub use op::{Needs, Op};
pub use place::Place;

use crate::{
    audit::Entry,
    error::{Failure, Refused},
    store::{Grants, View},
};

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The principal it has proved to be.
    pub principal: Principal,
    /// Its process, if it is on this host; 0 if not.
    pub pid: u32,
    /// That process's user, if it is on this host.
    pub uid: u32,
}

impl Caller {
    /// The process at the other end of a Unix socket, as the kernel tells it (SO_PEERCRED, unix(7)): credentials of
    /// the moment it connected.
    #[must_use]
    pub fn local(uid: u32, pid: u32) -> Self {
        Self { principal: Principal::User(uid), pid, uid }
    }

    /// Somebody who showed a token or a certificate.
    #[must_use]
    pub fn remote(principal: Principal) -> Self {
        Self { principal, pid: 0, uid: u32::MAX }
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.principal.fmt(f)
    }
}

/// Proof that a caller may do one thing, spent by doing it.
#[derive(Debug)]
pub struct Permit<O: Op> {
    caller: Caller,
    place: Place,
    administrator: bool,
    op: PhantomData<O>,
}

impl<O: Op> Permit<O> {
    /// Whose it is.
    #[must_use]
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Whether it is an administrator's.
    #[must_use]
    pub fn administrator(&self) -> bool {
        self.administrator
    }

    /// The audit record of what it permits, done.
    #[must_use]
    pub fn entry(&self, subject: impl fmt::Display) -> Entry {
        entry::<O>(&self.caller, subject)
    }
}

/// The audit record of an operation.
pub(crate) fn entry<O: Op>(caller: &Caller, subject: impl fmt::Display) -> Entry {
    Entry::new(caller, O::NAME, subject).class(O::CLASS)
}

/// The rules: who made the state directory, what `keyd serve --grant` said, what the store says.
#[derive(Debug, Clone)]
pub struct Auth {
    administrator: u32,
    grants: Vec<Grant>,
}

impl Auth {
    /// The owner of the state directory may everything; others what they were granted.
    #[must_use]
    pub fn new(administrator: u32, grants: Vec<Grant>) -> Self {
        Self { administrator, grants }
    }

    /// Whether the caller may do `O`, in the place where it is done.
    ///
    /// # Errors
    /// [`Refused::Forbidden`] and its kin, naming the permission that is missing. Where that is one for a disk, they do
    /// not tell a disk that is out of reach from one that does not exist. [`crate::error::Fault`].
    pub fn authorize<O: Op>(
        &self,
        caller: &Caller,
        place: impl Into<Place>,
        view: &impl View,
    ) -> Result<Permit<O>, Failure> {
        let (who, place) = (&caller.principal, place.into());
        let administrator = self.has(who, Permission::Administer, view)?;
        if !administrator {
            self.permitted(O::NEEDS, who, &place, view)?;
        }
        Ok(Permit { caller: caller.clone(), place, administrator, op: PhantomData })
    }

    /// The same for who is no administrator.
    fn permitted(
        &self,
        needs: Needs,
        who: &Principal,
        place: &Place,
        view: &impl View,
    ) -> Result<(), Failure> {
        let forbidden =
            |permission| Err(Refused::Forbidden { who: who.clone(), permission }.into());
        match (needs, place) {
            (Needs::Lease | Needs::Identity, _) => Ok(()),
            (Needs::Daemon(permission), _) => match self.has(who, permission, view)? {
                true => Ok(()),
                false => forbidden(permission),
            },
            (Needs::Vault(permission), Place::Vault(vault)) => {
                if self.has_in(who, vault, permission, view)? {
                    return Ok(());
                }
                let (who, vault) = (who.clone(), vault.clone());
                Err(Refused::ForbiddenIn { who, vault, permission }.into())
            }
            (Needs::Set(permission), Place::Set(set)) => {
                if self.has_for(who, permission, [Scope::Set(set.clone())], view)? {
                    return Ok(());
                }
                let (who, set) = (who.clone(), set.clone());
                Err(Refused::ForbiddenFor { who, set, permission }.into())
            }
            (Needs::AnyInVault, Place::Vault(vault)) => {
                for permission in KeyPermission::ALL {
                    if self.has_in(who, vault, *permission, view)? {
                        return Ok(());
                    }
                }
                let (who, vault) = (who.clone(), vault.clone());
                Err(Refused::ForbiddenIn { who, vault, permission: KeyPermission::Get }.into())
            }
            (Needs::Disk(permission), Place::Disk(id)) => self.reaches(who, permission, *id, view),
            (Needs::Source(permission), Place::Disk(id)) => {
                self.derives(who, permission, *id, view)
            }
            (Needs::Own(permission), Place::Disk(id)) => self.has_made(who, permission, *id, view),
            // No operation is done in a place of another kind.
            (Needs::Vault(_) | Needs::AnyInVault, _) => forbidden(Permission::ManageKeys),
            (
                Needs::Set(permission)
                | Needs::Disk(permission)
                | Needs::Source(permission)
                | Needs::Own(permission),
                _,
            ) => forbidden(permission),
        }
    }

    /// Whether what was permitted still is, with all that it was permitted with.
    ///
    /// # Errors
    /// As [`Auth::authorize`].
    pub fn still<O: Op>(&self, permit: &Permit<O>, view: &impl View) -> Result<(), Failure> {
        let again = self.authorize::<O>(&permit.caller, &permit.place, view)?;
        if permit.administrator && !again.administrator {
            let (who, permission) = (again.caller.principal, Permission::Administer);
            return Err(Refused::Forbidden { who, permission }.into());
        }
        Ok(())
    }

    /// What holds without the store's saying so.
    #[must_use]
    pub fn said(&self) -> Vec<GrantStatus> {
        let owner = GrantStatus {
            principal: Principal::User(self.administrator),
            scope: Scope::All,
            permissions: [Permission::Administer].into(),
            source: GrantSource::Owner,
        };
        let options = self.grants.iter().flat_map(|grant| {
            grant.permissions.iter().map(|(scope, permissions)| GrantStatus {
                principal: grant.who.clone(),
                scope: scope.clone(),
                permissions: permissions.clone(),
                source: GrantSource::ServeOption,
            })
        });
        std::iter::once(owner).chain(options).collect()
    }

    /// Whether a principal has a permission in the daemon as a whole, and so for every disk.
    ///
    /// # Errors
    /// [`crate::error::Fault`].
    pub fn has(
        &self,
        who: &Principal,
        permission: Permission,
        view: &impl View,
    ) -> Result<bool, Failure> {
        let owner = *who == Principal::User(self.administrator);
        Ok(owner || self.granted(who, permission, &Scope::All, view)?)
    }

    /// Whether somebody said just that. Who administers may everything.
    fn granted(
        &self,
        who: &Principal,
        permission: Permission,
        scope: &Scope,
        view: &impl View,
    ) -> Result<bool, Failure> {
        let has = |all: &BTreeSet<Permission>| {
            all.contains(&permission) || all.contains(&Permission::Administer)
        };
        let mut options = self.grants.iter().filter(|grant| grant.who == *who);
        let said = options.any(|grant| grant.permissions.get(scope).is_some_and(&has));
        Ok(said || has(&view.granted(who, scope)?))
    }

    /// Who may read may look into every vault. Who manages all keys may everything in every vault but the platform's,
    /// except to destroy what was deleted: the defence against one rogue is that deleting and purging are two people's.
    fn has_in(
        &self,
        who: &Principal,
        vault: &VaultName,
        permission: KeyPermission,
        view: &impl View,
    ) -> Result<bool, Failure> {
        let reads = matches!(
            permission,
            KeyPermission::Get | KeyPermission::List | KeyPermission::GetRotationPolicy
        );
        if reads && self.has(who, Permission::Read, view)? {
            return Ok(true);
        }
        if vault.is_platform() {
            return Ok(false);
        }
        let manages =
            permission != KeyPermission::Purge && self.has(who, Permission::ManageKeys, view)?;
        Ok(manages || view.find_vault(vault)?.is_some_and(|vault| vault.permits(who, permission)))
    }
}

#[cfg(test)]
mod tests;
