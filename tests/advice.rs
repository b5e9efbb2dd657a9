//! Every command that a text of ours advises is one that the program understands; what an error advises is run in the
//! state in which it is advised, and does what the text says. `advice/collect.rs` finds them all, in the sources, the
//! README and the units; one that is neither run here nor known in `advice/known.rs` is a fault.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

#[path = "advice/audit.rs"]
mod audit;
#[path = "advice/collect.rs"]
mod collect;
#[path = "advice/disks.rs"]
mod disks;
#[path = "advice/examples.rs"]
mod examples;
#[path = "advice/follow.rs"]
mod follow;
#[path = "advice/front.rs"]
mod front;
#[path = "advice/keys.rs"]
mod keys;
#[path = "advice/known.rs"]
mod known;
#[path = "advice/people.rs"]
mod people;
#[path = "advice/stale.rs"]
mod stale;
#[path = "advice/state.rs"]
mod state;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::Command,
    sync::LazyLock,
};

use follow::{Advised, is};
use known::{KNOWN, Why};
use system_tests::process::{program, run};

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
    for (advice, places) in collect::advices(root()) {
        let words = words(&advice);
        let (name, rest) = words.split_first().unwrap();
        let is_ours = ["keyd", "image", "vhost-backend"].contains(&&name[..]);
        if !is_ours || rest.first().is_some_and(|verb| verb == "VERB") {
            continue;
        }
        let ended = run(Command::new(program(name)).args(rest).arg("--help"));
        // A text may name an option without its value.
        if ended.code != 0 && !ended.err.contains("a value is required for") {
            faults.push(format!("{places:?}: '{advice}': {}", ended.err));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

type Followed = BTreeSet<String>;

fn told(story: fn(&mut Advised)) -> Followed {
    let mut on = Advised::new();
    story(&mut on);
    on.followed
}

/// Each story is told once, whoever asks what was followed in it first, and is a test of its own.
macro_rules! stories {
    ($($name:ident: $story:path;)*) => {
        mod followed {
            use super::*;

            $(pub fn $name() -> &'static Followed {
                static FOLLOWED: LazyLock<Followed> = LazyLock::new(|| told($story));
                &FOLLOWED
            })*
        }

        $(#[test]
        fn $name() {
            assert!(!followed::$name().is_empty());
        })*

        /// By the name of the story.
        fn all_followed() -> Vec<(&'static str, &'static Followed)> {
            vec![$((stringify!($name), followed::$name()),)*]
        }
    };
}

stories! {
    what_the_help_texts_and_the_readme_show_can_be_done: examples::all;
    what_is_said_of_keys_helps: keys::as_they_are;
    what_is_said_of_keys_that_have_ended_helps: keys::that_ended;
    what_is_said_of_keys_that_are_not_followed_helps: keys::that_a_set_does_not_follow;
    what_is_said_of_sets_and_disks_helps: disks::and_sets;
    what_is_said_of_many_disks_helps: disks::that_are_many;
    what_the_readme_says_of_losses_is_so: disks::that_lose_their_key;
    what_the_readme_says_of_a_users_disks_is_so: disks::of_a_user;
    what_is_said_of_images_helps: disks::and_their_images;
    what_is_said_of_applications_helps: people::who_are_applications;
    what_is_said_to_who_may_not_helps: people::who_may_not;
    what_https_says_to_who_may_not_helps: front::of_who_may_not;
    what_https_says_of_a_certificate_helps: front::of_whose_certificate_is_nobodys;
    what_the_endpoint_of_identities_says_helps: front::of_identities;
    what_the_readme_shows_of_https_can_be_done: front::as_it_is_shown;
    what_is_said_of_an_imported_key_helps: front::of_what_was_imported;
    what_is_said_of_the_audit_log_helps: audit::as_it_is;
    what_is_shown_of_the_audit_log_can_be_done: audit::as_it_is_shown;
    what_is_said_of_a_full_disk_helps: audit::on_a_full_disk;
    what_is_said_of_the_clock_helps: audit::and_the_clock;
    what_is_shown_of_backups_can_be_done: state::and_its_backups;
    what_is_said_of_a_damaged_state_helps: state::that_is_damaged;
    what_is_said_of_a_state_that_is_taken_away_helps: state::that_is_taken_away;
    what_is_said_of_places_and_of_modes_helps: state::and_what_is_around_it;
    what_is_said_of_the_root_key_helps: state::and_its_root_key;
}

/// The story that no error begins.
const EXAMPLES: &str = "what_the_help_texts_and_the_readme_show_can_be_done";

/// Whether a text there is said when something does not go as it was asked for.
fn is_error(place: &str) -> bool {
    place.ends_with(".rs") && !collect::HELP.iter().any(|help| place.starts_with(help))
}

#[test]
fn what_is_shown_as_an_example_is_shown_somewhere() {
    let advices = collect::advices(root());
    let followed = followed::what_the_help_texts_and_the_readme_show_can_be_done();
    let gone: Vec<_> = followed.iter().filter(|one| !advices.contains_key(*one)).collect();
    assert!(gone.is_empty(), "shown nowhere any more: {gone:?}");
}

/// Why a command that no story follows is right all the same; what is wrong with it, if it is not.
fn fault(advice: &str, places: &BTreeSet<String>, why: Option<&Why>) -> Option<String> {
    let error = places.iter().find(|place| is_error(place));
    match (why, error) {
        (None, _) => Some("nothing shows that it helps".to_owned()),
        (Some(Why::Names), Some(error)) => {
            Some(format!("{error} advises it, and nothing shows that it helps"))
        }
        (Some(Why::Names | Why::NoCommand | Why::Machine), _) => None,
        (Some(Why::RunBy(test)), _) => stale::fault(root(), test, advice),
    }
}

#[test]
fn what_is_advised_is_followed_and_helps() {
    let stories = all_followed();
    let advices = collect::advices(root());
    let known: BTreeMap<&str, &Why> = KNOWN.iter().map(|(known, why)| (*known, why)).collect();
    let mut faults = Vec::new();
    for (advice, places) in &advices {
        // What an error says is not shown to help by an example that happens to be the same.
        let is_error = places.iter().any(|place| is_error(place));
        let counts = |story: &str| !is_error || story != EXAMPLES;
        let mut followed = stories.iter().filter(|(story, _)| counts(story));
        let followed = followed.any(|(_, all)| all.iter().any(|command| is(advice, command)));
        match (followed, known.get(&advice[..]).copied()) {
            (true, None) => {}
            (true, Some(_)) => faults
                .push(format!("advice/known.rs: '{advice}' is followed by a story: take it out")),
            (false, known) => faults.extend(
                fault(advice, places, known).map(|why| format!("{places:?}: '{advice}': {why}")),
            ),
        }
    }
    let gone = known.keys().filter(|known| !advices.contains_key(**known));
    faults.extend(
        gone.map(|known| format!("advice/known.rs: '{known}' is advised nowhere any more")),
    );
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
