//! How a disk begins: with its key, or without one that it waits for.
//!
//! A front end under a running VM looks for its backend for so long (Cloud Hypervisor: a minute) and then never again.
//! So a backend that is started anew while its key is away takes its front end all the same, and holds its requests as
//! one that had the key before. It does so where the set has disks that run *park*; where the set wants errors, or the
//! next attach refused, the start is refused. While the daemon is away nobody knows which it is: the requests are held,
//! as a refusal cannot be taken back, and the daemon's word is heard when it is there. Should it be a refusal, the
//! process ends as it would have at its start.

use std::{
    os::fd::OwnedFd,
    sync::{Arc, mpsc},
};

use confine::manager::Manager;
use keyd_client::{
    Dek,
    lease::{BootTime, Lease},
    message::{Attached, IfLost},
};
use rustix::io::write;

use super::{Keeper, LeaseError, Source, trouble::Trouble};
use crate::{limits::ATTACH_TIME, log};

/// A lease, and the key; none if it is to be waited for.
pub type Begun = (Lease, Attached, Option<Dek>);

/// How a disk begins.
#[derive(Debug)]
pub enum Beginning {
    /// With a lease.
    Here(Box<Begun>),
    /// Without a daemon: why it is not to be had.
    Away(LeaseError),
    /// Not yet: it is another process's.
    Elsewhere,
}

impl Beginning {
    /// Asks for the disk's key for the first time: the daemon's record, to judge the image by, and the key itself.
    ///
    /// # Errors
    /// [`LeaseError::Daemon`]: the daemon's own words, a lost key included where that is not to be waited for.
    pub fn ask(source: &Source) -> Result<Self, LeaseError> {
        let Source { keyd, disk, read_only } = source;
        let patience = ATTACH_TIME.1;
        match Lease::attach_within(keyd, *disk, *read_only, IfLost::Park, patience) {
            Ok(begun) => Ok(Self::Here(begun.into())),
            Err(error) => {
                let error = LeaseError::from(error);
                if error.may_pass() { Ok(Self::Away(error)) } else { Err(error) }
            }
        }
    }

    /// The daemon's record, if it has been had.
    #[must_use]
    pub fn terms(&self) -> Option<&Attached> {
        match self {
            Self::Here(begun) => Some(&begun.1),
            Self::Away(_) | Self::Elsewhere => None,
        }
    }
}

/// Ends the process as one whose start was refused.
#[derive(Debug)]
pub struct Refusal {
    why: mpsc::Sender<LeaseError>,
    /// Ends the wait for front ends.
    stop: OwnedFd,
}

impl Refusal {
    /// One that ends the wait by a byte into `stop`, and where its reason is to be read then.
    #[must_use]
    pub fn new(stop: OwnedFd) -> (Self, mpsc::Receiver<LeaseError>) {
        let (why, told) = mpsc::channel();
        (Self { why, stop }, told)
    }

    fn refuse(self, why: LeaseError) {
        let _ = self.why.send(why);
        let _ = write(&self.stop, &[0]);
    }
}

impl Keeper {
    /// Begins, with an image that is locked unless it is another process's. `refusal` is for a daemon that says later
    /// what it would have said at once.
    ///
    /// # Errors
    /// [`LeaseError::WrongKey`] before the key touched anything.
    pub fn begin(
        &mut self,
        beginning: Beginning,
        refusal: Refusal,
        manager: Arc<Manager>,
    ) -> Result<(), LeaseError> {
        self.manager = manager;
        let here = !matches!(beginning, Beginning::Elsewhere);
        (self.has_disk, self.has_locks) = (here, here);
        match beginning {
            Beginning::Here(begun) => {
                let (lease, terms, dek) = *begun;
                self.refusal = Some(refusal);
                self.ends = lease.ends();
                (self.lease, self.terms) = (Some(lease), Some(terms));
                match dek {
                    Some(dek) => self.hand_out(dek)?,
                    None => self.say_waiting(),
                }
            }
            Beginning::Away(why) => {
                self.refusal = Some(refusal);
                let trouble = Trouble::of(&why);
                self.say(&format!(
                    "{}: {why}; the guest's requests wait until it is known whether the disk's key may be had",
                    trouble.what
                ));
                self.trouble = Some(trouble);
                self.retry_at = BootTime::now().after(self.retry_pause);
            }
            Beginning::Elsewhere => self.manager.status("waits for its VM to come"),
        }
        Ok(())
    }

    fn say(&self, line: &str) {
        log::line(line);
        self.manager.status(line);
    }

    /// What is to become of an attach whose key is lost: who had it before goes on.
    pub(super) fn if_lost(&self) -> IfLost {
        if self.had_key { IfLost::Wait } else { IfLost::Park }
    }

    pub(super) fn say_waiting(&self) {
        let why = self.terms.as_ref().and_then(|terms| terms.withheld.as_deref());
        self.say(&format!(
            "the disk waits for its key, and so do the guest's requests: {}",
            why.unwrap_or("keyd does not say why")
        ));
    }

    /// Whether the process is at its end: its start is refused now.
    pub(super) fn is_refused(&mut self, error: LeaseError) -> Result<(), LeaseError> {
        match self.refusal.take() {
            Some(refusal) if !error.may_pass() => {
                (self.has_disk, self.lease) = (false, None);
                refusal.refuse(error);
                Ok(())
            }
            refusal => {
                self.refusal = refusal;
                Err(error)
            }
        }
    }
}
