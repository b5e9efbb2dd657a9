//! Makes the record of a snapshot, of an image, or of a disk made from one. It has its source's DEK, for its bytes are
//! its source's; wrapped for itself, so that neither's wrapped DEK opens the other.

use keyd_client::{
    DesName, DiskId,
    message::{DiskKind, DiskStatus, KeyRelease},
};

use super::{rewrap, status};
use crate::{
    auth::{Permit, op},
    core::Core,
    envelope::{self, Owner},
    error::{Failure, Refused},
    model::{disk::Disk, right::Use},
    standing,
    store::View,
};

/// Makes the record; it is unconfirmed until its image is durable.
///
/// # Errors
/// [`Refused::NoDisk`], [`Refused::OneSet`] (a disk and what is made from it share one set), those of
/// [`Disk::derivable`], of [`standing::opening`] and of [`rewrap::wrappers`].
pub fn run(
    core: &Core,
    permit: Permit<op::DiskDerive>,
    source: DiskId,
    kind: DiskKind,
    des: Option<&DesName>,
) -> Result<DiskStatus, Failure> {
    core.commit(&permit, |txn| {
        let (from, set) = txn.disk_and_set(source)?;
        from.derivable(kind)?;
        if des.is_some_and(|wished| *wished != set.name) {
            return Err(Refused::OneSet { disk: source, set: set.name }.into());
        }
        let now = core.now();
        let versions = standing::opening(txn, &from, &set, Use::Attach, now)?;
        let wrappers = rewrap::wrappers(txn, &set, now)?;
        let dek = envelope::open(&core.keyring, &set, &from, &versions)?;
        let owner = Owner { disk: DiskId::random(), generation: from.generation };
        let disk = Disk {
            id: owner.disk,
            kind,
            source: Some(source),
            wraps: envelope::seal(&core.keyring, &set, owner, &dek, &wrappers)?,
            confirmed: false,
            created: now,
            maker: permit.caller().principal.clone(),
            // With the DEK goes the mark that it was given out.
            released: from
                .released
                .clone()
                .map(|mark| KeyRelease { by: mark.by.or(Some(source)), ..mark }),
            ..from
        };
        txn.add_disk(&disk, &set)?;
        let detail = format!("source={source} kind={kind:?} des={}", set.name);
        Ok((status::disk(core, txn, &disk)?, permit.entry(disk.id).detail(detail)))
    })
}
