//! The command line: what it prints, how it ends.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use std::{
    fs,
    os::unix::fs::MetadataExt,
    process::{Command, Output},
    time::Duration,
};

use common::{KEYD, Keyd, attach};
use keyd_client::message::Phase;

fn out(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", err(output));
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// What a command printed that ended with this code.
fn out_with(code: i32, output: &Output) -> String {
    let printed = String::from_utf8(output.stdout.clone()).unwrap();
    assert_eq!(output.status.code(), Some(code), "{printed}{}", err(output));
    printed
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// One command line.
fn run(keyd: &Keyd, command: &str) -> Output {
    keyd.run(&command.split_whitespace().collect::<Vec<_>>())
}

fn json(keyd: &Keyd, command: &str) -> serde_json::Value {
    serde_json::from_str(&out(&run(keyd, &format!("{command} --json")))).unwrap()
}

fn contains(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "no '{word}' in: {text}");
    }
}

fn start() -> Keyd {
    let keyd = Keyd::start();
    keyd.make_key_and_set(30_000);
    keyd
}

#[test]
fn keys_are_made_changed_rotated_deleted_and_destroyed() {
    let keyd = Keyd::start();
    let ok = |command: &str| out(&run(&keyd, command));
    contains(&ok("key create k --bits 2048"), &["2048", "by hand", "all"]);
    contains(&ok("key disable k"), &["key k disabled; holders told: 0"]);
    contains(&ok("key show k"), &["state     disabled"]);
    contains(&ok("key enable k"), &["key k enabled"]);
    let set = "key set k --expires 2090-01-01T00:00:00Z --not-before 2000-02-29T00:00:00Z \
               --operations wrapKey,unwrapKey --tag owner=ops --tag tier=1";
    contains(&ok(set), &["key k changed"]);
    let shown =
        ["2090-01-01 00:00:00.000Z", "2000-02-29 ", "wrapKey,unwrapKey", "owner=ops tier=1"];
    contains(&ok("key show k"), &shown);
    ok("key set k --expires 30d --not-before never --no-tags");
    let version = &json(&keyd, "key show k")["versions"][0];
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let left = version["expires"].as_u64().unwrap() - now.as_secs();
    assert!((30 * 86_400 - 60..=30 * 86_400).contains(&left), "{left}");
    assert!(version["not_before"].is_null());
    contains(&ok("key rotate k"), &["key k rotated to version", "disks wrapped anew: 0"]);
    let versions = json(&keyd, "key show k")["versions"].clone();
    let old = versions[1]["version"].as_str().unwrap();
    contains(&ok(&format!("key disable k --version {old}")), &["version", old, "disabled"]);
    assert_eq!(json(&keyd, "key show k")["versions"][0]["enabled"], true);
    let policy = "key rotation-policy set k --rotate-after 90d --notify-before-expiry 10 --expires-after 120";
    let told = "rotated 90 days after creation, told 10 days before expiry, expires after 120 days";
    contains(&ok(policy), &[told]);
    contains(&ok("key rotation-policy show k"), &[told]);
    contains(&ok("key show k"), &[told]);
    contains(&ok("key rotation-policy remove k"), &["no rotation policy"]);
    contains(&ok("key delete k"), &["key k deleted"]);
    contains(&ok("key list"), &["deleted, destroyed at "]);
    contains(&ok("key list --deleted"), &["deleted, destroyed at "]);
    contains(&ok("key recover k"), &["key k recovered"]);
    assert_eq!(ok("key list --deleted").lines().count(), 1, "a heading");
    ok("key delete k");
    contains(&ok("key purge k"), &["key k destroyed"]);
    assert!(!ok("key list").contains("k "));
}

