//! A lease: the connection over which a holder keeps, loses and regains a disk's DEK.
//!
//! The holder measures its lease from the moment it *asked* for it, the daemon from the moment it *answered*; and the
//! holder begins to let go [`LET_GO_TIME`] before the end. So the daemon never believes that a lease is over while its
//! key is still in use. Time is CLOCK_BOOTTIME: a suspended host's lease ends
//! while it sleeps.

use std::{
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    path::Path,
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};

use crate::{
    client::{Client, ClientError},
    dek::Dek,
    ids::DiskId,
    limits::{FRAME_TIMEOUT, LET_GO_TIME, RENEWALS_PER_LEASE, REPLY_TIMEOUT},
    message::{Attach, Attached, Event, FenceReport, HolderMessage, IfLost, Serving},
    timed::Timed,
    wire::{self, WireError},
};

/// Time since boot, suspended time included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct BootTime(Duration);

impl BootTime {
    /// Now.
    #[must_use]
    pub fn now() -> Self {
        let now = clock_gettime(ClockId::Boottime);
        let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
        let nanoseconds = u32::try_from(now.tv_nsec).unwrap_or(0);
        Self(Duration::new(seconds, nanoseconds))
    }

    /// How long until then; zero if it has passed.
    #[must_use]
    pub fn remaining(self) -> Duration {
        self.0.saturating_sub(Self::now().0)
    }

    /// This moment, later.
    #[must_use]
    pub fn after(self, time: Duration) -> Self {
        Self(self.0 + time)
    }
}

/// A held or awaited lease.
#[derive(Debug)]
pub struct Lease {
    stream: UnixStream,
    length: Duration,
    /// When the renewal that is not answered yet was sent.
    asked: Option<BootTime>,
    /// When to let go unless a renewal is answered.
    ends: BootTime,
    /// When to ask next.
    renew_at: BootTime,
}

impl Lease {
    /// Asks for a disk's DEK under a lease. The DEK is missing only if `wait` was set, by a holder that had it before,
    /// and the key is lost.
    ///
    /// # Errors
    /// [`ClientError`]: unreachable, refused, or a broken connection.
    pub fn attach(
        socket: &Path,
        id: DiskId,
        read_only: bool,
        wait: bool,
    ) -> Result<(Self, Attached, Option<Dek>), ClientError> {
        let if_lost = if wait { IfLost::Wait } else { IfLost::Refuse };
        Self::attach_within(socket, id, read_only, if_lost, REPLY_TIMEOUT)
    }

    /// The same, for `patience` at most: a holder whose lease runs meanwhile must not wait for a daemon that hangs. The
    /// DEK is missing if the key is lost and `if_lost` has the holder wait.
    ///
    /// # Errors
    /// As [`Lease::attach`].
    pub fn attach_within(
        socket: &Path,
        id: DiskId,
        read_only: bool,
        if_lost: IfLost,
        patience: Duration,
    ) -> Result<(Self, Attached, Option<Dek>), ClientError> {
        let asked = BootTime::now();
        let connected = Client::connect_within(socket, patience);
        let mut client = connected.map_err(|error| error.of_option("--keyd"))?;
        let ask = Attach { id, read_only, if_lost };
        let (attached, dek) = client.exchange_until(ask, asked.after(patience))?;
        let stream = client.into_stream();
        stream.set_write_timeout(Some(FRAME_TIMEOUT)).map_err(WireError::Io)?;
        let length = Duration::from_millis(attached.lease_ms);
        let lease = Self {
            stream,
            length,
            asked: None,
            ends: end(asked, length),
            renew_at: asked.after(length / RENEWALS_PER_LEASE),
        };
        Ok((lease, attached, dek))
    }

    /// When to let go of the DEK unless a renewal is answered before.
    #[must_use]
    pub fn ends(&self) -> BootTime {
        self.ends
    }

    /// When [`Lease::renew`] is due.
    #[must_use]
    pub fn renew_at(&self) -> BootTime {
        self.renew_at
    }

    /// Asks for the lease to be prolonged; [`Event::Renewed`] answers. While one renewal is unanswered a further
    /// one does not move the time that counts: the lease is prolonged from the *earliest* unanswered asking.
    ///
    /// # Errors
    /// [`WireError::Io`].
    pub fn renew(&mut self) -> Result<(), WireError> {
        let now = BootTime::now();
        self.asked.get_or_insert(now);
        self.renew_at = now.after(self.length / RENEWALS_PER_LEASE);
        self.say(&HolderMessage::Renew)
    }

    /// Confirms a fence.
    ///
    /// # Errors
    /// [`WireError::Io`].
    pub fn fenced(&mut self, report: FenceReport) -> Result<(), WireError> {
        self.say(&HolderMessage::Fenced(report))
    }

    /// Says whether writes wait for space below the image.
    ///
    /// # Errors
    /// [`WireError::Io`].
    pub fn tell_space(&mut self, short: bool) -> Result<(), WireError> {
        self.say(&HolderMessage::Space { short })
    }

