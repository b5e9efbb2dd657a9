//! The keeper of the disk's key: attaches, renews, fences, reclaims.
//!
//! One thread. It holds the only connection to the key daemon and hands each queue its share of the key. It fences on
//! three occasions, which are one: the daemon says so, the lease runs out unheard, or a new attach is refused.
//! Fail closed: whatever cannot be understood or confirmed ends with the key gone.

mod fence;

use std::{
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
    sync::{Arc, Weak},
    time::Duration,
};

use images::{CipherError, SectorSize, XtsCipher, digest_matches};
use keyd_client::{
    ClientError, Dek, DiskId,
    lease::{BootTime, Lease},
    message::{Attached, DiskRecord, Event, RefusalCode},
    wire::WireError,
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};
use thiserror::Error;

use crate::{
    limits::{ATTACH_TIME, RECONNECT_TIME},
    queue::command::{Command, QueueHandle},
};

/// Why a key could not be had, or must not be used.
#[derive(Debug, Error)]
pub enum LeaseError {
    /// The daemon.
    #[error(transparent)]
    Daemon(#[from] ClientError),
    /// The connection.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The DEK is not this image's.
    #[error(
        "keyd's key for disk {0} does not fit the image (its digest differs): the volume key was changed by another tool; restore the header, or release and use the key it was changed to"
    )]
    WrongKey(DiskId),
    /// The DEK cannot be used.
    #[error(transparent)]
    Cipher(#[from] CipherError),
    /// The daemon's record is not the one that the image was judged by.
    #[error(
        "keyd's record of disk {0} has changed while it was served: stop the VM and attach again"
    )]
    RecordChanged(DiskId),
    /// Waiting failed.
    #[error("waiting for keyd: {0}")]
    Poll(#[from] Errno),
}

impl LeaseError {
    /// Whether another process has the disk.
    #[must_use]
    pub fn is_in_use(&self) -> bool {
        matches!(self, Self::Daemon(ClientError::Refused(refusal)) if refusal.code == RefusalCode::InUse)
    }
}

/// Whom to ask for which key.
#[derive(Debug, Clone)]
pub struct Source {
    /// The daemon's socket.
    pub keyd: PathBuf,
    /// The disk.
    pub disk: DiskId,
    /// Whether the image is served read-only.
    pub read_only: bool,
}

/// The keeper of a disk's key.
#[derive(Debug)]
pub struct Keeper {
    source: Source,
    terms: Attached,
    queues: Vec<QueueHandle>,
    /// The connection, while there is one.
    lease: Option<Lease>,
    /// When the key goes unless the daemon is heard.
    ends: BootTime,
    /// The key, as long as any queue has it.
    key: Weak<XtsCipher>,
    retry_at: BootTime,
    retry_pause: Duration,
}

/// Asks for the disk's key for the first time: the daemon's record, to judge the image by, and the key itself.
///
/// # Errors
/// [`LeaseError::Daemon`]: the daemon's own words, disabled key included.
pub fn attach(source: &Source) -> Result<(Lease, Attached, Dek), LeaseError> {
    let Source { keyd, disk, read_only } = source;
    match Lease::attach(keyd, *disk, *read_only, false)? {
        (lease, attached, Some(dek)) => Ok((lease, attached, dek)),
        (_, _, None) => Err(ClientError::UnexpectedReply.into()),
    }
}

impl Keeper {
    /// Keeps an attached lease for `queues`, and gives them the key.
    ///
    /// # Errors
    /// [`LeaseError::WrongKey`] before the key touched anything.
    pub fn new(
        source: Source,
        (lease, terms, dek): (Lease, Attached, Dek),
        queues: Vec<QueueHandle>,
    ) -> Result<Self, LeaseError> {
        let mut keeper = Self {
            source,
            terms,
            queues,
            ends: lease.ends(),
            lease: Some(lease),
            key: Weak::new(),
            retry_at: BootTime::now(),
            retry_pause: RECONNECT_TIME.0,
        };
        keeper.hand_out(dek)?;
        Ok(keeper)
    }

    /// Keeps the key until `stop` becomes readable.
    pub fn run(mut self, stop: &OwnedFd) {
        loop {
            match self.wait(stop) {
                Ok(Woken::Stop) => return,
                Ok(Woken::Daemon) => self.hear(),
                Ok(Woken::Clock) => {}
                Err(error) => self.lose(&error),
            }
            self.tend();
        }
    }

