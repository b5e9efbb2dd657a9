//! The system's log: a datagram a row, in the form of RFC 5424.

use std::{
    io,
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    time::Duration,
};

use super::Sink;
use crate::clock;

/// Facility 10, security and authorization (RFC 5424, 6.2.1).
const FACILITY: u8 = 10;
const NOTICE: u8 = 5;
const WARNING: u8 = 4;

/// A log that does not take a datagram within this time counts as failing.
const PATIENCE: Duration = Duration::from_secs(1);

/// The log at a socket.
#[derive(Debug)]
pub struct Syslog {
    path: PathBuf,
    socket: Option<UnixDatagram>,
}

impl Syslog {
    /// The log at a socket, such as `/dev/log`. Whether somebody listens is seen with the first row.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), socket: None }
    }

    fn connected(&mut self) -> io::Result<&UnixDatagram> {
        if self.socket.is_none() {
            let socket = UnixDatagram::unbound()?;
            socket.connect(&self.path)?;
            socket.set_write_timeout(Some(PATIENCE))?;
            self.socket = Some(socket);
        }
        self.socket.as_ref().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl Sink for Syslog {
    fn path(&self) -> String {
        self.path.display().to_string()
    }

    fn put(&mut self, line: &[u8], refused: bool) -> io::Result<()> {
        let severity = if refused { WARNING } else { NOTICE };
        let priority = FACILITY * 8 + severity;
        let time = clock::text(clock::now()).replace(' ', "T");
        let head = format!("<{priority}>1 {time} - keyd {} audit - ", std::process::id());
        self.connected()?.send(&[head.as_bytes(), line].concat()).map(|_| ())
    }

    fn settle(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// What was sent is its reader's.
    fn look(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.renew()
    }

    /// Its reader may have been started again, with a new socket.
    fn renew(&mut self) -> io::Result<()> {
        self.socket = None;
        self.connected().map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_a_datagram_of_rfc_5424() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let reader = UnixDatagram::bind(&path).unwrap();
        let mut log = Syslog::new(&path);
        log.put(b"{\"seq\":1}", false).unwrap();
        log.put(b"{\"seq\":2}", true).unwrap();
        let mut bytes = [0; 1000];
        let mut next = || {
            let len = reader.recv(&mut bytes).unwrap();
            String::from_utf8(bytes[..len].to_vec()).unwrap()
        };
        // HEADER = PRI VERSION SP TIMESTAMP SP HOSTNAME SP APP-NAME SP PROCID SP MSGID, then SP STRUCTURED-DATA SP MSG.
        let first = next();
        let fields: Vec<&str> = first.splitn(8, ' ').collect();
        assert_eq!((fields[0], fields[2], fields[3]), ("<85>1", "-", "keyd"));
        assert_eq!((fields[5], fields[6], fields[7]), ("audit", "-", "{\"seq\":1}"));
        assert_eq!((fields[1].len(), &fields[1][10..11], &fields[1][23..]), (24, "T", "Z"));
        assert!(next().starts_with("<84>1 "));
    }
}
