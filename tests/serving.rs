//! How disks are served is seen from the daemon: what is slower than it has to be, and what break-glass would not open.

use std::{os::unix::process::CommandExt, path::Path, process::Command};

use keyd_client::{
    DiskId,
    message::{DiskShow, EncryptionType, Holder, QueueEngines, Serving, Status},
    permission::Permission,
};
use system_tests::{
    front_end::{FrontEnd, Options},
    luks,
    process::{Process, eventually, limited, program},
    world::{TERMS, World},
};

/// The one process of a disk, when it has said so much.
fn serving(world: &World, disk: &str, is_told: impl Fn(&Serving) -> bool) -> Serving {
    let id: DiskId = disk.parse().unwrap();
    eventually("such a process", || {
        let disk = world.ask(DiskShow { id });
        let [Holder { serving: Some(serving), .. }] = disk.holders.as_slice() else { return None };
        is_told(serving).then(|| serving.clone())
    })
}

/// What `status` says of disks, and its exit code.
fn status(world: &World) -> (i32, String) {
    let status = world.ask(Status {});
    let ended = world.keyd("status");
    status.warnings.iter().for_each(|line| assert!(ended.out.contains(line), "{}", ended.out));
    (ended.code, status.warnings.join("\n"))
}

fn with_queues(world: &World, queues: usize) -> FrontEnd {
    let options = Options { queues, ..Options::default() };
    FrontEnd::connect(&world.path("d.sock"), options)
}

/// Where an image has a device below it: of what is in memory nothing waits.
fn world() -> World {
    World::in_dir(Path::new("/var/tmp"))
}

/// Queues of a disk that was given so many, when they have all been started.
fn has_all(count: u16) -> impl Fn(&Serving) -> bool {
    move |serving| {
        let QueueEngines { io_uring, io_uring_unregistered, threads, calls } = serving.queues;
        io_uring + io_uring_unregistered + threads + calls == count
    }
}

/// What is seen from the daemon of a disk some of whose queues have threads, with these words.
fn assert_warned(world: &World, id: &str, threads: u16, words: &[&str]) {
    let (code, said) = status(world);
    assert_eq!(code, 5, "{said}");
    for words in [&[id, "has threads in place of io_uring", "started anew"][..], words].concat() {
        assert!(said.contains(words), "'{words}' is not in: {said}");
    }
    let shown = world.keyd(&format!("disk show {id}")).success();
    for words in [&[&*format!("{threads} on threads")][..], words].concat() {
        assert!(shown.contains(words), "'{words}' is not in: {shown}");
    }
    let listed = world.keyd("disk list --json").success();
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed[0]["holders"][0]["serving"]["queues"]["threads"], threads, "{listed}");
}

#[test]
fn a_disk_that_has_threads_as_io_uring_is_forbidden_is_warned_of_with_the_reason_and_the_remedy() {
    let world = world();
    let id = world.make_disk("d", "8M", "");
    let whole = world.backend_command("d", "--engine auto");
    let mut command = Command::new(program("confined"));
    command.args(["lacking", "io_uring"]).arg(whole.get_program()).args(whole.get_args());
    let mut backend = Process::start("vhost-backend", &mut command, &world.path("d.log"));
    backend.wait_to_say("serving");
    let _front_end = with_queues(&world, 3);
    let told = serving(&world, &id, has_all(3));
    assert_eq!(told.queues, QueueEngines { threads: 3, ..QueueEngines::default() });
    assert_warned(&world, &id, 3, &["Operation not permitted", "kernel.io_uring_disabled=0"]);
}

