//! Advice that `advice.rs` does not follow itself, and why that is right.

/// Why.
pub enum Why {
    /// This test runs it, in the state it is for: file and function.
    RunBy(&'static str),
    /// The text names a command, and advises nobody to run it as it stands; that it is understood is tested.
    Names,
}

use Why::{Names, RunBy};

pub const KNOWN: &[(&str, Why)] = &[
    ("keyd identity remove", Names),
    (
        "keyd key rotation-policy set prod --rotate-after P18M --expires-after P2Y",
        RunBy(
            "keyd/src/ops/tests/by_clock.rs::policies_in_months_and_years_are_judged_by_the_calendar",
        ),
    ),
    (
        "keyd serve --listen 127.0.0.1:8443",
        RunBy("keyd/tests/https.rs::the_ca_is_told_by_the_daemon_and_from_its_directory_alike"),
    ),
    (
        "keyd serve --listen 127.0.0.1:8443 --identity-listen 127.0.0.1:8444",
        RunBy("keyd/tests/conformance.rs::azure_cli_is_served"),
    ),
    (
        "keyd token revoke ci --all",
        RunBy(
            "keyd/tests/identity.rs::an_identity_has_one_token_until_that_is_near_its_end_or_revoked",
        ),
    ),
    ("keyd vault create bank", RunBy("keyd/tests/conformance.rs::azure_cli_is_served")),
    (
        "keyd vault permit bank app:ci get,list,create,sign,verify,wrapKey,unwrapKey",
        RunBy("keyd/tests/conformance.rs::azure_cli_is_served"),
    ),
    ("image create", Names),
    (
        "cryptsetup open --type luks2 --key-size 512 --volume-key-file volume-key db.img db",
        RunBy("tests/interop.rs::the_released_key_opens_the_image_and_no_other_does"),
    ),
    ("image create --sector-size 4096", Names),
    (
        "image create /dev/vg/db --des prod --dense",
        RunBy(
            "images/tests/create.rs::a_block_device_is_overwritten_only_when_told_and_blank_afterwards",
        ),
    ),
    ("image info", Names),
    ("image resize", Names),
    ("keyd VERB --help", Names),
    ("keyd audit archive", Names),
    (
        "keyd audit archive --before 150000 --to /srv/audit",
        RunBy("keyd/tests/audit.rs::old_rows_are_moved_away_and_the_chain_begins_behind_them"),
    ),
    ("keyd audit archive --to /srv/audit", Names),
    ("keyd audit archive --to DIR", Names),
    (
        "keyd audit reanchor --accept-break",
        RunBy("keyd/tests/audit.rs::a_break_is_accepted_by_an_administrator_in_so_many_words"),
    ),
    ("keyd backup", Names),
    (
        "keyd backup --to /mnt/keyd.age --recipient age1…",
        RunBy(
            "keyd/tests/recovery.rs::the_drill_every_disk_opens_after_a_restore_on_an_empty_directory",
        ),
    ),
    (
        "keyd backup --to keyd.age --recipient age1…",
        RunBy(
            "keyd/tests/recovery.rs::the_drill_every_disk_opens_after_a_restore_on_an_empty_directory",
        ),
    ),
    (
        "keyd backup --to keyd.age --recipient age1… --state-dir /var/lib/keyd",
        RunBy(
            "keyd/tests/recovery.rs::a_backup_is_taken_and_restored_beside_a_daemon_that_does_not_run",
        ),
    ),
    (
        "keyd ca show",
        RunBy("keyd/tests/https.rs::the_ca_is_told_by_the_daemon_and_from_its_directory_alike"),
    ),
    ("keyd check", Names),
    ("keyd check --accept-damage", Names),
    ("keyd check --deep", Names),
    ("keyd clock confirm", Names),
    ("keyd clock show", Names),
    ("keyd des create", Names),
    ("keyd des set-key", Names),
    ("keyd des set-key SET --key {}", Names),
    (
        "keyd des set-key {set} --key {key} --version {version}",
        RunBy(
            "keyd/src/ops/tests/follow.rs::an_imported_version_is_followed_when_somebody_says_so_for_the_set",
        ),
    ),
    ("keyd des show", Names),
    ("keyd des show {0}", Names),
    ("keyd des show {set}", Names),
    (
        "keyd disk erase ID",
        RunBy(
            "tests/losses.rs::every_kind_of_loss_halts_a_running_disk_and_what_comes_back_goes_on",
        ),
    ),
    ("keyd disk move", Names),
    ("keyd disk show", Names),
    (
        "keyd disk show --json",
        RunBy("keyd/tests/cli_grants.rs::a_grant_for_disks_says_for_which_and_shows"),
    ),
    ("keyd grant", Names),
    (
        "keyd grant --list",
        RunBy("keyd/tests/cli_grants.rs::a_grant_for_disks_says_for_which_and_shows"),
    ),
    (
        "keyd grant {who} attach --disk {disk}",
        RunBy("keyd/tests/cli_grants.rs::a_grant_for_disks_says_for_which_and_shows"),
    ),
    (
        "keyd grant {who} {permission} --des {set}",
        RunBy("keyd/tests/cli_grants.rs::a_grant_for_disks_says_for_which_and_shows"),
    ),
    (
        "keyd grant {who} {permission} --disk {id}",
        RunBy("keyd/tests/cli_grants.rs::a_grant_for_disks_says_for_which_and_shows"),
    ),
    ("keyd identity create", Names),
    (
        "keyd identity create ci",
        RunBy("keyd/tests/https.rs::the_command_line_makes_applications_tokens_and_identities"),
    ),
    (
        "keyd key create prod",
        RunBy("keyd/tests/cli.rs::keys_are_made_changed_rotated_deleted_and_destroyed"),
    ),
    (
        "keyd key create prod --bits 4096",
        RunBy("keyd/tests/cli.rs::keys_are_made_changed_rotated_deleted_and_destroyed"),
    ),
    ("keyd key disable", Names),
    (
        "keyd key disable K --version V",
        RunBy(
            "tests/losses.rs::every_kind_of_loss_halts_a_running_disk_and_what_comes_back_goes_on",
        ),
    ),
    ("keyd key disable prod --token 0123456789abcdef --wait 2m", Names),
    (
        "keyd key disable prod --version 0123456789abcdef0123456789abcdef",
        RunBy("keyd/tests/cli.rs::keys_are_made_changed_rotated_deleted_and_destroyed"),
    ),
    (
        "keyd key enable K --version V",
        RunBy(
            "tests/losses.rs::every_kind_of_loss_halts_a_running_disk_and_what_comes_back_goes_on",
        ),
    ),
    (
        "keyd key purge --dry-run",
        RunBy("keyd/tests/permissions.rs::a_purge_of_what_is_in_use_takes_two"),
    ),
    (
        "keyd key purge K",
        RunBy(
            "tests/losses.rs::every_kind_of_loss_halts_a_running_disk_and_what_comes_back_goes_on",
        ),
    ),
    ("keyd key rotate", Names),
    ("keyd key rotate {}", Names),
    (
        "keyd key set K --operations",
        RunBy(
            "tests/losses.rs::every_kind_of_loss_halts_a_running_disk_and_what_comes_back_goes_on",
        ),
    ),
    (
        "keyd key set {key} --version {version} --expires never",
        RunBy(
            "keyd/src/ops/tests/follow.rs::a_version_that_ends_too_soon_is_followed_when_it_does_not",
        ),
    ),
    ("keyd key show", Names),
    ("keyd principal certificates", Names),
    (
        "keyd principal certificates ci --certificate ci.pem",
        RunBy("keyd/tests/https.rs::a_client_certificate_is_its_applications"),
    ),
    ("keyd restore", Names),
    (
        "keyd restore --from keyd.age --identity identity --state-dir /var/lib/keyd",
        RunBy(
            "keyd/tests/recovery.rs::the_drill_every_disk_opens_after_a_restore_on_an_empty_directory",
        ),
    ),
    (
        "keyd restore --from keyd.age --identity identity --state-dir /var/lib/keyd --root passphrase",
        RunBy(
            "keyd/tests/recovery.rs::a_backup_is_taken_and_restored_beside_a_daemon_that_does_not_run",
        ),
    ),
    ("keyd root", Names),
    (
        "keyd root change-passphrase --state-dir /var/lib/keyd",
        RunBy(
            "keyd/tests/roots.rs::a_root_key_moves_to_a_passphrase_and_back_and_disks_notice_nothing",
        ),
    ),
    (
        "keyd root move",
        RunBy(
            "keyd/tests/roots.rs::a_root_key_moves_to_a_passphrase_and_back_and_disks_notice_nothing",
        ),
    ),
    ("keyd root move --to passphrase", Names),
    (
        "keyd root move --to passphrase --state-dir /var/lib/keyd",
        RunBy(
            "keyd/tests/roots.rs::a_root_key_moves_to_a_passphrase_and_back_and_disks_notice_nothing",
        ),
    ),
    (
        "keyd root move --to pkcs11 --state-dir /var/lib/keyd",
        RunBy("keyd/tests/roots.rs::a_root_key_wrapped_in_a_token_opens_at_every_start"),
    ),
    (
        "keyd root move --to {asked}",
        RunBy(
            "keyd/tests/roots.rs::a_root_key_moves_to_a_passphrase_and_back_and_disks_notice_nothing",
        ),
    ),
    (
        "keyd root show --state-dir /var/lib/keyd",
        RunBy(
            "keyd/tests/roots.rs::a_root_key_moves_to_a_passphrase_and_back_and_disks_notice_nothing",
        ),
    ),
    ("keyd serve", Names),
    (
        "keyd serve --audit-copy PATH",
        RunBy("keyd/tests/audit_copies.rs::a_copy_has_every_row_and_catches_up"),
    ),
    ("keyd serve --backup-to DIR --backup-every 1h --recipient age1…", Names),
    ("keyd serve --backup-to DIR --recipient age1… …", Names),
    ("keyd serve --grant", Names),
    (
        "keyd serve --listen ADDRESS",
        RunBy("keyd/tests/https.rs::the_ca_is_told_by_the_daemon_and_from_its_directory_alike"),
    ),
    ("keyd serve --public-name", Names),
    (
        "keyd serve --state-dir ./state --socket ./keyd.sock --grant libvirt-qemu=attach:des=prod-disks --grant 1000=read,audit",
        RunBy("keyd/tests/permissions.rs::a_grant_is_enough_for_what_it_names"),
    ),
    (
        "keyd serve --state-dir /var/lib/keyd",
        RunBy("keyd/tests/start.rs::everything_is_there_after_a_restart"),
    ),
    ("keyd serve --state-dir /var/lib/keyd --backup-to /mnt/keyd --recipient age1…", Names),
    (
        "keyd serve --writable DIR",
        RunBy("keyd/tests/recovery.rs::a_backup_that_cannot_be_made_is_refused_by_what_is_wrong"),
    ),
    ("keyd upgrade --state-dir DIR", Names),
    ("keyd vault permit", Names),
    (
        "keyd vault permit VAULT des:NAME get,wrapKey,unwrapKey --add",
        RunBy(
            "tests/losses.rs::every_kind_of_loss_halts_a_running_disk_and_what_comes_back_goes_on",
        ),
    ),
    (
        "keyd vault permit VAULT des:NAME none",
        RunBy(
            "tests/losses.rs::every_kind_of_loss_halts_a_running_disk_and_what_comes_back_goes_on",
        ),
    ),
    (
        "vhost-backend --socket-path /run/vm1/disk.sock --blk-file vm1.img --keyd /run/keyd/keyd.sock",
        RunBy("tests/units.rs::the_programs_serve_by_their_commands"),
    ),
    (
        "vhost-backend --socket-path db.sock --blk-file db.img",
        RunBy("tests/units.rs::the_programs_serve_by_their_commands"),
    ),
];
