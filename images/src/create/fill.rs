//! A dense disk: every sector is written as encrypted zeros, so stock tools read zeros, and allocation tells nothing.

use std::{
    io,
    path::Path,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use keyd_client::{
    ClientError, DiskId, Printable,
    lease::{BootTime, Lease},
    message::{DiskRecord, Event, FenceReport, Reaction, UnixMillis},
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use thiserror::Error;

use crate::{
    crypt::{CipherError, XtsCipher, scrub_stack},
    digest::digest_matches,
    layout::{Layout, SECTOR_LEN},
    limits::FILL_PIECE_LEN,
    storage::Storage,
};

/// Why a disk could not be filled.
#[derive(Debug, Error)]
pub enum FillError {
    /// No lease, no DEK.
    #[error("keyd gave no key to fill the disk with: {0}")]
    Attach(#[from] ClientError),
    /// The daemon sent another key than its record is about.
    #[error(
        "keyd sent a key that is not disk {0}'s: nothing was encrypted with it; check keyd's audit log"
    )]
    WrongKey(DiskId),
    /// The key went while the disk was being filled.
    #[error(
        "the key of disk {disk} was taken away while it was being filled ({reason}): create it again"
    )]
    Revoked {
        /// The disk.
        disk: DiskId,
        /// By the daemon's account.
        reason: Printable,
    },
    /// The lease could not be kept.
    #[error(
        "keyd was not heard of for a whole lease while disk {0} was being filled: create it again"
    )]
    LeaseEnded(DiskId),
    /// No cipher.
    #[error(transparent)]
    Cipher(#[from] CipherError),
    /// The disk.
    #[error("filling the disk: {0}")]
    Write(#[from] io::Error),
}

/// Attaches the disk, proves the key, and writes encrypted zeros over the whole data area.
pub(super) fn fill(
    socket: &Path,
    storage: &impl Storage,
    record: &DiskRecord,
    layout: &Layout,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(), FillError> {
    let (mut lease, attached, dek) = Lease::attach(socket, record.id, false, false)?;
    let dek = dek.ok_or(ClientError::UnexpectedReply)?;
    if attached.record.id != record.id || !digest_matches(&record.digest, &dek) {
        return Err(FillError::WrongKey(record.id));
    }
    let cipher = XtsCipher::new(dek, layout.sector_size())?;
    let filled = write_zeros(&mut lease, storage, record.id, &cipher, layout, progress);
    let (ordered, began) = (unix_millis(), Instant::now());
    drop(cipher);
    // What the cipher's calls left in their frames goes with it.
    scrub_stack();
    if let Err(FillError::Revoked { .. }) = filled {
        // The daemon waits for this word; if it cannot be said, the closed connection says it.
        let _ = lease.fenced(FenceReport {
            ordered,
            last_io: None,
            wiped: unix_millis(),
            took_us: began.elapsed().as_micros().try_into().unwrap_or(u64::MAX),
            held: 0,
            reaction: Reaction::Fail,
        });
    }
    // Likewise: the connection ends in any case.
    let _ = lease.release();
    filled
}

fn write_zeros(
    lease: &mut Lease,
    storage: &impl Storage,
    disk: DiskId,
    cipher: &XtsCipher,
    layout: &Layout,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(), FillError> {
    let zeros = vec![0; FILL_PIECE_LEN];
    let mut piece = vec![0; FILL_PIECE_LEN];
    let mut done = 0;
    while done < layout.size() {
        keep(lease, disk)?;
        let len = (layout.size() - done).min(FILL_PIECE_LEN as u64) as usize;
        cipher.encrypt(done / SECTOR_LEN, &zeros[..len], &mut piece[..len]);
        storage.write_at(&piece[..len], layout.data_offset() + done)?;
        done += len as u64;
        progress(done, layout.size());
    }
    Ok(storage.sync()?)
}

/// Keeps the lease between two pieces: prolongs it when due, hears the daemon, and ends the work when it must end.
fn keep(lease: &mut Lease, disk: DiskId) -> Result<(), FillError> {
    if lease.renew_at() <= BootTime::now() {
        // A renewal that cannot be sent shows in the lease's end.
        let _ = lease.renew();
    }
    while has_event(lease)? {
        match lease.receive().map_err(ClientError::from)? {
            (Event::Revoked { reason, .. }, _) => return Err(FillError::Revoked { disk, reason }),
            (Event::Renewed { .. }, _) => {}
            _ => return Err(ClientError::UnexpectedReply.into()),
        }
    }
    if lease.ends() <= BootTime::now() {
        return Err(FillError::LeaseEnded(disk));
    }
    Ok(())
}

fn has_event(lease: &Lease) -> io::Result<bool> {
    let mut polled = [PollFd::new(lease, PollFlags::IN)];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    Ok(poll(&mut polled, Some(&at_once))? > 0)
}

fn unix_millis() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis().try_into().unwrap_or(UnixMillis::MAX))
}
