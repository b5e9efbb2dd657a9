//! Text of others is made printable before people see it: there is one way to a terminal, and what is kept for people
//! is of a type that has gone it.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::{Item, visit::Visit};

use crate::source::{PRODUCT, Source, is_in, report, sources};

/// The way: `keyd_client::terminal`.
const TERMINAL: &str = "keyd/client/src/terminal.rs";

/// In unit tests the harness keeps a log to itself, and it hears of these macros only. What they print is printable.
const IN_UNIT_TESTS: [&str; 2] = ["keyd/src/log.rs", "vhost-backend/src/log.rs"];

/// Asks for a passphrase, by texts of our own.
const PROMPTS: &str = "keyd/src/root/terminal.rs";

const MACROS: [&str; 5] = ["print", "println", "eprint", "eprintln", "dbg"];

/// Of clap and indicatif: they print what they are given.
const PRINTING_METHODS: [&str; 7] =
    ["parse_from", "try_parse_from", "get_matches", "exit", "set_message", "suspend", "println"];

/// What `process::exit` is, and what is not clap's.
const OTHER_EXITS: [&str; 2] = ["process", "self"];

/// Who makes JSON by `serde_json` itself, and what of.
const JSON: [(&str, &str); 9] = [
    ("keyd/client/src/printable/json.rs", "the form that can be printed"),
    ("keyd/client/src/wire.rs", "frames, for programs"),
    ("keyd/src/store", "records"),
    ("keyd/src/root/document.rs", "a file of the state directory"),
    ("keyd/src/recovery/backup.rs", "what is sealed"),
    ("keyd/src/ops/disk.rs", "a length"),
    ("keyd/src/ops/vault_key_backup.rs", "what is sealed"),
    ("keyd/src/keyvault", "bodies of answers, for programs"),
    ("images/src/header", "LUKS2 metadata"),
];

/// What people read of others' words: every text in these types is printable.
const TOLD: [(&str, &str); 4] = [
    ("keyd/src/audit/entry.rs", "Entry"),
    ("keyd/client/src/message/audit.rs", "AuditRecord"),
    ("keyd/client/src/message/daemon.rs", "Refusal"),
    ("keyd/client/src/message/holder.rs", "Event"),
];

/// Ways around it in a list of tokens, and in those inside it.
fn ways_around(path: &str, tokens: TokenStream, faults: &mut Vec<String>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    for (at, token) in tokens.iter().enumerate() {
        match token {
            TokenTree::Ident(ident) => {
                let fault = fault(path, &ident.to_string(), &tokens, at);
                faults
                    .extend(fault.map(|why| {
                        format!("{path}:{}: {ident}: {why}", ident.span().start().line)
                    }));
            }
            TokenTree::Literal(literal) if path != PROMPTS => {
                let text = literal.to_string();
                if ["/dev/tty", "/dev/std", "/proc/self/fd/1", "/proc/self/fd/2"]
                    .iter()
                    .any(|name| text.contains(name))
                {
                    faults.push(format!("{path}: {text}: write by keyd_client::terminal"));
                }
            }
            TokenTree::Group(group) => ways_around(path, group.stream(), faults),
            TokenTree::Literal(_) | TokenTree::Punct(_) => {}
        }
    }
}

/// What is wrong with a word where it stands.
fn fault(path: &str, word: &str, tokens: &[TokenTree], at: usize) -> Option<&'static str> {
    let is = |place: Option<usize>, text: &str| {
        place.and_then(|place| tokens.get(place)).is_some_and(|token| token.to_string() == text)
    };
    let (before, next) = (at.checked_sub(1), Some(at + 1));
    let called = matches!(
        tokens.get(at + 1),
        Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Parenthesis
    );
    let called_with_nothing = called && is(next, "()");
    match word {
        _ if MACROS.contains(&word) && is(next, "!") && !is_in(path, &IN_UNIT_TESTS) => {
            Some("print by keyd_client::terminal, or by the program's log")
        }
        "stdout" | "stderr" if called && !is(Some(at + 3), "is_terminal") => {
            Some("write by keyd_client::terminal")
        }
        // `Args::parse()`: clap prints the words that it does not understand.
        "parse" | "try_parse" if called_with_nothing && is(before, ":") => {
            Some("parse the command line by keyd_client::terminal::parse")
        }
        "exit"
            if is(at.checked_sub(3), OTHER_EXITS[0]) || is(at.checked_sub(2), OTHER_EXITS[1]) =>
        {
            None
        }
        _ if PRINTING_METHODS.contains(&word) && called && !is(before, "fn") => {
            Some("it prints what it is given: go by keyd_client::terminal")
        }
        // The help prints an environment's values.
        "env" if is(next, "=") && !tokens.iter().any(|t| t.to_string() == "hide_env_values") => {
            Some("hide_env_values = true")
        }
        _ => None,
    }
}

