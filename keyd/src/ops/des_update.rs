//! Changes a set's terms. They hold from now on, also for disks that run: shorter ones can halt those whose key is
//! lost.

use keyd_client::{
    DesName,
    message::{DesChange, Reply},
};

use super::{
    status,
    taking::{self, Ask, Concern, Taken},
};
use crate::{
    auth::{Permit, op},
    core::Core,
    error::Failure,
    store::View,
};

/// Changes a set. A holder hears of a new lease time with its next renewal, and of a new reaction when it is revoked.
///
/// # Errors
/// [`crate::error::Refused::NoSet`], [`crate::error::Refused::LeaseLength`], [`crate::error::Refused::Grace`], and
/// those of [`taking::run`].
pub fn run(
    core: &Core,
    permit: Permit<op::DesUpdate>,
    name: &DesName,
    change: &DesChange,
    ask: &Ask<'_>,
) -> Result<Reply, Failure> {
    let taken = taking::run(core, permit, ask, Concern::Set(name), |txn| {
        let mut set = txn.set(name)?;
        set.change(change)?;
        txn.put_set(&set)?;
        Ok(format!("{:?} auto_rotate={}", set.terms, set.auto_rotate))
    })?;
    let view = core.store.snapshot()?;
    match taken {
        Taken::Would(impact) => Ok(Reply::Impact(impact)),
        Taken::Done { .. } => Ok(Reply::Des(status::set(core, &view, &view.set(name)?)?)),
    }
}
