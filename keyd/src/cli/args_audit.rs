//! What the command line understands of the audit log.

use std::path::PathBuf;

use clap::Args;

use crate::{
    limits::{AUDIT_SEGMENT_LEN, AUDIT_SEGMENT_LEN_MIN},
    store::Audit,
};

/// How the daemon keeps its audit log.
#[derive(Debug, Args)]
pub struct KeepAudit {
    /// A file to which every audit row is appended too, best on another host's disk; it also shows when an old state
    /// directory was put back
    #[arg(long, value_name = "PATH")]
    pub audit_copy: Option<PathBuf>,
    /// Send every audit row to the system's log too (RFC 5424), at this socket
    #[arg(long, value_name = "SOCKET", num_args = 0..=1, default_missing_value = "/dev/log")]
    pub audit_syslog: Option<PathBuf>,
    /// Use no key while a copy cannot be written; otherwise that is only said aloud
    #[arg(long)]
    pub audit_copy_required: bool,
    /// Close a file of the audit log when it has this many bytes, and begin the next
    #[arg(long, value_name = "BYTES", default_value_t = AUDIT_SEGMENT_LEN, value_parser = clap::value_parser!(u64).range(AUDIT_SEGMENT_LEN_MIN..))]
    pub audit_segment: u64,
}

impl From<KeepAudit> for Audit {
    fn from(keep: KeepAudit) -> Self {
        Self {
            copy: keep.audit_copy,
            syslog: keep.audit_syslog,
            required: keep.audit_copy_required,
            segment: keep.audit_segment,
        }
    }
}
