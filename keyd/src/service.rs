//! All control flow: which operation a request is, who may, what a refusal leaves behind. Operations themselves are in
//! [`crate::ops`].

mod identify;
mod keyvault;
#[cfg(test)]
pub(crate) mod testing;

use std::{fmt, os::unix::net::UnixStream, sync::Arc};

use keyd_client::{
    Dek, DiskId, LeaseId,
    message::{self, Attach, HolderMessage, Refusal, RefusalCode, Request},
    wire::Body,
};
use serde::Serialize;

use crate::{
    audit::Class,
    auth::{self, Caller, Op, Permit, Place, op::asked},
    core::Core,
    error::{Failure, Fault, Refused},
    leases::LeaseOver,
    log,
    ops::{self, operation::Operation},
};

pub use crate::core::{Reach, refusals::Origin};

/// The daemon's parts, as those who ask meet them.
#[derive(Debug)]
pub struct Service {
    core: Arc<Core>,
}

/// What a connection does after a request.
#[derive(Debug)]
pub enum Answer {
    /// It sends this.
    Reply(Body, Option<Dek>),
    /// It has become a lease; its holder was answered.
    Lease(LeaseId),
}

impl Answer {
    /// What was done, or why it was not.
    fn of<T: Serialize>(result: Result<T, Failure>) -> Self {
        result.map_or_else(Self::refusal, |reply| Self::Reply(done(reply), None))
    }

    fn refusal(failure: Failure) -> Self {
        Self::Reply(refused(told(failure)), None)
    }
}

/// A frame with what was done.
fn done<T: Serialize>(reply: T) -> Body {
    let body = Body::of(&message::Answer::Done(reply));
    body.unwrap_or_else(|_| refused(Refused::AnswerTooLong.told()))
}

/// A frame that refuses.
pub fn refused(refusal: Refusal) -> Body {
    let answer = message::Answer::<()>::Refused(refusal);
    Body::of(&answer).expect("texts of refusals are short")
}

/// The dispatch: each verb of the table of [`crate::auth::op`] is its own operation.
macro_rules! dispatch {
    ($($ask:ident = $name:literal needs $scope:ident $permission:ident $(, is $class:ident)?;)*) => {
        /// Does what a request asks, or says why not.
        pub fn answer(
            &self,
            by: &Caller,
            request: Request,
            stream: &Arc<UnixStream>,
        ) -> Answer {
            match request {
                $(Request::$ask(ask) => Answer::of(self.perform(by, ask)),)*
                Request::CaShow(_) => Answer::of(self.certificate()),
                Request::DiskReleaseKey(ask) => self.release(by, ask.id),
                Request::Attach(ask) => self.attach(by, ask, stream),
            }
        }
    };
}

impl Service {
    /// A service of these parts.
    #[must_use]
    pub fn new(core: Arc<Core>) -> Self {
        Self { core }
    }

    /// The parts.
    #[must_use]
    pub fn core(&self) -> &Arc<Core> {
        &self.core
    }

    asked!(dispatch);