/// Two disks of a user who may lock the memory of 32 rings. (What a process locks for its secrets counts for it alone.)
/// Up to Linux 6.13 rings are not counted, and all queues have one.
#[test]
fn a_disk_that_has_threads_for_want_of_locked_memory_is_warned_of_with_the_limit_and_what_is_needed()
 {
    if !must_run::is_root_for("become a user who cannot raise the limit") {
        return;
    }
    let (world, user) = (world(), 2_000_000 + std::process::id());
    world.make_set("s", EncryptionType::CustomerKey, TERMS);
    world.grant(user, "s", &[Permission::Attach]);
    let serve = |name: &str| {
        let _ = world.image(&format!("create {name}.img --size 1M --des s")).success();
        let command = world.backend_command_as(user, name, "--num-queues 20 --engine auto");
        let mut command = limited("-l 256", &command);
        command.uid(user).gid(user);
        let log = world.path(&format!("{name}.log"));
        let mut backend = Process::start("vhost-backend", &mut command, &log);
        backend.wait_to_say("serving");
        let options = Options { queues: 20, ..Options::default() };
        let front_end = FrontEnd::connect(&world.path(&format!("{name}.sock")), options);
        let id = world.disk_id(&world.path(&format!("{name}.img")));
        let told = serving(&world, &id, has_all(20));
        (id, told.queues.threads, front_end, backend)
    };
    let (_first, (id, threads, _front_end, backend)) = (serve("e"), serve("d"));
    let limit = "memory lock limit, 256 KiB for all of its processes";
    match threads {
        0 => assert!(!backend.said().contains(limit), "{}", backend.said()),
        _ => {
            let (code, said) = status(&world);
            assert_eq!(code, 5, "{said}");
            for words in [&*id, "threads in place of", limit, "160 KiB more", "LimitMEMLOCK="] {
                assert!(said.contains(words), "'{words}' is not in: {said}");
            }
        }
    }
}

#[test]
fn threads_that_were_asked_for_are_shown_and_nobody_is_warned() {
    let world = world();
    let id = world.make_disk("d", "8M", "");
    let (_, before) = status(&world);
    let _backend = world.start_backend("d", "--engine threads");
    assert_eq!(serving(&world, &id, |_| true).queues.threads, 1, "the first queue");
    let _front_end = with_queues(&world, 3);
    let told = serving(&world, &id, |serving| serving.queues.threads == 3);
    assert_eq!(told.no_ring, None);
    assert_eq!(status(&world).1, before);
    assert!(world.keyd(&format!("disk show {id}")).success().contains("3 on threads"));
}

/// keyd knows nothing of it when it is started anew.
#[test]
fn a_daemon_that_was_away_is_told_again() {
    let mut world = world();
    let id = world.make_disk("d", "8M", "");
    let _backend = world.start_backend("d", "--engine threads");
    let _front_end = with_queues(&world, 2);
    let told = serving(&world, &id, |serving| serving.queues.threads == 2);
    world.keyd = None;
    world.start_keyd();
    assert_eq!(serving(&world, &id, |_| true), told);
}

/// The data are right, and break-glass would fail: who is to know of it looks at `status`.
#[test]
fn a_header_that_cryptsetup_refuses_is_served_and_warned_of() {
    let world = world();
    let id = world.make_disk("d", "8M", "");
    luks::forge(&world.path("d.img"), None, |json| json["config"]["flags"] = 7.into());
    assert_ne!(luks::cryptsetup(&world.path(""), "luksDump d.img").code, 0, "it is the judge");
    let mut backend = world.start_backend("d", "");
    let fault = serving(&world, &id, |_| true).stock_fault.expect("it is told");
    assert!(fault.contains("stock cryptsetup refuses the header: its flags"), "{fault}");
    let (code, said) = status(&world);
    assert_eq!(code, 5, "{said}");
    for words in [&*id, &fault, "does not open it with cryptsetup", "restore the header"] {
        assert!(said.contains(words), "'{words}' is not in: {said}");
    }
    assert!(world.keyd(&format!("disk show {id}")).success().contains(fault.as_str()));
    assert!(world.image("info d.img").success().contains(fault.as_str()), "the same words");
    // What nobody serves nobody tells of.
    assert!(backend.terminate().success());
    assert!(!status(&world).1.contains(&id));
}
