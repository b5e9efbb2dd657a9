//! Changes a set's terms. They hold from now on, also for disks that run.

use keyd_client::{
    DesName,
    message::{DesChange, DesStatus},
};

use super::{enforce, status};
use crate::{
    auth::{Permit, op},
    core::Core,
    error::Failure,
    store::View,
};

/// Changes a set. A holder hears of a new lease time with its next renewal, and of a new reaction when it is revoked.
///
/// # Errors
/// [`crate::error::Refused::NoSet`], [`crate::error::Refused::LeaseLength`], [`crate::error::Refused::Grace`].
pub fn run(
    core: &Core,
    permit: Permit<op::DesUpdate>,
    name: &DesName,
    change: &DesChange,
) -> Result<DesStatus, Failure> {
    let told = core.store.commit(|txn| {
        let mut set = txn.set(name)?;
        set.change(change)?;
        txn.put_set(&set)?;
        let detail = format!("{:?} auto_rotate={}", set.terms, set.auto_rotate);
        Ok((status::set(txn, &set)?, permit.entry(name).detail(detail)))
    })?;
    enforce::run(core)?;
    Ok(told)
}
