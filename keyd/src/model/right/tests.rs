//! The table of states and uses, every cell.

use std::collections::BTreeSet;

use keyd_client::message::{Bound, EncryptionType, KeyChange, OnRevoke, Terms};

use super::*;
use crate::{
    kek::{Material, PublicKey, SealedKey},
    model::des::Choice,
};

const NOW: UnixMillis = 1_000_000;

/// What the set, its vault and its key are like.
struct State {
    vault: Vault,
    set: Des,
    key: Key,
    version: KeyVersion,
}

fn healthy(on_expiry: OnExpiry) -> State {
    let material = Material::Sealed(SealedKey(vec![]));
    let public = PublicKey { n: vec![0x80; 256], e: vec![1, 0, 1] };
    let version = KeyVersion::random();
    let first = Version::new(version, (material, public), 1);
    let key = Key::new("k".parse().unwrap(), false, first);
    let terms = Terms { on_revoke: OnRevoke::Park, lease_ms: 5000, grace_ms: 0, on_expiry };
    let encryption = EncryptionType::CustomerKey;
    let choice = Choice { encryption, terms, auto_rotate: true };
    let name = "s".parse().unwrap();
    let set = Des::on_key(name, (&key, version), KeyVersion::random(), choice, 1).unwrap();
    let mut vault = Vault::new("default".parse().unwrap(), 7, false, 1).unwrap();
    vault.permit(set.identity(), IDENTITY_NEEDS.into()).unwrap();
    State { vault, set, key, version }
}

impl State {
    fn change(&mut self, change: &KeyChange) {
        self.key.change(None, change, 5).unwrap();
    }

    fn may_only(&mut self, permissions: &[KeyPermission]) {
        let permissions: BTreeSet<KeyPermission> = permissions.iter().copied().collect();
        self.vault.permit(self.set.identity(), permissions).unwrap();
    }

    /// Why not, in a word.
    fn right(&self, what_for: Use) -> &'static str {
        match right(&self.vault, &self.set, &self.key, self.version, what_for, NOW) {
            Ok(version) => {
                assert_eq!(version.version, self.version);
                "yes"
            }
            Err(Refused::KeyDisabled(_)) => "disabled",
            Err(Refused::KeyDeleted(_)) => "deleted",
            Err(Refused::NoVersion(..)) => "no version",
            Err(Refused::Operation(_, KeyOperation::WrapKey)) => "no wrapKey",
            Err(Refused::Operation(_, KeyOperation::UnwrapKey)) => "no unwrapKey",
            Err(Refused::NotYetValid(_)) => "not yet",
            Err(Refused::Expired(_) | Refused::Ended(_)) => "expired",
            Err(Refused::IdentityLacks { permission, .. }) => permission.name(),
            Err(other) => panic!("{other}"),
        }
    }
}

type Make = fn(&mut State);

fn operations(state: &mut State, operations: &[KeyOperation]) {
    let operations = Some(operations.iter().copied().collect());
    state.change(&KeyChange { operations, ..KeyChange::default() });
}

