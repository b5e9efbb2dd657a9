//! QEMU's monitor (QMP): one JSON object a line, each way.

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::Path,
};

use serde_json::{Value, json};

use crate::process::{PATIENCE, eventually};

/// A connection to a machine's monitor.
#[derive(Debug)]
pub struct Monitor {
    reader: BufReader<UnixStream>,
}

impl Monitor {
    /// Connects.
    ///
    /// # Panics
    /// If nobody is there.
    #[must_use]
    pub fn connect(socket: &Path) -> Self {
        let stream = eventually("a monitor", || UnixStream::connect(socket).ok());
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        let mut monitor = Self { reader: BufReader::new(stream) };
        let greeting = monitor.hear();
        assert!(greeting["QMP"].is_object(), "{greeting}");
        let _ = monitor.ask("qmp_capabilities", &json!({}));
        monitor
    }

    /// What a command returns.
    ///
    /// # Panics
    /// If QEMU refuses it.
    pub fn ask(&mut self, command: &str, arguments: &Value) -> Value {
        let line = format!("{}\n", json!({"execute": command, "arguments": arguments}));
        self.reader.get_mut().write_all(line.as_bytes()).expect("the monitor hears");
        loop {
            let mut answer = self.hear();
            assert!(answer["error"].is_null(), "{command}: {answer}");
            // Events come in between.
            if answer["return"] != Value::Null {
                return answer["return"].take();
            }
        }
    }

    /// Has the machine moved to one that waits at `to` with `-incoming`, and waits until it has gone.
    ///
    /// # Panics
    /// If it fails, or takes too long.
    pub fn migrate(&mut self, to: &Path) -> Value {
        let _ = self.ask("migrate", &json!({"uri": format!("unix:{}", to.display())}));
        eventually("the end of a migration", || {
            let state = self.ask("query-migrate", &json!({}));
            assert!(state["status"] != "failed", "{state}");
            (state["status"] == "completed").then_some(state)
        })
    }

    fn hear(&mut self) -> Value {
        let mut line = String::new();
        let _ = self.reader.read_line(&mut line).expect("the monitor speaks");
        serde_json::from_str(&line).expect("JSON")
    }
}