    fn wait(&self, stop: &OwnedFd) -> Result<Woken, LeaseError> {
        let time = Timespec::try_from(self.next_duty().remaining()).unwrap_or_default();
        let mut fds = vec![PollFd::new(stop, PollFlags::IN)];
        fds.extend(
            self.lease.iter().map(|lease| PollFd::from_borrowed_fd(lease.as_fd(), PollFlags::IN)),
        );
        match poll(&mut fds, Some(&time)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let ready = |at: usize| fds.get(at).is_some_and(|fd| !fd.revents().is_empty());
        Ok(match (ready(0), ready(1)) {
            (true, _) => Woken::Stop,
            (_, true) => Woken::Daemon,
            _ => Woken::Clock,
        })
    }

    /// When there is something to do next although nobody says anything.
    fn next_duty(&self) -> BootTime {
        let duty = self.lease.as_ref().map_or(self.retry_at, Lease::renew_at);
        if self.holds_key() { duty.min(self.ends) } else { duty }
    }

    fn holds_key(&self) -> bool {
        self.key.strong_count() > 0
    }

    /// Takes one event from the daemon.
    fn hear(&mut self) {
        let Some(lease) = &mut self.lease else { return };
        let result = match lease.receive() {
            Ok((Event::Renewed { lease_ms }, _)) => {
                self.terms.lease_ms = lease_ms;
                self.ends = lease.ends();
                Ok(())
            }
            Ok((Event::Revoked { reason, on_revoke }, _)) => {
                self.fence_and_report(&reason, on_revoke)
            }
            Ok((Event::Granted, _)) => lease.reclaim().map_err(LeaseError::from),
            Ok((Event::Reclaimed, Some(dek))) => {
                self.ends = lease.ends();
                self.hand_out(dek)
            }
            Ok((Event::Reclaimed, None)) => Err(ClientError::UnexpectedReply.into()),
            Ok((Event::StillRevoked(refusal), _)) => {
                eprintln!("vhost-backend: the key is not back yet: {}", refusal.message);
                Ok(())
            }
            Err(error) => Err(error.into()),
        };
        if let Err(error) = result {
            self.lose(&error);
        }
    }

    /// Does what is due by the clock.
    fn tend(&mut self) {
        if self.holds_key() && self.ends.remaining().is_zero() {
            let reason =
                format!("nothing heard from keyd for the lease of {} ms", self.terms.lease_ms);
            self.fence(&reason, self.terms.on_revoke);
            // What this connection brings from now on belongs to a lease that is over.
            self.lease = None;
        }
        let due = self.next_duty().remaining().is_zero();
        let result = match &mut self.lease {
            Some(lease) if due => lease.renew().map_err(LeaseError::from),
            None if due => self.attach_again(),
            Some(_) | None => Ok(()),
        };
        if let Err(error) = result {
            self.lose(&error);
        }
    }

    /// The daemon is not to be had for now. The key stays until its lease ends; then it goes, heard or not.
    fn lose(&mut self, error: &LeaseError) {
        if self.lease.take().is_some() || self.retry_pause == RECONNECT_TIME.0 {
            eprintln!("vhost-backend: keyd is out of reach: {error}; trying again");
        }
        self.retry_at = BootTime::now().after(self.retry_pause);
        self.retry_pause = (self.retry_pause * 2).min(RECONNECT_TIME.1);
    }

    /// Attaches anew after a lost connection, ready to wait for a disabled key.
    fn attach_again(&mut self) -> Result<(), LeaseError> {
        let Source { keyd, disk, read_only } = &self.source;
        // A daemon that hangs must not keep this thread beyond the end of the lease.
        let left = if self.holds_key() { self.ends.remaining() } else { ATTACH_TIME };
        let attached = Lease::attach_within(keyd, *disk, *read_only, true, left.min(ATTACH_TIME));
        let (lease, terms, dek) = match attached {
            Err(ClientError::Refused(refusal)) => {
                // It is there, and says no: the disk is gone, or we may not have it any more.
                self.fence(&refusal.message, self.terms.on_revoke);
                return Err(ClientError::Refused(refusal).into());
            }
            other => other?,
        };
        self.check_same_disk(&terms.record)?;
        self.ends = lease.ends();
        self.terms = terms;
        self.lease = Some(lease);
        self.retry_pause = RECONNECT_TIME.0;
        eprintln!("vhost-backend: keyd is back");
        match dek {
            // The queues still have the same key.
            Some(_) if self.holds_key() => Ok(()),
            Some(dek) => self.hand_out(dek),
            None => self.fence_and_report(
                "the key was taken away while keyd was out of reach",
                self.terms.on_revoke,
            ),
        }
    }

    fn check_same_disk(&mut self, record: &DiskRecord) -> Result<(), LeaseError> {
        let before = &self.terms.record;
        if record.geometry == before.geometry && record.digest == before.digest {
            return Ok(());
        }
        let disk = record.id;
        self.fence("keyd's record of the disk has changed", self.terms.on_revoke);
        Err(LeaseError::RecordChanged(disk))
    }

    /// Gives the queues the key, if it is this disk's.
    fn hand_out(&mut self, dek: Dek) -> Result<(), LeaseError> {
        let record = &self.terms.record;
        if !digest_matches(&record.digest, &dek) {
            return Err(LeaseError::WrongKey(record.id));
        }
        let sector_size = SectorSize::from_bytes(record.geometry.sector_size)
            .ok_or(LeaseError::RecordChanged(record.id))?;
        let key = Arc::new(XtsCipher::new(dek, sector_size)?);
        eprintln!(
            "vhost-backend: disk {} runs on {} version {}, cipher {}",
            record.id,
            record.key,
            record.key_version,
            key.path()
        );
        self.key = Arc::downgrade(&key);
        for queue in &self.queues {
            queue.tell(Command::Resume(key.clone()));
        }
        Ok(())
    }
}

/// Why a wait ended.
enum Woken {
    Stop,
    Daemon,
    Clock,
}
