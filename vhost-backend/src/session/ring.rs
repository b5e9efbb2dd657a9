//! One ring as the front end has described it, and whether its queue serves it.

use std::{io, os::fd::OwnedFd, sync::mpsc, time::Duration};

use vhost::vhost_user::{Error, Result};

use crate::{
    limits::STOP_TIME,
    patience::Patience,
    queue::{
        command::{Command, RingSetup},
        handle::QueueHandle,
    },
};

/// What the front end has said of one ring.
#[derive(Debug)]
pub(super) struct Ring {
    queue: QueueHandle,
    pub(super) size: u16,
    /// Descriptor table, avail ring, used ring: addresses in the front end's own space.
    pub(super) addresses: [u64; 3],
    /// Where it begins; none while it runs, unless it was said anew.
    base: Option<u16>,
    pub(super) call: Option<OwnedFd>,
    /// What the guest kicks by, as long as it is served.
    kick: Option<OwnedFd>,
    /// What it was served with until its front end stopped it, and where it stood.
    aside: Option<Aside>,
    /// Where its front end believes it to stand, although it has gone on by itself since.
    believed: Option<u16>,
    pub(super) enabled: bool,
    state: State,
}

/// The descriptors of a ring that was stopped.
#[derive(Debug)]
pub(super) struct Aside {
    pub(super) kick: OwnedFd,
    pub(super) call: Option<OwnedFd>,
}

#[derive(Debug)]
enum State {
    Stopped,
    Running,
    /// A stop was ordered, and the queue has not confirmed it yet: it may have requests of this ring at the disk.
    Stopping(mpsc::Receiver<u16>),
}

impl Ring {
    /// The ring of `queue`, of which nothing has been said.
    pub(super) fn new(queue: QueueHandle) -> Self {
        Self {
            queue,
            size: 0,
            addresses: [0; 3],
            base: Some(0),
            call: None,
            kick: None,
            aside: None,
            believed: None,
            enabled: false,
            state: State::Stopped,
        }
    }

    /// Nothing has been said of it any more. Whether it has stopped is not a matter of saying.
    pub(super) fn forget(&mut self) {
        (self.size, self.base, self.call, self.enabled) = (0, Some(0), None, false);
        (self.kick, self.aside, self.believed) = (None, None, None);
    }

    /// Its front end has stopped it, and may close what it was served with: kept aside, should it have to go on.
    pub(super) fn set_aside(&mut self) {
        let call = self.call.take();
        if let Some(kick) = self.kick.take() {
            self.aside = Some(Aside { kick, call });
        }
    }

    /// What it has to go on with, if it was stopped by its front end and not started since.
    pub(super) fn take_aside(&mut self) -> Option<Aside> {
        self.aside.take().filter(|_| self.is_stopped())
    }

    /// Whether its queue takes requests from it.
    pub(super) fn is_running(&self) -> bool {
        matches!(self.state, State::Running)
    }

    /// Whether its queue has nothing to do with it.
    pub(super) fn is_stopped(&self) -> bool {
        matches!(self.state, State::Stopped)
    }

    /// Says where it begins when it is started next. A front end that names the place where it has seen the ring stop
    /// means to go on, not to go back.
    pub(super) fn set_base(&mut self, base: u16) {
        if self.believed.take() != Some(base) {
            self.base = Some(base);
        }
    }

    /// It has been started without its front end, which believes it to stand at `base`.
    pub(super) fn has_gone_on(&mut self, base: u16) {
        self.believed = Some(base);
    }

    /// Where it begins when it is started next: where that was said to be, or where it stood when it was stopped.
    pub(super) fn base(&self) -> u16 {
        self.base.unwrap_or(0)
    }

    /// Has its queue, which may not have been there before, serve it, and keeps another of its kick descriptors. It
    /// must have been stopped.
    pub(super) fn start(&mut self, setup: RingSetup, kick: OwnedFd) -> Result<()> {
        self.queue.wake().map_err(Error::ReqHandlerError)?;
        self.tell(Command::Start(Box::new(setup)));
        self.tell(Command::Enable(self.enabled));
        (self.state, self.base) = (State::Running, None);
        (self.kick, self.aside, self.believed) = (Some(kick), None, None);
        Ok(())
    }

    /// Stops it, and waits until its queue has nothing to do with it.
    pub(super) fn stop(&mut self) -> Result<()> {
        stop_all(std::slice::from_mut(self), STOP_TIME)
    }

    fn order_stop(&mut self) {
        if self.is_running() {
            let (reply, stopped) = mpsc::channel();
            self.tell(Command::Stop(reply));
            self.state = State::Stopping(stopped);
        }
    }

