//! Which disks a principal reaches: those of the sets, and those by themselves, that somebody granted it. What is out
//! of reach is not told from what does not exist.

use keyd_client::{DesName, DiskId, Principal, Scope, permission::Permission};

use super::Auth;
use crate::{
    error::{Failure, Refused},
    model::disk::Disk,
    store::View,
};

impl Auth {
    /// Whether a principal may have the DEK of a disk that is in a set.
    ///
    /// # Errors
    /// [`crate::error::Fault`].
    pub fn may_attach(
        &self,
        who: &Principal,
        (disk, set): (DiskId, &DesName),
        view: &impl View,
    ) -> Result<bool, Failure> {
        let scopes = [Scope::Set(set.clone()), Scope::Disk(disk)];
        self.has_for(who, Permission::Attach, scopes, view)
    }

    /// Whether a principal has a permission for any of these, or for everything.
    pub(super) fn has_for(
        &self,
        who: &Principal,
        permission: Permission,
        scopes: impl IntoIterator<Item = Scope>,
        view: &impl View,
    ) -> Result<bool, Failure> {
        if self.has(who, permission, view)? {
            return Ok(true);
        }
        for scope in scopes {
            if self.granted(who, permission, &scope, view)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether a principal has a permission for a disk. Who has it for every disk is told later that there is none.
    pub(super) fn reaches(
        &self,
        who: &Principal,
        permission: Permission,
        id: DiskId,
        view: &impl View,
    ) -> Result<(), Failure> {
        let reached = match view.find_disk(id)? {
            Some(disk) => self.has_for(who, permission, scopes(&disk), view)?,
            None => self.has(who, permission, view)?,
        };
        if reached {
            return Ok(());
        }
        let who = who.clone();
        Err(Refused::OutOfReach { who, permission, id }.into())
    }

    /// Whether a principal may make something from a disk. Who may attach it is told what else is missing.
    pub(super) fn derives(
        &self,
        who: &Principal,
        permission: Permission,
        id: DiskId,
        view: &impl View,
    ) -> Result<(), Failure> {
        self.reaches(who, Permission::Attach, id, view)?;
        match view.find_disk(id)? {
            Some(disk) if !self.has_for(who, permission, scopes(&disk), view)? => {
                let (who, set) = (who.clone(), disk.des);
                Err(Refused::ForbiddenFor { who, set, permission }.into())
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Whether a disk is a principal's own. Who made it needs a permission for it, or for what it was made from.
    /// Whatever is missing, the answer is the same: not even who has the permission for every disk may attach it by
    /// that.
    pub(super) fn has_made(
        &self,
        who: &Principal,
        permission: Permission,
        id: DiskId,
        view: &impl View,
    ) -> Result<(), Failure> {
        if let Some(disk) = view.find_disk(id)?.filter(|disk| disk.maker == *who) {
            let source = disk.source.map(Scope::Disk);
            if self.has_for(who, permission, scopes(&disk).into_iter().chain(source), view)? {
                return Ok(());
            }
        }
        let who = who.clone();
        Err(Refused::NotYours { who, id }.into())
    }
}

/// What a permission for a disk can be for, short of everything.
fn scopes(disk: &Disk) -> [Scope; 2] {
    [Scope::Set(disk.des.clone()), Scope::Disk(disk.id)]
}
