//! Style is a test: sizes, where `unsafe` may live, who may expose a key, what may hold a secret, which licences
//! come in.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use proc_macro2::Span;
use syn::{Attribute, Item, ItemFn, spanned::Spanned, visit::Visit};

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;
const LINE_LEN_MAX: usize = 120;

/// Sources of the product; tests and benches are held to the sizes, not to the secrets.
const PRODUCT: [&str; 4] = ["keyd/client/src", "images/src", "keyd/src", "vhost-backend/src"];
const OTHERS: [&str; 5] = ["tests", "benches", "keyd/tests", "images/tests", "keyd/client/tests"];

/// The files where `unsafe` may live, and why.
const UNSAFE: [&str; 5] = [
    "keyd/client/src/dek/page.rs",      // mapping, locking and wiping pages
    "vhost-backend/src/disk/buffer.rs", // the buffer pool's mapping
    "vhost-backend/src/disk/uring.rs",  // entries that name memory
    "vhost-backend/src/inherit.rs",     // a descriptor by its number
    "images/src/crypt/kernel",          // vector instructions
];

/// Who may look at the bytes of a DEK: each spends, wraps, sends or proves it.
const EXPOSE: [&str; 7] = [
    "keyd/client/src/dek.rs",
    "keyd/client/src/wire.rs",
    "images/src/crypt.rs",
    "images/src/crypt/",
    "images/src/digest.rs",
    "keyd/src/",
    "keyd/client/src/dek/",
];

/// Types that are secrets: each says nothing of itself in a `Debug` written by hand, which its holders may derive from.
const SECRETS: [&str; 5] = ["Dek", "Locked", "XtsCipher", "Sealer", "Schedules"];

/// Who may say that a buffer holds ciphertext: who encrypted it, and who read it from the disk.
const INTO_CIPHERTEXT: [&str; 3] = [
    "vhost-backend/src/disk/buffer.rs",
    "vhost-backend/src/seal.rs",
    "vhost-backend/src/queue/serve.rs",
];

/// Licences of what is linked; all permissive.
const LICENCES: [&str; 12] = [
    "MIT",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Unicode-3.0",
    "Zlib",
    "0BSD",
    "Unlicense",
    "OpenSSL",
    "MIT-0",
];

struct Source {
    path: String,
    text: String,
    /// The text without its test modules: sizes and bans are about what ships.
    shipped: String,
}

impl Source {
    /// A file that is a test module as a whole.
    fn is_test(&self) -> bool {
        self.path.split('/').any(|part| part.trim_end_matches(".rs").ends_with("tests"))
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn sources(dirs: &[&str]) -> Vec<Source> {
    let mut found = Vec::new();
    for dir in dirs {
        collect(&root().join(dir), &mut found);
    }
    assert!(!found.is_empty());
    found
}

fn collect(dir: &Path, found: &mut Vec<Source>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let path = path.strip_prefix(root()).unwrap().display().to_string();
            let shipped = text.split("\n#[cfg(test)]\n").next().unwrap_or_default().to_owned();
            found.push(Source { path, text, shipped });
        }
    }
}

fn report(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

fn is_in(path: &str, list: &[&str]) -> bool {
    list.iter().any(|place| path.starts_with(place))
}

/// Lines with `word` outside comments.
fn uses<'s>(source: &'s str, word: &str) -> Vec<&'s str> {
    source
        .lines()
        .filter(|line| !line.trim_start().starts_with("//") && line.contains(word))
        .collect()
}

