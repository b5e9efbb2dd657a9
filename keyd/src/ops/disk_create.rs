//! Makes a disk's DEK and record.

use keyd_client::{
    DesName, DiskId,
    message::{DiskStatus, Geometry},
};

use super::{first_start, status};
use crate::{
    auth::{Permit, op},
    clock,
    core::Core,
    error::Failure,
    model::disk::{Disk, check_geometry},
    store::View,
    volume_key,
};

/// Makes a DEK and keeps it wrapped only. The disk is unconfirmed until its image is durable.
///
/// # Errors
/// Those of [`check_geometry`]; [`crate::error::Refused::NoSet`], [`crate::error::Refused::KeyDisabled`].
pub fn run(
    core: &Core,
    permit: Permit<op::DiskCreate>,
    des: Option<DesName>,
    geometry: Geometry,
) -> Result<DiskStatus, Failure> {
    check_geometry(&geometry)?;
    let des = des.unwrap_or_else(first_start::platform_set);
    let dek = volume_key::generate()?;
    let digest = volume_key::digest(&dek)?;
    core.store.commit(|txn| {
        // Wrapped inside the transaction: a rotation that begins meanwhile must not leave this DEK behind.
        let set = txn.set(&des)?;
        let key = txn.key(&set.key)?;
        let version = key.usable(set.active_version)?;
        let mut disk = Disk {
            id: DiskId::random(),
            des: des.clone(),
            key_version: version.version,
            geometry,
            digest: digest.clone(),
            generation: 1,
            confirmed: false,
            created: clock::now(),
            maker: permit.caller().uid,
            wrapped: keyd_client::WrappedDek(Vec::new()),
        };
        let kek = core.keyring.kek(&key.name, version)?;
        disk.wrapped = kek.wrap(&dek, &disk.binding(&set))?;
        txn.add_disk(&disk, &set)?;
        let entry = permit.entry(disk.id);
        let detail = format!("des={des} key={} version={}", key.name, version.version);
        Ok((status::disk(core, txn, &disk)?, entry.detail(detail)))
    })
}
