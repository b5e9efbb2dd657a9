//! Space on the file system, and who may still be served when there is none.
//!
//! Two things are reserved ahead: blocks behind the end of the audit log, and the ballast, which the database and new
//! segments live on. Uses of keys want both whole; what takes keys away or frees space wants one commit's worth. So a
//! full disk ends uses first, each before anything was written, and is never found out by a failing write.

use std::io;

use keyd_client::message::UnixMillis;

use super::ballast::Ballast;
use crate::{
    audit::{Class, writer::Writer},
    clock,
    files::is_full,
    log,
};

/// A time without space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full {
    pub(super) since: UnixMillis,
    pub(super) refused: u64,
}

/// Whether there is room for a commit of a class, after reserving what can be.
pub(super) fn has_room(ballast: &Ballast, writer: &mut Writer, class: Class) -> io::Result<bool> {
    let reserved = match class {
        Class::Use => writer.ordinary_room().and_then(|()| ballast.restore_whole()),
        // The log's next blocks may come out of the ballast too.
        Class::Administration | Class::Withdrawal => {
            ballast.spend(|| writer.bare_room()).and_then(|()| ballast.restore_piece())
        }
    };
    match reserved {
        Err(error) if is_full(&error) => Ok(false),
        reserved => reserved.map(|()| true),
    }
}

/// Counts a refusal, and says the first one aloud.
pub(super) fn refuse(full: &mut Option<Full>) {
    match full {
        Some(full) => full.refused += 1,
        None => {
            *full = Some(Full { since: clock::now(), refused: 1 });
            log::line(format_args!(
                "the disk of the state directory is full: keys are not used until there is space"
            ));
        }
    }
}
