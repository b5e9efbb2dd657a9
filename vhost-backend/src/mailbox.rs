//! A channel to a thread that sleeps in poll(2): what is sent wakes it.

use std::{
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    sync::{Arc, mpsc},
};

use rustix::{
    io::write,
    net::{RecvFlags, recv},
};

/// The sender's end.
#[derive(Debug)]
pub struct Slot<T> {
    letters: mpsc::Sender<T>,
    bell: Arc<OwnedFd>,
}

/// The receiver's end; its descriptor is readable when something may have come.
#[derive(Debug)]
pub struct Mailbox<T> {
    letters: mpsc::Receiver<T>,
    bell: OwnedFd,
}

/// A mailbox and the slot to it.
///
/// # Errors
/// What the system says.
pub fn mailbox<T>() -> io::Result<(Slot<T>, Mailbox<T>)> {
    let (ours, theirs) = UnixStream::pair()?;
    // A bell that is full rings already.
    ours.set_nonblocking(true)?;
    let (sender, receiver) = mpsc::channel();
    let slot = Slot { letters: sender, bell: Arc::new(ours.into()) };
    Ok((slot, Mailbox { letters: receiver, bell: theirs.into() }))
}

impl<T> Slot<T> {
    /// Sends. A receiver that has ended hears nothing, and need not.
    pub fn send(&self, letter: T) {
        if self.letters.send(letter).is_ok() {
            let _ = write(&self.bell, &[1]);
        }
    }
}

impl<T> Clone for Slot<T> {
    fn clone(&self) -> Self {
        Self { letters: self.letters.clone(), bell: self.bell.clone() }
    }
}

impl<T> Mailbox<T> {
    /// What has come. The bell is silenced before the look: what comes after the look rings anew.
    pub fn take(&self) -> impl Iterator<Item = T> {
        let mut rung = [0; 64];
        while let Ok((64.., _)) = recv(&self.bell, &mut rung, RecvFlags::DONTWAIT) {}
        self.letters.try_iter()
    }
}

impl<T> AsFd for Mailbox<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::*;

    fn rings(mailbox: &Mailbox<u32>) -> bool {
        poll(&mut [PollFd::new(mailbox, PollFlags::IN)], Some(&Timespec::default())).unwrap() == 1
    }

    #[test]
    fn what_is_sent_rings_until_it_is_taken() {
        let (slot, mailbox) = mailbox().unwrap();
        assert!(!rings(&mailbox));
        // More than a bell holds, and than one look silences.
        for letter in 0..100_000 {
            slot.clone().send(letter);
        }
        assert!(rings(&mailbox));
        assert!(mailbox.take().eq(0..100_000));
        assert!(!rings(&mailbox));
        slot.send(7);
        assert!(rings(&mailbox));
    }

    #[test]
    fn nobody_waits_for_a_receiver_that_has_ended() {
        let (slot, mailbox) = mailbox().unwrap();
        drop(mailbox);
        slot.send(1);
    }
}
