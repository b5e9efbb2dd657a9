//! What is said of the audit log, of a disk that is full, and of the clock.

use std::{
    fs::{self, File, Permissions},
    io::Write,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::Command,
};

use keyd_client::{
    Client,
    message::{DiskList, DiskReleaseKey},
};
use system_tests::{
    process::{eventually, run, tool},
    small_fs::{SmallFs, may_mount},
};

use crate::follow::Advised;

pub fn as_it_is(on: &mut Advised) {
    on.shows("audit archive --before 1 --to /tmp", "keyd audit tail", "SEQ");
    on.examples(&["keyd status", "keyd audit verify"]);
    // A row is changed under a daemon that does not run.
    on.ok("key create k --bits 2048");
    assert!(on.world.keyd.take().expect("it runs").terminate().success());
    let log = on.world.path("state/audit.log");
    let rows = fs::read_to_string(&log).expect("a log");
    fs::write(&log, rows.replacen("key-create", "key-delete", 1)).expect("written");
    on.world.start_keyd();
    let refused = on.keyd("key rotate k").failure();
    on.heed(&refused, "keyd audit reanchor --accept-break", &[], "");
    on.ok("key rotate k");
    on.ok("audit verify");
}

pub fn as_it_is_shown(on: &mut Advised) {
    for name in ["srv", "else"] {
        fs::create_dir(on.world.path(name)).expect("a directory");
    }
    on.serves("keyd serve --audit-copy PATH", "--audit-copy else/copy --writable srv");
    on.ok("key create k --bits 2048");
    let copied = || fs::read_to_string(on.world.path("else/copy")).expect("a copy");
    eventually("row in the copy", || copied().contains("key-create").then_some(()));
    let srv = on.world.path("srv").display().to_string();
    for shown in
        ["keyd audit archive --before 150000 --to /srv/audit", "keyd audit archive --to /srv/audit"]
    {
        on.example(shown, &shown.replace("/srv/audit", &srv));
    }
    on.ok("audit verify");
}

/// The log's rows are what fills it.
pub fn on_a_full_disk(on: &mut Advised) {
    if !may_mount() {
        return;
    }
    assert!(on.world.keyd.take().expect("it runs").terminate().success());
    let (state, away) = (on.world.path("state"), on.world.path("away"));
    fs::rename(&state, &away).expect("moved");
    let _small = SmallFs::new("tmpfs", &state);
    fs::set_permissions(&state, Permissions::from_mode(0o700)).expect("our own");
    let copied = run(Command::new(tool("cp", "coreutils"))
        .args(["-a", "--sparse=never"])
        .args([away.join("."), state.clone()]));
    let _ = copied.success();
    fs::create_dir(on.world.path("archive")).expect("a directory");
    on.restart("--writable archive");
    on.world.make_records("platform", 1);
    let id = on.world.ask(DiskList { after: None }).items[0].record.id;
    let mut client = Client::connect(&on.world.socket()).expect("a daemon");
    let mut filler = File::create(state.join("filler")).expect("a file");
    while filler.write_all(&[1; 4096]).is_ok() {}
    // What is reserved for the log goes first.
    let refused = (0..20_000).find_map(|_| client.ask_for_dek(DiskReleaseKey { id }).err());
    let refused = refused.expect("it is full").to_string();
    let to = on.world.path("archive").display().to_string();
    on.heed(&refused, "keyd audit archive --to DIR", &[("DIR", &to)], "");
    on.ok(&format!("disk release-key {id} --to vk"));
    assert!(on.world.keyd.take().expect("it runs").terminate().success());
}

/// The C library's clock on the wall, and days more.
const CLOCK: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>
int clock_gettime(clockid_t id, struct timespec *to) {
    int (*real)(clockid_t, struct timespec *) = dlsym(RTLD_NEXT, "clock_gettime");
    int done = real(id, to);
    if (id == CLOCK_REALTIME) to->tv_sec += 86400 * atol(getenv("DAYS_AHEAD"));
    return done;
}
"#;

fn start_with_clock(on: &mut Advised, library: &Path, days_ahead: &str) {
    if let Some(mut keyd) = on.world.keyd.take() {
        assert!(keyd.terminate().success());
    }
    let mut command = on.world.keyd_command("");
    command.env("LD_PRELOAD", library).env("DAYS_AHEAD", days_ahead);
    on.world.start_keyd_by(command);
}

pub fn and_the_clock(on: &mut Advised) {
    let (source, library) = (on.world.path("clock.c"), on.world.path("clock.so"));
    fs::write(&source, CLOCK).expect("written");
    let mut cc = Command::new(tool("cc", "build-essential"));
    let _ = run(cc.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source)).success();
    on.ok("key create k --bits 2048");
    for (days_ahead, wrong) in [("8", "more than keyd saw pass"), ("0", "before the newest time")] {
        start_with_clock(on, &library, days_ahead);
        let told = on.status();
        assert!(told.contains(wrong), "{told}");
        let shown = on.example("keyd clock show", "keyd clock show");
        assert!(shown.contains(wrong), "{shown}");
        on.heed(&told, "keyd clock confirm", &[], "");
        assert!(!on.status().contains("the clock says"), "{}", on.status());
    }
}
