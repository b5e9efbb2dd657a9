//! Long work on the command line: how far it is, on a terminal and in a pipe.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::{
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    process::{Command, Output},
    sync::{Condvar, Mutex},
    time::Duration,
};

use keyd_client::{
    message::{Answer, KeyStatus, Request, Rotated},
    wire,
};
use serde::Serialize;

const KEYD: &str = env!("CARGO_BIN_EXE_keyd");

fn out(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", err(output));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn contains(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "no '{word}' in: {text}");
    }
}

/// How often the newest command has looked how far its rotation is.
static LOOKS: (Mutex<u64>, Condvar) = (Mutex::new(0), Condvar::new());

/// Waits until it was told of two disks, and a look more for a bar that does not draw each.
fn wait_for_looks() {
    let looks = LOOKS.0.lock().unwrap();
    let patience = Duration::from_secs(60);
    let waited = LOOKS.1.wait_timeout_while(looks, patience, |looks| *looks < 4).unwrap().1;
    assert!(!waited.timed_out(), "nobody looks how far it is");
}

fn say<T: Serialize>(stream: &mut UnixStream, reply: T) {
    wire::send(stream, &Answer::Done(reply), None).unwrap();
}

/// A daemon that takes its time with a rotation of four disks.
fn slow_daemon(socket: &Path) {
    let listener = UnixListener::bind(socket).unwrap();
    let answer = |wrapped: [u64; 2]| -> KeyStatus {
        let version = |n: usize| {
            serde_json::json!({
                "version": format!("{n:032x}"), "bits": 2048, "hsm": false, "enabled": true,
                "operations": [], "created": 1, "wrapped_deks": wrapped[n], "retirable": false
            })
        };
        let versions =
            if wrapped[0] == 0 { vec![version(1)] } else { vec![version(0), version(1)] };
        let key = serde_json::json!({
            "name": "k", "platform": false, "enabled": true, "sets": [], "versions": versions
        });
        serde_json::from_value(key).unwrap()
    };
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let mut done = 0;
                while let Ok((request, _)) = wire::receive::<Request>(&mut stream) {
                    match request {
                        Request::KeyRotate(_) => {
                            wait_for_looks();
                            say(&mut stream, Rotated { key: answer([4, 0]), rewrapped: 4 });
                        }
                        _ => {
                            let at = done;
                            done += 1;
                            *LOOKS.0.lock().unwrap() = done;
                            LOOKS.1.notify_all();
                            say(&mut stream, answer([at.min(4), 4 - at.min(4)]));
                        }
                    }
                }
            });
        }
    });
}

#[test]
fn long_work_says_how_far_it_is_but_not_to_a_script() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("slow.sock");
    slow_daemon(&socket);
    let rotate = |args: &[&str]| {
        Command::new(KEYD)
            .args(["key", "rotate", "k"])
            .args(args)
            .env("KEYD_SOCKET", &socket)
            .output()
            .unwrap()
    };
    let told = rotate(&[]);
    contains(&out(&told), &["disks wrapped anew: 4"]);
    contains(&err(&told), &["1 of 4 disks wrapped anew", "2 of 4 disks wrapped anew"]);
    assert_eq!(err(&rotate(&["--json"])), "");
    // On a terminal it is a bar, and none is left behind.
    let command = format!("{KEYD} key rotate k --socket {}", socket.display());
    let Ok(terminal) = Command::new("script").args(["-qec", &command, "/dev/null"]).output() else {
        return must_run::skip("there is no script(1) to make a terminal");
    };
    let drawn = out(&terminal);
    contains(&drawn, &["2 of 4 disks wrapped anew", "\u{1b}[2K"]);
    assert!(drawn.trim_end().ends_with("disks wrapped anew: 4"), "{drawn:?}");
}
