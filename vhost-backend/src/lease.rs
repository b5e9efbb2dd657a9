//! The lease thread: keeps the disk's key in step with the daemon, and the disk itself with where its VM runs.
//!
//! Four rules. A key reaches the queues only if its digest is the image's and the disk is the one that was judged at
//! start. A fence is ordered for a revocation and for a lease that runs out unheard, and it is confirmed only when
//! every queue has let go. What the daemon says while it is away is nothing: its silence is measured by this host's
//! clock. And the image's locks come before the key, and go after it.

mod begin;
mod disk;
mod fence;
mod leave;
mod survey;
#[cfg(test)]
mod tests;
mod trouble;

use std::{
    collections::BTreeSet,
    ops::ControlFlow,
    os::fd::AsFd,
    path::PathBuf,
    sync::{Arc, Weak},
    time::Duration,
};

use confine::manager::Manager;
use images::{CipherError, Mismatch, OpenError, SectorSize, XtsCipher, digest_matches};
use keyd_client::{
    ClientError, Dek, DiskId,
    lease::{BootTime, Lease},
    message::{Attached, Event, Reaction, RefusalCode, Serving},
    wire::WireError,
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};
use thiserror::Error;

use crate::{
    backing::Backing,
    limits::{ATTACH_TIME, RECONNECT_TIME},
    log,
    mailbox::{Mailbox, Slot},
    queue::{Shared, command::Command, handle::QueueHandle},
};
pub use begin::{Beginning, Begun, Refusal};
use leave::Leaving;
pub use survey::Surveyor;
use trouble::Trouble;

