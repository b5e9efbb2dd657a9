//! Commands that our texts advise: in quotation marks, in backquotes, as examples; wherever a user may read them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use proc_macro2::{TokenStream, TokenTree};

/// What begins one.
pub const PROGRAMS: [&str; 10] = [
    "keyd",
    "image",
    "vhost-backend",
    "cryptsetup",
    "age-keygen",
    "chmod",
    "getent",
    "openssl",
    "systemctl",
    "usermod",
];

const SOURCES: [&str; 5] =
    ["confine/src", "keyd/client/src", "images/src", "keyd/src", "vhost-backend/src"];

/// Whose comments are help texts.
pub const HELP: [&str; 3] =
    ["keyd/src/cli/args", "images/src/cli.rs", "vhost-backend/src/config.rs"];

const PAPERS: [&str; 1] = ["README.md"];
const UNITS: &str = "vhost-backend/share";

/// Each command, and where it is advised.
pub type Advices = BTreeMap<String, BTreeSet<String>>;

/// All of them.
pub fn advices(root: &Path) -> Advices {
    let mut found = Advices::new();
    for dir in SOURCES {
        walk(&root.join(dir), &mut |path, text| {
            let path = path.strip_prefix(root).unwrap().display().to_string();
            let shipped = text.split("\n#[cfg(test)]\n").next().unwrap_or_default();
            let is_help = HELP.iter().any(|place| path.starts_with(place));
            // There it is the token of a header.
            let is_other = path.contains("test") || path == "images/src/header/metadata.rs";
            if path.ends_with(".rs") && !is_other {
                let tokens: TokenStream = shipped.parse().unwrap();
                literals(tokens, is_help, &mut |text| note(text, &path, &mut found));
            }
        });
    }
    for paper in PAPERS {
        note(&fs::read_to_string(root.join(paper)).unwrap(), paper, &mut found);
    }
    walk(&root.join(UNITS), &mut |path, text| {
        let place = path.strip_prefix(root).unwrap().display().to_string();
        note(text, &place, &mut found);
    });
    found
}

fn walk(dir: &Path, with: &mut impl FnMut(&Path, &str)) {
    for entry in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
        match entry.is_dir() {
            true => walk(&entry, with),
            false => with(&entry, &fs::read_to_string(&entry).unwrap()),
        }
    }
}

/// String literals; comments of items are among them, as the attributes that they are.
fn literals(tokens: TokenStream, is_help: bool, with: &mut impl FnMut(&str)) {
    let mut documents = false;
    for token in tokens {
        match token {
            TokenTree::Literal(literal) if !documents || is_help => {
                if let Ok(text) = syn::parse_str::<syn::LitStr>(&literal.to_string()) {
                    with(&text.value());
                }
            }
            TokenTree::Ident(ident) => documents = ident == "doc",
            TokenTree::Group(group) => literals(group.stream(), is_help, with),
            TokenTree::Literal(_) => documents = false,
            TokenTree::Punct(_) => {}
        }
    }
}

fn note(text: &str, place: &str, found: &mut Advices) {
    let lines = text.lines().map(str::trim).filter(|line| begins(line) && is_example(line));
    let quoted = ['\'', '`'].into_iter().flat_map(|mark| quoted(text, mark));
    for advice in lines.map(str::to_owned).chain(quoted) {
        for command in commands(&advice) {
            found.entry(command).or_default().insert(place.to_owned());
        }
    }
}

fn begins(text: &str) -> bool {
    let word = text.split(' ').next().unwrap_or_default();
    PROGRAMS.contains(&word) && text.len() > word.len()
}

/// Not a sentence that begins with a program's name.
fn is_example(line: &str) -> bool {
    let word = line.split(' ').nth(1).unwrap_or_default();
    let verbs = [
        "serve",
        "status",
        "key",
        "vault",
        "grant",
        "des",
        "disk",
        "audit",
        "principal",
        "token",
        "identity",
        "ca",
        "root",
        "backup",
        "restore",
        "check",
        "create",
        "resize",
        "info",
        "open",
    ];
    word.starts_with("--") || verbs.contains(&word)
}

/// What stands between two of these marks in one line and begins with a program.
fn quoted(text: &str, mark: char) -> Vec<String> {
    let mut found = Vec::new();
    for line in text.lines() {
        for (at, _) in line.match_indices(mark) {
            let rest = &line[at + 1..];
            if begins(rest)
                && let Some(end) = rest.find(mark)
            {
                found.push(rest[..end].to_owned());
            }
        }
    }
    found
}

/// The commands of a line of a shell, without what is said of them.
fn commands(line: &str) -> Vec<String> {
    let line = line.split(" #").next().unwrap_or_default();
    let parts = line.split([';', '|', '&', '>']).map(|part| {
        // An example, and after some blanks what it does.
        part.trim().split("  ").next().unwrap_or_default().trim_end_matches([' ', '\\'])
    });
    parts.filter(|part| begins(part)).map(str::to_owned).collect()
}