fn product() -> impl Iterator<Item = Source> {
    sources(&PRODUCT).into_iter().filter(|source| !source.is_test())
}

#[test]
fn there_is_one_way_to_a_terminal() {
    let mut faults = Vec::new();
    for source in product().filter(|source| source.path != TERMINAL) {
        let tokens = source.shipped.parse().unwrap_or_else(|e| panic!("{}: {e}", source.path));
        ways_around(&source.path, tokens, &mut faults);
    }
    report(&faults);
}

#[test]
fn ways_around_are_found() {
    for (code, ways) in [
        ("println!(\"{name}\");", 1),
        ("fn f() { if x { eprint!(\"{e}\") } }", 1),
        ("vec![dbg!(x)]", 1),
        ("io::stderr().write_all(b);", 1),
        ("let mut out = stdout().lock();", 1),
        ("rustix::stdio::stdout()", 1),
        ("let cli = Cli::parse();", 1),
        ("Args::parse_from(words)", 1),
        ("error.exit()", 1),
        ("bar.println(text)", 1),
        ("#[arg(long, env = \"X\")] x: u8,", 1),
        ("File::open(\"/dev/stderr\")", 1),
        // And what is none.
        ("use std::io::{IsTerminal, stderr}; stderr().is_terminal()", 0),
        ("text.parse()?; Target::parse(method, path)", 0),
        ("std::process::exit(1)", 0),
        ("#[arg(long, env = \"X\", hide_env_values = true)] x: u8,", 0),
        ("writeln!(file, \"{id}\")", 0),
    ] {
        let mut faults = Vec::new();
        ways_around("x.rs", code.parse().unwrap(), &mut faults);
        assert_eq!(faults.len(), ways, "{code}: {faults:?}");
    }
}

#[test]
fn json_that_people_see_is_printable() {
    let writers = ["to_string", "to_string_pretty", "to_vec", "to_vec_pretty", "to_writer"];
    let mut faults = Vec::new();
    for source in product() {
        let may = JSON.iter().any(|(place, _)| source.path.starts_with(place));
        for writer in writers.map(|writer| format!("serde_json::{writer}(")) {
            if !may && source.shipped.contains(&writer) {
                faults.push(format!("{}: {writer}: use keyd_client::printable", source.path));
            }
        }
    }
    report(&faults);
}

#[test]
fn what_people_are_told_is_printable_by_its_type() {
    struct Texts(Vec<String>);
    impl<'ast> Visit<'ast> for Texts {
        fn visit_field(&mut self, field: &'ast syn::Field) {
            let is_text = |ty: &syn::Type| {
                let syn::Type::Path(path) = ty else { return false };
                path.path.segments.last().is_some_and(|last| last.ident == "String")
            };
            if is_text(&field.ty) {
                let name = field.ident.as_ref().map(ToString::to_string);
                self.0.push(name.unwrap_or_default());
            }
        }
    }
    let mut faults = Vec::new();
    for (path, name) in TOLD {
        let source = sources(&[path.rsplit_once('/').unwrap().0]);
        let source = source.iter().find(|source| source.path == path).expect(path);
        let file = syn::parse_file(&source.text).unwrap();
        let item = file.items.iter().find(|item| match item {
            Item::Struct(item) => item.ident == name,
            Item::Enum(item) => item.ident == name,
            _ => false,
        });
        let mut texts = Texts(Vec::new());
        texts.visit_item(item.unwrap_or_else(|| panic!("{path} has no {name}")));
        faults.extend(texts.0.iter().map(|field| format!("{path}: {name}::{field}: Printable")));
    }
    report(&faults);
}
