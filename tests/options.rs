//! What the options of the three programs answer to a value that is none: which option it is for, and what would do.
//! The standard library's own words say neither.

use std::{any::TypeId, net::SocketAddr, time::Duration};

use clap::{Arg, Command, error::ErrorKind, value_parser};
use images::SectorSize;
use keyd_client::{Period, terminal::command};

/// Values that no number, size or time is written as.
const NONE: [&str; 5] = ["two", "", "-1", "1.5.5", "99999999999999999999999"];

/// Of the standard library and of clap's own parsers of numbers.
const RAW: [&str; 10] = [
    "invalid digit",
    "cannot parse integer",
    "cannot make an empty",
    "number too",
    "provided string was not",
    "invalid float",
    "invalid IP address",
    "invalid socket address",
    "is not in ",
    "os error",
];

/// What is said when the value itself was taken.
const MISSING: [ErrorKind; 2] = [ErrorKind::MissingRequiredArgument, ErrorKind::MissingSubcommand];

/// What stands before the value that is tried, in places without a dash: a name, a user, a path.
const BEFORE: &str = "root";

fn numbers() -> [TypeId; 10] {
    [
        TypeId::of::<u16>(),
        TypeId::of::<u32>(),
        TypeId::of::<u64>(),
        TypeId::of::<i32>(),
        TypeId::of::<i64>(),
        TypeId::of::<usize>(),
        TypeId::of::<Duration>(),
        TypeId::of::<Period>(),
        TypeId::of::<SocketAddr>(),
        TypeId::of::<SectorSize>(),
    ]
}

/// Every argument that takes a value, with the words of the command that it is for.
fn arguments(command: &Command, words: &[String], found: &mut Vec<(Vec<String>, Arg)>) {
    let own = command.get_arguments().filter(|arg| arg.get_action().takes_values());
    found.extend(own.map(|arg| (words.to_vec(), arg.clone())));
    for verb in command.get_subcommands() {
        arguments(verb, &[words, &[verb.get_name().to_owned()]].concat(), found);
    }
}

/// The ways to give a value.
fn given(arg: &Arg, value: &str) -> Vec<Vec<String>> {
    match arg.get_long() {
        Some(long) => {
            vec![vec![format!("--{long}={value}")], vec![format!("--{long}"), value.to_owned()]]
        }
        None if arg.get_short().is_some() => {
            vec![vec![format!("-{}", arg.get_short().unwrap_or_default()), value.to_owned()]]
        }
        None => {
            let before = arg.get_index().unwrap_or(1) - 1;
            let before = (0..before).map(|_| BEFORE.to_owned());
            vec![before.chain([value.to_owned()]).collect()]
        }
    }
}

/// How an answer calls it.
fn name(arg: &Arg) -> String {
    match (arg.get_long(), arg.get_short()) {
        (Some(long), _) => format!("--{long}"),
        (None, Some(short)) => format!("-{short} "),
        (None, None) => arg.to_string(),
    }
}

/// What is wrong with the answer to a value.
fn fault(arg: &Arg, answer: Result<(), clap::Error>) -> Option<String> {
    let is_number = numbers().iter().any(|of| arg.get_value_parser().type_id() == *of);
    let said = match answer {
        // Of the value nothing was said: something else is missing.
        Err(error) if !MISSING.contains(&error.kind()) => error.to_string(),
        _ if is_number => return Some("is taken".to_owned()),
        _ => return None,
    };
    let first = said.lines().next().unwrap_or_default();
    if let Some(raw) = RAW.iter().find(|raw| said.contains(**raw)) {
        return Some(format!("'{raw}' in: {first}"));
    }
    if !first.contains(&name(arg)) {
        return Some(format!("does not name it: {first}"));
    }
    let (_, expected) = first.rsplit_once(": ")?;
    let has_example = expected.contains(|c: char| c.is_ascii_digit());
    (is_number && !has_example).then(|| format!("without an example: {first}"))
}

/// What is wrong with the answers of a program, and how many were asked for.
fn faults(mut program: Command) -> (Vec<String>, usize) {
    // Places of arguments are counted then.
    program.build();
    let (mut faults, mut tried, mut all) = (Vec::new(), 0, Vec::new());
    arguments(&program, &[program.get_name().to_owned()], &mut all);
    for (words, arg) in all {
        for given in NONE.iter().flat_map(|value| given(&arg, value)) {
            let words = [words.clone(), given].concat();
            let answer = program.clone().try_get_matches_from(&words).map(drop);
            tried += 1;
            let fault = fault(&arg, answer);
            faults.extend(fault.map(|fault| format!("{}: {fault}", words.join(" "))));
        }
    }
    (faults, tried)
}

#[test]
fn a_value_that_is_none_is_answered_with_its_option_and_with_what_would_do() {
    let programs = [
        command::<keyd::cli::args::Args>(),
        command::<vhost_backend::config::Args>(),
        command::<images::cli::Cli>(),
    ];
    let (found, tried): (Vec<_>, Vec<_>) = programs.into_iter().map(faults).unzip();
    assert!(tried.iter().sum::<usize>() > 1000, "{tried:?}");
    let found = found.concat();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// As the options of numbers were before they had a parser of their own.
#[test]
fn words_of_the_standard_library_are_found() {
    let bare = Arg::new("n").long("num-queues").value_parser(value_parser!(u16));
    let ranged = value_parser!(u16).range(1..=64);
    let ranged = Arg::new("r").long("queue-size").value_parser(ranged);
    let (found, _) = faults(Command::new("x").args([bare, ranged]));
    for words in [
        "--num-queues=two: 'invalid digit' in",
        "--num-queues=: 'cannot parse integer' in",
        "--queue-size=99999999999999999999999: 'number too' in",
        "--num-queues -1: does not name it",
    ] {
        assert!(found.iter().any(|fault| fault.contains(words)), "{words}: {}", found.join("\n"));
    }
}
