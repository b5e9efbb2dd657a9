//! The daemon's sandbox.

use std::{
    fs::{self, Permissions},
    net::TcpStream,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
    process::Command,
};

use rustix::process::geteuid;
use system_tests::{
    process::{Process, program, run},
    refusal::{refused, refuses_to_serve},
    world::{NOBODY, World},
};

use super::{
    Fate::{Done, Killed, Refused},
    Strangers, all_are, cell, is_neither_traced_nor_dumped, is_old_kernel, judge,
    on_a_kernel_without, shares_the_network,
};

#[test]
fn who_takes_the_daemon_over_gets_nowhere() {
    let Some((world, directory)) = cell() else { return };
    let path = |name: &str| world.path(name).display().to_string();
    let (elsewhere, beside, own) = (path("elsewhere"), path("run/beside"), path("run/own/file"));
    let fresh = || {
        let all = [&elsewhere, &beside, &own];
        all.iter().for_each(|path| fs::write(path, "").unwrap());
    };
    let strangers = Strangers::new(&world);
    let Strangers { pid, address, name, tcp, .. } = &strangers;
    let tcp = tcp.local_addr().unwrap();
    let table = vec![
        ("nothing".into(), [Done; 4]),
        ("read-file /etc/passwd".into(), [Done, Refused, Done, Refused]),
        (format!("read-dir {}", path("state")), [Done, Refused, Done, Refused]),
        (format!("write-file {elsewhere}"), [Done, Refused, Done, Refused]),
        (format!("remove-file {elsewhere}"), [Done, Refused, Done, Refused]),
        ("make-file".into(), [Done, Refused, Done, Refused]),
        (format!("chmod {elsewhere}"), [Done, Done, Killed, Killed]),
        (format!("tcp {tcp}"), [Done, Refused, Killed, Killed]),
        ("udp".into(), [Done, Done, Killed, Killed]),
        (format!("abstract-socket {name}"), [Done, Refused, Killed, Killed]),
        (format!("socket {}", path("keyd.sock")), [Done, Done, Killed, Killed]),
        ("exec".into(), [Done, Refused, Killed, Killed]),
        ("spawn".into(), [Done, Refused, Killed, Killed]),
        ("ring".into(), [Done, Done, Killed, Killed]),
        (format!("ptrace {pid}"), [Done, Refused, Killed, Killed]),
        (format!("signal {pid}"), [Done, Refused, Killed, Killed]),
        (format!("read-memory {pid} {address}"), [Done, Refused, Killed, Killed]),
        // What is left, as the daemon itself needs it.
        ("thread".into(), [Done; 4]),
        (format!("write-file {own}"), [Done; 4]),
        (format!("remove-file {beside}"), [Done; 4]),
    ];
    judge("keyd", &directory, &table, &fresh);
}

/// With a module its calls are not known: what no module has a reason for.
#[test]
fn a_module_of_somebody_elses_neither_runs_programs_nor_looks_into_processes() {
    let Some((world, directory)) = cell() else { return };
    let strangers = Strangers::new(&world);
    let Strangers { pid, address, .. } = &strangers;
    let table = vec![
        ("nothing".into(), [Done; 4]),
        ("thread".into(), [Done; 4]),
        ("read-file /etc/passwd".into(), [Done; 4]),
        (
            format!("write-file {}", world.path("keyd.log").display()),
            [Done, Refused, Done, Refused],
        ),
        ("exec".into(), [Done, Refused, Killed, Killed]),
        ("ring".into(), [Done, Done, Killed, Killed]),
        (format!("ptrace {pid}"), [Done, Refused, Killed, Killed]),
        (format!("pidfd {pid}"), [Done, Done, Killed, Killed]),
        (format!("read-memory {pid} {address}"), [Done, Refused, Killed, Killed]),
    ];
    judge("module", &directory, &table, &|| ());
}