#[test]
fn files_and_lines_have_their_size() {
    let mut faults = Vec::new();
    let mut sizes = Vec::new();
    for source in sources(&[&PRODUCT[..], &OTHERS].concat()) {
        let lines = source.shipped.lines().count();
        sizes.push(lines);
        if lines > FILE_LINES_MAX {
            faults.push(format!("{}: {lines} lines without tests", source.path));
        }
        for (number, line) in source.text.lines().enumerate() {
            if line.chars().count() > LINE_LEN_MAX && !line.contains('"') {
                faults.push(format!(
                    "{}:{}: a line of over {LINE_LEN_MAX}",
                    source.path,
                    number + 1
                ));
            }
        }
    }
    sizes.sort_unstable();
    println!("{} files, median {} lines", sizes.len(), sizes[sizes.len() / 2]);
    assert!(sizes[sizes.len() / 2] <= 200, "the median file is no small file any more");
    report(&faults);
}

#[test]
fn functions_have_their_size() {
    struct Long<'f>(&'f str, Vec<String>);
    impl Long<'_> {
        fn check(&mut self, name: &str, span: Span) {
            let lines = span.end().line - span.start().line + 1;
            if lines > FUNCTION_LINES_MAX {
                self.1.push(format!("{}: {name} has {lines} lines", self.0));
            }
        }
    }
    impl<'ast> Visit<'ast> for Long<'_> {
        fn visit_item_fn(&mut self, function: &'ast ItemFn) {
            self.check(&function.sig.ident.to_string(), function.span());
            syn::visit::visit_item_fn(self, function);
        }
        fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
            self.check(&function.sig.ident.to_string(), function.span());
            syn::visit::visit_impl_item_fn(self, function);
        }
    }
    let mut faults = Vec::new();
    for source in sources(&[&PRODUCT[..], &OTHERS].concat()) {
        let file = syn::parse_file(&source.text).unwrap_or_else(|e| panic!("{}: {e}", source.path));
        let mut long = Long(&source.path, Vec::new());
        long.visit_file(&file);
        faults.append(&mut long.1);
    }
    report(&faults);
}

#[test]
fn unsafe_lives_in_its_files() {
    let strays = |source: &Source| {
        let words = ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern"];
        !is_in(&source.path, &UNSAFE)
            && words.iter().any(|word| !uses(&source.shipped, word).is_empty())
    };
    let found: Vec<String> =
        sources(&PRODUCT).into_iter().filter(strays).map(|source| source.path).collect();
    report(&found);
}

#[test]
fn secrets_are_neither_printed_nor_cloned_nor_serialised() {
    let mut faults = Vec::new();
    for source in sources(&PRODUCT) {
        let file = syn::parse_file(&source.text).unwrap();
        for item in &file.items {
            let (name, attributes, fields) = match item {
                Item::Struct(item) => {
                    (&item.ident, &item.attrs, item.fields.iter().collect::<Vec<_>>())
                }
                Item::Enum(item) => {
                    let fields = item.variants.iter().flat_map(|variant| &variant.fields).collect();
                    (&item.ident, &item.attrs, fields)
                }
                _ => continue,
            };
            let secret = fields.iter().any(|field| is_secret(&field.ty));
            for derived in derives(attributes) {
                let copies = ["Clone", "Serialize", "Deserialize", "PartialEq"];
                let prints = derived == "Debug" && SECRETS.iter().any(|secret| name == secret);
                if prints || (secret && copies.contains(&derived.as_str())) {
                    faults.push(format!(
                        "{}: {name} is or holds a secret and derives {derived}",
                        source.path
                    ));
                }
            }
        }
    }
    report(&faults);
}

/// Whether a type is, or directly contains, secret bytes.
fn is_secret(field: &syn::Type) -> bool {
    struct Names(bool);
    impl<'ast> Visit<'ast> for Names {
        fn visit_ident(&mut self, ident: &'ast proc_macro2::Ident) {
            self.0 |= ident == "Dek" || ident == "Locked";
        }
    }
    let mut names = Names(false);
    names.visit_type(field);
    names.0
}

fn derives(attributes: &[Attribute]) -> Vec<String> {
    let mut found = Vec::new();
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("derive")) {
        let _ = attribute.parse_nested_meta(|meta| {
            found.extend(meta.path.segments.last().map(|segment| segment.ident.to_string()));
            Ok(())
        });
    }
    found
}

