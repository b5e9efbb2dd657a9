//! Doing what a text says: the command is taken out of the text that was just read, and run. What was followed is kept,
//! as the text has it.

use std::{collections::BTreeSet, fmt::Debug, process::Command};

use keyd_client::{ClientError, message::Ask};
use system_tests::{
    process::{Ended, Process, program},
    world::{NOBODY, World},
};

use crate::collect::PROGRAMS;

/// A host, and what of the advice has been followed on it.
pub struct Advised {
    pub world: World,
    pub followed: BTreeSet<String>,
}

impl Advised {
    pub fn new() -> Self {
        Self { world: World::new(), followed: BTreeSet::new() }
    }

    /// Runs a command; one that names no program is keyd's.
    pub fn keyd(&self, command: &str) -> Ended {
        match command.strip_prefix("image ") {
            Some(words) => self.world.image(words),
            None => self.world.keyd(command.trim_start_matches("keyd ")),
        }
    }

    pub fn ok(&self, command: &str) -> String {
        self.keyd(command).success()
    }

    /// What `keyd status` says, whatever it is.
    pub fn status(&self) -> String {
        let told = self.keyd("status");
        assert!([0, 5].contains(&told.code), "{}", told.err);
        told.out
    }

    /// Stops the daemon and starts it with further options.
    pub fn restart(&mut self, options: &str) {
        if let Some(mut keyd) = self.world.keyd.take() {
            assert!(keyd.terminate().success());
        }
        let mut command = self.world.keyd_command(options);
        command.current_dir(self.world.path(""));
        self.world.start_keyd_by(command);
        self.world.keyd.as_mut().expect("it runs").wait_to_say("ready: ");
    }

    /// Runs an example with what it leaves open filled in, or names that there are on this host.
    pub fn example(&mut self, example: &str, filled: &str) -> String {
        self.followed.insert(example.to_owned());
        let done = self.keyd(filled);
        assert!(
            done.code == 0 || (example == "keyd status" && done.code == 5),
            "'{filled}': {}",
            done.err
        );
        done.out
    }

    /// The same, as they stand.
    pub fn examples(&mut self, examples: &[&str]) {
        for example in examples {
            self.example(example, example);
        }
    }

    /// Starts the daemon as an example says, with what it leaves open filled in.
    pub fn serves(&mut self, example: &str, filled: &str) {
        self.followed.insert(example.to_owned());
        self.restart(filled);
    }

    /// Serves a disk as an example says, with what it leaves open filled in.
    pub fn backend(&mut self, example: &str, filled: &str) -> Process {
        self.followed.insert(example.to_owned());
        let mut command = Command::new(program("vhost-backend"));
        command.args(filled.split_whitespace().skip(1)).current_dir(self.world.path(""));
        command.env("KEYD_SOCKET", self.world.socket());
        let log = self.world.path("backend.log");
        let mut backend = Process::start("vhost-backend", &mut command, &log);
        backend.wait_to_say("serving");
        backend
    }

    /// The commands that the error of this one advises.
    fn advice(&self, command: &str) -> Vec<String> {
        let ended = self.keyd(command);
        assert_ne!(ended.code, 0, "{command}: {}", ended.out);
        quoted(&ended.err)
    }

    /// Does as advised; an administrator does.
    pub fn follow(&mut self, advice: &str) -> String {
        self.followed.insert(advice.to_owned());
        let done = self.keyd(advice);
        assert_eq!(done.code, 0, "'{advice}': {}", done.err);
        done.out
    }

    /// Takes the command that begins so out of a text.
    #[track_caller]
    pub fn taken(&mut self, text: &str, begins: &str) -> String {
        let found = quoted(text).into_iter().find(|advice| advice.starts_with(begins));
        let advice = found.unwrap_or_else(|| panic!("no '{begins}' is advised: {text}"));
        self.followed.insert(advice.clone());
        advice
    }

    /// Does what a text says by the command that begins so. What it leaves open is filled in, and what it does not
    /// name comes behind it.
    #[track_caller]
    pub fn heed(&mut self, text: &str, begins: &str, open: &[(&str, &str)], more: &str) -> String {
        let mut command = self.taken(text, begins);
        for (place, value) in open {
            assert!(command.contains(place), "{place} is not in '{command}'");
            command = command.replacen(place, value, 1);
        }
        let command = format!("{command} {more}");
        let done = self.keyd(&command);
        assert_eq!(done.code, 0, "'{command}': {}", done.err);
        done.out
    }

    /// The command that the error of another one advises, by its beginning.
    fn advised(&self, refused: &str, begins: &str) -> String {
        let advice = self.advice(refused);
        let found = advice.iter().find(|advice| advice.starts_with(begins));
        let found = found.unwrap_or_else(|| panic!("{refused}: {advice:?}"));
        found.replace("--operations ...", "--operations wrapKey,unwrapKey").replace("...", "never")
    }

    /// A command is refused, its error advises another one, and then it is done.
    pub fn helps(&mut self, refused: &str, begins: &str) {
        let advised = self.advised(refused, begins);
        self.follow(&advised);
        self.ok(refused);
    }

    /// The error of a command advises another one that shows something.
    pub fn shows(&mut self, refused: &str, advised: &str, what: &str) {
        let advised = self.advised(refused, advised);
        let shown = self.follow(&advised);
        assert!(shown.contains(what), "'{advised}' does not show '{what}': {shown}");
    }

    /// The same for another user, by what the daemon answers.
    pub fn helps_nobody<A: Ask<Reply: Debug + Send> + Clone + Send>(&mut self, request: A) {
        let refused = match self.world.ask_as(NOBODY, request.clone()) {
            Err(ClientError::Refused(refusal)) => refusal.message.to_string(),
            other => panic!("{other:?}"),
        };
        let advice = quoted(&refused);
        assert_eq!(advice.len(), 1, "{refused}");
        self.follow(&advice[0]);
        self.world
            .ask_as(NOBODY, request)
            .unwrap_or_else(|error| panic!("after '{}': {error}", advice[0]));
    }
}

/// Commands in quotation marks.
pub fn quoted(text: &str) -> Vec<String> {
    let parts = text.split('\'').filter(|part| {
        part.split_once(' ').is_some_and(|(program, _)| PROGRAMS.contains(&program))
    });
    parts.map(str::to_owned).collect()
}

/// Whether a command is what a text with open places says. `{args}` may be several words, `{}` none.
pub fn is(advice: &str, command: &str) -> bool {
    let advised: Vec<&str> = advice.split_whitespace().collect();
    let given: Vec<&str> = command.split_whitespace().collect();
    fits(&advised, &given)
}

fn fits(advised: &[&str], given: &[&str]) -> bool {
    let (Some((word, advised)), Some((first, rest))) = (advised.split_first(), given.split_first())
    else {
        return advised.is_empty() && given.is_empty();
    };
    let open = word.starts_with('{')
        || ["...", "NAME", "USER", "K", "ID", "VAULT", "DIR", "ROW", "SET"].contains(word);
    match *word {
        "{args}" => (1..=given.len()).any(|some| fits(advised, &given[some..])),
        _ if word.len() > 2 && word.ends_with("{}") => {
            word.trim_end_matches("{}") == *first && rest.len() < 2
        }
        "des:{set}" => first.starts_with("des:") && fits(advised, rest),
        _ => (open || word == first) && fits(advised, rest),
    }
}
