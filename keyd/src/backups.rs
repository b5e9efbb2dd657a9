//! Backups that the daemon keeps by itself: where, how often, how many, and how it went.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Mutex,
    time::Duration,
};

use keyd_client::message::{BackupStatus, UnixMillis};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{clock, limits::BACKUP_RETRY_MS, lock::lock, log};

/// What the name of a backup that was made so begins and ends with. Between is when, `20261130T151731Z`.
const PREFIX: &str = "keyd-";
const SUFFIX: &str = ".age";

/// Where, how often, for whom, how many.
#[derive(Debug, Clone)]
pub struct Keep {
    /// A directory.
    pub to: PathBuf,
    /// Time from one to the next.
    pub every: Duration,
    /// Who can open them: recipients of age(1).
    pub recipients: Vec<String>,
    /// The newest so many stay.
    pub keep: usize,
}

/// The same, under way.
#[derive(Debug)]
pub struct Keeping {
    /// What is asked.
    pub ask: Keep,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    newest: Option<UnixMillis>,
    tried: Option<UnixMillis>,
    failing: Option<String>,
}

impl Keeping {
    /// What is there from before counts.
    #[must_use]
    pub fn new(ask: Keep) -> Self {
        let newest = names(&ask.to).ok().and_then(|names| made(names.last()?));
        Self { ask, state: Mutex::new(State { newest, ..State::default() }) }
    }

    /// How it is.
    #[must_use]
    pub fn status(&self, now: UnixMillis) -> BackupStatus {
        let state = lock(&self.state);
        let every = millis(self.ask.every);
        // One that takes its time is not late yet.
        let old = state.newest.is_none_or(|newest| now.saturating_sub(newest) > 2 * every);
        let failing = state.failing.clone();
        BackupStatus { to: self.ask.to.clone(), newest: state.newest, old, failing }
    }

    /// Whether it is time for one.
    #[must_use]
    pub fn due(&self, now: UnixMillis) -> bool {
        let state = lock(&self.state);
        let waits = state.failing.is_some()
            && state.tried.is_some_and(|tried| now.abs_diff(tried) < BACKUP_RETRY_MS);
        // A clock that was set back does not end the backups.
        let done = state.newest.is_some_and(|newest| now.abs_diff(newest) < millis(self.ask.every));
        !waits && !done
    }

    /// Where one of this moment goes.
    #[must_use]
    pub fn path(&self, now: UnixMillis) -> PathBuf {
        self.ask.to.join(name(now))
    }

    /// Notes how one of this moment went. What fails is told once.
    pub fn note(&self, now: UnixMillis, made: Result<(), String>) {
        let mut state = lock(&self.state);
        state.tried = Some(now);
        state.failing = match made {
            Ok(()) => {
                state.newest = Some(now);
                None
            }
            Err(why) => {
                if state.failing.as_ref() != Some(&why) {
                    log::line(format_args!("no backup was made: {why}"));
                }
                Some(why)
            }
        };
    }

    /// Removes all but the newest.
    ///
    /// # Errors
    /// The system's.
    pub fn prune(&self) -> io::Result<()> {
        prune(&self.ask.to, self.ask.keep)
    }
}

fn prune(dir: &Path, keep: usize) -> io::Result<()> {
    let names = names(dir)?;
    let old = names.len().saturating_sub(keep);
    names[..old].iter().try_for_each(|name| fs::remove_file(dir.join(name)))
}

/// Oldest first: their names sort as their times do.
fn names(dir: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        names.extend(name.to_str().filter(|name| made(name).is_some()).map(str::to_owned));
    }
    names.sort_unstable();
    Ok(names)
}

fn name(now: UnixMillis) -> String {
    let digits: String = clock::text(now).chars().filter(char::is_ascii_digit).take(14).collect();
    format!("{PREFIX}{}T{}Z{SUFFIX}", &digits[..8], &digits[8..])
}

/// When a backup of this name was made, if it is one of ours.
fn made(name: &str) -> Option<UnixMillis> {
    let text = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    let (day, time) = text.strip_suffix('Z').filter(|text| text.is_ascii())?.split_once('T')?;
    let part = |text: &str, from| text.get(from..from + 2).map(str::to_owned);
    let day = format!("{}-{}-{}", day.get(..4)?, part(day, 4)?, day.get(6..)?);
    let time = format!("{}:{}:{}", part(time, 0)?, part(time, 2)?, time.get(4..)?);
    let moment = OffsetDateTime::parse(&format!("{day}T{time}Z"), &Rfc3339).ok()?;
    u64::try_from(moment.unix_timestamp()).ok().map(|seconds| seconds * 1000)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn names_tell_when() {
        // GNU date: 1795300423.
        assert_eq!(name(1_795_300_423_120), "keyd-20261121T223343Z.age");
        assert_eq!(made("keyd-20261121T223343Z.age"), Some(1_795_300_423_000));
        for other in ["keyd.age", "keyd-2026.age", "keyd-20261121T223343Z.age.old", "precious"] {
            assert_eq!(made(other), None, "{other}");
        }
    }

    #[test]
    fn only_the_oldest_of_its_own_go() {
        let dir = tempfile::tempdir().unwrap();
        let (own, other) = ((0..5).map(|n| name(n * 3_600_000)), ["keyd-mine.age", "precious"]);
        for name in own.chain(other.map(str::to_owned)) {
            fs::write(dir.path().join(name), "x").unwrap();
        }
        prune(dir.path(), 2).unwrap();
        let mut left: Vec<_> =
            fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        left.sort();
        let expected =
            ["keyd-19700101T030000Z.age", "keyd-19700101T040000Z.age", other[0], other[1]];
        assert_eq!(left, expected.map(OsStr::new));
    }
}
