//! The other threads' end of a queue. Before its ring is started for the first time a queue is no more than what is
//! kept here: no thread, no ring, no buffers. What it is told meanwhile it answers at once, as a queue without a ring.

use std::{
    fmt, io, mem,
    os::fd::OwnedFd,
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    time::Instant,
};

use images::XtsCipher;
use keyd_client::message::Reaction;
use rustix::io::write;

use super::command::{Command, Fenced};

/// What makes a queue's thread.
pub trait Wake: fmt::Debug + Send + Sync {
    /// Makes the thread of queue `number`, and returns when it can be told something.
    ///
    /// # Errors
    /// What is missing, in one line.
    fn wake(self: Arc<Self>, number: u16) -> io::Result<Line>;
}

/// The way to a queue's thread.
#[derive(Debug)]
pub struct Line {
    commands: mpsc::Sender<Command>,
    doorbell: OwnedFd,
}

impl Line {
    /// A line that sends through `commands` and rings `doorbell`, an eventfd that the queue watches.
    #[must_use]
    pub fn new(commands: mpsc::Sender<Command>, doorbell: OwnedFd) -> Self {
        Self { commands, doorbell }
    }

    fn tell(&self, command: Command) {
        if self.commands.send(command).is_ok() {
            // A full counter means that the bell is ringing already.
            let _ = write(&self.doorbell, &1u64.to_ne_bytes());
        }
    }
}

/// The other threads' end of a queue.
#[derive(Debug, Clone)]
pub struct QueueHandle {
    state: Arc<Mutex<State>>,
    number: u16,
    waker: Option<Arc<dyn Wake>>,
}

#[derive(Debug)]
enum State {
    Asleep(Asleep),
    Awake(Line),
}

/// What a queue was told that it must know when it is made.
#[derive(Default)]
struct Asleep {
    key: Option<Arc<XtsCipher>>,
    /// What a fence said of requests.
    reaction: Option<Reaction>,
    capacity: Option<u64>,
    enabled: bool,
}

impl QueueHandle {
    /// Queue `number`, which is made by `waker` when it is needed.
    #[must_use]
    pub fn asleep(number: u16, waker: Arc<dyn Wake>) -> Self {
        let state = Arc::new(Mutex::new(State::Asleep(Asleep::default())));
        Self { state, number, waker: Some(waker) }
    }

    /// A queue that is there.
    #[must_use]
    pub fn awake(line: Line) -> Self {
        Self { state: Arc::new(Mutex::new(State::Awake(line))), number: 0, waker: None }
    }

    /// Tells the queue. A queue that has ended hears nothing, and need not.
    pub fn tell(&self, command: Command) {
        match &mut *self.state() {
            State::Asleep(asleep) => asleep.hear(command),
            State::Awake(line) => line.tell(command),
        }
    }

    /// Has the queue be there, for a ring. No other thread waits for that: what they tell it meanwhile is answered.
    ///
    /// # Errors
    /// What is missing; the queue goes on as it was.
    pub fn wake(&self) -> io::Result<()> {
        let Some(waker) = self.waker.as_ref().filter(|_| self.is_asleep()) else { return Ok(()) };
        let line = waker.clone().wake(self.number)?;
        let mut state = self.state();
        if let State::Asleep(asleep) = &mut *state {
            mem::take(asleep).tell(&line);
            *state = State::Awake(line);
        }
        Ok(())
    }

    fn is_asleep(&self) -> bool {
        matches!(&*self.state(), State::Asleep(_))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Asleep {
    fn hear(&mut self, command: Command) {
        match command {
            Command::Resume(key) => (self.key, self.reaction) = (Some(key), None),
            Command::Fence(reaction, reply) => {
                // The key goes before that is said.
                (self.key, self.reaction) = (None, Some(reaction));
                let key_dropped = Instant::now();
                let fenced = Fenced { last_io: None, key_dropped, held: 0, disk_is_idle: true };
                let _ = reply.send(fenced);
            }
            Command::SetCapacity(capacity, reply) => {
                self.capacity = Some(capacity);
                let _ = reply.send(());
            }
            Command::SetMemory(_, reply) | Command::SetLog(_, reply) => {
                let _ = reply.send(());
            }
            Command::Stop(reply) => {
                let _ = reply.send(0);
            }
            Command::Enable(enabled) => self.enabled = enabled,
            // Whoever starts a ring wakes its queue before.
            Command::Start(_) | Command::SetCall(_) | Command::Exit => {}
        }
    }

    /// Tells the queue that is made now what was heard before. Nobody waits for its answers.
    fn tell(self, line: &Line) {
        if let Some(capacity) = self.capacity {
            line.tell(Command::SetCapacity(capacity, mpsc::channel().0));
        }
        if let Some(reaction) = self.reaction {
            line.tell(Command::Fence(reaction, mpsc::channel().0));
        }
        if let Some(key) = self.key {
            line.tell(Command::Resume(key));
        }
        line.tell(Command::Enable(self.enabled));
    }
}

impl fmt::Debug for Asleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Asleep")
    }
}