#[test]
fn keys_are_exposed_and_ciphertext_is_declared_where_it_may_be() {
    let mut faults = Vec::new();
    for source in sources(&PRODUCT) {
        for (word, places) in [(".expose()", &EXPOSE[..]), ("into_ciphertext(", &INTO_CIPHERTEXT)] {
            if !is_in(&source.path, places) && !uses(&source.shipped, word).is_empty() {
                faults.push(format!("{}: {word}", source.path));
            }
        }
    }
    report(&faults);
}

#[test]
fn the_product_does_not_panic_on_purpose_and_leaves_no_notes() {
    let mut faults = Vec::new();
    for source in sources(&PRODUCT).iter().filter(|source| !source.is_test()) {
        for word in [".unwrap()", "panic!(", "todo!(", "unimplemented!(", "dbg!("] {
            for line in uses(&source.shipped, word) {
                faults.push(format!("{}: {}", source.path, line.trim()));
            }
        }
    }
    for source in sources(&[&PRODUCT[..], &OTHERS].concat()) {
        for word in [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")] {
            if source.path != "tests/tidy.rs" && source.text.contains(word) {
                faults.push(format!("{}: {word}", source.path));
            }
        }
    }
    report(&faults);
}

#[test]
fn crates_point_at_each_other_as_the_architecture_says() {
    let allowed: [(&str, &[&str]); 4] = [
        ("keyd/client", &[]),
        ("images", &["keyd-client"]),
        ("keyd", &["keyd-client"]),
        ("vhost-backend", &["keyd-client", "images"]),
    ];
    let ours = ["keyd-client", "images", "keyd", "vhost-backend"];
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

#[test]
fn every_direct_dependency_says_why() {
    let mut faults = Vec::new();
    for dir in ["keyd/client", "images", "keyd", "vhost-backend", "tests", "benches"] {
        let manifest = fs::read_to_string(root().join(dir).join("Cargo.toml")).unwrap();
        let mut explained = false;
        let mut in_dependencies = false;
        for line in manifest.lines() {
            if line.starts_with('[') {
                in_dependencies = line.contains("dependencies]");
            } else if line.starts_with('#') {
                explained = true;
            } else if line.is_empty() {
                explained = false;
            } else if in_dependencies && line.contains('=') {
                if !explained {
                    faults.push(format!("{dir}: {line}"));
                }
                explained = false;
            }
        }
    }
    report(&faults);
}

#[test]
fn operations_of_the_daemon_take_a_permit() {
    /// Done by the daemon itself, on nobody's order.
    const OWN: [&str; 4] = ["first_start.rs", "lease_end.rs", "rewrap.rs", "status.rs"];
    let mut faults = Vec::new();
    for source in sources(&["keyd/src/ops"]) {
        let own = OWN.iter().any(|name| source.path.ends_with(name));
        if !own && !source.shipped.contains("Permit<") {
            faults.push(source.path);
        }
    }
    report(&faults);
}

#[test]
fn licences_of_what_is_linked_are_permissive() {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--locked",
            "--filter-platform",
            "x86_64-unknown-linux-gnu",
        ])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let allowed: BTreeSet<&str> = LICENCES.into_iter().collect();
    let packages = metadata["packages"].as_array().unwrap();
    assert!(packages.len() > 50);
    let mut faults = Vec::new();
    for package in packages {
        let licence = package["license"].as_str().unwrap_or("none").replace('/', " OR ");
        // Of alternatives one must do; of what is joined by AND, each.
        let acceptable = licence
            .replace(['(', ')'], "")
            .split(" AND ")
            .all(|part| part.split(" OR ").any(|name| allowed.contains(name.trim())));
        if !acceptable {
            faults.push(format!("{}: {licence}", package["name"]));
        }
    }
    report(&faults);
}
