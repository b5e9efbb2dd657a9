//! A test that cannot run on this machine says so, and passes. In a run of everything that would hide what was not
//! tested: with `TESTS_MUST_RUN=1` in the environment, as in continuous integration, it fails instead.

use std::{ffi::OsStr, fmt::Display};

/// The variable that turns a test that cannot run into a failure.
pub const MUST_RUN: &str = "TESTS_MUST_RUN";

/// Says that a test, or a part of it, cannot run here: the caller then returns.
///
/// # Panics
/// If every test must run.
pub fn skip(why: impl Display) {
    skip_unless(is_set(std::env::var_os(MUST_RUN).as_deref()), &why);
}

fn is_set(value: Option<&OsStr>) -> bool {
    value.is_some_and(|value| !value.is_empty() && value != "0")
}

fn skip_unless(must: bool, why: &dyn Display) {
    assert!(!must, "this test must run ({MUST_RUN} is set) and cannot: {why}");
    eprintln!("SKIPPED: {why}");
}

/// Whether this process is root; if not, says that a test cannot run and what takes root in it.
///
/// # Panics
/// If every test must run.
#[must_use]
pub fn is_root_for(what: &str) -> bool {
    use std::os::unix::fs::MetadataExt;
    // Its owner is who runs this: no crate and no unsafe call is needed for that.
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
    if !is_root {
        skip(format_args!("only root may {what}"));
    }
    is_root
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_run_passes_unless_everything_must_run() {
        for (value, must) in
            [(None, false), (Some(""), false), (Some("0"), false), (Some("1"), true)]
        {
            assert_eq!(is_set(value.map(OsStr::new)), must, "{value:?}");
            let skipped = std::panic::catch_unwind(|| skip_unless(must, &"no such device"));
            assert_eq!(skipped.is_err(), must, "{value:?}");
        }
    }
}
