//! Every command that a text of ours advises is one that the program understands; what an error advises is run in the
//! state in which it is advised, and does what the text says. `advice/collect.rs` finds them all, in the sources, the
//! README and the units; one that is neither run here nor known in `advice/known.rs` is a fault.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

#[path = "advice/collect.rs"]
mod collect;
#[path = "advice/known.rs"]
mod known;

use std::{collections::BTreeSet, path::Path, process::Command};

use keyd_client::{
    ClientError,
    message::{DiskRequest, KeyRequest, Request},
};
use known::{KNOWN, Why};
use system_tests::{
    process::{Ended, program, run},
    world::World,
};

const NOBODY: u32 = 65_534;

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// What a placeholder stands for, where any value will do; users of this machine for users of others.
fn filled(word: &str, before: &str, verb: &str) -> String {
    let id = "0b9c1f6e-6f0c-4e0e-9d43-1c8f4b2a7d55";
    let kind = match (word, before) {
        ("...", "--expires" | "--not-before") => "never",
        ("...", _) => "wrapKey,unwrapKey",
        ("{permission}", _) if verb == "grant" => "attach",
        ("{permission}", _) => "get",
        ("NAME", _) if verb == "grant" => "uid:5",
        ("{who}" | "USER", _) => "uid:5",
        ("{vault}" | "VAULT", _) => "default",
        ("{asked}", _) => "passphrase",
        ("NAME" | "K" | "SET", _) => "k",
        ("des:NAME" | "des:{set}", _) => "des:s",
        ("ID" | "{id}" | "{disk}", _) => id,
        ("V" | "{version}", _) => "0123456789abcdef0123456789abcdef",
        ("ROW", _) => "7",
        ("DIR" | "PATH", _) => "/nowhere/there",
        ("ADDRESS", _) => "127.0.0.1:0",
        ("libvirt-qemu" | "alice" | "backup" | "vm-17", "grant" | "bank") => "nobody",
        _ if word.starts_with('{') => "k",
        _ => return word.replace("{}", "").replace("libvirt-qemu=", "nobody="),
    };
    kind.to_owned()
}

/// The words of a command, with something in place of what is left open.
fn words(advice: &str) -> Vec<String> {
    let words: Vec<&str> = advice.split_whitespace().filter(|word| *word != "…").collect();
    let before = |at: usize| at.checked_sub(1).map_or("", |at| words[at]);
    words.iter().enumerate().map(|(at, word)| filled(word, before(at), words[1])).collect()
}

