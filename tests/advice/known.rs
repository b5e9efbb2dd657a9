//! Advice that no story of `advice.rs` follows, and why that is right.

/// Why.
pub enum Why {
    /// This test runs it, in the state it is for: file and function. It has the command's words (`stale.rs`).
    RunBy(&'static str),
    /// A help text or the README calls a verb by its name, and advises nobody to run it as it stands. No error does.
    Names,
    /// It is about the machine's own services and users, by the system's program: no test does that to this machine.
    /// (`systemd.rs` runs the units in a guest.)
    Machine,
    /// It only looks like one.
    NoCommand,
}

use Why::{Machine, Names, NoCommand, RunBy};

const LEFT_BEHIND: &str = "keyd/tests/hsm_advice.rs::what_a_rotation_leaves_behind_is_finished_by_the_commands_that_are_named";

pub const KNOWN: &[(&str, Why)] = &[
    ("keyd audit archive", Names),
    ("keyd des create", Names),
    ("keyd des set-key", Names),
    ("keyd des show", Names),
    // Beside the command's answer the daemon's log says it, of the same rotation.
    ("keyd des show {0}", RunBy(LEFT_BEHIND)),
    ("keyd des show {set}", RunBy(LEFT_BEHIND)),
    ("keyd disk move", Names),
    // A list of grants says by which each was given.
    ("keyd grant", NoCommand),
    ("keyd serve --grant", NoCommand),
    ("keyd key disable", Names),
    (
        "keyd key rotate",
        RunBy(
            "keyd/tests/hsm_advice.rs::a_key_that_does_not_sign_does_after_the_rotation_that_its_refusal_names",
        ),
    ),
    // The label of the root key's key in a token.
    ("keyd root", NoCommand),
    (
        "keyd upgrade --state-dir DIR",
        RunBy(
            "keyd/tests/edited_store.rs::a_store_of_an_earlier_keyd_is_taken_by_the_command_that_its_refusal_names",
        ),
    ),
    ("keyd vault permit", Names),
    ("systemctl edit vhost-backend@NAME", Machine),
    ("systemctl enable --now vhost-backend@NAME.socket", Machine),
    ("systemctl reload keyd", Machine),
    ("systemctl restart", Machine),
    ("systemctl start vhost-backend@NAME", Machine),
    ("systemctl status", Machine),
    ("usermod -aG", Machine),
    (
        "image create --sector-size 4096",
        RunBy(
            "tests/below.rs::direct_io_that_cannot_be_is_refused_if_asked_for_and_else_told_with_its_reason",
        ),
    ),
    (
        "keyd root move --to pkcs11 --state-dir /var/lib/keyd",
        RunBy("keyd/tests/roots.rs::a_root_key_wrapped_in_a_token_opens_at_every_start"),
    ),
];
