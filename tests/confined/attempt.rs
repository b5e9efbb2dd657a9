//! Attempts, each on a thread that was made between the sandbox's two halves, as the programs' are.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, IoSliceMut},
    net::{TcpStream, UdpSocket},
    os::{
        linux::net::SocketAddrExt,
        unix::{
            fs::PermissionsExt,
            net::{SocketAddr, UnixStream},
            process::CommandExt,
        },
    },
    path::Path,
    process::{self, Command, ExitCode},
    sync::mpsc,
    thread,
    time::Duration,
};

use confine::{calls, paths};
use io_uring::IoUring;
use nix::{
    sys::{
        ptrace,
        uio::{RemoteIoVec, process_vm_readv},
    },
    unistd::Pid,
};
use rustix::{
    fs::ftruncate,
    process::{PidfdFlags, Signal, kill_process},
};
use vm_memory::{Bytes, FileOffset, GuestAddress, GuestMemoryMmap};

use crate::who::Who;

/// What is tried, and from inside what.
#[derive(Clone, Copy)]
pub struct Attempt<'a> {
    /// Whom somebody has taken over.
    pub who: Who,
    /// `nothing`, `landlock`, `seccomp`, `all`, or `without:CALL`.
    pub layers: &'a str,
    /// Where its socket would be.
    pub directory: &'a Path,
    /// What to try.
    pub what: &'a str,
    /// At whom.
    pub more: &'a [&'a str],
}

/// Tries. Success is the attempt's.
pub fn attempt(this: Attempt<'_>) -> ExitCode {
    let (go, wait) = mpsc::channel::<()>();
    let (runs, begun) = mpsc::channel();
    let memory = short_memory(this.directory);
    thread::scope(|scope| {
        let entered = match this.layers {
            "nothing" | "seccomp" => None,
            "landlock" => {
                paths::restrict(&this.who.rules(this.directory)).expect("landlock");
                None
            }
            _ => Some(this.who.enter(this.directory).expect("a sandbox")),
        };
        let trying = scope.spawn(move || {
            runs.send(()).expect("heard");
            wait.recv().expect("told");
            act(this, &memory)
        });
        begun.recv().expect("runs");
        let filter = this.who.filter(this.layers.strip_prefix("without:"));
        match entered {
            Some(mut sandbox) => sandbox.give_up_calls(&filter).expect("a closed sandbox"),
            None if this.layers == "seccomp" => drop(calls::restrict(&filter).expect("seccomp")),
            None => {}
        }
        if this.what == "heap" {
            // The heap proper is the first thread's.
            many_small();
        }
        go.send(()).expect("heard");
        match trying.join() {
            Ok(Ok(())) => ExitCode::SUCCESS,
            Ok(Err(error)) => {
                println!("{error}");
                ExitCode::from(3)
            }
            Err(_) => ExitCode::from(101),
        }
    })
}

fn act(this: Attempt<'_>, memory: &GuestMemoryMmap) -> io::Result<()> {
    let one = || this.more[0];
    let pid = || Pid::from_raw(one().parse().expect("a process"));
    match this.what {
        "read-file" => fs::read(one()).map(drop),
        "read-dir" => fs::read_dir(one()).map(drop),
        "write-file" => File::options().write(true).open(one()).map(drop),
        "make-file" => File::create(this.directory.join("made")).map(drop),
        "remove-file" => fs::remove_file(one()),
        "chmod" => fs::set_permissions(one(), fs::Permissions::from_mode(0o666)),
        "tcp" => TcpStream::connect(one()).map(drop),
        "udp" => UdpSocket::bind("127.0.0.1:0").map(drop),
        "abstract-socket" => {
            UnixStream::connect_addr(&SocketAddr::from_abstract_name(one())?).map(drop)
        }
        "socket" => UnixStream::connect(one()).map(drop),
        "exec" => Err(Command::new("/bin/true").exec()),
        "spawn" => Command::new("/bin/true").status().map(drop),
        "thread" => thread::Builder::new().spawn(|| ()).map(drop),
        "ring" => IoUring::new(8).map(drop),
        "ptrace" => Ok(ptrace::attach(pid())?),
        "pidfd" => {
            let pid = rustix::process::Pid::from_raw(pid().as_raw()).unwrap();
            Ok(rustix::process::pidfd_open(pid, PidfdFlags::empty()).map(drop)?)
        }
        "signal" => {
            Ok(kill_process(rustix::process::Pid::from_raw(pid().as_raw()).unwrap(), Signal::CONT)?)
        }
        "read-memory" => read_memory(pid(), this.more[1].parse().expect("an address")),
        _ => use_up(this.what, memory),
    }
}

fn read_memory(pid: Pid, base: usize) -> io::Result<()> {
    let mut bytes = [0; 16];
    let remote = [RemoteIoVec { base, len: bytes.len() }];
    let read = process_vm_readv(pid, &mut [IoSliceMut::new(&mut bytes)], &remote)?;
    assert_eq!(read, bytes.len());
    Ok(())
}

/// What the libraries below a program do at times that a test cannot choose.
fn use_up(what: &str, memory: &GuestMemoryMmap) -> io::Result<()> {
    match what {
        "nothing" => {}
        "panic" => panic!("an attempt at that"),
        "abort" => process::abort(),
        "grow" => {
            let mut bytes = vec![0u8; 1 << 20];
            bytes.resize(64 << 20, 1);
            std::hint::black_box(&bytes);
        }
        "heap" => {}
        "arena" => many_small(),
        "yield" => thread::yield_now(),
        "sleep" => thread::sleep(Duration::from_millis(1)),
        "hash" => drop(std::hint::black_box(HashMap::from([(1, 2)]))),
        "wait" => {
            let (_keep, never) = mpsc::channel::<()>();
            println!("waiting");
            let _ = never.recv_timeout(Duration::from_secs(3));
        }
        "bus" => {
            let _ = memory.read_obj::<u64>(GuestAddress(0));
        }
        _ => panic!("{what} is no attempt"),
    }
    Ok(())
}

fn many_small() {
    let all: Vec<Box<[u8; 999]>> = (0..2000).map(|_| Box::new([1; 999])).collect();
    std::hint::black_box(&all);
}

/// Guest memory whose file has been cut off: who touches it gets SIGBUS.
fn short_memory(directory: &Path) -> GuestMemoryMmap {
    let path = directory.join("memory");
    let file = File::options().create(true).truncate(true).read(true).write(true).open(&path);
    let file = file.expect("a file");
    ftruncate(&file, 1 << 16).expect("a length");
    let range = (GuestAddress(0), 1 << 16, Some(FileOffset::new(file, 0)));
    let memory = GuestMemoryMmap::from_ranges_with_files([range]).expect("mapped");
    File::create(&path).expect("cut off");
    memory
}