/// With `--help` behind it nothing is done, and what stands before it is read all the same.
#[test]
fn every_command_that_is_advised_is_understood() {
    let mut faults = Vec::new();
    for (advice, place) in collect::advices(root()) {
        let words = words(&advice);
        let (name, rest) = words.split_first().unwrap();
        if name == "cryptsetup" || rest.first().is_some_and(|verb| verb == "VERB") {
            continue;
        }
        let ended = run(Command::new(program(name)).args(rest).arg("--help"));
        // A text may name an option without its value.
        if ended.code != 0 && !ended.err.contains("a value is required for") {
            faults.push(format!("{place}: '{advice}': {}", ended.err));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Whether a command is what a text with open places says. `{args}` may be several words, `{}` none.
fn is(advice: &str, command: &str) -> bool {
    let advised: Vec<&str> = advice.split_whitespace().collect();
    let given: Vec<&str> = command.split_whitespace().collect();
    fits(&advised, &given)
}

fn fits(advised: &[&str], given: &[&str]) -> bool {
    let (Some((word, advised)), Some((first, rest))) = (advised.split_first(), given.split_first())
    else {
        return advised.is_empty() && given.is_empty();
    };
    let open = word.starts_with('{')
        || ["...", "NAME", "USER", "K", "ID", "VAULT", "DIR", "ROW"].contains(word);
    match *word {
        "{args}" => (1..=given.len()).any(|some| fits(advised, &given[some..])),
        _ if word.ends_with("{}") => word.trim_end_matches("{}") == *first && rest.len() < 2,
        "des:{set}" => first.starts_with("des:") && fits(advised, rest),
        _ => (open || word == first) && fits(advised, rest),
    }
}

/// A host, and what of the advice has been followed on it.
struct Advised {
    world: World,
    followed: BTreeSet<String>,
}

impl Advised {
    /// Runs a command; one that names no program is keyd's.
    fn keyd(&self, command: &str) -> Ended {
        match command.strip_prefix("image ") {
            Some(words) => self.world.image(words),
            None => self.world.keyd(command.trim_start_matches("keyd ")),
        }
    }

    /// Runs an example with what it leaves open filled in, or names that there are on this host.
    fn example(&mut self, example: &str, filled: &str) -> String {
        self.followed.insert(example.to_owned());
        let done = self.keyd(filled);
        assert!(
            done.code == 0 || (example == "keyd status" && done.code == 5),
            "'{filled}': {}",
            done.err
        );
        done.out
    }

    /// The same, as they stand.
    fn examples(&mut self, examples: &[&str]) {
        for example in examples {
            self.example(example, example);
        }
    }

    fn ok(&self, command: &str) -> String {
        self.keyd(command).success()
    }

    /// The commands that the error of this one advises.
    fn advice(&self, command: &str) -> Vec<String> {
        let ended = self.keyd(command);
        assert_ne!(ended.code, 0, "{command}: {}", ended.out);
        quoted(&ended.err)
    }

    /// Does as advised; an administrator does.
    fn follow(&mut self, advice: &str) -> String {
        self.followed.insert(advice.to_owned());
        let done = self.keyd(advice);
        assert_eq!(done.code, 0, "'{advice}': {}", done.err);
        done.out
    }

    /// The command that the error of another one advises, by its beginning.
    fn advised(&self, refused: &str, begins: &str) -> String {
        let advice = self.advice(refused);
        let found = advice.iter().find(|advice| advice.starts_with(begins));
        let found = found.unwrap_or_else(|| panic!("{refused}: {advice:?}"));
        found.replace("--operations ...", "--operations wrapKey,unwrapKey").replace("...", "never")
    }

    /// A command is refused, its error advises another one, and then it is done.
    fn helps(&mut self, refused: &str, begins: &str) {
        let advised = self.advised(refused, begins);
        self.follow(&advised);
        self.ok(refused);
    }

    /// The error of a command advises another one that shows something.
    fn shows(&mut self, refused: &str, advised: &str, what: &str) {
        let advised = self.advised(refused, advised);
        let shown = self.follow(&advised);
        assert!(shown.contains(what), "'{advised}' does not show '{what}': {shown}");
    }

    /// The same for another user, by what the daemon answers.
    fn helps_nobody(&mut self, request: impl Into<Request>) {
        let request = request.into();
        let refused = match self.world.ask_as(NOBODY, request.clone()) {
            Err(ClientError::Refused(refusal)) => refusal.message.to_string(),
            other => panic!("{other:?}"),
        };
        let advice = quoted(&refused);
        assert_eq!(advice.len(), 1, "{refused}");
        self.follow(&advice[0]);
        self.world
            .ask_as(NOBODY, request)
            .unwrap_or_else(|error| panic!("after '{}': {error}", advice[0]));
    }
}

/// Commands in quotation marks.
fn quoted(text: &str) -> Vec<String> {
    let parts =
        text.split('\'').filter(|part| part.starts_with("keyd ") || part.starts_with("image "));
    parts.map(str::to_owned).collect()
}

fn keys(on: &mut Advised) {
    on.ok("key create k --bits 2048");
    on.shows("key show nope", "keyd key list", "k ");
    on.shows("key list --vault nope", "keyd vault list", "default");
    on.shows(
        "key disable k --version 0123456789abcdef0123456789abcdef",
        "keyd key show k",
        "VERSION",
    );
    let before = on.ok("key show k").lines().count();
    on.shows("key create k --bits 2048", "keyd key rotate k", "rotated to version");
    assert_eq!(on.ok("key show k").lines().count(), before + 1);
    on.ok("key disable k");
    on.helps("des create off --key k", "keyd key enable k");
    on.ok("des delete off");
    on.ok("key delete k");
    on.helps("key rotate k", "keyd key recover k");
    on.ok("key create gone --bits 2048");
    on.helps("key purge gone", "keyd key delete gone");
    on.ok("key set k --not-before 30d");
    on.helps("des create later --key k", "keyd key set k ");
    on.ok("key create e --bits 2048");
    on.ok("key set e --expires 2020-01-01T00:00:00Z");
    on.helps("des create expired --key e", "keyd key set e ");
    on.ok("key set e --operations decrypt");
    on.helps("des create useless --key e", "keyd key set e ");
    let told = on.ok("key rotation-policy show k");
    assert_eq!(quoted(&told), ["keyd key rotate k"], "{told}");
    on.shows("des create x --key platform/platform", "keyd key create NAME", "");
}

fn sets_and_disks(on: &mut Advised) {
    on.shows("des show nope", "keyd des list", "platform");
    on.shows("disk show 0b9c1f6e-6f0c-4e0e-9d43-1c8f4b2a7d55", "keyd disk list", "ID");
    on.shows("disk show nonsense", "keyd disk list", "ID");
    on.ok("key create own --bits 2048");
    on.helps(
        "des create own --key own --no-permit",
        "keyd vault permit default des:own get,wrapKey,unwrapKey",
    );
    let _ = on.world.image("create own.img 8M --des own").success();
    // What would halt a disk names its dry run, which names the command that is sure.
    let refused = on.keyd("key delete own");
    assert!(
        refused.err.contains("--dry-run lists them") && refused.err.contains("--force"),
        "{}",
        refused.err
    );
    let listed = on.ok("key delete own --dry-run");
    let sure = listed.lines().find(|line| line.trim().starts_with("keyd key delete own --token "));
    on.ok(sure.unwrap_or_else(|| panic!("{listed}")).trim());
    on.ok("key recover own");
}

fn applications(on: &mut Advised) {
    on.ok("principal create ci");
    on.shows("principal show nope", "keyd principal list", "ci");
    let token = "token revoke ci 0b9c1f6e-6f0c-4e0e-9d43-1c8f4b2a7d55";
    on.shows(token, "keyd token list ci", "ID");
}

fn permissions(on: &mut Advised) {
    let name = || "k".parse().unwrap();
    on.helps_nobody(KeyRequest::Rotate { name: name() });
    // What was granted before is there still.
    on.helps_nobody(DiskRequest::List { after: None });
    on.world.ask_as(NOBODY, KeyRequest::Rotate { name: name() }).expect("kept");
}

fn audit(on: &mut Advised) {
    on.shows("audit archive --before 1 --to /tmp", "keyd audit tail", "SEQ");
    on.examples(&["keyd status", "keyd audit verify"]);
}

/// What the help texts and the README show, as one story: in the order in which somebody would try it.
fn examples(on: &mut Advised) {
    on.examples(&[
        "keyd key create prod --bits 3072",
        "keyd des create prod-disks --key prod --lease 30s",
    ]);
    on.examples(&[
        "image create web.img --size 10G",
        "image create db.img --size 10G --des prod-disks",
    ]);
    on.example("image create web.img 10G", "image create other.img 10G");
    on.example(
        "image create db.img --size 1T --des prod",
        "image create tb.img --size 1T --des prod-disks",
    );
    on.example("keyd des create prod-disks --key prod", "des create more-disks --key prod");
    on.example(
        "keyd des create prod-disks --key prod --on-revoke park --lease 60s",
        "des create most-disks --key prod --on-revoke park --lease 60s",
    );

    on.examples(&[
        "keyd key disable prod --dry-run",
        "keyd key disable prod --force --wait",
        "keyd key enable prod",
    ]);
    on.examples(&[
        "keyd key rotate prod",
        "keyd status",
        "keyd audit verify",
        "keyd audit tail -n 100",
    ]);
    on.examples(&["keyd audit tail --json", "keyd disk list --json", "keyd grant --list"]);
    let key = "keyd key set prod";
    for change in [
        "--expires 365d --tag owner=ops",
        "--operations wrapKey,unwrapKey",
        "--expires 2027-01-01T00:00:00Z --not-before never",
    ] {
        on.examples(&[&format!("{key} {change}")]);
    }
    on.example("keyd key set K --expires never", "key set prod --expires never");
    on.examples(&["keyd key rotation-policy set prod --rotate-after 90 --expires-after 120"]);
    on.example(
        "keyd key rotation-policy set K --rotate-after 90",
        "key rotation-policy set prod --rotate-after 90",
    );
    on.examples(&["image info web.img --json", "image resize db.img --size 2T"]);
    vaults(on);
    one_disk(on);
    grants(on);
    on.examples(&["keyd key delete prod --force", "keyd key recover prod"]);
    for (example, filled) in [
        ("keyd key disable K", "key disable prod --force"),
        ("keyd key enable K", "key enable prod"),
        ("keyd key delete K", "key delete prod --force"),
        ("keyd key recover K", "key recover prod"),
    ] {
        on.example(example, filled);
    }
}

fn grants(on: &mut Advised) {
    let id = on.world.disk_id(&on.world.path("web.img"));
    for (example, filled) in [
        (
            "keyd grant libvirt-qemu attach,create-disk --des prod-disks",
            "grant nobody attach,create-disk --des prod-disks",
        ),
        (
            "keyd grant backup attach,create-disk --des prod-disks",
            "grant nobody attach,create-disk --des prod-disks",
        ),
        ("keyd grant backup attach --all-disks", "grant nobody attach --all-disks"),
        ("keyd grant libvirt-qemu attach --remove", "grant nobody attach --remove"),
        ("keyd grant vm-17 attach --remove", "grant nobody attach --remove"),
        ("keyd grant uid:1000 audit", "grant uid:1000 audit"),
        ("keyd grant app:ci read --set", "grant app:ci read --set"),
        ("keyd grant app:ci none", "grant app:ci none"),
        ("keyd grant NAME attach --des SET", "grant nobody attach --des prod-disks"),
        ("keyd grant USER attach --des SET", "grant uid:7 attach --des prod-disks"),
        ("keyd grant USER attach --remove", "grant uid:7 attach --remove"),
        (
            "keyd vault permit default app:ci get,wrapKey,unwrapKey --add",
            "vault permit default app:ci get,wrapKey,unwrapKey --add",
        ),
        (
            "keyd vault permit bank des:prod-disks none --dry-run",
            "vault permit bank des:prod-disks none --dry-run",
        ),
        (
            "keyd vault permit bank alice get,list,create,update,rotate",
            "vault permit bank nobody get,list,create,update,rotate",
        ),
        (
            "keyd vault permit bank alice rotate --remove",
            "vault permit bank nobody rotate --remove",
        ),
    ] {
        on.example(example, filled);
    }
    for who in ["uid:1001", "vm-17"] {
        let example =
            format!("keyd grant {who} attach --disk 1f3e8c5e-4c4b-4b0c-9d2a-0c5d6b7f8a90");
        on.example(&example, &format!("grant uid:1001 attach --disk {id}"));
    }
}

fn vaults(on: &mut Advised) {
    on.examples(&[
        "keyd principal create ci",
        "keyd vault create bank --retention 30 --purge-protection",
    ]);
    on.ok("key create bank/db --bits 2048");
    on.ok("key create bank/db-2027 --bits 2048");
    on.examples(&[
        "keyd key list --vault bank",
        "keyd vault show bank",
        "keyd vault permit bank app:ci get --set",
    ]);
    on.examples(&["keyd des create db --key bank/db --on-revoke fail --lease 10s --grace 5m"]);
    on.examples(&["keyd des create both --key bank/db --encryption platform-and-customer-keys"]);
    on.examples(&[
        "keyd des set-key db --key bank/db-2027",
        "keyd des show db",
        "keyd des resources db",
    ]);
    on.examples(&["keyd des update db --on-revoke park --on-expiry revoke"]);
    on.examples(&["keyd token create ci --expires 30d", "keyd token list ci"]);
    let tokens: serde_json::Value = serde_json::from_str(&on.ok("token list ci --json")).unwrap();
    let id = tokens[0]["id"].as_str().unwrap();
    on.example("keyd token revoke ci ID", &format!("token revoke ci {id}"));
}

fn one_disk(on: &mut Advised) {
    let id = on.world.disk_id(&on.world.path("db.img"));
    on.ok("des create bank-disks --key bank/db");
    for example in [
        "keyd disk show ID",
        "keyd disk derive ID --kind snapshot",
        "keyd disk release-key ID --to volume-key",
        "keyd disk erase ID --dry-run",
    ] {
        on.example(example, &example.replace("ID", &id));
    }
    // One without a snapshot, which would stay in its set.
    let other = on.world.disk_id(&on.world.path("web.img"));
    on.example("keyd disk move ID --to bank-disks", &format!("disk move {other} --to bank-disks"));
}

#[test]
fn what_the_help_texts_and_the_readme_show_can_be_done() {
    let mut on = Advised { world: World::new(), followed: BTreeSet::new() };
    examples(&mut on);
    let advices = collect::advices(root());
    let gone: Vec<_> = on.followed.iter().filter(|one| !advices.contains_key(*one)).collect();
    assert!(gone.is_empty(), "shown nowhere any more: {gone:?}");
    // Whatever else is shown there is known, with the test that runs it.
    let shown = advices.iter().filter(|(_, place)| !is_error(place));
    let faults: Vec<_> = shown
        .filter(|(advice, _)| !on.followed.contains(*advice) && !is_known(advice))
        .map(|(advice, place)| format!("{place}: '{advice}' is shown, and no test runs it"))
        .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Whether a text there is said when something does not go as it was asked for.
fn is_error(place: &str) -> bool {
    place.ends_with(".rs") && !collect::HELP.iter().any(|help| place.starts_with(help))
}

fn is_known(advice: &str) -> bool {
    KNOWN.iter().any(|(known, _)| *known == advice)
}

#[test]
fn what_an_error_advises_is_followed_and_helps() {
    let mut on = Advised { world: World::new(), followed: BTreeSet::new() };
    keys(&mut on);
    sets_and_disks(&mut on);
    applications(&mut on);
    permissions(&mut on);
    audit(&mut on);
    let advices = collect::advices(root());
    let mut faults = Vec::new();
    for (advice, place) in advices.iter().filter(|(_, place)| is_error(place)) {
        let followed = on.followed.iter().any(|command| is(advice, command));
        if !followed && !is_known(advice) {
            faults.push(format!("{place}: '{advice}' is advised, and nothing shows that it helps"));
        }
    }
    for (known, why) in KNOWN {
        if !advices.contains_key(*known) {
            faults.push(format!("advice/known.rs: '{known}' is advised nowhere any more"));
        }
        if let Why::RunBy(test) = why {
            let (file, name) = test.split_once("::").unwrap();
            let text = std::fs::read_to_string(root().join(file)).unwrap_or_default();
            if !text.contains(&format!("fn {name}(")) {
                faults.push(format!("advice/known.rs: '{known}': there is no {test}"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
