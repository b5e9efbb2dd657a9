//! `keyd root`: done on the state directory itself, while no daemon runs on it, and written into its audit log.

use std::path::{Path, PathBuf};

use keyd_client::Principal;

use super::{
    Error, Exit,
    args::root::{OpenRoot, Root},
    console::Console,
};
use crate::{
    audit::{Class, Entry},
    error::Failure,
    files::SystemDir,
    harden,
    root::{Means, Moved, RootError, RootKey, RootKind},
    seal::Seal,
    state_dir::StateDir,
    store,
};

pub(super) fn run(console: &Console, verb: Root) -> Result<Exit, Error> {
    harden::process();
    match verb {
        Root::Show { state_dir } => show(console, &state_dir),
        Root::Move { to, state_dir, new_passphrase_file, open } => {
            let dir = StateDir::open_existing(&state_dir)?;
            let means = means(open, new_passphrase_file)?;
            let moved: Result<Moved, Failure> = dir.root().move_to(to, &means, |root, moved| {
                record(&dir, root, entry("root-move").detail(moved.to_string()))
            });
            report(console, "moved", moved?)
        }
        Root::ChangePassphrase { state_dir, new_passphrase_file, open } => {
            let dir = StateDir::open_existing(&state_dir)?;
            let means = means(open, new_passphrase_file)?;
            let changed: Result<(), Failure> = dir.root().change_passphrase(&means, |root| {
                record(&dir, root, entry("root-change-passphrase"))
            });
            changed?;
            console.print(&serde_json::json!({ "changed": true }), |_| {
                "the root key has another passphrase; the old one opens older copies of root.json only"
                    .to_owned()
            })
        }
    }
}

fn show(console: &Console, state_dir: &Path) -> Result<Exit, Error> {
    let place = StateDir::open_existing(state_dir)?.root();
    let kind = place.kind()?.ok_or_else(|| RootError::Missing(place.key.clone()))?;
    let moving = place.is_moving()?;
    let value = serde_json::json!({ "kind": kind.to_string(), "moving": moving });
    console.print(&value, |_| match moving {
        false => kind.to_string(),
        true => format!("{kind}; a move stopped half way: 'keyd root move' finishes it"),
    })
}

fn report(console: &Console, verb: &str, Moved { from, to }: Moved) -> Result<Exit, Error> {
    let value = serde_json::json!({ verb: { "from": from.to_string(), "to": to.to_string() } });
    console.print(&value, |_| {
        let left = match from {
            RootKind::File => "; copies of root.key elsewhere still open the store: destroy them",
            RootKind::Pkcs11 => "; the key 'keyd root' is still in the token",
            RootKind::Passphrase => "",
        };
        format!("the root key was moved from {from} to {to}{left}")
    })
}

fn means(open: OpenRoot, new_file: Option<PathBuf>) -> Result<Means, Error> {
    let (passphrase, hsm) = open.parts(new_file);
    Ok(Means::new(passphrase, hsm)?)
}

/// Writes it down in the state directory, which is locked.
fn record(dir: &StateDir, root: &RootKey, entry: Entry) -> Result<(), Failure> {
    let keeping = store::AuditKeeping::default();
    let store = store::open(&SystemDir::new(dir.path()), Seal::new(root)?, &keeping)?;
    store.record(entry)
}

/// By whom, and what.
fn entry(operation: &'static str) -> Entry {
    let who = Principal::User(rustix::process::getuid().as_raw());
    Entry::new(who, operation, "root").class(Class::Administration)
}
