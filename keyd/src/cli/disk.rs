//! `keyd disk`.

mod text;

use keyd_client::{
    DiskId,
    message::{DiskRequest, DiskStatus, Reply, Request},
};

use super::{
    Error, Exit, args,
    ask::{Ask, unexpected},
    impact, release, revocation,
};

pub(super) fn run(ask: &Ask, verb: args::Disk) -> Result<Exit, Error> {
    match verb {
        args::Disk::List => list(ask, |after| DiskRequest::List { after }),
        args::Disk::Show { id } => one(ask, DiskRequest::Show { id }),
        args::Disk::Derive { source, kind, des } => {
            one(ask, DiskRequest::Derive { source, kind: kind.into(), des })
        }
        args::Disk::Confirm { id } => {
            ask.call_to_do(DiskRequest::Confirm { id }, format!("disk {id} confirmed"))
        }
        args::Disk::Abandon { id } => {
            ask.call_to_do(DiskRequest::Abandon { id }, format!("disk {id} forgotten"))
        }
        args::Disk::Move { id, to, sure } => {
            let done = format!("disk {id} is in disk encryption set {to}");
            match ask.call(DiskRequest::Move { id, des: to, consent: sure.into() })? {
                reply @ Reply::Rewrapped { .. } => ask.print_reply(&reply, done),
                Reply::Impact(would) => ask.print(&would, impact::text),
                _ => Err(unexpected()),
            }
        }
        args::Disk::Erase { id, sure } => {
            let done = format!("the key of disk {id} is destroyed");
            revocation::run(ask, DiskRequest::Erase { id, consent: sure.into() }, 0, done)
        }
        args::Disk::ReleaseKey { id, to } => release::run(ask, id, &to),
    }
}

fn one(ask: &Ask, request: DiskRequest) -> Result<Exit, Error> {
    match ask.call(request)? {
        Reply::Disk(disk) => ask.print(&*disk, text::one),
        _ => Err(unexpected()),
    }
}

/// Page after page.
pub(super) fn list<R: Into<Request>>(
    ask: &Ask,
    page: impl Fn(Option<DiskId>) -> R,
) -> Result<Exit, Error> {
    let mut every: Vec<DiskStatus> = Vec::new();
    loop {
        let Reply::Disks { disks, more } =
            ask.call(page(every.last().map(|disk| disk.record.id)))?
        else {
            return Err(unexpected());
        };
        let end = !more || disks.is_empty();
        every.extend(disks);
        if end {
            return ask.print(&every, |disks| text::all(disks));
        }
    }
}
