//! `keyd disk`.

mod text;

use keyd_client::{
    DiskId,
    message::{Ask, DiskList, DiskStatus, Listing, Weighed},
};

use super::{Error, Exit, args, console::Console, impact, release};

pub(super) fn run(console: &Console, verb: args::Disk) -> Result<Exit, Error> {
    match verb {
        args::Disk::List => list(console, |after| DiskList { after }),
        args::Disk::Show(ask) => console.show(ask, text::one),
        args::Disk::Derive(ask) => console.show(ask, text::one),
        args::Disk::Confirm(ask) => {
            let done = format!("disk {} confirmed", ask.id);
            console.done(ask, done)
        }
        args::Disk::Abandon(ask) => {
            let done = format!("disk {} forgotten", ask.id);
            console.done(ask, done)
        }
        args::Disk::Move(ask) => {
            let done = format!("disk {} is in disk encryption set {}", ask.id, ask.des);
            console.show_weighed(ask, |_| done)
        }
        args::Disk::Erase(ask) => {
            let done = format!("the key of disk {} is destroyed", ask.id);
            match console.ask(ask)? {
                Weighed::Done(()) => console.print_done(done),
                Weighed::Would(would) => console.print(&would, impact::text),
            }
        }
        args::Disk::ReleaseKey { id, to } => release::run(console, id, &to),
    }
}

/// Disks of all pages.
pub(super) fn list<A: Ask<Reply = Listing<DiskStatus>>>(
    console: &Console,
    page: impl Fn(Option<DiskId>) -> A,
) -> Result<Exit, Error> {
    let disks = console.every(|last: Option<&DiskStatus>| page(last.map(|disk| disk.record.id)))?;
    console.print(&disks, |disks| text::all(disks))
}