#[test]
fn every_thread_of_the_daemon_is_in_it_and_the_start_says_so() {
    if is_old_kernel() {
        return;
    }
    let mut world = World::new();
    world.keyd.as_mut().unwrap().terminate();
    let more = "--require-sandbox --listen 127.0.0.1:0";
    let mut keyd = start(&world, &mut world.keyd_command(more));
    let pid = keyd.pid();
    // Accept, two for HTTP, two for what is due: on a busy host some of them begin after it is ready.
    let threads = || fs::read_dir(format!("/proc/{pid}/task")).unwrap().count();
    keyd.wait_until("five threads", |_| threads() >= 5);
    all_are(pid, "Seccomp", "2");
    all_are(pid, "NoNewPrivs", "1");
    all_are(pid, "CapInh", "0000000000000000");
    let said = keyd.said();
    let line = said.lines().find(|line| line.contains("sandbox: ")).unwrap();
    for part in ["namespaces", "no new privileges", "landlock (ABI ", "seccomp ("] {
        assert!(line.contains(part), "{line}");
    }
    // And is reached all the same, where it listens.
    assert_eq!(shares_the_network(pid), !geteuid().is_root(), "{line}");
    let address = said.split("https ").nth(1).and_then(|rest| rest.split(',').next()).unwrap();
    drop(TcpStream::connect(address).unwrap());
    assert!(!line.contains("WITHOUT"), "{line}");
    assert!(keyd.terminate().success());
    assert!(!world.socket().exists());
}

fn start(world: &World, command: &mut Command) -> Process {
    let mut keyd = Process::start("keyd", command, &world.path("keyd.log"));
    keyd.wait_to_say("ready: ");
    keyd
}

#[test]
fn what_the_daemons_kernel_lacks_is_said_and_refused_where_it_is_required() {
    if is_old_kernel() {
        return;
    }
    let mut world = World::new();
    world.keyd.as_mut().unwrap().terminate();
    for what in ["landlock", "seccomp"] {
        let lacking = |more: &str| on_a_kernel_without(what, &world.keyd_command(more));
        let words = ["--require-sandbox", what, "6.12"];
        refuses_to_serve(&world, "keyd", &mut lacking("--require-sandbox"), &words);
        let mut keyd = start(&world, &mut lacking(""));
        let said = keyd.said();
        let line = said.lines().find(|line| line.contains("sandbox: ")).unwrap();
        assert!(line.contains(&format!("WITHOUT {what} (")), "{line}");
        assert!(keyd.terminate().success());
    }
}

#[test]
fn the_daemon_writes_where_it_was_told_and_nowhere_else() {
    if is_old_kernel() {
        return;
    }
    let mut world = World::new();
    world.keyd.as_mut().unwrap().terminate();
    let (out, other) = (world.path("out"), world.path("other"));
    [&out, &other].into_iter().for_each(|path| fs::create_dir(path).unwrap());
    let missing = format!("--writable {}", world.path("missing").display());
    let words = ["--writable", "missing", "that is there"];
    refuses_to_serve(&world, "keyd", &mut world.keyd_command(&missing), &words);
    let more = format!("--writable {}", out.display());
    let _keyd = start(&world, &mut world.keyd_command(&more));
    // Recipients are public: nobody needs to open this one.
    let recipient = "age1dtcs2sjtp6hr3qfe4v0lpz8ykyw9whza6aw0jt37pz4gm8heh40qaegdck";
    let backup =
        |to: &Path| world.keyd(&format!("backup --to {} --recipient {recipient}", to.display()));
    let _ = backup(&out.join("backup")).success();
    assert!(fs::metadata(out.join("backup")).unwrap().len() > 1000);
    refused("keyd", &backup(&other.join("backup")), &["Permission denied", "--writable DIR"]);
    assert!(!other.join("backup").exists());
}

#[test]
fn root_becomes_the_user_whose_daemon_it_is() {
    if !must_run::is_root_for("become another user") {
        return;
    }
    let mut world = World::new();
    world.keyd.as_mut().unwrap().terminate();
    let mut command = Command::new(program("keyd"));
    let (state, socket) = (world.path("theirs/state"), world.path("theirs/run/keyd.sock"));
    fs::create_dir(world.path("theirs")).unwrap();
    // As /var/lib and /run are: others pass through, and only root makes anything there.
    fs::set_permissions(world.path(""), Permissions::from_mode(0o755)).unwrap();
    command.args(["serve", "--user", "65534:65534", "--state-dir"]).arg(&state);
    let mut keyd = start(&world, command.arg("--socket").arg(&socket));
    for field in ["Uid", "Gid"] {
        all_are(keyd.pid(), field, "65534 65534 65534 65534");
    }
    all_are(keyd.pid(), "CapPrm", "0000000000000000");
    for path in [&state, &state.join("root.key"), &socket] {
        assert_eq!(fs::metadata(path).unwrap().uid(), NOBODY, "{}", path.display());
    }
    is_neither_traced_nor_dumped(keyd.pid());
    // Root is nobody special to it; its owner is the administrator.
    let mut status = Command::new(program("keyd"));
    let ended = run(status.args(["status", "--socket"]).arg(&socket));
    refused("keyd", &ended, &["needs the permission 'read'"]);
    assert!(keyd.terminate().success());
    assert!(!socket.exists());
}
