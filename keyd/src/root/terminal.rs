//! A passphrase typed at the terminal, unseen.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use super::{RootError, passphrase::Passphrase};
use crate::{limits::PASSPHRASE_LEN_MAX, opened::Opened};

/// Asks at the process's terminal, whatever its standard streams are; nothing if it has none.
pub(super) fn ask(prompt: &'static str) -> Result<Option<Passphrase>, RootError> {
    let Ok(terminal) = OpenOptions::new().read(true).write(true).open("/dev/tty") else {
        return Ok(None);
    };
    let unseen = Unseen::begin(&terminal).map_err(RootError::Terminal)?;
    (&terminal).write_all(prompt.as_bytes()).map_err(RootError::Terminal)?;
    let line = read_line(&terminal);
    drop(unseen);
    // The line end that was typed was not shown.
    let _ = (&terminal).write_all(b"\n");
    line.map(Some)
}

/// Straight into the page, a byte at a time: no buffer in between keeps a copy.
fn read_line(mut terminal: &File) -> Result<Passphrase, RootError> {
    Opened::fill_with(|page| {
        for (len, byte) in page.iter_mut().enumerate() {
            let read = terminal.read(std::slice::from_mut(byte)).map_err(RootError::Terminal)?;
            if read == 0 || *byte == b'\n' {
                return Ok(len);
            }
        }
        let (min, max) = (0, PASSPHRASE_LEN_MAX);
        Err(RootError::PassphraseLen { min, max, len: max + 1 })
    })
}

/// The terminal does not show what is typed while this exists.
struct Unseen<'a> {
    terminal: &'a File,
    before: Termios,
}

impl<'a> Unseen<'a> {
    fn begin(terminal: &'a File) -> io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut unseen = before.clone();
        unseen.local_modes.remove(LocalModes::ECHO);
        tcsetattr(terminal, OptionalActions::Flush, &unseen)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Unseen<'_> {
    fn drop(&mut self) {
        // A terminal that is gone needs no echo.
        let _ = tcsetattr(self.terminal, OptionalActions::Flush, &self.before);
    }
}
