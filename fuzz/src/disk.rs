//! The simulated disk behind a fence: what is asked of it must lie in the data area. It can be rung, as the real one
//! is, and it can let the guest act in the middle of the device's turn.

use std::{fmt, io, os::fd::OwnedFd};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::read,
};
use vhost_backend::disk::{Disk, Event, Job, Operation, Submitted, Wait, sim::SimDisk};

/// What the guest does while the device is at work.
pub type Race = Box<dyn FnMut() + Send>;

/// See the module.
pub struct GuardedDisk {
    /// The disk itself.
    pub sim: SimDisk,
    data: std::ops::Range<u64>,
    bell: Option<OwnedFd>,
    kick: Option<OwnedFd>,
    race: Option<Race>,
}

impl GuardedDisk {
    /// A disk whose data area is `data`, bytes of the image; `bell` announces commands, if the queue has a thread.
    #[must_use]
    pub fn new(sim: SimDisk, data: std::ops::Range<u64>, bell: Option<OwnedFd>) -> Self {
        Self { sim, data, bell, kick: None, race: None }
    }

    /// From now on the guest does this at every step of the disk.
    pub fn set_race(&mut self, race: Option<Race>) {
        self.race = race;
    }

    fn guard(&self, operation: &Operation) {
        let (at, len) = match operation {
            Operation::Read { at, len, .. } => (*at, *len as u64),
            Operation::Write { from, at, .. } => (*at, from.bytes().len() as u64),
            Operation::Punch { at, len } => (*at, *len),
            Operation::Sync => return,
        };
        let end = at.checked_add(len).expect("offsets do not wrap");
        let inside = self.data.start <= at && end <= self.data.end && len > 0;
        assert!(inside, "bytes {at} to {end} are asked of the disk, the data is {:?}", self.data);
    }
}

impl fmt::Debug for GuardedDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GuardedDisk({:?})", self.data)
    }
}

impl Disk for GuardedDisk {
    fn submit(&mut self, job: Job) -> Submitted {
        self.guard(&job.operation);
        if let Some(race) = &mut self.race {
            race();
        }
        self.sim.submit(job)
    }

    fn wait(&mut self, wait: Wait) -> io::Result<()> {
        let Some(bell) = &self.bell else { return Ok(()) };
        let time = match wait {
            Wait::Sleep(time) if self.sim.in_flight() == 0 => time.map(Timespec::try_from),
            Wait::Sleep(_) | Wait::No => Some(Ok(Timespec::default())),
        };
        let time = time.transpose().map_err(io::Error::other)?;
        let mut fds = vec![PollFd::new(bell, PollFlags::IN)];
        fds.extend(self.kick.as_ref().map(|kick| PollFd::new(kick, PollFlags::IN)));
        poll(&mut fds, time.as_ref())?;
        let rung: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        let mut count = [0; 8];
        if rung[0] {
            read(bell, &mut count)?;
            self.sim.ring_bell();
        }
        if let (Some(true), Some(kick)) = (rung.get(1), &self.kick) {
            // It does not block, and may have been taken by its maker.
            let _ = read(kick, &mut count);
        }
        Ok(())
    }

    fn next(&mut self) -> Option<Event> {
        if let Some(race) = &mut self.race {
            race();
        }
        self.sim.next()
    }

    fn watch_kicks(&mut self, kick: Option<OwnedFd>) {
        self.kick = kick;
    }

    fn has_durable_writes(&self) -> bool {
        self.sim.has_durable_writes()
    }

    fn in_flight(&self) -> usize {
        self.sim.in_flight()
    }
}