#[test]
fn lists_are_whole_and_one_vaults_are_its_own() {
    let keyd = Keyd::start();
    out(&run(&keyd, "vault create bank --retention 7"));
    for name in ["bank/b", "bank/a", "z"] {
        out(&run(&keyd, &format!("key create {name} --bits 2048")));
    }
    let names = |command: &str| -> Vec<String> {
        let keys = json(&keyd, command);
        keys.as_array().unwrap().iter().map(|k| k["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names("key list"), ["bank/a", "bank/b", "z", "platform/platform"]);
    assert_eq!(names("key list --vault bank"), ["bank/a", "bank/b"]);
    assert_eq!(names("key list --vault Default"), ["z"]);
    let unknown = run(&keyd, "key list --vault nope");
    assert_eq!(unknown.status.code(), Some(1));
    contains(&err(&unknown), &["no vault 'nope'", "keyd vault list"]);
}

#[test]
fn sets_are_made_changed_and_put_on_other_keys() {
    let keyd = Keyd::start();
    let ok = |command: &str| out(&run(&keyd, command));
    ok("key create k --bits 2048");
    ok("vault create bank");
    ok("key create bank/k2 --bits 2048");
    let made =
        ok("des create s --key k --on-revoke fail --lease 30s --grace 5m --on-expiry revoke \
                   --encryption platform-and-customer-keys --no-auto-rotate");
    let words = ["des:s", "fail", "30s", "5m", "revoke", "platform-and-customer-keys", "never"];
    contains(&made, &words);
    contains(&made, &["auto-rotate     no"]);
    let disk = keyd.make_disk(Some("s"));
    contains(&ok("des set-key s --key bank/k2"), &["is on key bank/k2; disks wrapped anew: 1"]);
    let changed =
        ok("des update s --on-revoke park --lease 90s --grace 0s --on-expiry ignore --auto-rotate");
    contains(&changed, &["park", "90s", "0s", "ignore", "auto-rotate     yes"]);
    contains(&ok("des resources s"), &[&disk.to_string(), "bank/k2"]);
    contains(&ok("des list"), &["platform-key", "bank/k2", "ok"]);
    ok(&format!("disk erase {disk} --force"));
    contains(&ok("des delete s"), &["s deleted"]);
    // Without its rights the set cannot be made.
    let refused = run(&keyd, "des create t --key bank/k2 --no-permit");
    assert_eq!(refused.status.code(), Some(1));
    let advice = "vault permit bank des:t get,wrapKey,unwrapKey --add --future";
    contains(&err(&refused), &[&format!("'keyd {advice}'")]);
    ok(advice);
    ok("des create t --key bank/k2 --no-permit");
    let version = json(&keyd, "des show t")["active_version"].as_str().unwrap().to_owned();
    ok("key rotate bank/k2");
    ok("des update t --no-auto-rotate");
    ok(&format!("des set-key t --key bank/k2 --version {version}"));
    assert_eq!(json(&keyd, "des show t")["active_version"], version);
}

#[test]
fn disks_are_derived_moved_and_erased() {
    let keyd = start();
    let ok = |command: &str| out(&run(&keyd, command));
    let disk = keyd.make_disk(Some("s"));
    let early = run(&keyd, &format!("disk derive {disk} --kind snapshot"));
    contains(&err(&early), &["not confirmed yet"]);
    contains(&ok(&format!("disk confirm {disk}")), &["confirmed"]);
    contains(&ok(&format!("disk show {disk}")), &["1 GiB", "16 MiB", "customer-key"]);
    let snapshot = json(&keyd, &format!("disk derive {disk} --kind snapshot"));
    let snapshot = snapshot["id"].as_str().unwrap();
    contains(&ok(&format!("disk show {snapshot}")), &["snapshot", "made from", &disk.to_string()]);
    let stays = run(&keyd, &format!("disk move {disk} --to platform"));
    contains(&err(&stays), &["copy its data to a new disk of the other set"]);
    contains(&ok(&format!("disk abandon {snapshot}")), &["forgotten"]);
    contains(&ok(&format!("disk move {disk} --to platform")), &["set platform"]);
    contains(&ok("disk list"), &["KIND", "platform/platform"]);

    let told = ok(&format!("disk erase {disk} --dry-run"));
    contains(&told, &["would hit 1 disk", "1 of them could never be read again"]);
    let refused = run(&keyd, &format!("disk erase {disk}"));
    contains(&err(&refused), &["would hit 1 disk", "--dry-run", "--force"]);
    contains(&ok(printed_command(&told)), &["is destroyed"]);
    assert_eq!(run(&keyd, &format!("disk show {disk}")).status.code(), Some(1));
}

/// The command that a dry run prints, to be given as it stands.
fn printed_command(told: &str) -> &str {
    told.lines().find_map(|line| line.strip_prefix("  keyd ")).expect("a command")
}

#[test]
fn a_dry_run_tells_all_and_its_token_does_just_that() {
    let keyd = start();
    let disk = keyd.make_disk(Some("s"));
    let held = attach(&keyd, disk, false).unwrap();
    let us = std::process::id().to_string();
    for command in [
        "key disable k",
        "key set k --operations wrapKey --tag why=test",
        "vault permit default des:s none",
        "key delete k",
    ] {
        let told = out(&run(&keyd, &format!("{command} --dry-run")));
        contains(&told, &["would hit 1 disk, 1 held now", "could be read again", "PROCESSES"]);
        contains(&told, &[&disk.to_string(), &us, "Nothing was done"]);
        assert!(keyd.disk(disk).key_enabled, "{command}");
        let refused = run(&keyd, command);
        assert_eq!(refused.status.code(), Some(1), "{command}");
        contains(&err(&refused), &["would hit 1 disk", "--dry-run", "--force"]);
    }
    let told = out(&run(&keyd, "key disable k --dry-run"));
    let impact = json(&keyd, "key disable k --dry-run");
    assert_eq!((&impact["disks"], &impact["held"]), (&1.into(), &1.into()));
    contains(&told, &[impact["token"].as_str().unwrap()]);
    let other = keyd.make_disk(Some("s"));
    let stale = run(&keyd, printed_command(&told));
    contains(&err(&stale), &["has changed since token", "look again with --dry-run"]);
    out(&run(&keyd, &format!("disk erase {other} --force")));
    contains(&out(&run(&keyd, printed_command(&told))), &["disabled; holders told: 1"]);
    contains(&out(&run(&keyd, "key disable k --dry-run")), &["would hit nothing"]);
    drop(held);
}

/// Since when it has no key, not since when it attached; the reason is beside it.
#[test]
fn a_halted_disk_is_listed_as_what_it_does_since_when_and_why() {
    let keyd = start();
    let disk = keyd.make_disk(Some("s"));
    let mut held = attach(&keyd, disk, false).unwrap();
    contains(&out(&run(&keyd, "disk list")), &["STATE", "SINCE", "running"]);
    keyd.switch(false);
    held.expect_revoked();
    held.fence();
    keyd.audited("lease-fenced", "released");
    let wiped = "2023-11-14 22:13:20.002Z";
    contains(&out(&run(&keyd, "disk list")), &["parked", wiped]);
    let shown = out(&run(&keyd, &format!("disk show {disk}")));
    contains(&shown, &["parked", wiped, "key 'k' is disabled"]);
    contains(&out_with(5, &run(&keyd, "status")), &["set 's' has lost its key", "; 1 disk parked"]);
    drop(held);
    keyd.audited("lease-end", "ok");
    contains(&out(&run(&keyd, &format!("disk show {disk}"))), &["last process", "gone since 2"]);
}

/// Twenty seconds from now is another moment each time it is said.
#[test]
fn an_end_that_will_halt_disks_is_asked_for_and_listed_when_it_is_near() {
    let keyd = start();
    let disk = keyd.make_disk(Some("s"));
    out(&run(&keyd, "des update s --on-expiry revoke"));
    let told = out(&run(&keyd, "key set k --expires 2h --dry-run"));
    contains(&told, &["would hit 1 disk, 1 not before 2", "WHEN", "at 2", &disk.to_string()]);
    let refused = run(&keyd, "key set k --expires 2h");
    contains(&err(&refused), &["would hit 1 disk, 1 not before 2", "--dry-run"]);
    contains(&out(&run(&keyd, printed_command(&told))), &["key k changed"]);
    contains(&out(&run(&keyd, "key list")), &["enabled, ends soon"]);
    let warned = out_with(5, &run(&keyd, "status"));
    contains(&warned, &["key 'k' expires on 2", "the disks of 's' halt then"]);
    out(&run(&keyd, "key set k --expires 2020-01-01T00:00:00Z --force"));
    contains(&out(&run(&keyd, "key list")), &["enabled, ended"]);
    let warned = out_with(5, &run(&keyd, "status"));
    contains(&warned, &["key 'k' has expired on 2020-01-01", "--expires ...' prolongs it"]);
    // A rotation could not open what it would have to wrap anew.
    assert!(!warned.contains("rotate"), "{warned}");
}

/// The proof, and what is no proof: one confirms, one says nothing, one hangs up, one is spared.
#[test]
fn waiting_tells_of_every_holder_and_the_code_says_whether_all_let_go() {
    let keyd = start();
    let disk = keyd.make_disk(Some("s"));
    let disable = |wait: &str| run(&keyd, &format!("key disable k --force --wait {wait}"));
    let mut held = attach(&keyd, disk, false).unwrap();
    let confirmed = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| disable("20s"));
        held.expect_revoked();
        held.fence();
        waiting.join().unwrap()
    });
    let heading = ["DISK", "PROCESS", "LAST I/O", "KEY WIPED", "ANSWER"];
    let table = out(&confirmed);
    contains(&table, &heading);
    contains(
        &table,
        &[
            &disk.to_string(),
            "2023-11-14 22:13:20.001Z",
            "2023-11-14 22:13:20.002Z",
            "confirmed, took 1234 us, 7 requests held",
        ],
    );
    drop(held);
    keyd.switch(true);

    let mut silent = attach(&keyd, disk, false).unwrap();
    let told = out_with(4, &disable("100ms"));
    contains(&told, &["holders told: 1", "not confirmed, lease ends at 2"]);
    let told = out_with(4, &run(&keyd, "key delete k --force --wait 100ms --json"));
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["revocation"]["told"], 0, "it was told before");
    assert_eq!(told["revocation"]["holders"][0]["state"], "halting");
    silent.expect_revoked();
    silent.fence();
    drop(silent);
    out(&run(&keyd, "key recover k"));
    keyd.switch(true);

    let hangs_up = attach(&keyd, disk, false).unwrap();
    let told = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| disable("20s"));
        while !matches!(keyd.disk(disk).holders[0].state.phase, Phase::Halting { .. }) {
            std::thread::sleep(Duration::from_millis(5));
        }
        drop(hangs_up);
        waiting.join().unwrap()
    });
    contains(&out_with(4, &told), &["hung up at 2"]);
    keyd.switch(true);

    out(&run(&keyd, "des update s --on-revoke deferred"));
    let spared = attach(&keyd, disk, false).unwrap();
    // That it goes on is what its set asks for, and told apart from what is halted.
    let told = out(&disable("20s"));
    contains(&told, &["spared by their set's terms: 1", "goes on until it detaches"]);
    keyd.switch(true);
    out(&run(&keyd, "des update s --on-revoke park --grace 1h"));
    contains(&out(&disable("100ms")), &["goes on until 2"]);
    // Without waiting it is no more than said.
    let again = out(&run(&keyd, "key disable k --force"));
    contains(&again, &["holders told: 0, spared by their set's terms: 1\n"]);
    drop(spared);
    let nobody = out(&disable("20s"));
    contains(&nobody, &["holders told: 0\n"]);
}

