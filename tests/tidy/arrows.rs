//! The arrows: which crate links which, and which module of the daemon knows which. A request's way is one way.

use std::fs;

use syn::{
    UseTree,
    visit::{self, Visit},
};

use crate::source::{Source, report, root, sources};

/// The daemon's modules from the outermost to the innermost. A module knows those further in, and those beside it.
const LAYERS: [&[&str]; 11] = [
    &["main", "lib", "cli"],
    &["serve", "sandbox"],
    &["front", "keeper"],
    &["service"],
    &["ops", "recovery"],
    &["core"],
    &["backups", "leases", "standing", "envelope", "tls"],
    &["auth"],
    &["store", "keyring"],
    &["audit", "model", "keyvault"],
    &["kek", "hsm", "root", "opened", "seal", "secret_file", "state_dir", "volume_key"],
];

/// What every module may know. `error` in its turn knows each source of an error.
const TOOLS: [&str; 9] =
    ["amounts", "error", "limits", "clock", "log", "lock", "files", "harden", "base64_bytes"];

/// Further in, and still none of its business.
const BARRED: [(&str, &[&str]); 7] = [
    // It asks the service.
    ("front", &["ops", "core", "store", "audit", "root", "hsm"]),
    // It asks a running daemon, or starts one.
    ("cli", &["service", "core", "keeper", "leases", "model", "keyring", "kek", "envelope"]),
    ("service", &["envelope", "keyring", "root", "hsm", "volume_key"]),
    // It knows no secret.
    ("store", &["keyring", "kek", "root", "hsm", "opened"]),
    // Who has what, whatever it is.
    ("leases", &["store", "keyring", "model", "kek", "root", "hsm", "audit"]),
    ("audit", &["model", "keyvault", "kek", "root", "hsm"]),
    // What it judges by the time is told the time.
    ("model", &["clock", "log", "files", "audit", "keyvault"]),
];

/// Files and directories that are pure: they know no input, no output, no thread and no clock.
const PURE: [&str; 6] = [
    "keyd/src/model",
    "keyd/src/standing.rs",
    "vhost-backend/src/request.rs",
    "vhost-backend/src/flight.rs",
    "vhost-backend/src/device.rs",
    "images/src/layout.rs",
];

const IMPURE: [&str; 14] = [
    "std::fs",
    "std::io",
    "std::net",
    "std::os",
    "std::process",
    "std::thread",
    "std::env",
    "std::time::SystemTime",
    "rustix::event",
    "rustix::fs",
    "rustix::net",
    "rustix::process",
    "rustix::time",
    "redb::",
];

/// Operations that take no permit, and why.
const UNPERMITTED: [(&str, &str); 15] = [
    ("first_start.rs", "done by the daemon itself, before anybody can ask"),
    ("due.rs", "done by the daemon itself, when its time has come"),
    ("state_keep.rs", "done by the daemon itself, as it was started to"),
    ("des_follow.rs", "done by the daemon itself, after a rotation that was permitted"),
    ("rewrap.rs", "the long part of that"),
    ("rotation_end.rs", "the same, where it has to be over now"),
    ("lease_end.rs", "happens to a lease"),
    ("enforce.rs", "what follows for holders from a change that was permitted"),
    ("impact.rs", "a part of operations that take keys away"),
    ("consent.rs", "what its asker says to that"),
    ("status.rs", "how operations tell what is stored"),
    ("daemon_status/disks.rs", "a part of `status`"),
    ("daemon_status/keys.rs", "a part of `status`"),
    ("daemon_status/released.rs", "a part of `status`"),
    ("daemon_status/serving.rs", "a part of `status`"),
];

/// Operations that take one and write past it, and why.
const PAST_ITS_PERMIT: [(&str, &str); 4] = [
    ("fence.rs", "who has a lease may always say that it let go"),
    ("purge.rs", "a key pair that stays in the HSM is written down after the key is gone"),
    ("rotate.rs", "a version is also made by the daemon itself; who asks is asked again in it"),
    ("taking.rs", "asks again in the change that it hands on"),
];

