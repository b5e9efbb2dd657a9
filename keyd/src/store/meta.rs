//! What the store remembers of the audit log beside its head: where it begins, and a break that was recorded and not
//! yet accepted; and of the time.

use super::{Txn, View, tables::META};
use crate::{audit::Begin, clock::Kept, error::Fault};

const BEGIN: &[u8] = b"audit-begin";
const BREAK: &[u8] = b"audit-break";
const TIME: &[u8] = b"time";

/// Both, and the time, as committed. A beginning that is damaged counts as the first row: the log does not begin there
/// any more, so it is seen to be broken. A break stays one when its text is damaged.
pub(super) fn read(view: &impl View) -> Result<(Begin, Option<String>, Option<Kept>), Fault> {
    let begin = match view.value(META, BEGIN) {
        Ok(Some(bytes)) => serde_json::from_slice(&bytes)?,
        Ok(None) | Err(Fault::Damaged(_)) => Begin::default(),
        Err(other) => return Err(other),
    };
    let broken = match view.value(META, BREAK) {
        Ok(text) => text.map(|text| String::from_utf8_lossy(&text).into_owned()),
        Err(Fault::Damaged(what)) => Some(format!("the audit log was broken ({what} is damaged)")),
        Err(other) => return Err(other),
    };
    let time = match view.value(META, TIME) {
        Ok(time) => time.map(|time| serde_json::from_slice(&time)).transpose()?,
        // While anything is damaged nothing is destroyed by the clock.
        Err(Fault::Damaged(_)) => None,
        Err(other) => return Err(other),
    };
    Ok((begin, broken, time))
}

pub(super) fn put_time(txn: &Txn<'_>, time: Kept) -> Result<(), Fault> {
    txn.put(META, TIME, &serde_json::to_vec(&time)?)
}

pub(super) fn put_begin(txn: &Txn<'_>, begin: &Begin) -> Result<(), Fault> {
    txn.put(META, BEGIN, &serde_json::to_vec(begin)?)
}

pub(super) fn put_break(txn: &Txn<'_>, broken: &str) -> Result<(), Fault> {
    txn.put(META, BREAK, broken.as_bytes())
}

pub(super) fn clear_break(txn: &Txn<'_>) -> Result<(), Fault> {
    txn.remove(META, BREAK)
}