    /// A stop that comes too late for one who waits can be waited for again.
    fn await_stop(&mut self, patience: &mut Patience) -> Result<()> {
        let State::Stopping(stopped) = &self.state else { return Ok(()) };
        let stood = patience.answer(stopped).map_err(unanswered)?;
        self.state = State::Stopped;
        self.base.get_or_insert(stood);
        Ok(())
    }

    /// Has its queue serve it, or leave it alone for now.
    pub(super) fn enable(&mut self, enabled: bool) {
        self.enabled = enabled;
        self.tell(Command::Enable(enabled));
    }

    /// Tells its queue something.
    pub(super) fn tell(&self, command: Command) {
        self.queue.tell(command);
    }
}

/// Stops all of `rings`, also behind one that does not stop in `time`; the first that did not is the error.
pub(super) fn stop_all(rings: &mut [Ring], time: Duration) -> Result<()> {
    rings.iter_mut().for_each(Ring::order_stop);
    let (mut patience, mut outcome) = (Patience::of(time), Ok(()));
    for ring in rings {
        outcome = outcome.and(ring.await_stop(&mut patience));
    }
    outcome
}

/// A queue has not said in time that it has done what it was told.
pub(super) fn unanswered(_: mpsc::RecvTimeoutError) -> Error {
    Error::ReqHandlerError(io::Error::other(
        "a queue did not stop in time: is the disk below hung?",
    ))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustix::event::{EventfdFlags, eventfd};
    use vm_memory::{GuestAddress, GuestMemoryMmap};

    use super::*;
    use crate::{
        queue::handle::Line,
        vring::{Addresses, Vring},
    };

    fn bell() -> OwnedFd {
        eventfd(0, EventfdFlags::CLOEXEC).unwrap()
    }

    fn start(ring: &mut Ring) {
        let memory = Arc::new(GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 4096)]).unwrap());
        let addresses = Addresses {
            descriptors: GuestAddress(0),
            avail: GuestAddress(1024),
            used: GuestAddress(2048),
        };
        let vring = Vring::new(&memory, addresses, 8, ring.base(), false, None).unwrap();
        ring.start(RingSetup { memory, vring, kick: bell(), call: None }, bell()).unwrap();
    }

    /// A ring that runs, and what its queue is told.
    fn ring() -> (Ring, mpsc::Receiver<Command>) {
        let (commands, told) = mpsc::channel();
        let mut ring = Ring::new(QueueHandle::awake(Line::new(commands, bell())));
        start(&mut ring);
        (ring, told)
    }

    /// Confirms the stops that a queue was told of; how many there were.
    fn confirm(told: &mpsc::Receiver<Command>, stood: u16) -> usize {
        let stops = told.try_iter().filter_map(|command| match command {
            Command::Stop(reply) => Some(reply.send(stood)),
            _ => None,
        });
        stops.count()
    }

    #[test]
    fn all_rings_are_stopped_though_the_first_is_not() {
        let ((first, first_told), (second, second_told)) = (ring(), ring());
        let mut rings = [first, second];
        assert!(stop_all(&mut rings, Duration::ZERO).is_err());
        assert_eq!(confirm(&second_told, 7), 1, "the second is told, too");
        assert!(stop_all(&mut rings[1..], STOP_TIME).is_ok());
        assert!(rings[1].is_stopped() && rings[1].base() == 7);
        assert!(!rings[0].is_stopped() && !rings[0].is_running());
        assert_eq!(confirm(&first_told, 5), 1);
    }

    #[test]
    fn a_stop_that_came_too_late_is_not_ordered_again_and_moves_no_ring_of_the_next_front_end() {
        let (mut ring, told) = ring();
        assert!(stop_all(std::slice::from_mut(&mut ring), Duration::ZERO).is_err());
        ring.forget();
        ring.set_base(9);
        assert_eq!(confirm(&told, 5), 1);
        ring.stop().unwrap();
        assert!(ring.is_stopped());
        assert_eq!(ring.base(), 9, "what the next one said of its ring");
        assert_eq!(confirm(&told, 0), 0);
    }

    #[test]
    fn a_ring_goes_on_where_it_stood_unless_its_front_end_says_where() {
        for said in [None, Some(9)] {
            let (mut ring, told) = ring();
            said.into_iter().for_each(|base| ring.set_base(base));
            ring.order_stop();
            assert_eq!(confirm(&told, 5), 1);
            ring.stop().unwrap();
            assert_eq!(ring.base(), said.unwrap_or(5));
            start(&mut ring);
            ring.order_stop();
            assert_eq!(confirm(&told, 6), 1);
            ring.stop().unwrap();
            assert_eq!(ring.base(), 6, "what was said is said of one start");
        }
    }
}
