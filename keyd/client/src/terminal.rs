//! The one way to standard output and standard error, for every program. It takes text that is printable, and makes
//! what is given to it so ([`crate::printable`]). Words that are not understood are quoted the same way.

use std::{
    ffi::OsString,
    fmt,
    io::{self, ErrorKind, Write},
    process::ExitCode,
};

use clap::{Command, CommandFactory, Parser};

use crate::{
    limits::QUOTED_LEN_MAX,
    printable::{Page, Printable},
};

/// Prints on standard output. That the reader of a pipe has seen enough is no error.
///
/// # Errors
/// The system's.
pub fn print(page: &Page) -> io::Result<()> {
    match io::stdout().write_all(page.as_str().as_bytes()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// One line on standard error. If it cannot be written, the program goes on: nobody is there to be told.
pub fn note(line: impl fmt::Display) {
    let line = Page::default().line(line);
    let _ = io::stderr().write_all(line.as_str().as_bytes());
}

/// The command line. If there is nothing to be done (help was asked for, or the words are wrong), that is printed, and
/// the code to end with is the error.
///
/// # Errors
/// 0 for help and version, 2 for wrong usage.
pub fn parse<A: Parser>(
    words: impl IntoIterator<Item = impl Into<OsString>>,
) -> Result<A, ExitCode> {
    let words: Vec<OsString> = words.into_iter().map(Into::into).collect();
    let error = match understand::<A>(&words) {
        Ok(args) => return Ok(args),
        Err(error) => error,
    };
    // The message quotes words, the program's own name among them. Printable words make a printable message.
    let seen = words.iter().map(|word| quoted(word).to_string());
    match understand::<A>(seen) {
        // Nobody is there to be told.
        Err(error) => drop(error.print()),
        Ok(_) => note(&error),
    }
    Err(u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from))
}

fn understand<A: Parser>(
    words: impl IntoIterator<Item = impl Into<OsString> + Clone>,
) -> Result<A, clap::Error> {
    let mut found = command::<A>().try_get_matches_from(words)?;
    A::from_arg_matches_mut(&mut found).map_err(|error| error.format(&mut command::<A>()))
}

/// What a program understands. A negative number is the value of the option before it, so that the answer to it says
/// what that option takes.
#[must_use]
pub fn command<A: CommandFactory>() -> Command {
    with_signs(A::command())
}

fn with_signs(command: Command) -> Command {
    let command = command.mut_args(|arg| match arg.get_action().takes_values() {
        true => arg.allow_negative_numbers(true),
        false => arg,
    });
    command.mut_subcommands(with_signs)
}

fn quoted(word: &OsString) -> Printable {
    Printable::cut(word.to_string_lossy(), QUOTED_LEN_MAX)
}
