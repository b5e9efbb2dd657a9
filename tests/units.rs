//! The units for systemd that come with the backend: systemd understands them, the programs understand the commands in
//! them, and what they forbid from the first moment on is nothing that the programs' own lists need later.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use confine::calls::Call;
use system_tests::{
    driver::BlkRequest,
    process::{Process, program, run, tool},
    world::World,
};
use vhost_backend::{config::EngineWish, sandbox::syscalls};

fn unit(name: &str) -> String {
    let share = Path::new(env!("CARGO_MANIFEST_DIR")).join("../vhost-backend/share");
    fs::read_to_string(share.join(name)).expect("a unit")
}

/// Values of a setting, over all lines that have it.
fn values(unit: &str, setting: &str) -> Vec<String> {
    let joined = unit.replace("\\\n", " ");
    let values = joined.lines().filter_map(|line| line.strip_prefix(&format!("{setting}=")));
    values.flat_map(str::split_whitespace).map(str::to_owned).collect()
}

fn analyze(words: &[&str]) -> String {
    let mut command = Command::new(tool("systemd-analyze", "systemd"));
    // Of other units than those named nothing is looked for.
    run(command.args(words).env("SYSTEMD_LOG_LEVEL", "warning")).success()
}

/// All calls that filters such as `@system-service` let through.
fn let_through(filters: &[String]) -> BTreeSet<String> {
    let mut calls = BTreeSet::new();
    for filter in filters {
        match filter.strip_prefix('@') {
            None => drop(calls.insert(filter.clone())),
            Some(_) => {
                let listed = analyze(&["syscall-filter", "--no-pager", filter]);
                let names = listed.lines().skip(1).map(str::trim);
                let names = names.filter(|name| !name.is_empty() && !name.starts_with('#'));
                calls.extend(let_through(&names.map(str::to_owned).collect::<Vec<_>>()));
            }
        }
    }
    calls
}

#[test]
fn systemd_finds_nothing_wrong_with_them() {
    let world = World::new();
    for (name, binary) in [("keyd.service", "keyd"), ("vhost-backend@.service", "vhost-backend")] {
        let built = program(binary).display().to_string();
        let installed = format!("/usr/local/bin/{binary}");
        let unit = unit(name);
        assert!(unit.contains(&installed), "{name}");
        fs::write(world.path(name), unit.replace(&installed, &built)).expect("written");
        let path = world.path(name).display().to_string();
        let mut verify = Command::new(tool("systemd-analyze", "systemd"));
        let verified = run(verify.args(["verify", "--recursive-errors=no", "--man=no", &path]));
        assert_eq!((verified.code, verified.err.as_str()), (0, ""), "{name}");
    }
}

#[test]
fn they_let_through_what_the_programs_need() {
    // An entry of ours that tells calls of one name apart is the call by its name.
    let base = |call: &Call| call.name.split('(').next().unwrap_or_default().to_owned();
    let backend = syscalls::allowed(EngineWish::Auto);
    let keyd = keyd::sandbox::calls::allowed(true);
    // What makes the sandbox, and what is needed before it is closed.
    let ours =
        ["seccomp", "landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self"];
    let begin =
        ["prctl", "capset", "socket", "bind", "listen", "flock", "clone3", "clone", "execve"];
    // A backend's child makes rings, which its parent takes from it.
    let rings = ["io_uring_setup", "close_range", "pidfd_open", "pidfd_getfd"];
    for (name, calls) in [("vhost-backend@.service", backend), ("keyd.service", keyd)] {
        let allowed = let_through(&values(&unit(name), "SystemCallFilter"));
        assert!(allowed.len() > 200, "{name}: {} calls", allowed.len());
        let rings = rings.iter().filter(|_| name.starts_with("vhost-backend"));
        let others = ours.iter().chain(&begin).chain(rings).map(|name| (*name).to_owned());
        let needed = calls.iter().map(base).chain(others);
        let missing: Vec<_> = needed.filter(|call| !allowed.contains(call)).collect();
        assert!(missing.is_empty(), "{name} forbids {missing:?}");
    }
}