    /// Does what a verb says. Names count in any case of their letters: from here on they are those that are written in
    /// the store.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn perform<A: Operation>(&self, by: &Caller, mut ask: A) -> Result<A::Reply, Failure> {
        let names = ask.names();
        if !names.is_empty() {
            let view = self.core.store.snapshot()?;
            names.into_iter().try_for_each(|name| name.spell(&view))?;
        }
        let (dry_run, place, subject) = (ask.is_dry_run(), ask.place(), ask.subject());
        self.act_or_rehearse(dry_run, by, place, subject, |permit| ask.run(&self.core, permit))
    }

    /// Public, as a certificate is.
    fn certificate(&self) -> Result<String, Failure> {
        Ok(self.core.reach.ca_certificate.clone().ok_or(Refused::NoCa)?)
    }

    fn release(&self, by: &Caller, id: DiskId) -> Answer {
        let core = &self.core;
        let released = self.act(by, id, id, |permit| ops::disk::release(core, permit, id));
        released.map_or_else(Answer::refusal, |dek| Answer::Reply(done(()), Some(dek)))
    }

    fn attach(&self, by: &Caller, ask: Attach, stream: &Arc<UnixStream>) -> Answer {
        let core = &self.core;
        let id = ask.id;
        let lease = self.act(by, id, id, |permit| ops::attach::run(core, permit, ask, stream));
        lease.map_or_else(Answer::refusal, Answer::Lease)
    }

    /// Does what a holder asks during its lease.
    ///
    /// # Errors
    /// The lease cannot go on; it is to be closed.
    pub fn holder_says(
        &self,
        caller: &Caller,
        lease: LeaseId,
        message: &HolderMessage,
    ) -> Result<(), Failure> {
        let core = &self.core;
        match message {
            HolderMessage::Renew => {
                // Beside a store that cannot be written no key can be taken away: nobody is promised more time.
                core.store.well()?;
                core.leases.renew(lease);
                Ok(())
            }
            HolderMessage::Space { short } => {
                core.leases.set_space(lease, *short);
                Ok(())
            }
            HolderMessage::Serving(serving) => {
                core.leases.set_serving(lease, serving.clone());
                Ok(())
            }
            HolderMessage::Released => {
                core.leases.released(lease);
                Ok(())
            }
            HolderMessage::Fenced(report) => self
                .act(caller, None, lease.0, |permit| ops::fence::run(core, permit, lease, report)),
            HolderMessage::Reclaim => {
                let disk =
                    core.leases.claim(lease).map_or(Place::Daemon, |claim| claim.disk.into());
                let result = self
                    .act(caller, disk, lease.0, |permit| ops::reclaim::run(core, permit, lease));
                result.or_else(|failure| {
                    ops::reclaim::refuse(core, lease, told(failure));
                    Ok(())
                })
            }
        }
    }

    /// A lease has ended: forgotten, and written down.
    pub fn lease_over(&self, lease: LeaseId, why: LeaseOver) {
        if let Err(failure) = ops::lease_end::run(&self.core, lease, why) {
            log::line(format_args!(
                "the end of lease {} could not be recorded: {}",
                lease,
                log::chain(&failure)
            ));
        }
    }

    /// Authorizes, acts, and writes a refusal down. What was done is written down by the operation itself, in the
    /// transaction of its change.
    pub(crate) fn act<O: Op, T>(
        &self,
        caller: &Caller,
        place: impl Into<Place>,
        subject: impl fmt::Display,
        operation: impl FnOnce(Permit<O>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        self.act_or_rehearse(false, caller, place, subject, operation)
    }

    /// The same for what may be only a dry run: the log must not read as if it had been done.
    fn act_or_rehearse<O: Op, T>(
        &self,
        dry_run: bool,
        caller: &Caller,
        place: impl Into<Place>,
        subject: impl fmt::Display,
        operation: impl FnOnce(Permit<O>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let subject = subject.to_string();
        let done = if dry_run { "dry run" } else { "ok" };
        let permit = self
            .core
            .store
            .snapshot()
            .map_err(Failure::from)
            .and_then(|view| self.core.auth.authorize::<O>(caller, place, &view));
        let result = permit.and_then(operation);
        match &result {
            Ok(_) => log::line(format_args!("{caller} {} {subject}: {done}", O::NAME)),
            Err(failure) => self.record_failure::<O>(caller, &subject, failure)?,
        }
        result
    }

    /// The first refusal of a kind is written down, in the log and in the audit log; others of its minute are counted.
    /// One that cannot be recorded becomes a fault. A fault itself is recorded if that is still possible.
    fn record_failure<O: Op>(
        &self,
        caller: &Caller,
        subject: &str,
        failure: &Failure,
    ) -> Result<(), Fault> {
        let why = log::chain(failure);
        let (outcome, detail) = match failure {
            Failure::Refused(refused) => (outcome_of(refused.code()), refused.to_string()),
            Failure::Fault(_) => ("fault", String::new()),
        };
        // What was refused takes nothing away: it may not use up what is kept for that.
        let entry = auth::entry::<O>(caller, subject).class(Class::Use);
        let entry = entry.outcome(outcome).detail(detail);
        let is_first = self.core.refusals.admits(&entry, None, "");
        let event = format_args!("{caller} {} {subject}: {why}", O::NAME);
        match failure {
            Failure::Refused(_) if is_first => log::line(event),
            Failure::Refused(_) => {}
            // Of another kind if it has another cause.
            Failure::Fault(_) => log::provoked(caller, &why, event),
        }
        if !is_first {
            return Ok(());
        }
        match (self.core.store.record(entry), failure) {
            (Err(Failure::Fault(fault)), Failure::Refused(_)) => Err(fault),
            // On a full disk or beside a broken log nothing is recorded; the refusal stands, and nothing was done.
            _ => Ok(()),
        }
    }
}

/// The asker learns a refusal in full, of a fault only that there was one.
fn told(failure: Failure) -> Refusal {
    match failure {
        Failure::Refused(refused) => refused.told(),
        Failure::Fault(_) => Refusal {
            code: RefusalCode::Internal,
            message: "keyd could not do this because of a fault of its own: its log says which"
                .into(),
        },
    }
}

fn outcome_of(code: RefusalCode) -> &'static str {
    match code {
        RefusalCode::BadRequest => "refused: bad request",
        RefusalCode::Forbidden => "refused: forbidden",
        RefusalCode::NotFound => "refused: not found",
        RefusalCode::Conflict => "refused: conflict",
        RefusalCode::KeyDisabled => "refused: key disabled",
        RefusalCode::NeedsConsent => "refused: needs consent",
        RefusalCode::InUse => "refused: in use",
        RefusalCode::Unavailable => "refused: unavailable",
        RefusalCode::Internal => "fault",
    }
}
