//! `keyd des`.

mod text;

use keyd_client::{
    Client,
    message::{
        DesCreate, DesList, DesResources, DesSetKey, DesShow, DesStatus, DesUpdate, Rewrapped,
    },
};

use super::{
    Error, Exit, args,
    args::des::On,
    console::Console,
    disk,
    progress::{self, Step},
};

pub(super) fn run(console: &Console, verb: args::Des) -> Result<Exit, Error> {
    match verb {
        args::Des::Create { name, on, encryption, terms, no_auto_rotate } => {
            let On { key, version, no_permit } = on;
            let (auto_rotate, permit) = (!no_auto_rotate, !no_permit);
            let ask = DesCreate { name, key, version, encryption, terms, auto_rotate, permit };
            console.show(ask, text::one)
        }
        args::Des::List => {
            let after = |last: Option<&DesStatus>| last.map(|set| set.name.clone());
            let sets = console.every(|last| DesList { after: after(last) })?;
            console.print(&sets, |sets| text::all(sets))
        }
        args::Des::Show(ask) => console.show(ask, text::one),
        args::Des::Update { name, change, sure: consent } => {
            console.show_weighed(DesUpdate { name, change: change.into(), consent }, text::one)
        }
        args::Des::SetKey { name, on, sure: consent } => {
            let On { key, version, no_permit } = on;
            set_key(console, DesSetKey { name, key, version, permit: !no_permit, consent })
        }
        args::Des::Delete(ask) => {
            let done = format!("disk encryption set {} deleted", ask.name);
            console.done(ask, done)
        }
        args::Des::Resources { name } => {
            disk::list(console, |after| DesResources { name: name.clone(), after })
        }
    }
}

fn set_key(console: &Console, ask: DesSetKey) -> Result<Exit, Error> {
    let (name, done) =
        (ask.name.clone(), format!("disk encryption set {} is on key {}", ask.name, ask.key));
    let look = |client: &mut Client| Ok(wrapped_anew(&client.ask(DesShow { name: name.clone() })?));
    let set = progress::ask(console, ask, look)?;
    console.print_weighed(&set, |Rewrapped { rewrapped }| {
        format!("{done}; disks wrapped anew: {rewrapped}")
    })
}

/// None while nothing is behind.
fn wrapped_anew(set: &DesStatus) -> Option<Step> {
    let behind: u64 = set.previous_keys.iter().map(|previous| previous.wrapped_deks).sum();
    (behind > 0).then(|| Step { done: set.disks.saturating_sub(behind), all: set.disks })
}
