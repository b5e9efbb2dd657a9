//! Whether a test that is said to run a command has its words: a pointer to a test that was changed since is no proof.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// What a function or a constant names, and the words of its texts in their order.
#[derive(Default)]
struct Body {
    names: BTreeSet<String>,
    words: Vec<String>,
}

type Bodies = BTreeMap<String, Body>;

impl Body {
    fn read(&mut self, tokens: impl IntoIterator<Item = TokenTree>) {
        for token in tokens {
            match token {
                TokenTree::Group(group) => self.read(group.stream()),
                TokenTree::Ident(ident) => drop(self.names.insert(ident.to_string())),
                TokenTree::Literal(literal) => {
                    let text = syn::parse_str::<syn::LitStr>(&literal.to_string());
                    self.words.extend(text.iter().flat_map(|text| words(&text.value())));
                }
                TokenTree::Punct(_) => {}
            }
        }
    }
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// Those of a file, in whatever module or `impl` they are.
fn bodies(tokens: TokenStream, found: &mut Bodies) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    for (at, token) in tokens.iter().enumerate() {
        match (token, tokens.get(at + 1)) {
            (TokenTree::Ident(ident), Some(TokenTree::Ident(name))) => {
                let rest = &tokens[at + 2..];
                let is_end: fn(&TokenTree) -> bool = match &*ident.to_string() {
                    "fn" => is_block,
                    "const" | "static" => is_semicolon,
                    _ => continue,
                };
                let end = rest.iter().position(is_end).map_or(rest.len(), |end| end + 1);
                let body = found.entry(name.to_string()).or_default();
                body.read(rest[..end].iter().cloned());
            }
            (TokenTree::Group(group), _) => bodies(group.stream(), found),
            _ => {}
        }
    }
}

fn is_block(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace)
}

fn is_semicolon(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == ';')
}

/// What a test names, itself and by what it calls in its file: texts, each with its words in their order.
fn reached(bodies: &Bodies, test: &str) -> Vec<Vec<String>> {
    let (mut seen, mut open) = (BTreeSet::new(), vec![test.to_owned()]);
    let mut texts = Vec::new();
    while let Some(name) = open.pop() {
        let Some(body) = bodies.get(&name).filter(|_| seen.insert(name.clone())) else {
            continue;
        };
        texts.push(body.words.clone());
        open.extend(body.names.iter().cloned());
    }
    texts
}

/// The verb of a command, and its options.
fn parts(advice: &str) -> (Vec<String>, Vec<String>) {
    let words: Vec<String> = words(advice).split_off(1);
    let is_verb = |word: &&String| {
        word.chars().all(|c| c.is_ascii_lowercase() || c == '-') && !word.starts_with('-')
    };
    // Of `key show prod` the last is a name; groups of verbs have two words, and one has three.
    let groups =
        ["key", "vault", "des", "disk", "audit", "clock", "principal", "token", "identity"];
    let count = match words.first().map(String::as_str) {
        Some("key") if words.get(1).is_some_and(|word| word == "rotation-policy") => 3,
        Some(group) if groups.contains(&group) || ["ca", "root"].contains(&group) => 2,
        _ => 1,
    };
    let verb = words.iter().take(count).take_while(is_verb).cloned().collect();
    let options = words.into_iter().filter(|word| word.starts_with("--")).collect();
    (verb, options)
}

/// Why a test, by its file and its name, does not run a command.
pub fn fault(root: &Path, test: &str, advice: &str) -> Option<String> {
    let (file, name) = test.split_once("::")?;
    let text = fs::read_to_string(root.join(file)).unwrap_or_default();
    let mut all = Bodies::new();
    bodies(text.parse().unwrap_or_default(), &mut all);
    if !all.contains_key(name) {
        return Some(format!("there is no {test}"));
    }
    let texts = reached(&all, name);
    let (verb, options) = parts(advice);
    let has_verb = texts.iter().any(|words| words.windows(verb.len()).any(|some| some == verb));
    if !verb.is_empty() && !has_verb {
        return Some(format!("{test} has no '{}'", verb.join(" ")));
    }
    let has = |option: &&String| texts.iter().flatten().any(|word| word == *option);
    let missing = options.iter().find(|option| !has(option))?;
    Some(format!("{test} has no '{missing}'"))
}

#[test]
fn a_test_that_does_not_have_a_commands_words_is_no_proof_of_it() {
    let root = tempfile::tempdir().unwrap();
    let text = r#"
        const LIST: [&str; 2] = ["audit", "archive"];
        fn helper(keyd: &Keyd) { keyd.run(&["audit", "archive", "--to", "x"]); }
        impl World { fn method(&self) { self.ok("key rotate k"); } }
        #[test]
        fn archives() { helper(&keyd); world.method(); }
        #[test]
        fn does_not() { keyd.run(&["audit", "tail"]); let archive = "--to"; }
    "#;
    fs::write(root.path().join("t.rs"), text).unwrap();
    let fault = |test: &str, advice: &str| fault(root.path(), &format!("t.rs::{test}"), advice);
    assert_eq!(fault("archives", "keyd audit archive --to DIR"), None);
    assert_eq!(fault("archives", "keyd key rotate {}"), None);
    let told = |test: &str, what: &str| Some(format!("t.rs::{test} has no '{what}'"));
    assert_eq!(fault("archives", "keyd audit archive --before 1"), told("archives", "--before"));
    assert_eq!(fault("archives", "keyd key disable"), told("archives", "key disable"));
    assert_eq!(fault("does_not", "keyd audit archive --to DIR"), told("does_not", "audit archive"));
    assert_eq!(fault("gone", "keyd status"), Some("there is no t.rs::gone".to_owned()));
}
