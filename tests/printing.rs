//! What a path, a word or a peer says is printed in its place by `image` and `vhost-backend` too.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::{
    fs,
    io::{Read, Write},
    os::unix::{
        net::{UnixListener, UnixStream},
        process::CommandExt,
    },
    process::{Command, Output, Stdio},
    thread,
};

use keyd_client::{
    message::{Answer, Refusal, RefusalCode, Request},
    wire,
};
use system_tests::{process::program, world::World};

const FORGED: &str = "x\nvhost-backend: fenced\r\x1b[2A\u{9b}2K\u{202e}\u{2028}\u{200b}";
/// Of a file that is not there.
const GONE: &str = "y\nvhost-backend: fenced\x1b[2A\u{9b}2K";
const SHOWN: &str = r"x\nvhost-backend: fenced\r\u{1b}[2A\u{9b}2K\u{202e}\u{2028}\u{200b}";

/// What was said, if nothing in it is hidden.
fn said(output: &Output) -> String {
    let text = [output.stdout.clone(), output.stderr.clone()].concat();
    let text = String::from_utf8(text).unwrap();
    let hidden = |c: char| {
        (c.is_control() && c != '\n') || ['\u{202e}', '\u{2028}', '\u{200b}'].contains(&c)
    };
    assert!(!text.chars().any(hidden), "{text:?}");
    assert!(!text.contains("\nvhost-backend: fenced"), "{text}");
    text
}

#[test]
fn a_path_makes_no_line() {
    let world = World::new();
    let _ = world.make_disk("d", "1M", "");
    let path = world.path(FORGED);
    fs::rename(world.path("d.img"), &path).unwrap();
    let image = |args: &[&str]| {
        let mut command = Command::new(program("image"));
        command.args(args).arg(&path).arg("--socket").arg(world.socket());
        command
    };
    let info = said(&image(&["info"]).output().unwrap());
    assert!(info.lines().next().unwrap().ends_with(SHOWN), "{info}");
    let json = said(&image(&["info", "--json"]).output().unwrap());
    let told: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(told["path"].as_str(), path.to_str());
    let made = said(&image(&["create", "--size", "1M"]).output().unwrap());
    assert!(made.contains(SHOWN) && made.lines().count() == 1, "{made}");
    for (name, args) in [
        ("image", &["create", "x", "--size", FORGED][..]),
        ("vhost-backend", &["--socket-path", "s", "--blk-file", "x", "--num-queues", FORGED]),
        ("vhost-backend", &["--socket-path", "s", "--blk-file", GONE]),
        ("vhost-backend", &["--fd", "0", "--blk-file", "x", "--keyd", FORGED]),
    ] {
        let mut command = Command::new(program(name));
        let output = command.arg0(format!("{name}{FORGED}")).args(args).stdin(Stdio::null());
        let output = output.current_dir(world.path(""));
        let output = output.output().unwrap();
        assert!(!output.status.success());
        said(&output);
    }
}

/// A program that sits at the daemon's path, and answers with lines of its own.
#[test]
fn the_daemons_words_make_no_line() {
    let world = World::new();
    let listener = UnixListener::bind(world.path("other.sock")).unwrap();
    let answers = thread::spawn(move || {
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = wire::receive::<Request>(&mut stream);
            // By hand: what is made by this project's types is printable.
            let code = RefusalCode::NotFound;
            let refused = Answer::<()>::Refused(Refusal { code, message: "".into() });
            let mut body = serde_json::to_value(refused).unwrap();
            body["refused"]["message"] = FORGED.into();
            wire::send(&mut stream, &body, None).unwrap();
        }
    });
    let socket = world.path("other.sock");
    let at = |name: &str, args: &[&str]| {
        let output = Command::new(program(name)).args(args).arg("--socket").arg(&socket).output();
        said(&output.unwrap())
    };
    assert_eq!(at("keyd", &["key", "list"]), format!("keyd: {SHOWN}\n"));
    let image = world.path("new.img");
    let made = at("image", &["create", image.to_str().unwrap(), "--size", "1M"]);
    assert!(made.contains(SHOWN) && made.lines().count() == 1, "{made}");
    answers.join().unwrap();
}

/// A front end, or who else can connect, is told of some times, and then its number.
#[test]
fn a_front_end_that_is_refused_for_ever_fills_no_log() {
    let world = World::new();
    let _ = world.make_disk("d", "1M", "");
    let mut backend = world.start_backend("d", "");
    backend.wait_to_say("serving");
    for _ in 0..300 {
        let mut stream = UnixStream::connect(world.path("d.sock")).unwrap();
        // A whole message (vhost-user: request, flags, size) that no front end has.
        stream.write_all(&[200, 1, 0].map(u32::to_le_bytes).concat()).unwrap();
        // Closed by the backend, orderly or not.
        let _ = stream.read(&mut [0; 64]);
    }
    let refused = backend.said().matches("front end refused").count();
    assert!((1..=10).contains(&refused), "{refused}");
    let said = backend.listener();
    assert!(backend.terminate().success());
    let told = format!("front end refused: {} times more", 300 - refused);
    assert!(said().contains(&told), "{}", said());
}