#[cfg(test)]
mod tests {
    use images::SectorSize;
    use keyd_client::Dek;
    use rustix::event::{EventfdFlags, eventfd};

    use super::*;

    /// Makes queues whose commands can be looked at.
    #[derive(Debug)]
    struct Waker(Mutex<Vec<mpsc::Receiver<Command>>>);

    impl Wake for Waker {
        fn wake(self: Arc<Self>, _number: u16) -> io::Result<Line> {
            let (commands, heard) = mpsc::channel();
            self.0.lock().unwrap().push(heard);
            Ok(Line::new(commands, eventfd(0, EventfdFlags::CLOEXEC)?))
        }
    }

    fn handle() -> (QueueHandle, Arc<Waker>) {
        let waker = Arc::new(Waker(Mutex::default()));
        (QueueHandle::asleep(3, waker.clone()), waker)
    }

    fn key() -> Arc<XtsCipher> {
        let dek = Dek::fill_with(|bytes| {
            bytes.iter_mut().zip(0..).for_each(|(byte, number)| *byte = number);
            Ok(())
        });
        Arc::new(XtsCipher::new(dek.unwrap(), SectorSize::B512).unwrap())
    }

    /// What a queue was told, in words.
    fn told(waker: &Waker) -> Vec<String> {
        let queues = waker.0.lock().unwrap();
        let words = |command| match command {
            Command::Resume(_) => "resume".to_owned(),
            Command::Fence(reaction, _) => format!("fence {reaction:?}"),
            Command::SetCapacity(capacity, _) => format!("capacity {capacity}"),
            Command::Enable(enabled) => format!("enable {enabled}"),
            _ => "something else".to_owned(),
        };
        queues.iter().flat_map(mpsc::Receiver::try_iter).map(words).collect()
    }

    #[test]
    fn a_queue_that_sleeps_keeps_no_key_once_its_fence_is_confirmed() {
        let (handle, waker) = handle();
        let key = key();
        handle.tell(Command::Resume(key.clone()));
        assert_eq!(Arc::strong_count(&key), 2);
        let (reply, fenced) = mpsc::channel();
        handle.tell(Command::Fence(Reaction::Fail, reply));
        let fenced = fenced.try_recv().unwrap();
        assert!(fenced.disk_is_idle && fenced.held == 0 && fenced.last_io.is_none());
        assert_eq!(Arc::strong_count(&key), 1);
        handle.wake().unwrap();
        assert_eq!(told(&waker), ["fence Fail", "enable false"]);
    }

    #[test]
    fn a_queue_that_wakes_is_told_what_it_slept_through_and_once() {
        let (handle, waker) = handle();
        let (reply, done) = mpsc::channel();
        handle.tell(Command::SetCapacity(5, reply.clone()));
        handle.tell(Command::SetLog(None, reply.clone()));
        handle.tell(Command::SetMemory(Arc::default(), reply));
        assert_eq!(done.try_iter().count(), 3, "nobody waits for a queue that sleeps");
        let (reply, stopped) = mpsc::channel();
        handle.tell(Command::Stop(reply));
        assert_eq!(stopped.try_recv(), Ok(0));
        handle.tell(Command::Fence(Reaction::Fail, mpsc::channel().0));
        handle.tell(Command::Resume(key()));
        handle.tell(Command::Enable(true));
        handle.wake().unwrap();
        handle.wake().unwrap();
        assert_eq!(told(&waker), ["capacity 5", "resume", "enable true"]);
        handle.tell(Command::Enable(false));
        assert_eq!(told(&waker), ["enable false"]);
    }
}
