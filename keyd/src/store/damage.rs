//! What of the store is not what was committed, as it is known.

use keyd_client::message::UnixMillis;

use super::{Store, check::Checked};
use crate::{
    audit::Class,
    clock::Clock,
    error::{Failure, Refused},
    lock::lock,
};

/// What is damaged, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Damage {
    /// Records, and what else.
    pub names: Vec<String>,
    /// Why no key is used, if the rest is not to be relied on either.
    pub distrusted: Option<String>,
    /// What was damaged, and could be mended.
    pub mended: Option<String>,
    /// Disks whose DEK does not open, or is another, as the last look at all of them found.
    pub deks: Vec<String>,
    /// When all was looked at.
    pub checked: UnixMillis,
    /// The same in running time, milliseconds.
    pub checked_boot: u64,
    /// How many rows that were.
    pub rows: u64,
}

impl Damage {
    /// What was found now.
    pub(super) fn found(checked: &Checked, clock: &Clock) -> Self {
        Self {
            names: checked.told(),
            distrusted: checked.distrusted(),
            mended: None,
            deks: Vec::new(),
            checked: clock.wall(),
            checked_boot: clock.boot(),
            rows: checked.rows,
        }
    }

    /// Whether something of a class may be recorded, and so done.
    pub(super) fn allows(&self, class: Class) -> Result<(), Failure> {
        match &self.distrusted {
            Some(why) if class != Class::Withdrawal => {
                Err(Refused::StoreBroken(why.clone()).into())
            }
            _ => Ok(()),
        }
    }
}

impl Store {
    /// What is damaged in it, as far as is known.
    #[must_use]
    pub fn damage(&self) -> Damage {
        lock(&self.damage).clone()
    }
}
