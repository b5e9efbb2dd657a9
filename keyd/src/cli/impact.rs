//! What a dry run tells.

use std::env;

use keyd_client::{
    Page,
    message::{Affected, Impact, KeyBackups, When},
};

use super::table::{name, table};
use crate::{clock, ops::impact::summary};

pub(super) fn text(impact: &Impact) -> Page {
    let Impact { verb, subject, lost_for_ever, .. } = impact;
    let hit = summary(impact);
    let backups = impact.backups.map_or_else(Page::default, backups);
    if hit.is_empty() {
        let nothing = format!("{verb} {subject} would hit nothing: it needs no --force");
        return Page::from(nothing).and(backups);
    }
    let ever = match lost_for_ever {
        0 => "All of it could be read again as soon as the key is back.".to_owned(),
        1 => "1 of them could never be read again.".to_owned(),
        count => format!("{count} of them could never be read again."),
    };
    let given = env::args_os().skip(1).map(|arg| arg.to_string_lossy().into_owned());
    let command = with_token(given, &impact.token);
    let listed = rows(&impact.listed);
    Page::default()
        .line(format_args!("{verb} {subject} would hit {hit}."))
        .line(ever)
        .and(backups)
        .line("")
        .and(if impact.more { listed.line("(there are more)") } else { listed })
        .line("")
        .line("Nothing was done. To do it, as long as it would hit exactly this:")
        .line(format_args!("  keyd {command}"))
}

/// From where a purged key could come back.
fn backups(backups: KeyBackups) -> Page {
    let own = backups.own.map(|at| {
        let at = clock::text(at);
        format!("Its vault's 'backup' took the key out, last at {at}: two principals with 'restore' can bring it back.")
    });
    let whole = backups.whole.map(|at| {
        let at = clock::text(at);
        format!("It is in keyd's own backups to {at}: who restores one of those has it again.")
    });
    match (own, whole) {
        (None, None) => Page::from("It was never backed up: it cannot come back."),
        (own, whole) => own.into_iter().chain(whole).fold(Page::default(), Page::line),
    }
}

fn rows(listed: &[Affected]) -> Page {
    let row = |affected: &Affected| {
        let processes: Vec<String> = affected.processes.iter().map(u32::to_string).collect();
        [
            affected.id.to_string(),
            name(&affected.kind),
            affected.des.to_string(),
            processes.join(" "),
            when(affected.when),
        ]
    };
    let rows: Vec<_> = listed.iter().map(row).collect();
    table(["ID", "KIND", "SET", "PROCESSES", "WHEN"], &rows)
}

fn when(when: When) -> String {
    match when {
        When::AtOnce => "at once".to_owned(),
        When::Later { at } => format!("at {}", clock::text(at)),
        When::NextAttach { from: Some(from) } => {
            format!("next attach, from {} on", clock::text(from))
        }
        When::NextAttach { from: None } => "next attach".to_owned(),
    }
}

/// The command that was given, with the token in place of the dry run.
fn with_token(args: impl Iterator<Item = String>, token: &str) -> String {
    let word = |arg: String| match arg.as_str() {
        "--dry-run" => format!("--token {token}"),
        plain if plain.chars().all(|c| c.is_ascii_alphanumeric() || "-_=:,./@+".contains(c)) => arg,
        _ => format!("'{}'", arg.replace('\'', "'\\''")),
    };
    args.map(word).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::with_token;

    #[test]
    fn the_command_is_the_same_with_the_token() {
        let given = ["vault", "permit", "bank", "app:ci", "get,list", "--dry-run"];
        let given = given.into_iter().map(str::to_owned);
        assert_eq!(with_token(given, "abc"), "vault permit bank app:ci get,list --token abc");
        let given = ["key", "set", "k", "--dry-run", "--tag", "who=it's me"];
        let given = given.into_iter().map(str::to_owned);
        assert_eq!(with_token(given, "abc"), r"key set k --token abc --tag 'who=it'\''s me'");
    }
}
