//! Style is a test: sizes, where `unsafe` may live, what the product may not do, which licences come in. Who may know
//! whom is in `tidy/arrows.rs`, who may look at a secret in `tidy/secrets.rs`, what is printed and how in
//! `tidy/printing.rs`.

#[path = "tidy/arrows.rs"]
mod arrows;
#[path = "tidy/printing.rs"]
mod printing;
#[path = "tidy/secrets.rs"]
mod secrets;
#[path = "tidy/source.rs"]
mod source;

use std::{collections::BTreeSet, fs, process::Command};

use proc_macro2::Span;
use source::{OTHERS, PRODUCT, Source, is_in, report, root, sources, uses};
use syn::{ItemFn, spanned::Spanned, visit::Visit};

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;
const LINE_LEN_MAX: usize = 120;

/// The files where `unsafe` may live, and why.
const UNSAFE: [&str; 10] = [
    "keyd/client/src/dek/page.rs",      // mapping, locking and wiping pages
    "vhost-backend/src/disk/buffer.rs", // the buffer pool's mapping
    "vhost-backend/src/disk/ring.rs",   // buffers by their address
    "vhost-backend/src/disk/ring_maker.rs", // a child process, a ring by its descriptor
    "vhost-backend/src/disk/uring.rs",  // entries that name memory
    "vhost-backend/src/inherit.rs",     // a descriptor by its number
    "vhost-backend/src/memory/cut.rs",  // a signal handler
    "vhost-backend/src/seal/shared.rs", // the cipher on guest memory
    "images/src/crypt/kernel",          // vector instructions
    "images/src/crypt/shared.rs",       // memory of somebody else's, by its address
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

/// The cipher that encrypts nothing is for benches, and only they may ask for it.
#[test]
fn no_program_is_built_without_encryption() {
    let members = ["confine", "keyd/client", "images", "keyd", "vhost-backend", "tests", "fuzz"];
    let asks = |path: &str| {
        let text = fs::read_to_string(root().join(path).join("Cargo.toml")).unwrap();
        let mut lines = text.lines().filter(|line| line.contains("plain-for-benches"));
        lines.any(|line| line != "plain-for-benches = []")
    };
    let mut faults: Vec<_> = members.into_iter().filter(|member| asks(member)).collect();
    if asks(".") {
        faults.push("Cargo.toml");
    }
    assert!(faults.is_empty(), "{faults:?}");
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

/// A test that prints that it does nothing passes in a run of everything.
#[test]
fn tests_that_cannot_run_say_so_in_one_way() {
    let mut faults = Vec::new();
    for source in sources(&[&PRODUCT[..], &OTHERS].concat()) {
        let may = source.path.starts_with("tests/must-run/") || source.path == "tests/tidy.rs";
        for line in uses(&source.text, "SKIP").into_iter().filter(|_| !may) {
            faults.push(format!("{}: call must_run::skip: {}", source.path, line.trim()));
        }
    }
    report(&faults);
}

#[test]
fn every_direct_dependency_says_why() {
    let mut faults = Vec::new();
    for dir in ["keyd/client", "images", "keyd", "vhost-backend", "tests", "benches", "fuzz"] {
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