/// Those of them that the service may call: what it tells the daemon happens by itself.
const CALLED_BY_SERVICE: [&str; 1] = ["lease_end"];

/// The clock on the wall may be wrong, so what is decided by the time asks the store's: these do not read the other.
#[test]
fn what_is_decided_by_the_time_goes_by_the_clock_that_never_goes_back() {
    let mut faults = Vec::new();
    for (module, source) in daemon() {
        let decides = ["ops", "service", "core", "auth", "leases", "store"];
        let told = ["keyd/src/store/space.rs", "keyd/src/leases/"];
        let tells = told.iter().any(|path| source.path.starts_with(path));
        if decides.contains(&module.as_str())
            && !tells
            && paths(&source).iter().any(|path| path.ends_with("clock::now"))
        {
            faults.push(format!("{}: clock::now", source.path));
        }
    }
    report(&faults);
}

/// Paths that a source names: in `use`, and in full where they stand.
fn paths(source: &Source) -> Vec<String> {
    #[derive(Default)]
    struct Paths(Vec<String>);
    impl<'ast> Visit<'ast> for Paths {
        fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
            flatten(&item.tree, "", &mut self.0);
        }
        fn visit_path(&mut self, path: &'ast syn::Path) {
            let names: Vec<_> =
                path.segments.iter().map(|segment| segment.ident.to_string()).collect();
            self.0.push(names.join("::"));
            visit::visit_path(self, path);
        }
    }
    let file = syn::parse_file(&source.shipped).unwrap_or_else(|e| panic!("{}: {e}", source.path));
    let mut paths = Paths::default();
    paths.visit_file(&file);
    paths.0
}

fn flatten(tree: &UseTree, before: &str, paths: &mut Vec<String>) {
    match tree {
        UseTree::Path(path) => flatten(&path.tree, &format!("{before}{}::", path.ident), paths),
        UseTree::Name(name) => paths.push(format!("{before}{}", name.ident)),
        UseTree::Rename(name) => paths.push(format!("{before}{}", name.ident)),
        UseTree::Glob(_) => paths.push(before.to_owned()),
        UseTree::Group(group) => {
            group.items.iter().for_each(|tree| flatten(tree, before, paths));
        }
    }
}