/// systemd stops units in the opposite order. (That it does so is `systemd_shutdown`'s to show.)
#[test]
fn disks_are_there_before_what_runs_virtual_machines() {
    let before = values(&unit("vhost-backend@.service"), "Before");
    for later in
        ["machine.slice", "libvirtd.service", "virtqemud.service", "libvirt-guests.service"]
    {
        assert!(before.iter().any(|unit| unit == later), "{later}");
    }
}

/// The unit's command, with its program as it was built and its places in a world.
fn command(name: &str, binary: &str, places: &[(&str, PathBuf)]) -> Command {
    let mut words = values(&unit(name), "ExecStart").into_iter();
    assert_eq!(words.next(), Some(format!("/usr/local/bin/{binary}")));
    let mut command = Command::new(program(binary));
    for mut word in words {
        for (path, place) in places {
            word = word.replace(path, &place.display().to_string());
        }
        command.arg(word);
    }
    command
}

#[test]
fn the_programs_serve_by_their_commands() {
    let mut world = World::new();
    let _ = world.make_disk("d", "1M", "");
    world.keyd.as_mut().expect("a daemon").terminate();
    let socket = ("/run/keyd/keyd.sock", world.socket());
    let places = [("/var/lib/keyd", world.path("state")), socket.clone()];
    let mut keyd = command("keyd.service", "keyd", &places);
    let mut keyd = Process::start("keyd", &mut keyd, &world.path("keyd.log"));
    keyd.wait_to_say("ready: ");
    let places = [
        ("/run/portcullis/%i/disk.sock", world.path("d.sock")),
        ("/var/lib/portcullis/%i.img", world.path("d.img")),
        socket,
    ];
    let mut backend = command("vhost-backend@.service", "vhost-backend", &places);
    let mut backend = Process::start("vhost-backend", &mut backend, &world.path("d.log"));
    backend.wait_to_say("serving");
    assert!(backend.terminate().success());
    assert!(keyd.terminate().success());
}

#[test]
fn systemd_finds_nothing_wrong_with_the_socket() {
    let world = World::new();
    let drop_in = world.path("vhost-backend@.service.d");
    fs::create_dir(&drop_in).expect("a directory");
    let built = program("vhost-backend").display().to_string();
    for (name, place) in [
        ("vhost-backend@.socket", world.path("vhost-backend@d.socket")),
        ("vhost-backend@.service", world.path("vhost-backend@.service")),
        ("vhost-backend-by-socket.conf", drop_in.join("by-socket.conf")),
    ] {
        let unit = unit(name).replace("/usr/local/bin/vhost-backend", &built);
        fs::write(place, unit).expect("written");
    }
    let path = world.path("vhost-backend@d.socket").display().to_string();
    let mut verify = Command::new(tool("systemd-analyze", "systemd"));
    let verified = run(verify.args(["verify", "--recursive-errors=no", "--man=no", &path]));
    assert_eq!((verified.code, verified.err.as_str()), (0, ""));
}

/// By systemd's own tool, which listens, and hands its socket over as a socket unit does.
#[test]
fn the_first_front_end_starts_the_backend_of_a_socket() {
    let world = World::new();
    let _ = world.make_disk("d", "1M", "");
    let places = [
        ("/run/keyd/keyd.sock", world.socket()),
        ("/var/lib/portcullis/%i.img", world.path("d.img")),
    ];
    let serve = command("vhost-backend-by-socket.conf", "vhost-backend", &places);
    let mut activate = Command::new(tool("systemd-socket-activate", "systemd"));
    activate.arg("-l").arg(world.path("d.sock")).arg(serve.get_program()).args(serve.get_args());
    let mut backend = Process::start("vhost-backend", &mut activate, &world.path("d.log"));
    backend.wait_to_say("Listening on");
    assert!(!backend.said().contains("serving"));
    for byte in [1, 2] {
        let mut front_end = world.front_end("d");
        let write = BlkRequest::write(8, vec![byte; 4096]);
        assert_eq!(front_end.ask(0, &write).status, 0);
        assert_eq!(front_end.ask(0, &BlkRequest::read(8, 4096)).data, [byte; 4096]);
    }
    assert!(backend.terminate().success());
    assert!(world.path("d.sock").exists(), "it is not the backend's");
}
