//! Reading with an end: a peer that sends a byte now and then must not keep a thread for ever.

use std::{
    io::{self, Read},
    os::unix::net::UnixStream,
    time::Duration,
};

use keyd_client::lease::BootTime;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};

/// What waiting ended with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waited {
    /// There is something to read, or the peer is gone.
    Readable,
    /// Time is over.
    TimedOut,
}

/// Waits until there is something to read, for ever if no end is given.
///
/// # Errors
/// The system's.
pub fn wait_readable(stream: &UnixStream, until: Option<BootTime>) -> io::Result<Waited> {
    loop {
        let left = until.map(BootTime::remaining);
        let timeout = left.map(timespec);
        let mut fds = [PollFd::new(stream, PollFlags::IN)];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(0) if left.is_some_and(|left| left.is_zero()) => return Ok(Waited::TimedOut),
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => return Ok(Waited::Readable),
            Err(errno) => return Err(errno.into()),
        }
    }
}

fn timespec(left: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(left.subsec_nanos()),
    }
}

/// A stream that must have given what is read from it by a certain time.
#[derive(Debug)]
pub struct Timed<'a> {
    stream: &'a UnixStream,
    until: BootTime,
}

impl<'a> Timed<'a> {
    /// From now on, for so long.
    #[must_use]
    pub fn new(stream: &'a UnixStream, time: Duration) -> Self {
        let until = BootTime::now().after(time);
        Self { stream, until }
    }
}

impl Read for Timed<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match wait_readable(self.stream, Some(self.until))? {
            Waited::Readable => self.stream.read(bytes),
            Waited::TimedOut => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Write, thread, time::Instant};

    use super::*;

    #[test]
    fn drops_of_bytes_do_not_prolong_the_time() {
        let (reader, mut writer) = UnixStream::pair().unwrap();
        let dripping = thread::spawn(move || {
            while writer.write_all(b"x").is_ok() {
                thread::sleep(Duration::from_millis(20));
            }
        });
        let begun = Instant::now();
        let mut timed = Timed::new(&reader, Duration::from_millis(150));
        let error = timed.read_exact(&mut [0; 1000]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(begun.elapsed() < Duration::from_secs(2));
        drop(reader);
        dripping.join().unwrap();
    }
}