#[test]
fn the_status_says_what_somebody_should_look_at() {
    let keyd = start();
    let well = out(&run(&keyd, "status"));
    contains(&well, &[env!("CARGO_PKG_VERSION"), &keyd.pid().to_string(), "warnings  0"]);
    keyd.switch(false);
    let told = out_with(5, &run(&keyd, "status"));
    contains(&told, &["warning: set 's' has lost its key: key 'k' is disabled"]);
    let told = out_with(5, &run(&keyd, "--json status"));
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["warnings"].as_array().unwrap().len(), 1);
    assert_eq!((&told["sets"], &told["vaults"]), (&2.into(), &2.into()));
}

#[test]
fn json_is_json() {
    let keyd = start();
    let disk = keyd.make_disk(None);
    for args in [
        "status",
        "key list",
        "key list --vault default",
        "key show platform/platform",
        "key set k --tag a=b",
        "key disable k --dry-run",
        "key disable k --force --wait 1s",
        "key enable k",
        "key rotation-policy set k --rotate-after 90",
        "key rotation-policy show k",
        "key rotation-policy remove k",
        "vault list",
        "vault create bank",
        "vault show bank",
        "vault protect bank",
        "vault permit bank uid:5 get",
        "vault permit bank uid:5 list --add",
        "vault delete bank",
        "grant uid:5 read",
        "grant --list",
        "des list",
        "des show platform",
        "des resources platform",
        "des set-key s --key k",
        "des update s --lease 5s",
        "des delete s",
        "key delete k",
        "key recover k",
        "disk list",
        "audit tail",
        "audit verify",
        "key rotate platform/platform",
    ] {
        json(&keyd, args);
    }
    let erased = json(&keyd, &format!("disk erase {disk} --force"));
    assert_eq!(erased, serde_json::json!({}));
    assert!(json(&keyd, "audit verify")["records"].as_u64() > Some(2));
}

