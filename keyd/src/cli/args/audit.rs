//! Verbs on the audit log, and how the daemon keeps it.

use std::path::{self, PathBuf};

use clap::{Args, Subcommand};
use confine::paths::directory;
use keyd_client::{
    message::{AuditReanchor, AuditTail, AuditVerify},
    number,
};

use crate::{
    limits::{AUDIT_SEGMENT_LEN, AUDIT_SEGMENT_LEN_MIN},
    store::AuditKeeping,
};

pub(super) const EXAMPLES: &str = "\
Examples:
  keyd audit tail -n 100
  keyd audit tail --json | jq 'map(select(.outcome != \"ok\"))'
  keyd audit verify
  keyd audit archive --to /srv/audit                    # all rows so far
  keyd audit archive --before 150000 --to /srv/audit";

/// Verbs on the audit log.
#[derive(Debug, Subcommand)]
pub enum Audit {
    /// The newest records
    Tail(AuditTail),
    /// Check that no record was changed, cut or added
    Verify(AuditVerify),
    /// Move files with only older rows to another directory
    #[command(after_help = ARCHIVE_HELP)]
    Archive {
        /// Rows before this one; without it all that are written: the file that grows is closed for it
        #[arg(long, value_name = "ROW", value_parser = number::<u64>(0..=u64::MAX, 150_000))]
        before: Option<u64>,
        /// A directory that the daemon may write to
        #[arg(long, value_name = "DIR")]
        to: PathBuf,
    },
    /// Go on after a break: the chain begins anew behind it
    #[command(after_help = REANCHOR_HELP)]
    Reanchor(AuditReanchor),
}

const ARCHIVE_HELP: &str = "\
A file is moved as a whole, checked before, and recorded. 'keyd audit verify' begins behind the moved rows from then on.
The first row that stays names the SHA-256 of the last one that went. The file that grows is moved as well if all its
rows come before ROW.

Examples:
  keyd audit archive --to /srv/audit
  keyd audit archive --before 150000 --to /srv/audit";

const REANCHOR_HELP: &str = "\
First try to put back from a copy what was there, and start keyd again. If that is not possible: the files stay where
they are, their SHA-256 is recorded, and keys are used again.

Example:
  keyd audit verify              # says which row is the first bad one
  keyd audit reanchor --accept-break";

/// How the daemon keeps its audit log.
#[derive(Debug, Args)]
pub struct KeepAudit {
    /// A file to which every audit row is appended too, best on another host's disk; it also shows when an old state
    /// directory was put back
    #[arg(long, value_name = "PATH", value_parser = copy_path)]
    pub audit_copy: Option<PathBuf>,
    /// Close that copy when it has this many bytes: it is renamed to PATH.ROW, by the number of its first row, and the
    /// next is begun. Without this, rotate it with another program, which then sends keyd SIGHUP
    #[arg(long, value_name = "BYTES", requires = "audit_copy", value_parser = segment_len())]
    pub audit_copy_segment: Option<u64>,
    /// Send every audit row to the system's log too (RFC 5424), at this socket
    #[arg(long, value_name = "SOCKET", num_args = 0..=1, default_missing_value = "/dev/log")]
    pub audit_syslog: Option<PathBuf>,
    /// Use no key while a copy cannot be written; otherwise that is only said aloud
    #[arg(long)]
    pub audit_copy_required: bool,
    /// Close a file of the audit log when it has this many bytes, and begin the next
    #[arg(long, value_name = "BYTES", default_value_t = AUDIT_SEGMENT_LEN, value_parser = segment_len())]
    pub audit_segment: u64,
}

/// A number of bytes that rows fit in.
fn segment_len() -> impl Fn(&str) -> Result<u64, String> + Clone {
    number(AUDIT_SEGMENT_LEN_MIN..=u64::MAX, AUDIT_SEGMENT_LEN)
}

/// Where a copy is, from `/` on. keyd goes on to write in its directory, and the sandbox lets it.
fn copy_path(text: &str) -> Result<PathBuf, String> {
    let path = path::absolute(text).map_err(|_| "name a file, such as /srv/audit/copy.log")?;
    let directory = directory(&path);
    let lies = directory.canonicalize().unwrap_or(directory);
    match lies.parent() {
        Some(_) => Ok(path),
        None => Err("keyd would have to write in '/': give the copy a directory of its own".into()),
    }
}

impl From<KeepAudit> for AuditKeeping {
    fn from(keep: KeepAudit) -> Self {
        Self {
            copy: keep.audit_copy,
            copy_segment: keep.audit_copy_segment,
            syslog: keep.audit_syslog,
            required: keep.audit_copy_required,
            segment: keep.audit_segment,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_has_a_directory_that_is_named_and_is_not_the_root() {
        let here = std::env::current_dir().unwrap();
        assert_eq!(copy_path("copy.log"), Ok(here.join("copy.log")));
        assert_eq!(copy_path("/srv/audit/copy.log"), Ok(PathBuf::from("/srv/audit/copy.log")));
        for root in ["/copy.log", "/tmp/../copy.log", "/", ""] {
            assert!(copy_path(root).is_err(), "{root}");
        }
    }
}
