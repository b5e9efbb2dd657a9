//! Makes a disk's DEK and record.

use keyd_client::{
    DesName, DiskId,
    message::{DiskKind, DiskStatus, Geometry},
};

use super::{first_start, rewrap, status};
use crate::{
    auth::{Permit, op},
    core::Core,
    envelope::{self, Owner},
    error::Failure,
    model::disk::{Disk, check_geometry},
    store::View,
    volume_key,
};

/// The set of a disk whose maker names none.
#[must_use]
pub fn default_set() -> DesName {
    first_start::platform_set()
}

/// Makes a DEK and keeps it wrapped only. The disk is unconfirmed until its image is durable.
///
/// # Errors
/// Those of [`check_geometry`]; [`crate::error::Refused::NoSet`], and those of [`rewrap::wrappers`].
pub fn run(
    core: &Core,
    permit: Permit<op::DiskCreate>,
    des: &DesName,
    geometry: Geometry,
) -> Result<DiskStatus, Failure> {
    check_geometry(&geometry)?;
    let dek = volume_key::generate()?;
    let digest = volume_key::digest(&dek)?;
    core.commit(&permit, |txn| {
        // Wrapped inside the transaction: a rotation that begins meanwhile must not leave this DEK behind.
        let (set, now) = (txn.set(des)?, core.now());
        let wrappers = rewrap::wrappers(txn, &set, now)?;
        let owner = Owner { disk: DiskId::random(), generation: 1 };
        let disk = Disk {
            id: owner.disk,
            kind: DiskKind::Disk,
            source: None,
            des: des.clone(),
            wraps: envelope::seal(&core.keyring, &set, owner, &dek, &wrappers)?,
            geometry,
            digest: digest.clone(),
            generation: owner.generation,
            confirmed: false,
            created: now,
            maker: permit.caller().principal.clone(),
            released: None,
        };
        txn.add_disk(&disk, &set)?;
        let wrap = disk.first_wrap();
        let detail = format!("des={des} key={} version={}", wrap.key, wrap.version);
        Ok((status::disk(core, txn, &disk)?, permit.entry(disk.id).detail(detail)))
    })
}
