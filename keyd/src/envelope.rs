//! Envelope encryption of a disk's DEK: sealed under its set's key, opened again, sealed anew. Who may is judged
//! before, by [`crate::standing`]; here it is done.

use aws_lc_rs::constant_time;
use keyd_client::{Dek, DiskId, KeyId};

use crate::{
    error::Fault,
    kek::{Binding, KekError, Purpose, shares},
    keyring::Keyring,
    model::{
        des::Des,
        disk::{Disk, Wrap},
        version::Version,
    },
};

/// A key version that wraps now.
#[derive(Debug, Clone)]
pub struct Wrapper {
    /// Its key.
    pub key: KeyId,
    /// The version.
    pub version: Version,
}

/// Whose a DEK is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// The disk.
    pub disk: DiskId,
    /// Which of its DEKs.
    pub generation: u64,
}

impl Owner {
    fn of(disk: &Disk) -> Self {
        Self { disk: disk.id, generation: disk.generation }
    }

    fn binding(self, set: &Des, purpose: Purpose) -> Binding {
        Binding { disk: self.disk, set: set.id, generation: self.generation, purpose }
    }
}

/// Wraps a DEK for a disk of a set: whole under one key, or a share each under two, the customer's first.
///
/// # Errors
/// [`Fault`]: a key that cannot be opened, or does not wrap.
pub fn seal(
    keyring: &Keyring,
    set: &Des,
    owner: Owner,
    dek: &Dek,
    wrappers: &[Wrapper],
) -> Result<Vec<Wrap>, Fault> {
    let wrap = |wrapper: &Wrapper, part: &Dek, purpose| -> Result<Wrap, Fault> {
        let kek = keyring.kek(&wrapper.key, &wrapper.version)?;
        let blob = kek.wrap(part, &owner.binding(set, purpose))?;
        Ok(Wrap { key: wrapper.key.clone(), version: wrapper.version.version, blob })
    };
    match wrappers {
        [customer, platform] => {
            let shares = shares::split(dek)?;
            Ok(vec![
                wrap(customer, &shares.customer, Purpose::CustomerShare)?,
                wrap(platform, &shares.platform, Purpose::PlatformShare)?,
            ])
        }
        [only] => Ok(vec![wrap(only, dek, Purpose::WholeDek)?]),
        _ => Err(KekError::Wrap.into()),
    }
}

/// Unwraps a disk's DEK with the versions that [`crate::standing::opening`] allowed.
///
/// # Errors
/// [`Fault`]: a key that cannot be opened; a wrapped DEK that is damaged, or another disk's.
pub fn open(keyring: &Keyring, set: &Des, disk: &Disk, versions: &[Version]) -> Result<Dek, Fault> {
    let unwrap = |wrap: &Wrap, version: &Version, purpose| -> Result<Dek, Fault> {
        let kek = keyring.kek(&wrap.key, version)?;
        Ok(kek.unwrap(&wrap.blob, &Owner::of(disk).binding(set, purpose))?)
    };
    match (disk.wraps.as_slice(), versions) {
        ([customer, platform], [for_customer, for_platform]) => {
            let customer = unwrap(customer, for_customer, Purpose::CustomerShare)?;
            let platform = unwrap(platform, for_platform, Purpose::PlatformShare)?;
            Ok(shares::join(&customer, &platform)?)
        }
        ([only], [version]) => unwrap(only, version, Purpose::WholeDek),
        _ => Err(KekError::Unwrap.into()),
    }
}

/// Wraps a disk's DEK under other versions, for another set if need be, and opens it again before saying that it did:
/// the old form is about to be given up for the new one.
///
/// # Errors
/// As [`open`] and [`seal`]; [`KekError::Wrap`] if the new form does not hold the same DEK.
pub fn reseal(
    keyring: &Keyring,
    (from, disk, versions): (&Des, &Disk, &[Version]),
    (to, wrappers): (&Des, &[Wrapper]),
) -> Result<Vec<Wrap>, Fault> {
    let dek = open(keyring, from, disk, versions)?;
    let wraps = seal(keyring, to, Owner::of(disk), &dek, wrappers)?;
    let mut anew = disk.clone();
    anew.wraps.clone_from(&wraps);
    let versions: Vec<Version> = wrappers.iter().map(|wrapper| wrapper.version.clone()).collect();
    let check = open(keyring, to, &anew, &versions)?;
    constant_time::verify_slices_are_equal(dek.expose(), check.expose())
        .map_err(|_| KekError::Wrap)?;
    Ok(wraps)
}
