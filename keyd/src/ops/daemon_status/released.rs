//! What `status` says of secrets that lie open: volume keys that were given out, and a root key in plain text.

use keyd_client::{DiskId, message::KeyRelease};

use crate::{
    clock,
    error::Fault,
    limits::{DISK_WARNINGS_MAX, DISKS_PER_LOOK},
    root::RootKind,
    store::View,
};

/// A line for a root key in plain text, and one for each disk whose volume key was given out: that is so until it has
/// another.
///
/// # Errors
/// [`Fault`].
pub(super) fn notes(view: &impl View, root: Option<RootKind>) -> Result<Vec<String>, Fault> {
    let mut notes = released(view)?;
    if root == Some(RootKind::File) {
        notes.push(PLAIN_ROOT.to_owned());
    }
    Ok(notes)
}

const PLAIN_ROOT: &str = "the root key is in plain text in the state directory, in root.key: whoever can read that file and the store has every key; stop keyd and seal it by 'keyd root move --to passphrase' or, with a token, '--to pkcs11'";

fn released(view: &impl View) -> Result<Vec<String>, Fault> {
    let (mut lines, mut more, mut after) = (Vec::new(), 0, None);
    loop {
        let page = view.disks(after, DISKS_PER_LOOK)?;
        for disk in &page {
            match &disk.released {
                Some(mark) if lines.len() < DISK_WARNINGS_MAX => lines.push(line(disk.id, mark)),
                Some(_) => more += 1,
                None => {}
            }
        }
        after = page.last().map(|disk| disk.id);
        if page.len() < DISKS_PER_LOOK {
            break;
        }
    }
    if more > 0 {
        lines.push(format!("so it is with {more} more disks: 'keyd disk show' says it of each"));
    }
    Ok(lines)
}

fn line(id: DiskId, mark: &KeyRelease) -> String {
    let by = mark.by.map(|by| format!(", as the key of disk {by}")).unwrap_or_default();
    let (at, to) = (clock::text(mark.at), &mark.to);
    format!(
        "the volume key of disk {id} was released on {at} to {to}{by}: whoever has it reads the disk, whatever becomes of its keys; copy the data to a new disk and erase this one"
    )
}
