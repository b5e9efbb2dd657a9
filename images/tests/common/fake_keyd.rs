//! A daemon in a thread, just big enough for `image create` and `image resize`: it makes a record with a known key, and
//! misbehaves on request.

use std::{
    io,
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    thread,
};

use keyd_client::{
    LeaseId,
    message::{
        Answer, Attached, DiskCreate, DiskGrow, DiskRecord, DiskStatus, Event, Geometry,
        HolderMessage, Reaction, Refusal, RefusalCode, Request,
    },
    wire::{self, Body},
};
use serde::Serialize;

use super::{dek, key, record};

/// How it behaves.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    Good,
    RefusesConfirm,
    RefusesConfirmAndAbandon,
    SendsAnotherKey,
    RevokesAtOnce,
    RefusesAttach,
    RefusesGrowth,
    DiesGrowing,
}

/// A running daemon. It ends with the test process.
pub(crate) struct FakeKeyd {
    pub(crate) socket: PathBuf,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    verbs: Vec<String>,
    record: Option<DiskRecord>,
}

impl FakeKeyd {
    pub(crate) fn start(directory: &Path, manner: Manner) -> Self {
        let socket = directory.join("keyd.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let shared = shared.clone();
                thread::spawn(move || serve(stream.unwrap(), &shared, manner));
            }
        });
        Self { socket, state }
    }

    /// What it was asked, in order.
    pub(crate) fn verbs(&self) -> Vec<String> {
        self.state.lock().unwrap().verbs.clone()
    }

    pub(crate) fn record(&self) -> DiskRecord {
        self.state.lock().unwrap().record.clone().unwrap()
    }
}

fn refused(message: &str) -> Body {
    let refusal = Refusal { code: RefusalCode::Conflict, message: message.into() };
    Body::of(&Answer::<()>::Refused(refusal)).unwrap()
}

fn done<T: Serialize>(reply: T) -> Body {
    Body::of(&Answer::Done(reply)).unwrap()
}

fn serve(mut stream: UnixStream, state: &Mutex<State>, manner: Manner) {
    let (request, _) = wire::receive::<Request>(&mut stream).unwrap();
    let verb = |name: &str| state.lock().unwrap().verbs.push(name.to_owned());
    let reply = match request {
        Request::DiskCreate(DiskCreate { geometry, .. }) => {
            verb("create");
            make(state, geometry)
        }
        Request::DiskConfirm(_)
            if [Manner::Good, Manner::RefusesGrowth, Manner::DiesGrowing].contains(&manner) =>
        {
            verb("confirm");
            done(())
        }
        Request::DiskConfirm(_) => refused("no confirmation today"),
        Request::DiskAbandon(_) if manner == Manner::RefusesConfirmAndAbandon => {
            refused("no abandonment either")
        }
        Request::DiskAbandon(_) => {
            verb("abandon");
            done(())
        }
        Request::DiskShow(_) => done(status(state)),
        Request::DiskGrow(DiskGrow { dry_run: true, .. }) if manner == Manner::RefusesGrowth => {
            refused("no growth today")
        }
        Request::DiskGrow(DiskGrow { dry_run: true, .. }) => {
            verb("rehearse");
            done(status(state))
        }
        Request::DiskGrow(DiskGrow { size, .. }) => {
            verb("grow");
            state.lock().unwrap().record.as_mut().unwrap().geometry.size = size;
            if manner == Manner::DiesGrowing {
                return;
            }
            done(status(state))
        }
        Request::Attach(_) if manner == Manner::RefusesAttach => refused("not for you"),
        Request::Attach(_) => {
            verb("attach");
            // The holder's end of the conversation is its own business.
            let _ = lease(stream, state, manner);
            return;
        }
        other => panic!("{other:?}"),
    };
    let _ = wire::send_body(&mut stream, reply, None);
}

fn make(state: &Mutex<State>, geometry: Geometry) -> Body {
    state.lock().unwrap().record = Some(record(geometry, &key()));
    done(status(state))
}

fn status(state: &Mutex<State>) -> DiskStatus {
    DiskStatus {
        record: state.lock().unwrap().record.clone().unwrap(),
        wrapped: None,
        key_enabled: true,
        key_lost: None,
        holders: Vec::new(),
        released: None,
        last: None,
        grants: Vec::new(),
        grants_more: false,
    }
}

fn lease(
    mut stream: UnixStream,
    state: &Mutex<State>,
    manner: Manner,
) -> Result<(), wire::WireError> {
    let mut key = key();
    if manner == Manner::SendsAnotherKey {
        key[7] ^= 1;
    }
    let attached = Attached {
        lease: LeaseId::random(),
        record: status(state).record,
        on_revoke: Reaction::Park,
        lease_ms: 60_000,
        withheld: None,
    };
    wire::send(&mut stream, &Answer::Done(attached), Some(&dek(&key)))?;
    if manner == Manner::RevokesAtOnce {
        let reason = "disabled".to_owned();
        wire::send(
            &mut stream,
            &Event::Revoked { reason: reason.into(), on_revoke: Reaction::Park },
            None,
        )?;
    }
    loop {
        match wire::receive::<HolderMessage>(&mut stream)?.0 {
            HolderMessage::Renew => {
                wire::send(&mut stream, &Event::Renewed { lease_ms: 60_000 }, None)?
            }
            HolderMessage::Fenced(_) => state.lock().unwrap().verbs.push("fenced".into()),
            HolderMessage::Space { .. } | HolderMessage::Serving(_) | HolderMessage::Released => {}
            HolderMessage::Reclaim => {
                return Err(io::Error::from(io::ErrorKind::Unsupported).into());
            }
        }
    }
}
