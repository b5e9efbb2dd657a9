//! `keyd des`.

mod text;

use keyd_client::{
    Client, ClientError, DesName,
    message::{Consent, DesRequest, DesStatus, Reply},
};

use super::{
    Error, Exit, args,
    args::des::On,
    ask::{Ask, unexpected},
    disk, impact,
    progress::{self, Step},
};

pub(super) fn run(ask: &Ask, verb: args::Des) -> Result<Exit, Error> {
    match verb {
        args::Des::Create { name, on, encryption, terms, no_auto_rotate } => {
            let On { key, version, no_permit } = on;
            let (encryption, terms) = (encryption.into(), terms.into());
            let (auto_rotate, permit) = (!no_auto_rotate, !no_permit);
            let request =
                DesRequest::Create { name, key, version, encryption, terms, auto_rotate, permit };
            one(ask, request)
        }
        args::Des::List => ask.print(&every(ask)?, |sets| text::all(sets)),
        args::Des::Show { name } => one(ask, DesRequest::Show { name }),
        args::Des::Update { name, change, sure } => {
            one(ask, DesRequest::Update { name, change: change.into(), consent: sure.into() })
        }
        args::Des::SetKey { name, on, sure } => set_key(ask, &name, on, sure.into()),
        args::Des::Delete { name } => {
            let done = format!("disk encryption set {name} deleted");
            ask.call_to_do(DesRequest::Delete { name }, done)
        }
        args::Des::Resources { name } => {
            let page = |after| DesRequest::Resources { name: name.clone(), after };
            disk::list(ask, page)
        }
    }
}

fn one(ask: &Ask, request: DesRequest) -> Result<Exit, Error> {
    match ask.call(request)? {
        Reply::Des(set) => ask.print(&set, text::one),
        Reply::Impact(would) => ask.print(&would, impact::text),
        _ => Err(unexpected()),
    }
}

/// Page after page.
fn every(ask: &Ask) -> Result<Vec<DesStatus>, Error> {
    let mut every: Vec<DesStatus> = Vec::new();
    loop {
        let after = every.last().map(|set| set.name.clone());
        let Reply::DesSets { sets, more } = ask.call(DesRequest::List { after })? else {
            return Err(unexpected());
        };
        let end = !more || sets.is_empty();
        every.extend(sets);
        if end {
            return Ok(every);
        }
    }
}

fn set_key(ask: &Ask, name: &DesName, on: On, consent: Consent) -> Result<Exit, Error> {
    let On { key, version, no_permit } = on;
    let look = |client: &mut Client| match client.call(DesRequest::Show { name: name.clone() })? {
        Reply::Des(set) => Ok(wrapped_anew(&set)),
        _ => Err(ClientError::UnexpectedReply),
    };
    let done = format!("disk encryption set {name} is on key {key}");
    let (name, permit) = (name.clone(), !no_permit);
    let request = DesRequest::SetKey { name, key, version, permit, consent };
    match progress::call(ask, request, look)? {
        reply @ Reply::Rewrapped { rewrapped } => {
            ask.print_reply(&reply, format!("{done}; disks wrapped anew: {rewrapped}"))
        }
        Reply::Impact(would) => ask.print(&would, impact::text),
        _ => Err(unexpected()),
    }
}

/// None while nothing is behind.
fn wrapped_anew(set: &DesStatus) -> Option<Step> {
    let behind: u64 = set.previous_keys.iter().map(|previous| previous.wrapped_deks).sum();
    (behind > 0).then(|| Step { done: set.disks.saturating_sub(behind), all: set.disks })
}
