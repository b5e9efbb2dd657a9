//! The disk as a whole: sought when its VM runs here, compared with the daemon's record, and longer when its owner says
//! so.

use std::{
    sync::mpsc,
    time::{Duration, Instant},
};

use keyd_client::{
    lease::BootTime,
    message::{DiskRecord, Geometry},
};

use super::{Keeper, LeaseError, leave::Leaving};
use crate::{
    limits::{FENCE_TIME, TAKE_OVER_PAUSE},
    log,
    queue::command::Command,
};

impl Keeper {
    /// From now on the disk is sought until it is had: first the image's locks, then the key. One that could not be let
    /// go has its locks, and gets its key anew.
    pub(super) fn have_disk(&mut self) {
        if !self.has_disk || self.leaves() {
            self.has_disk = true;
            self.leaving = Leaving::No;
            self.lease = None;
            (self.retry_at, self.retry_pause) = (BootTime::now(), TAKE_OVER_PAUSE);
        }
    }

    /// The daemon's record may only have grown. At the first look it decides: an image may have room behind its disk.
    pub(super) fn check_same_disk(&mut self, record: &DiskRecord) -> Result<(), LeaseError> {
        let size = record.geometry.size;
        let same = match &self.terms {
            Some(terms) => {
                let before = &terms.record;
                let geometry = Geometry { size: before.geometry.size, ..record.geometry };
                geometry == before.geometry && record.digest == before.digest && size >= self.size
            }
            None if size < self.size => {
                self.backing.agrees(record)?;
                if !self.set_size(size) {
                    return Err(LeaseError::ImageHangs);
                }
                true
            }
            None => {
                self.backing.agrees_but_for_length(record)?;
                true
            }
        };
        if same {
            return Ok(());
        }
        self.fence("keyd's record of the disk has changed", self.reaction());
        Err(LeaseError::RecordChanged(record.id))
    }

    /// The disk is to have `size` bytes, if the image has. While the key is here it is looked at elsewhere, and
    /// [`Keeper::grow`] follows; one look at a time.
    pub(super) fn survey(&mut self, size: u64) {
        self.wanted = self.wanted.max(size);
        if self.wanted > self.size && !self.surveying {
            self.surveying = true;
            self.surveyor.ask(self.wanted);
        }
    }

    /// The image was looked at.
    pub(super) fn grow(&mut self, size: u64, has_room: bool) {
        self.surveying = false;
        self.grow_if(size, has_room);
        if self.wanted > size {
            self.survey(self.wanted);
        }
    }

    /// The disk is to have `size` bytes before the key comes: its guest may know already that it has.
    pub(super) fn grow_at_once(&mut self, size: u64, time: Duration) -> Result<(), LeaseError> {
        if size > self.size {
            let has_room = self.surveyor.has_room(size, time.min(FENCE_TIME));
            self.grow_if(size, has_room.ok_or(LeaseError::ImageHangs)?);
        }
        Ok(())
    }

    /// The daemon shows it to who looks why a VM hangs.
    pub(super) fn note_space(&mut self, queue: u16, short: bool) {
        let was_short = !self.short_of_space.is_empty();
        if short {
            self.short_of_space.insert(queue);
        } else {
            self.short_of_space.remove(&queue);
        }
        if was_short == self.short_of_space.is_empty() {
            self.tell_space();
        }
    }

    /// A connection that breaks is heard of where it is read.
    pub(super) fn tell_space(&mut self) {
        let short = !self.short_of_space.is_empty();
        if let Some(lease) = &mut self.lease {
            let _ = lease.tell_space(short);
        }
    }

    /// The daemon shows it to who looks why a VM is slow; as above.
    pub(super) fn tell_serving(&mut self) {
        if let Some(lease) = &mut self.lease {
            let _ = lease.tell_serving(self.serving.clone());
        }
    }

    fn grow_if(&mut self, size: u64, has_room: bool) {
        if has_room {
            if size > self.size {
                self.set_size(size);
            }
            return;
        }
        log::line(format_args!(
            "keyd says that disk {} has {size} bytes, and its image ends before: it stays at {}; use 'image resize'",
            self.source.disk, self.size
        ));
    }

    /// The queues take requests for all of the disk, and for no more, before the guest hears of it. `false` if one does
    /// not answer.
    fn set_size(&mut self, size: u64) -> bool {
        let (reply, replies) = mpsc::channel();
        for queue in &self.queues {
            queue.tell(Command::SetCapacity(size, reply.clone()));
        }
        // A queue that is stuck must not keep this thread beyond the end of the lease.
        let time = if self.holds_key() { self.ends.remaining() } else { FENCE_TIME };
        let deadline = Instant::now() + time.min(FENCE_TIME);
        let left = || deadline.saturating_duration_since(Instant::now());
        if !self.queues.iter().all(|_| replies.recv_timeout(left()).is_ok()) {
            log::line(format_args!(
                "a queue does not answer: the guest hears of {size} bytes at its next start"
            ));
            return false;
        }
        self.size = size;
        if let Some(terms) = &mut self.terms {
            terms.record.geometry.size = size;
        }
        log::line(format_args!("disk {} has {size} bytes now", self.source.disk));
        self.sizes.send(size);
        true
    }
}
