//! Tells of disks.

use keyd_client::{
    DiskId, Scope,
    limits::{BODY_LEN_MAX, DISKS_PER_PAGE},
    message::{DiskStatus, GrantStatus, Reply},
    permission::Permission,
};

use super::{grant, status};
use crate::{
    auth::{Permit, op},
    core::Core,
    error::{Failure, Fault},
    limits::GRANTS_PER_DISK,
    model::disk::Disk,
    store::{Grants, View},
};

/// One disk.
///
/// # Errors
/// [`crate::error::Refused::NoDisk`].
pub fn one(core: &Core, permit: Permit<op::DiskShow>, id: DiskId) -> Result<DiskStatus, Failure> {
    let view = core.store.snapshot()?;
    let disk = view.disk(id)?;
    let sees = core.auth.has(&permit.caller().principal, Permission::ReadWrapped, &view)?;
    let wrapped = sees.then(|| disk.first_wrap().blob.clone());
    let mut grants = grants(core, &view, &disk)?;
    let grants_more = grants.len() > GRANTS_PER_DISK;
    grants.truncate(GRANTS_PER_DISK);
    Ok(DiskStatus { wrapped, grants, grants_more, ..status::disk(core, &view, &disk)? })
}

/// Who may attach a disk or make something from it, and by what.
fn grants(core: &Core, view: &impl View, disk: &Disk) -> Result<Vec<GrantStatus>, Failure> {
    let scopes = [Scope::All, Scope::Set(disk.des.clone()), Scope::Disk(disk.id)];
    let counts = |permission: &Permission| {
        permission.is_for_disks() || *permission == Permission::Administer
    };
    let said = core.auth.said().into_iter().filter(|grant| scopes.contains(&grant.scope));
    let stored = view.grants_for(&scopes)?.into_iter().map(grant::stored);
    let mut grants: Vec<GrantStatus> = said.chain(stored).collect();
    grants.iter_mut().for_each(|grant| grant.permissions.retain(counts));
    grants.retain(|grant| !grant.permissions.is_empty());
    Ok(grants)
}

/// One page of disks. It ends early where a frame would be full.
///
/// # Errors
/// [`crate::error::Fault`].
pub fn page(
    core: &Core,
    _permit: Permit<op::DiskList>,
    after: Option<DiskId>,
) -> Result<Reply, Failure> {
    let view = core.store.snapshot()?;
    fit(core, &view, &view.disks(after, DISKS_PER_PAGE + 1)?)
}

/// As many of these as fit one frame: a disk may have many holders.
///
/// # Errors
/// [`crate::error::Fault`].
pub(super) fn fit(core: &Core, view: &impl View, found: &[Disk]) -> Result<Reply, Failure> {
    let mut disks = Vec::new();
    let mut room = BODY_LEN_MAX - 1024;
    let mut seen = 0;
    for disk in found.iter().take(DISKS_PER_PAGE) {
        let told = match status::disk(core, view, disk) {
            // What it belongs to is damaged: it is named elsewhere, and no reason to leave the others.
            Err(Fault::Damaged(_) | Fault::Dangling(_)) => {
                seen += 1;
                continue;
            }
            told => told?,
        };
        let len = serde_json::to_vec(&told)?.len() + 1;
        let Some(left) = room.checked_sub(len) else {
            break;
        };
        room = left;
        seen += 1;
        disks.push(told);
    }
    // Who asks for more names the last that was told.
    let more = seen < found.len() && !disks.is_empty();
    Ok(Reply::Disks { disks, more })
}