    /// Says how the disk is served from now on.
    ///
    /// # Errors
    /// [`WireError::Io`].
    pub fn tell_serving(&mut self, serving: Serving) -> Result<(), WireError> {
        self.say(&HolderMessage::Serving(serving))
    }

    /// Says that the key is wiped and the disk is let go of, and ends the lease.
    ///
    /// # Errors
    /// [`WireError::Io`]: the daemon sees only that the connection ends.
    pub fn release(mut self) -> Result<(), WireError> {
        self.say(&HolderMessage::Released)
    }

    /// Asks for the DEK again after [`Event::Granted`]; [`Event::Reclaimed`] brings it.
    ///
    /// # Errors
    /// [`WireError::Io`].
    pub fn reclaim(&mut self) -> Result<(), WireError> {
        self.asked = Some(BootTime::now());
        self.say(&HolderMessage::Reclaim)
    }

    /// Takes the next event off the connection. To be called when the descriptor is readable.
    ///
    /// # Errors
    /// [`WireError`]: the daemon is gone or talks nonsense; the lease then runs out by itself.
    pub fn receive(&mut self) -> Result<(Event, Option<Dek>), WireError> {
        // A frame that has begun must end, and must not keep the holder beyond its lease.
        let until = BootTime::now().after(FRAME_TIMEOUT).min(self.ends);
        let (event, dek) = wire::receive(&mut Timed::until(&self.stream, until))?;
        if let Event::Renewed { lease_ms } = event {
            self.length = Duration::from_millis(lease_ms);
        }
        if matches!(event, Event::Renewed { .. } | Event::Reclaimed)
            && let Some(asked) = self.asked.take()
        {
            self.ends = end(asked, self.length);
            // A lease that has become shorter may be over before the time that the longer one left for the next.
            self.renew_at = self.renew_at.min(asked.after(self.length / RENEWALS_PER_LEASE));
        }
        Ok((event, dek))
    }

    fn say(&mut self, message: &HolderMessage) -> Result<(), WireError> {
        wire::send(&mut self.stream, message, None)
    }
}

/// When a holder that asked then is to let go.
fn end(asked: BootTime, length: Duration) -> BootTime {
    asked.after(length.saturating_sub(LET_GO_TIME))
}

impl AsFd for Lease {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A byte now and then is no reason to wait on: the lease runs meanwhile.
    #[test]
    fn a_daemon_that_drips_is_waited_for_no_longer_than_was_said() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("keyd.sock");
        let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let dripping = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut reply = Vec::new();
            let body = "a long answer ".repeat(1000);
            wire::send(&mut reply, &body, None).unwrap();
            for byte in reply {
                if std::io::Write::write_all(&mut stream, &[byte]).is_err() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let begun = BootTime::now();
        let patience = Duration::from_millis(200);
        let id = DiskId::random();
        let error = Lease::attach_within(&socket, id, false, IfLost::Refuse, patience).unwrap_err();
        assert!(matches!(error, ClientError::Wire(WireError::Io(_))), "{error}");
        assert!(begun.after(Duration::from_secs(20)).remaining() > Duration::from_secs(10));
        dripping.join().unwrap();
    }

    /// Nor inside an event.
    #[test]
    fn an_event_that_drips_does_not_outlast_the_lease() {
        let (stream, mut daemon) = UnixStream::pair().unwrap();
        let ends = BootTime::now().after(Duration::from_millis(200));
        let length = Duration::from_secs(60);
        let mut lease = Lease { stream, length, asked: None, ends, renew_at: ends };
        let dripping = std::thread::spawn(move || {
            let mut event = Vec::new();
            wire::send(&mut event, &"a long event ".repeat(1000), None).unwrap();
            for byte in event {
                if std::io::Write::write_all(&mut daemon, &[byte]).is_err() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        assert!(matches!(lease.receive(), Err(WireError::Io(_))));
        assert!(ends.after(Duration::from_secs(10)).remaining() > Duration::ZERO);
        drop(lease);
        dripping.join().unwrap();
    }

    #[test]
    fn a_lease_that_is_shortened_is_renewed_in_its_own_time() {
        let (stream, mut daemon) = UnixStream::pair().unwrap();
        let (long, short) = (Duration::from_secs(600), Duration::from_secs(60));
        let now = BootTime::now();
        let (ends, renew_at) = (end(now, long), now);
        let mut lease = Lease { stream, length: long, asked: None, ends, renew_at };
        lease.renew().unwrap();
        assert!(lease.renew_at() >= now.after(long / RENEWALS_PER_LEASE));
        let lease_ms = short.as_millis() as u64;
        wire::send(&mut daemon, &Event::Renewed { lease_ms }, None).unwrap();
        lease.receive().unwrap();
        let asked = BootTime::now();
        assert!(lease.ends() <= end(asked, short));
        assert!(lease.renew_at() <= asked.after(short / RENEWALS_PER_LEASE));
    }
}
