//! The disk as a whole: had while its VM runs here, let go when that has left, and longer when its owner says so.

use std::{sync::mpsc, time::Instant};

use keyd_client::{
    lease::BootTime,
    message::{DiskRecord, Geometry, Reaction},
};

use super::{Keeper, LeaseError};
use crate::{
    limits::{FENCE_TIME, TAKE_OVER_PAUSE},
    queue::command::Command,
};

impl Keeper {
    /// From now on the disk is sought until it is had: first the image's locks, then the key.
    pub(super) fn have_disk(&mut self) {
        if !self.has_disk {
            self.has_disk = true;
            (self.retry_at, self.retry_pause) = (BootTime::now(), TAKE_OVER_PAUSE);
        }
    }

    /// Lets go of the key, the lease and the image, in this order: who has the image's locks finds everything that was
    /// answered here, also on another host.
    pub(super) fn let_go(&mut self) {
        if !self.has_disk {
            return;
        }
        self.fence("the VM has left", Reaction::Park);
        if !self.source.read_only
            && let Err(error) = self.backing.data(0).sync_data()
        {
            eprintln!("vhost-backend: making the image durable: {error}: check the disk below");
        }
        self.lease = None;
        if let Err(error) = self.backing.unlock() {
            eprintln!("vhost-backend: unlocking the image: {error}");
        }
        (self.has_disk, self.has_locks, self.complained) = (false, false, false);
        eprintln!("vhost-backend: the disk is free for the VM's next process");
    }

    /// Lets go of the key before the lease: a queue that could not be stopped must not go on with a key that the daemon
    /// believes to be nobody's.
    pub(super) fn end(mut self) {
        if self.holds_key() {
            self.fence("the process ends", Reaction::Park);
        }
    }

    /// The daemon's record may only have grown.
    pub(super) fn check_same_disk(&mut self, record: &DiskRecord) -> Result<(), LeaseError> {
        let same = match &self.terms {
            Some(terms) => {
                let before = &terms.record;
                let geometry = Geometry { size: before.geometry.size, ..record.geometry };
                geometry == before.geometry && record.digest == before.digest
            }
            None => {
                self.backing.agrees_but_for_length(record)?;
                true
            }
        };
        if same && record.geometry.size >= self.size {
            return Ok(());
        }
        self.fence("keyd's record of the disk has changed", self.reaction());
        Err(LeaseError::RecordChanged(record.id))
    }

    /// The disk is to have `size` bytes: the queues take requests for all of it before the guest hears of it.
    pub(super) fn grow(&mut self, size: u64) {
        if size <= self.size {
            return;
        }
        if !self.backing.has_room_for(size) {
            eprintln!(
                "vhost-backend: keyd says that disk {} has {size} bytes, and its image ends before: it stays at {}; use 'image resize'",
                self.source.disk, self.size
            );
            return;
        }
        let (reply, replies) = mpsc::channel();
        for queue in &self.queues {
            queue.tell(Command::Grow(size, reply.clone()));
        }
        let deadline = Instant::now() + FENCE_TIME;
        let left = || deadline.saturating_duration_since(Instant::now());
        if !self.queues.iter().all(|_| replies.recv_timeout(left()).is_ok()) {
            eprintln!(
                "vhost-backend: a queue does not answer: the guest hears of {size} bytes at its next start"
            );
            return;
        }
        self.size = size;
        if let Some(terms) = &mut self.terms {
            terms.record.geometry.size = size;
        }
        eprintln!("vhost-backend: disk {} has {size} bytes now", self.source.disk);
        self.sizes.send(size);
    }
}
