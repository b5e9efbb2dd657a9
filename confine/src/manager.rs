//! What a program tells the service manager that started it (systemd, sd_notify(3)): that it serves, and how it fares.
//! `systemctl status` shows it, also when the program has ended.

use std::{
    env, io,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram},
    },
};

/// A service manager; or none, to which nothing is told.
#[derive(Debug)]
pub struct Manager(Option<UnixDatagram>);

impl Manager {
    /// Finds the one that the environment names. To be called before the sandbox closes, behind which no socket can be
    /// made.
    ///
    /// # Errors
    /// There is one that cannot be told.
    pub fn find() -> io::Result<Self> {
        let Ok(name) = env::var("NOTIFY_SOCKET") else { return Ok(Self::none()) };
        let address = match name.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name),
            None => SocketAddr::from_pathname(&name),
        }?;
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&address)?;
        // A manager that does not read must not keep a key from being taken away.
        socket.set_nonblocking(true)?;
        Ok(Self(Some(socket)))
    }

    /// There is none.
    #[must_use]
    pub fn none() -> Self {
        Self(None)
    }

    /// It serves from now on.
    ///
    /// # Errors
    /// What the system says.
    pub fn ready(&self) -> io::Result<()> {
        self.tell("READY=1")
    }

    /// How it fares, in one line. That this does not arrive changes nothing: it is in the log, too.
    pub fn status(&self, line: &str) {
        let shown = |c: char| if c.is_control() { ' ' } else { c };
        let _ = self.tell(&format!("STATUS={}", line.chars().map(shown).collect::<String>()));
    }

    fn tell(&self, message: &str) -> io::Result<()> {
        match &self.0 {
            Some(socket) => socket.send(message.as_bytes()).map(drop),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_one_line_and_nothing_else() {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        let manager = Manager(Some(ours));
        manager.status("halted:\nREADY=1\u{1b}");
        manager.ready().unwrap();
        let mut heard = [0; 64];
        let mut next = || {
            let len = theirs.recv(&mut heard).unwrap();
            String::from_utf8_lossy(&heard[..len]).into_owned()
        };
        assert_eq!(next(), "STATUS=halted: READY=1 ");
        assert_eq!(next(), "READY=1");
    }

    #[test]
    fn a_manager_that_does_not_read_holds_up_nobody() {
        let (ours, _theirs) = UnixDatagram::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let manager = Manager(Some(ours));
        (0..10_000).for_each(|_| manager.status(&"a long story ".repeat(10)));
        assert!(manager.ready().is_err());
    }
}