#[test]
fn a_key_is_released_to_a_new_file_only() {
    let keyd = Keyd::start();
    let id = keyd.make_disk(None);
    let (disk, path) = (id.to_string(), keyd.dir.path().join("vk"));
    let to = path.to_str().unwrap();
    out(&keyd.run(&["disk", "release-key", &disk, "--to", to]));
    assert_eq!(fs::read(&path).unwrap(), keyd.release(id).expose());
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
    assert_eq!(keyd.audited("disk-release-key", "ok").subject, disk);
    let released = keyd.audit().len();

    fs::write(&path, "precious").unwrap();
    let again = keyd.run(&["disk", "release-key", &disk, "--to", to]);
    assert_eq!(again.status.code(), Some(1));
    assert!(err(&again).contains("give a file that does not exist"), "{}", err(&again));
    assert_eq!(fs::read(&path).unwrap(), b"precious");
    assert_eq!(keyd.audit().len(), released, "nothing was released");
}

#[test]
fn failures_say_what_to_do_and_end_with_their_code() {
    let keyd = start();
    let unknown = keyd_client::DiskId::random().to_string();
    let disk_show = format!("disk show {unknown}");
    let release = format!("disk release-key {unknown} --to /nonexistent/x");
    for (command, code, text) in [
        ("key show nope", 1, "keyd key list"),
        ("key create k", 1, "choose another name"),
        ("key create x --bits 1024", 1, "2048, 3072 or 4096"),
        ("key create x --hsm", 1, "--hsm-module"),
        ("key disable nope", 1, "keyd key list"),
        ("key disable k --version 0123456789abcdef0123456789abcdef", 1, "keyd key show k"),
        ("key disable k --version 1", 2, "32 hexadecimal digits"),
        ("key disable k --dry-run --force", 2, "cannot be used with"),
        ("key disable k --dry-run --wait", 2, "cannot be used with"),
        ("key disable k --wait soon", 2, "write it as 30s"),
        ("key create _", 2, "letters, digits and hyphens"),
        ("key create elsewhere/b", 1, "keyd vault list"),
        ("key set k", 2, "required"),
        ("key set k --expires tomorrow", 2, "2027-01-01T00:00:00Z"),
        ("key set k --operations unwrap", 2, "there are encrypt, decrypt"),
        ("key set k --tag owner", 2, "NAME=VALUE"),
        ("key rotation-policy set k", 2, "required"),
        ("key rotation-policy set k --rotate-after 1", 1, "at least 7 days"),
        ("key rotation-policy set k --rotate-before-expiry 30", 1, "needs an expiry time"),
        ("key recover k", 1, "keyd key delete k"),
        ("key purge k", 1, "keyd key delete k"),
        ("vault create default", 1, "choose another name"),
        ("vault create ab", 2, "3 to 24"),
        ("vault create bank --retention 5", 1, "7 to 90 days"),
        ("vault show nope", 1, "keyd vault list"),
        ("vault permit default nobody-here get", 2, "give the number"),
        ("vault permit default uid:5 unwrap", 2, "there are get, list"),
        ("vault permit default uid:5 get --add --remove", 2, "cannot be used with"),
        ("vault permit default uid:5 none --remove", 1, "it takes all away, with --set"),
        ("vault delete default", 1, "it stays as it is"),
        ("grant", 2, "required"),
        ("grant uid:5", 2, "required"),
        ("grant uid:5 all", 2, "there are attach, create-disk"),
        ("grant --list uid:5", 2, "cannot be used with"),
        ("grant --list --des s", 2, "cannot be used with"),
        ("grant uid:5 attach --des s --all-disks", 2, "cannot be used with"),
        ("grant uid:5 none --add", 1, "it takes all away, with --set"),
        ("des create d --key nope", 1, "no key 'nope'"),
        ("des create d --key platform/platform", 1, "keyd key create"),
        ("des create s --key k", 1, "choose another name"),
        ("des create d --key k --lease 1ms", 1, "a lease of 1ms is out of range: choose 1s to 1h"),
        ("des create d --key k --lease soon", 2, "write it as 30s"),
        ("des create d --key k --encryption platform-key", 2, "customer-key"),
        ("des create d --key k --grace 8d", 1, "choose at most"),
        ("des update s", 2, "required"),
        ("des update s --auto-rotate --no-auto-rotate", 2, "cannot be used with"),
        ("des set-key nope --key k", 1, "keyd des list"),
        ("des delete platform", 1, "it stays as it is"),
        (&disk_show, 1, "keyd disk list"),
        ("disk show x", 2, "is not a disk id"),
        (&release, 1, "cannot write"),
        ("nonsense", 2, "unrecognized subcommand"),
        ("--socket /nonexistent/s key list", 3, "is 'keyd serve' running"),
        ("--socket /nonexistent/s key rotate k", 3, "is 'keyd serve' running"),
        ("--socket /nonexistent/s status", 3, "is 'keyd serve' running"),
    ] {
        let output = run(&keyd, command);
        assert_eq!(output.status.code(), Some(code), "{command}: {}", err(&output));
        assert!(err(&output).contains(text), "{command}: {}", err(&output));
        assert!(code == 2 || err(&output).lines().count() == 1, "{}", err(&output));
        assert!(output.stdout.is_empty(), "{command}");
    }
}

#[test]
fn the_help_has_examples_and_exit_codes() {
    let help = |args: &[&str]| {
        let output = Command::new(KEYD).args(args).arg("--help").output().unwrap();
        out(&output)
    };
    let groups = ["key", "vault", "grant", "des", "disk", "audit", "serve", "root"];
    for group in groups {
        contains(&help(&[group]), &["Examples:", &format!("keyd {group} ")]);
    }
    let codes: Vec<String> = (0..=6).map(|code| format!("\n  {code}  ")).collect();
    contains(&help(&[]), &codes.iter().map(String::as_str).collect::<Vec<_>>());
}
