//! The disk is let go when its VM has left, unless that would lose something: what is at the disk has to end, and what
//! the guest was told is written has to be there.

use std::sync::atomic::Ordering;

use keyd_client::{
    lease::BootTime,
    message::{Phase, Reaction},
};

use super::Keeper;
use crate::{limits::RECONNECT_TIME, log};

/// Whether the disk is on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leaving {
    /// The VM runs here, or the disk is not here at all.
    No,
    /// Something of the VM that has left is at the disk yet: looked at again at this time.
    Later(BootTime),
    /// What was answered may not be on the disk: it stays here until somebody decides.
    Never,
}

impl Keeper {
    /// Lets go of the key, the lease and the image, in this order: who has the image's locks finds everything that was
    /// answered here, also on another host.
    pub(super) fn let_go(&mut self) {
        if self.has_disk && !self.leaves() {
            let fence = self.take_key(Reaction::Park);
            fence.say(Phase::Released, "the VM has left");
            if !fence.disk_is_idle() {
                log::provoked(
                    "the VM has left",
                    "its last operations are still at the disk, which is let go when they have ended",
                );
            }
            self.leave(fence.disk_is_idle());
        }
    }

    /// Lets go of the key before the lease: a queue that could not be stopped must not go on with a key that the daemon
    /// believes to be nobody's.
    pub(super) fn end(mut self) {
        if self.holds_key() {
            self.take_key(Reaction::Park).say(Phase::Released, "the process ends");
        }
        self.release();
    }

    /// Says that the disk is let go of: the daemon need not take the end of the connection for that of a process that
    /// was killed.
    fn release(&mut self) {
        if let Some(lease) = self.lease.take() {
            let _ = lease.release();
        }
    }

    /// Looks once more whether the disk can be let go, when it is time.
    pub(super) fn tend_leaving(&mut self) {
        if let Leaving::Later(at) = self.leaving
            && at.remaining().is_zero()
        {
            let disk_is_idle = self.take_key(Reaction::Park).disk_is_idle();
            self.leave(disk_is_idle);
        }
    }

    /// Whether the VM has left, and the disk is here yet.
    pub(super) fn leaves(&self) -> bool {
        self.leaving != Leaving::No
    }

    fn leave(&mut self, disk_is_idle: bool) {
        if !disk_is_idle {
            self.leaving = Leaving::Later(BootTime::now().after(RECONNECT_TIME.1));
            return;
        }
        if !self.is_durable() {
            // Elsewhere nobody would hear of it: the next flush there ends well.
            self.leaving = Leaving::Never;
            log::line(
                "what the guest was told is written may not be on the disk, so the disk is not let go: resume the VM here, where its flushes fail, or end this process to accept the loss",
            );
            return;
        }
        self.release();
        if let Err(error) = self.backing.unlock() {
            log::provoked("unlocking the image", error);
        }
        (self.has_disk, self.has_locks) = (false, false);
        (self.leaving, self.trouble) = (Leaving::No, None);
        log::provoked("the VM has left", "the disk is free for its next process");
    }

    /// Makes durable what was answered. A failure is one for good: the kernel may have dropped what it could not write.
    fn is_durable(&self) -> bool {
        let poisoned = &self.shared.poisoned;
        if !self.source.read_only
            && !poisoned.load(Ordering::Relaxed)
            && let Err(error) = self.backing.data(0).sync_data()
        {
            log::line(format_args!("making the image durable: {error}: check the disk below"));
            poisoned.store(true, Ordering::Relaxed);
        }
        self.source.read_only || !poisoned.load(Ordering::Relaxed)
    }
}
