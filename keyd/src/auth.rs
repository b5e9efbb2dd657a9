//! Who may do what. [`Auth::authorize`] is the only maker of a [`Permit`], and every operation takes the permit for
//! itself: an operation that nobody checked cannot be written down.

pub mod grants;
pub mod op;

use std::{fmt, marker::PhantomData};

pub use grants::{Grant, Permission};
pub use op::Op;

use crate::{audit::Entry, error::Refused};

/// The process at the other end of a socket, as the kernel tells it (SO_PEERCRED, unix(7)): credentials of the moment
/// it connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Process id.
    pub pid: u32,
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "uid:{}", self.uid)
    }
}

/// Proof that a caller may do one thing, spent by doing it.
#[derive(Debug)]
pub struct Permit<O: Op> {
    caller: Caller,
    administrator: bool,
    op: PhantomData<O>,
}

impl<O: Op> Permit<O> {
    /// Whose it is.
    #[must_use]
    pub fn caller(&self) -> Caller {
        self.caller
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
    Entry::new(caller, O::NAME, subject)
}

/// The rules.
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

    /// Whether the caller may do `O`.
    ///
    /// # Errors
    /// [`Refused::Forbidden`], naming the permission that is missing.
    pub fn authorize<O: Op>(&self, caller: &Caller) -> Result<Permit<O>, Refused> {
        let administrator = caller.uid == self.administrator;
        let granted = self
            .grants
            .iter()
            .any(|grant| grant.uid == caller.uid && grant.permissions.contains(&O::PERMISSION));
        if !administrator && !granted {
            return Err(Refused::Forbidden { uid: caller.uid, permission: O::PERMISSION.name() });
        }
        Ok(Permit { caller: *caller, administrator, op: PhantomData })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(uid: u32) -> Caller {
        Caller { uid, gid: uid, pid: 1 }
    }

    /// What a user may, by permission, one operation of each.
    fn may(auth: &Auth, uid: u32) -> [bool; 6] {
        let caller = caller(uid);
        [
            auth.authorize::<op::Attach>(&caller).is_ok(),
            auth.authorize::<op::DiskCreate>(&caller).is_ok(),
            auth.authorize::<op::KeyList>(&caller).is_ok(),
            auth.authorize::<op::KeyDisable>(&caller).is_ok(),
            auth.authorize::<op::DiskReleaseKey>(&caller).is_ok(),
            auth.authorize::<op::AuditTail>(&caller).is_ok(),
        ]
    }

    #[test]
    fn nothing_is_allowed_that_was_not_granted() {
        let grants = vec![
            "10=attach".parse().unwrap(),
            "11=create-disk,read".parse().unwrap(),
            "12=manage-keys".parse().unwrap(),
            "13=release-key".parse().unwrap(),
            "14=audit".parse().unwrap(),
        ];
        let auth = Auth::new(7, grants);
        assert_eq!(may(&auth, 7), [true; 6]);
        assert_eq!(may(&auth, 0), [false; 6], "root is not the owner here");
        assert_eq!(may(&auth, 10), [true, false, false, false, false, false]);
        assert_eq!(may(&auth, 11), [false, true, true, false, false, false]);
        assert_eq!(may(&auth, 12), [false, false, false, true, false, false]);
        assert_eq!(may(&auth, 13), [false, false, false, false, true, false]);
        assert_eq!(may(&auth, 14), [false, false, false, false, false, true]);
        assert_eq!(may(&auth, 15), [false; 6]);
    }

    #[test]
    fn two_grants_to_one_user_add_up() {
        let grants = vec!["10=attach".parse().unwrap(), "10=read".parse().unwrap()];
        let auth = Auth::new(7, grants);
        assert_eq!(may(&auth, 10), [true, false, true, false, false, false]);
    }
}