/// Why a key could not be had, or must not be used.
#[derive(Debug, Error)]
pub enum LeaseError {
    /// The daemon.
    #[error(transparent)]
    Daemon(#[from] ClientError),
    /// The connection.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The image's locks.
    #[error(transparent)]
    Image(#[from] OpenError),
    /// The image is not what the daemon's record says.
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
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
    /// It does not say whether it is as long as the daemon's record.
    #[error("the image, or a queue, does not answer: is the disk below hung?")]
    ImageHangs,
    /// Waiting failed.
    #[error("waiting for keyd: {0}")]
    Poll(#[from] Errno),
}

/// How a disk fares that has its key, for a service manager.
const SERVES: &str = "serves";

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

/// What the keeper is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Duty {
    /// The VM runs here: have the disk.
    HaveDisk,
    /// The VM runs elsewhere from now on: let go of the disk.
    LetGo,
    /// It was looked whether the image has room for a disk of `size` bytes.
    Grow {
        /// Bytes of the disk.
        size: u64,
        /// Whether there is room.
        has_room: bool,
    },
    /// Requests of a queue wait for space below the image, or none of it does any more.
    Space {
        /// Its number.
        queue: u16,
        /// Whether some wait.
        short: bool,
    },
    /// The disk is served like this now.
    Tell(Serving),
    /// The process ends.
    End,
}

/// The keeper of a disk's key.
#[derive(Debug)]
pub struct Keeper {
    source: Source,
    backing: Arc<Backing>,
    queues: Vec<QueueHandle>,
    /// The queues' switches.
    shared: Arc<Shared>,
    /// Where it is said how many bytes the disk has now.
    sizes: Slot<u64>,
    /// Bytes of the disk that the queues take requests for.
    size: u64,
    surveyor: Surveyor,
    /// It has been asked, and has not answered.
    surveying: bool,
    /// Bytes that the disk has by the daemon, room or not.
    wanted: u64,
    /// Queues some of whose requests wait for space below the image.
    short_of_space: BTreeSet<u16>,
    /// How the disk is served.
    serving: Serving,
    /// Whether the disk is, or is to be, this process's.
    has_disk: bool,
    /// Whether the image's locks are.
    has_locks: bool,
    /// Whether it is here only because it cannot be let go.
    leaving: Leaving,
    /// What the daemon said at the last attach; none before the first.
    terms: Option<Attached>,
    /// Whether the queues had the key at any time.
    had_key: bool,
    /// Until they have it: for what a start is refused for.
    refusal: Option<Refusal>,
    /// Who is told how the disk fares.
    manager: Arc<Manager>,
    /// The connection, while there is one.
    lease: Option<Lease>,
    /// When the key goes unless the daemon is heard.
    ends: BootTime,
    /// The key, as long as any queue has it.
    key: Weak<XtsCipher>,
    retry_at: BootTime,
    retry_pause: Duration,
    /// How long the next attempt to attach may take.
    patience: Duration,
    /// What was said to be missing, and not yet to be back.
    trouble: Option<Trouble>,
}

impl Keeper {
    /// A keeper for `queues` of a disk that is another process's for now.
    #[must_use]
    pub fn new(
        source: Source,
        backing: Arc<Backing>,
        queues: Vec<QueueHandle>,
        shared: Arc<Shared>,
        sizes: Slot<u64>,
        surveyor: Surveyor,
    ) -> Self {
        Self {
            source,
            size: backing.layout().size(),
            backing,
            queues,
            shared,
            sizes,
            surveyor,
            surveying: false,
            wanted: 0,
            short_of_space: BTreeSet::new(),
            serving: Serving::default(),
            has_disk: false,
            has_locks: false,
            leaving: Leaving::No,
            terms: None,
            had_key: false,
            refusal: None,
            manager: Arc::new(Manager::none()),
            lease: None,
            ends: BootTime::now(),
            key: Weak::new(),
            retry_at: BootTime::now(),
            retry_pause: RECONNECT_TIME.0,
            patience: ATTACH_TIME.0,
            trouble: None,
        }
    }

    /// Keeps the key until told to end.
    pub fn run(mut self, duties: &Mailbox<Duty>) {
        loop {
            match self.wait(duties) {
                Ok(Woken::Duty) => {
                    if self.obey(&duties.take().collect::<Vec<_>>()).is_break() {
                        return self.end();
                    }
                }
                Ok(Woken::Daemon) => self.hear(),
                Ok(Woken::Clock) => {}
                Err(error) => self.lose(error),
            }
            self.tend();
            log::tell();
        }
    }

    /// Does what came at one time.
    fn obey(&mut self, duties: &[Duty]) -> ControlFlow<()> {
        for (at, duty) in duties.iter().enumerate() {
            match duty {
                Duty::HaveDisk => self.have_disk(),
                // A VM that is back already has requests on their way.
                Duty::LetGo if duties[at..].contains(&Duty::HaveDisk) => {}
                Duty::LetGo => self.let_go(),
                Duty::Grow { size, has_room } => self.grow(*size, *has_room),
                Duty::Space { queue, short } => self.note_space(*queue, *short),
                // Front ends start all of their queues at once.
                Duty::Tell(_)
                    if duties[at + 1..].iter().any(|duty| matches!(duty, Duty::Tell(_))) => {}
                Duty::Tell(serving) => {
                    self.serving = serving.clone();
                    self.tell_serving();
                }
                Duty::End => return ControlFlow::Break(()),
            }
        }
        ControlFlow::Continue(())
    }

    fn wait(&self, duties: &Mailbox<Duty>) -> Result<Woken, LeaseError> {
        let time =
            self.next_duty().map(|at| Timespec::try_from(at.remaining()).unwrap_or_default());
        let mut fds = vec![PollFd::new(duties, PollFlags::IN)];
        fds.extend(
            self.lease.iter().map(|lease| PollFd::from_borrowed_fd(lease.as_fd(), PollFlags::IN)),
        );
        match poll(&mut fds, time.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let ready = |at: usize| fds.get(at).is_some_and(|fd| !fd.revents().is_empty());
        Ok(match (ready(0), ready(1)) {
            (true, _) => Woken::Duty,
            (_, true) => Woken::Daemon,
            _ => Woken::Clock,
        })
    }

    /// When there is something to do next although nobody says anything.
    fn next_duty(&self) -> Option<BootTime> {
        let duty = self.lease.as_ref().map_or(self.retry_at, Lease::renew_at);
        let duty = if self.holds_key() { duty.min(self.ends) } else { duty };
        let duty = if let Leaving::Later(at) = self.leaving { duty.min(at) } else { duty };
        self.has_disk.then_some(duty)
    }

    fn holds_key(&self) -> bool {
        self.key.strong_count() > 0
    }

    /// What the guest's requests get without a key, by the set's terms; before they are known they wait.
    fn reaction(&self) -> Reaction {
        self.terms.as_ref().map_or(Reaction::Park, |terms| terms.on_revoke)
    }

    /// Takes one event from the daemon.
    fn hear(&mut self) {
        let Some(lease) = &mut self.lease else { return };
        let result = match lease.receive() {
            Ok((Event::Renewed { .. }, _)) => {
                self.ends = lease.ends();
                Ok(())
            }
            Ok((Event::Revoked { reason, on_revoke }, _)) => {
                self.terms.iter_mut().for_each(|terms| terms.on_revoke = on_revoke);
                self.fence_and_report(&reason, on_revoke)
            }
            // Who has no VM any more wants no key.
            Ok((Event::Granted | Event::Reclaimed, _)) if self.leaving != Leaving::No => Ok(()),
            Ok((Event::Granted, _)) => lease.reclaim().map_err(LeaseError::from),
            Ok((Event::Reclaimed, Some(dek))) => {
                self.ends = lease.ends();
                self.hand_out(dek)
            }
            Ok((Event::Reclaimed, None)) => Err(ClientError::UnexpectedReply.into()),
            Ok((Event::StillRevoked(refusal), _)) => {
                log::line(format_args!("the key is not back yet: {}", refusal.message));
                Ok(())
            }
            Ok((Event::Grown { size }, _)) => {
                self.survey(size);
                Ok(())
            }
            Err(error) => Err(error.into()),
        };
        if let Err(error) = result {
            self.lose(error);
        }
    }

    /// Does what is due by the clock.
    fn tend(&mut self) {
        self.tend_leaving();
        if self.holds_key() && self.ends.remaining().is_zero() {
            self.fence("nothing heard from keyd for the length of a lease", self.reaction());
            // What this connection brings from now on belongs to a lease that is over.
            self.lease = None;
        }
        let due = self.next_duty().is_some_and(|at| at.remaining().is_zero());
        let result = match &mut self.lease {
            Some(lease) if due => lease.renew().map_err(LeaseError::from),
            None if due => self.attach_again(),
            Some(_) | None => Ok(()),
        };
        if let Err(error) = result {
            self.lose(error);
        }
    }

    /// The daemon, or the disk, is not to be had for now. The key stays until its lease ends; then it goes, heard or
    /// not.
    fn lose(&mut self, error: LeaseError) {
        let Err(error) = self.is_refused(error) else { return };
        let trouble = Trouble::of(&error);
        if self.lease.take().is_some()
            || self.trouble.is_none_or(|before| before.what != trouble.what)
        {
            log::line(format_args!("{}: {error}; trying again", trouble.what));
            let state = if self.holds_key() { "serves" } else { "halted" };
            self.manager.status(&format!("{state}; {}: {error}", trouble.what));
        }
        self.trouble = Some(trouble.after(self.trouble));
        let pause = self.retry_pause.min(error.longest_pause());
        self.retry_at = BootTime::now().after(pause);
        self.retry_pause = pause * 2;
    }

    /// Attaches anew, or for the first time if the disk was another process's, ready to wait for a lost key that was
    /// had before.
    fn attach_again(&mut self) -> Result<(), LeaseError> {
        if !self.has_locks {
            self.backing.lock_image()?;
            self.has_locks = true;
        }
        let Source { keyd, disk, read_only } = &self.source;
        // A daemon that hangs must not keep this thread beyond the end of the lease. One that is slow gets more time at
        // each attempt: it would be asked for ever, and never heard.
        let left = if self.holds_key() { self.ends.remaining() } else { self.patience };
        let patience = left.min(self.patience);
        self.patience = (self.patience * 2).min(ATTACH_TIME.1);
        let attached = Lease::attach_within(keyd, *disk, *read_only, self.if_lost(), patience);
        let (lease, terms, dek) = match attached.map_err(LeaseError::from) {
            Err(LeaseError::Daemon(ClientError::Refused(refusal))) => {
                // It is there, and says no: the disk is gone, or we may not have it any more.
                if self.had_key && (refusal.code != RefusalCode::InUse || self.holds_key()) {
                    // A disk that was erased never has a key again: nothing is to wait for that.
                    let is_erased = refusal.code == RefusalCode::NotFound;
                    let reaction = if is_erased { Reaction::Fail } else { self.reaction() };
                    self.fence(&refusal.message, reaction);
                }
                return Err(ClientError::Refused(refusal).into());
            }
            other => other?,
        };
        self.check_same_disk(&terms.record)?;
        let size = terms.record.geometry.size;
        if self.holds_key() {
            self.survey(size);
        } else {
            self.grow_at_once(size, lease.ends().remaining())?;
        }
        self.ends = lease.ends();
        (self.lease, self.terms) = (Some(lease), Some(terms));
        self.go_by(dek)?;
        (self.retry_pause, self.patience) = (RECONNECT_TIME.0, ATTACH_TIME.0);
        if let Some(trouble) = self.trouble.take() {
            log::line(trouble.end());
            if self.holds_key() {
                self.manager.status(SERVES);
            }
        }
        if !self.short_of_space.is_empty() {
            self.tell_space();
        }
        self.tell_serving();
        Ok(())
    }

    /// Has the queues do as the daemon said: with the key, or without.
    fn go_by(&mut self, dek: Option<Dek>) -> Result<(), LeaseError> {
        match dek {
            // The queues still have the same key, or nobody wants it.
            Some(_) if self.holds_key() || self.leaves() => Ok(()),
            Some(dek) => self.hand_out(dek),
            None if !self.had_key => {
                self.say_waiting();
                Ok(())
            }
            None => {
                let reaction = self.reaction();
                self.fence_and_report(
                    "the key was taken away while keyd was out of reach",
                    reaction,
                )
            }
        }
    }

    /// Gives the queues the key, if it is this disk's.
    fn hand_out(&mut self, dek: Dek) -> Result<(), LeaseError> {
        let Some(terms) = &self.terms else { return Err(ClientError::UnexpectedReply.into()) };
        let record = &terms.record;
        if !digest_matches(&record.digest, &dek) {
            return Err(LeaseError::WrongKey(record.id));
        }
        let sector_size = SectorSize::from_bytes(record.geometry.sector_size)
            .ok_or(LeaseError::RecordChanged(record.id))?;
        let key = Arc::new(XtsCipher::new(dek, sector_size)?);
        log::line(format_args!(
            "running: disk {} on {} version {}, cipher {}",
            record.id,
            record.key,
            record.key_version,
            key.path()
        ));
        self.key = Arc::downgrade(&key);
        (self.had_key, self.refusal) = (true, None);
        self.manager.status(SERVES);
        for queue in &self.queues {
            queue.tell(Command::Resume(key.clone()));
        }
        Ok(())
    }
}

/// Why a wait ended.
enum Woken {
    Duty,
    Daemon,
    Clock,
}
