//! What a verb says of itself. Which permission it needs, its class and its name in the audit log are in the table of
//! [`crate::auth::op`].

use keyd_client::{AppName, DesName, KeyId, Principal, message::Ask};

use crate::{
    auth::{Op, Permit, Place},
    core::Core,
    error::{Failure, Fault},
    store::Spelling,
};

/// A verb of the native socket that is answered by one frame.
pub trait Operation: Ask + Op + Sized {
    /// Where its permission is looked for.
    fn place(&self) -> Place {
        Place::Daemon
    }

    /// What it is done to, for the audit log.
    fn subject(&self) -> String;

    /// Whether it is only told what would follow: the log must not read as if it had been done.
    fn is_dry_run(&self) -> bool {
        false
    }

    /// The names in it that are meant to be found. Where a page of a list begins is no such name.
    fn names(&mut self) -> Vec<Name<'_>> {
        Vec::new()
    }

    /// Does it.
    ///
    /// # Errors
    /// [`Failure`]: what forbids it, or a fault of the daemon's.
    fn run(self, core: &Core, permit: Permit<Self>) -> Result<Self::Reply, Failure>;
}

/// A name in a request. It counts in any case of its letters; behind the border there is one spelling of each. Those of
/// vaults have one form only.
#[derive(Debug)]
pub enum Name<'a> {
    /// Of a key.
    Key(&'a mut KeyId),
    /// Of a disk encryption set.
    Set(&'a mut DesName),
    /// Of an application.
    App(&'a mut AppName),
    /// Of whoever can be given a permission.
    Principal(&'a mut Principal),
}

impl Name<'_> {
    /// Makes it the name that is written in the store, if it is there.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn spell(self, view: &impl Spelling) -> Result<(), Fault> {
        match self {
            Self::Key(id) => *id = view.key_as_written(id)?,
            Self::Set(name) => *name = view.set_as_written(name)?,
            Self::App(name) => *name = view.app_as_written(name)?,
            Self::Principal(who) => *who = view.principal_as_written(who)?,
        }
        Ok(())
    }
}

/// What a verb is on, by the field that says so: with that, where its permission is looked for, its subject in the
/// audit log, and the name in it. `weighed` is one that has a consent.
macro_rules! on {
    (all $what:literal) => {
        fn subject(&self) -> String {
            $what.to_owned()
        }
    };
    (key $field:ident) => {
        fn place(&self) -> $crate::auth::Place {
            $crate::auth::Place::Vault(self.$field.vault.clone())
        }
        on!(@subject $field);
        fn names(&mut self) -> Vec<$crate::ops::operation::Name<'_>> {
            vec![$crate::ops::operation::Name::Key(&mut self.$field)]
        }
    };
    (vault $field:ident) => {
        fn place(&self) -> $crate::auth::Place {
            $crate::auth::Place::Vault(self.$field.clone())
        }
        on!(@subject $field);
    };
    (set $field:ident) => {
        on!(@subject $field);
        fn names(&mut self) -> Vec<$crate::ops::operation::Name<'_>> {
            vec![$crate::ops::operation::Name::Set(&mut self.$field)]
        }
    };
    (app $field:ident) => {
        on!(@subject $field);
        fn names(&mut self) -> Vec<$crate::ops::operation::Name<'_>> {
            vec![$crate::ops::operation::Name::App(&mut self.$field)]
        }
    };
    (disk $field:ident) => {
        fn place(&self) -> $crate::auth::Place {
            self.$field.into()
        }
        on!(@subject $field);
    };
    (@subject $field:ident) => {
        fn subject(&self) -> String {
            self.$field.to_string()
        }
    };
    (weighed) => {
        fn is_dry_run(&self) -> bool {
            self.consent == keyd_client::message::Consent::DryRun
        }
    };
}
pub(super) use on;