/// The daemon's sources that ship, each with its module.
fn daemon() -> impl Iterator<Item = (String, Source)> {
    sources(&["keyd/src"]).into_iter().filter(|source| !source.is_test()).map(|source| {
        let below = source.path.trim_start_matches("keyd/src/");
        let module = below.split('/').next().unwrap_or(below).trim_end_matches(".rs");
        (module.to_owned(), source)
    })
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

#[test]
fn modules_of_the_daemon_know_only_what_is_further_in() {
    let mut faults = Vec::new();
    for (module, source) in daemon().filter(|(module, _)| !TOOLS.contains(&module.as_str())) {
        let Some(own) = layer(&module) else {
            faults.push(format!("{}: the module has no place in LAYERS", source.path));
            continue;
        };
        let barred = BARRED.iter().find(|(name, _)| *name == module).map_or(&[][..], |row| row.1);
        for path in paths(&source) {
            let mut parts = path.split("::");
            let (Some("crate"), Some(other)) = (parts.next(), parts.next()) else { continue };
            let inward = TOOLS.contains(&other) || layer(other).is_some_and(|layer| layer >= own);
            // A macro, or an item of the crate's root.
            let is_module = TOOLS.contains(&other) || layer(other).is_some();
            if is_module && other != module && (!inward || barred.contains(&other)) {
                faults.push(format!("{}: {path}", source.path));
            }
        }
    }
    report(&faults);
}

#[test]
fn tools_know_no_module_that_uses_them() {
    let mut faults = Vec::new();
    for (module, source) in daemon() {
        if !TOOLS.contains(&module.as_str()) || module == "error" {
            continue;
        }
        for path in paths(&source) {
            let other = path.strip_prefix("crate::").and_then(|rest| rest.split("::").next());
            if other.is_some_and(|other| layer(other).is_some()) {
                faults.push(format!("{}: {path}", source.path));
            }
        }
    }
    report(&faults);
}

#[test]
fn what_is_pure_knows_no_input_and_no_output() {
    let mut faults = Vec::new();
    for source in sources(&["keyd/src", "vhost-backend/src", "images/src"]) {
        let is_pure = PURE.iter().any(|place| source.path.starts_with(place));
        if !is_pure || source.is_test() {
            continue;
        }
        for path in paths(&source) {
            // A number with a name.
            let pure = path.starts_with("rustix::io::Errno");
            if !pure && IMPURE.iter().any(|impure| path.starts_with(impure)) {
                faults.push(format!("{}: {path}", source.path));
            }
        }
    }
    report(&faults);
}

#[test]
fn operations_of_the_daemon_take_a_permit() {
    let mut faults = Vec::new();
    for source in sources(&["keyd/src/ops"]).iter().filter(|source| !source.is_test()) {
        let takes = source.shipped.contains("Permit<");
        let file = source.path.trim_start_matches("keyd/src/ops/");
        let excused = UNPERMITTED.iter().any(|(name, _)| *name == file);
        match (takes, excused) {
            (false, false) => faults.push(format!("{}: takes no permit", source.path)),
            (true, true) => faults.push(format!("{}: excused, and takes one", source.path)),
            _ => {}
        }
    }
    let asks = |module: &str| ["service", "front"].contains(&module);
    for (_, source) in daemon().filter(|(module, _)| asks(module)) {
        for (name, why) in UNPERMITTED {
            let name = name.trim_end_matches(".rs");
            let called = source.shipped.contains(&format!("ops::{name}::run"));
            if called && !CALLED_BY_SERVICE.contains(&name) {
                faults.push(format!(
                    "{} calls ops::{name}, which takes no permit: {why}",
                    source.path
                ));
            }
        }
    }
    report(&faults);
}

#[test]
fn operations_of_the_daemon_ask_for_their_permission_again_where_they_write() {
    let mut faults = Vec::new();
    for source in sources(&["keyd/src/ops"]).iter().filter(|source| !source.is_test()) {
        let file = source.path.trim_start_matches("keyd/src/ops/");
        let past = ["store.commit(", "store.record(", "enforce::commit("];
        let past = past.iter().any(|call| source.shipped.contains(call));
        let excused = PAST_ITS_PERMIT.iter().any(|(name, _)| *name == file);
        match (source.shipped.contains("Permit<") && past, excused) {
            (true, false) => faults.push(format!("{}: writes past its permit", source.path)),
            (false, true) => faults.push(format!("{}: excused, and does not", source.path)),
            _ => {}
        }
    }
    report(&faults);
}

#[test]
fn crates_point_at_each_other_as_the_architecture_says() {
    let allowed: [(&str, &[&str]); 5] = [
        ("confine", &[]),
        ("keyd/client", &[]),
        ("images", &["confine", "keyd-client"]),
        ("keyd", &["confine", "keyd-client"]),
        ("vhost-backend", &["confine", "keyd-client", "images"]),
    ];
    let ours = ["confine", "keyd-client", "images", "keyd", "vhost-backend"];
    let mut faults = Vec::new();
    for (dir, may) in allowed {
        let manifest = fs::read_to_string(root().join(dir).join("Cargo.toml")).unwrap();
        let linked = manifest.split("[dev-dependencies]").next().unwrap_or_default();
        let linked = linked.split("[dependencies]").nth(1).unwrap_or_default();
        for name in ours {
            let is_linked = linked.lines().any(|line| line.starts_with(&format!("{name}.")));
            if is_linked && !may.contains(&name) {
                faults.push(format!("{dir} links {name}"));
            }
        }
        // The backend never links RSA, TLS or a database; the daemon never links io_uring.
        let barred: &[&str] =
            if dir == "keyd" { &["io-uring"] } else { &["aws-lc-rs", "redb", "rsa"] };
        for name in barred {
            if linked.lines().any(|line| line.starts_with(&format!("{name}."))) {
                faults.push(format!("{dir} links {name}"));
            }
        }
    }
    report(&faults);
}
