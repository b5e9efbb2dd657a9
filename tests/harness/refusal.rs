//! What a refusal is: one line that says what to do next, a code that is not zero, and everything as it was.

use std::process::Command;

use crate::{
    driver::BlkRequest,
    process::{Ended, Process, program},
    world::World,
};

/// One line of `program`, with these words, and nothing said twice.
///
/// # Panics
/// If it is not.
#[track_caller]
pub fn one_line(program: &str, said: &str, words: &[&str]) {
    let line = said.strip_suffix('\n').unwrap_or_else(|| panic!("no line: {said:?}"));
    assert!(!line.contains('\n'), "one line: {line}");
    assert!(line.starts_with(&format!("{program}: ")), "{line}");
    words.iter().for_each(|word| assert!(line.contains(word), "no {word:?} in: {line}"));
    let parts: Vec<&str> = line.split(": ").filter(|part| part.len() > 12).collect();
    let twice = parts.iter().enumerate().find(|(n, part)| parts[..*n].contains(part));
    assert_eq!(twice, None, "said twice: {line}");
}

/// A command that was refused (code 1) in one line.
///
/// # Panics
/// If it is otherwise.
#[track_caller]
pub fn refused(program: &str, ended: &Ended, words: &[&str]) {
    assert_eq!(ended.code, 1, "{}{}", ended.out, ended.err);
    assert_eq!(ended.out, "");
    one_line(program, &ended.err, words);
}

/// A program that must end by itself with code 1; its last line tells why.
///
/// # Panics
/// If it is otherwise.
#[track_caller]
pub fn refuses_to_serve(world: &World, name: &str, command: &mut Command, words: &[&str]) {
    let mut process = Process::start(name, command, &world.path("refused.log"));
    assert_eq!(process.wait().code(), Some(1), "{}", process.said());
    let said = process.said();
    let last = said.lines().last().unwrap_or_default();
    one_line(name, &format!("{last}\n"), words);
}

/// `vhost-backend` refuses to serve `name.img`, and leaves the socket's path as it is.
///
/// # Panics
/// If it is otherwise.
#[track_caller]
pub fn backend_refuses(world: &World, name: &str, more: &str, words: &[&str]) {
    let socket = world.path(&format!("{name}.sock"));
    let had_socket = socket.exists();
    refuses_to_serve(world, "vhost-backend", &mut world.backend_command(name, more), words);
    assert_eq!(socket.exists(), had_socket, "a refused start makes and removes no socket");
}

/// `keyd serve` refuses.
///
/// # Panics
/// If it is otherwise.
#[track_caller]
pub fn keyd_refuses(world: &World, state: &str, socket: &str, words: &[&str]) {
    let mut command = Command::new(program("keyd"));
    command.arg("serve").arg("--state-dir").arg(world.path(state));
    command.arg("--socket").arg(world.path(socket));
    refuses_to_serve(world, "keyd", &mut command, words);
}

/// What the first block of a marked disk is full of.
const MARK: u8 = 0x5a;

/// A disk with a known first block.
///
/// # Panics
/// If it is otherwise.
pub fn marked_disk(world: &World, name: &str, more: &str) -> String {
    let id = world.make_disk(name, "8M", more);
    let mut backend = world.start_backend(name, "");
    let write = BlkRequest::write(0, vec![MARK; 4096]);
    assert_eq!(world.front_end(name).ask(0, &write).status, 0);
    assert!(backend.terminate().success());
    id
}

/// Such a disk `d` that is served.
#[must_use]
pub fn marked_and_served(world: &World, more: &str) -> Process {
    let _ = marked_disk(world, "d", "");
    world.start_backend("d", more)
}

/// The disk is served, and nothing was lost.
///
/// # Panics
/// If it is otherwise.
#[track_caller]
pub fn still_serves(world: &World, name: &str) {
    let mut backend = world.start_backend(name, "");
    mark_is_there(world, name);
    assert!(backend.terminate().success());
}

/// A served disk has its mark.
///
/// # Panics
/// If it has not.
#[track_caller]
pub fn mark_is_there(world: &World, name: &str) {
    let read = BlkRequest::read(0, 4096);
    let answer = world.front_end(name).ask(0, &read);
    assert_eq!((answer.status, answer.data), (0, vec![MARK; 4096]));
}
