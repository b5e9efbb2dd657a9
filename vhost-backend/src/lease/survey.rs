//! Whether the image has room for what the daemon says of its disk, looked at by a thread of its own: the lease thread
//! alone takes the key away, and must not wait for a disk that hangs.

use std::{
    io,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use super::Duty;
use crate::{backing::Backing, mailbox::Slot};

/// Who is asked.
#[derive(Debug)]
pub struct Surveyor {
    asked: mpsc::Sender<Survey>,
    keeper: Slot<Duty>,
}

/// A size, and who wants to know.
type Survey = (u64, Box<dyn FnOnce(bool) + Send>);

impl Surveyor {
    /// Starts the thread, which ends when nobody can ask it any more. What it asks of the system as it begins is behind
    /// it when this returns.
    ///
    /// # Errors
    /// What the system says.
    pub fn start(backing: Arc<Backing>, keeper: Slot<Duty>) -> io::Result<Self> {
        let (asked, surveys) = mpsc::channel::<Survey>();
        let (runs, begun) = mpsc::channel();
        thread::Builder::new().name("survey".into()).spawn(move || {
            let _ = runs.send(());
            surveys.into_iter().for_each(|(size, tell)| tell(backing.has_room_for(size)));
        })?;
        let _ = begun.recv();
        Ok(Self { asked, keeper })
    }

    /// One whose image does not answer: what it was asked.
    #[cfg(test)]
    pub(super) fn hung(keeper: Slot<Duty>) -> (Self, impl Fn() -> Vec<u64>) {
        let (asked, surveys) = mpsc::channel::<Survey>();
        (Self { asked, keeper }, move || surveys.try_iter().map(|(size, _)| size).collect())
    }

    /// Asks whether there is room for `size` bytes; the keeper hears it as [`Duty::Grow`], or never.
    pub(super) fn ask(&self, size: u64) {
        let keeper = self.keeper.clone();
        self.send(size, move |has_room| keeper.send(Duty::Grow { size, has_room }));
    }

    /// Whether there is room for `size` bytes; `None` if the image does not answer in time.
    pub(super) fn has_room(&self, size: u64, time: Duration) -> Option<bool> {
        let (tell, told) = mpsc::channel();
        self.send(size, move |has_room| {
            let _ = tell.send(has_room);
        });
        told.recv_timeout(time).ok()
    }

    fn send(&self, size: u64, tell: impl FnOnce(bool) + Send + 'static) {
        // It ends after whoever asks.
        let _ = self.asked.send((size, Box::new(tell)));
    }
}