/// State; then what is said to who wraps, who attaches, and who goes on.
const TABLE: &[(&str, Make, [&str; 3])] = &[
    ("healthy", |_| {}, ["yes", "yes", "yes"]),
    (
        "disabled",
        |s| s.change(&KeyChange { enabled: Some(false), ..KeyChange::default() }),
        ["disabled"; 3],
    ),
    ("deleted", |s| s.key.delete(5, 6).unwrap(), ["deleted"; 3]),
    ("another version", |s| s.version = KeyVersion::random(), ["no version"; 3]),
    (
        "only wrapKey",
        |s| operations(s, &[KeyOperation::WrapKey]),
        ["yes", "no unwrapKey", "no unwrapKey"],
    ),
    ("only unwrapKey", |s| operations(s, &[KeyOperation::UnwrapKey]), ["no wrapKey", "yes", "yes"]),
    (
        "no operation of ours",
        |s| operations(s, &[KeyOperation::Encrypt, KeyOperation::Decrypt]),
        ["no wrapKey", "no unwrapKey", "no unwrapKey"],
    ),
    ("no policy", |s| s.may_only(&[]), ["get"; 3]),
    ("no get", |s| s.may_only(&[KeyPermission::WrapKey, KeyPermission::UnwrapKey]), ["get"; 3]),
    (
        "no wrapKey",
        |s| s.may_only(&[KeyPermission::Get, KeyPermission::UnwrapKey]),
        ["wrapKey", "yes", "yes"],
    ),
    (
        "no unwrapKey",
        |s| s.may_only(&[KeyPermission::Get, KeyPermission::WrapKey]),
        ["yes", "unwrapKey", "unwrapKey"],
    ),
    (
        "every permission but its own",
        |s| {
            let others = KeyPermission::ALL.iter().filter(|p| !IDENTITY_NEEDS.contains(p));
            s.may_only(&others.copied().collect::<Vec<_>>());
        },
        ["get"; 3],
    ),
    (
        "the policy is another set's",
        |s| {
            s.may_only(&[]);
            let other = Principal::Des("t".parse().unwrap());
            s.vault.permit(other, IDENTITY_NEEDS.into()).unwrap();
        },
        ["get"; 3],
    ),
    (
        "the daemon's own key needs no policy",
        |s| {
            s.may_only(&[]);
            s.key.platform = true;
        },
        ["yes", "yes", "yes"],
    ),
    (
        "the daemon's own key, disabled",
        |s| {
            s.key.platform = true;
            s.change(&KeyChange { enabled: Some(false), ..KeyChange::default() });
        },
        ["disabled"; 3],
    ),
    (
        "disabled and no policy: the policy is the nearer reason",
        |s| {
            s.may_only(&[]);
            s.change(&KeyChange { enabled: Some(false), ..KeyChange::default() });
        },
        ["get"; 3],
    ),
];

const USES: [Use; 3] = [Use::Wrap, Use::Attach, Use::Keep];

#[test]
fn every_state_and_use_whatever_the_set_says_of_validity() {
    for on_expiry in [OnExpiry::RefuseNew, OnExpiry::Revoke, OnExpiry::Ignore] {
        for (what, make, expected) in TABLE {
            let mut state = healthy(on_expiry);
            make(&mut state);
            assert_eq!(USES.map(|what_for| state.right(what_for)), *expected, "{what}");
        }
    }
}

/// Key Vault itself refuses wraps outside nbf..exp and never unwraps; the rest is the set's choice.
#[test]
fn every_use_outside_validity_for_each_choice_of_the_set() {
    let seconds = NOW / 1000;
    for (not_before, expires, why) in [
        (None, Some(seconds), "expired"),
        (None, Some(seconds - 1), "expired"),
        (Some(seconds + 1), None, "not yet"),
        (Some(seconds + 1), Some(seconds + 2), "not yet"),
    ] {
        for (on_expiry, expected) in [
            (OnExpiry::RefuseNew, [why, why, "yes"]),
            (OnExpiry::Revoke, [why, why, why]),
            (OnExpiry::Ignore, [why, "yes", "yes"]),
        ] {
            let mut state = healthy(on_expiry);
            let bounds = (not_before.map(Bound::At), expires.map(Bound::At));
            let (not_before, expires) = bounds;
            state.change(&KeyChange { not_before, expires, ..KeyChange::default() });
            let told = USES.map(|what_for| state.right(what_for));
            assert_eq!(told, expected, "{on_expiry:?} {not_before:?} {expires:?}");
        }
    }
    let mut state = healthy(OnExpiry::Revoke);
    let (not_before, expires) = (Some(Bound::At(seconds)), Some(Bound::At(seconds + 1)));
    state.change(&KeyChange { not_before, expires, ..KeyChange::default() });
    assert_eq!(USES.map(|what_for| state.right(what_for)), ["yes"; 3], "the bounds themselves");
}
