//! All control flow: which operation a request is, who may, what a refusal leaves behind. The only matches on the kind
//! of a request are here and in the tables below. Operations themselves are in [`crate::ops`], one a file.

mod app;
mod clock;
mod des;
mod disk;
mod identify;
mod key;
mod keyvault;
mod naming;
mod vault;

use std::{fmt, os::unix::net::UnixStream, sync::Arc};

use keyd_client::{
    Dek, LeaseId,
    message::{HolderMessage, Refusal, RefusalCode, Reply, Request},
};

use crate::{
    audit::Class,
    auth::{self, Caller, Op, Permit, Place},
    core::Core,
    error::{Failure, Fault, Refused},
    leases::LeaseOver,
    log, ops,
    tls::TlsOptions,
};

pub use crate::core::refusals::Origin;

/// The daemon's parts, as those who ask meet them.
#[derive(Debug)]
pub struct Service {
    core: Arc<Core>,
    reach: Reach,
}

/// How the daemon is reached by others than its socket.
#[derive(Debug, Clone, Default)]
pub struct Reach {
    /// URL of the identity endpoint, if there is one.
    pub identity_endpoint: Option<String>,
    /// Certificate of its own certification authority, PEM, if it has one.
    pub ca_certificate: Option<String>,
    /// Where HTTPS has its certificates from, if it is served.
    pub tls: Option<TlsOptions>,
}

/// What a connection does after a request.
#[derive(Debug)]
pub enum Answer {
    /// It sends this.
    Reply(Box<Reply>, Option<Dek>),
    /// It has become a lease; its holder was answered.
    Lease(LeaseId),
}

impl From<Reply> for Answer {
    fn from(reply: Reply) -> Self {
        Self::Reply(Box::new(reply), None)
    }
}

impl Service {
    /// A service of these parts.
    #[must_use]
    pub fn new(core: Arc<Core>, reach: Reach) -> Self {
        Self { core, reach }
    }

    /// The parts.
    #[must_use]
    pub fn core(&self) -> &Arc<Core> {
        &self.core
    }

    /// Does what a request asks, or says why not.
    pub fn answer(&self, caller: &Caller, request: Request, stream: &Arc<UnixStream>) -> Answer {
        let request = self.as_written(request).map_err(Failure::from);
        request
            .and_then(|request| self.dispatch(caller, request, stream))
            .unwrap_or_else(|failure| Reply::Refused(told(failure)).into())
    }

    fn dispatch(
        &self,
        by: &Caller,
        request: Request,
        stream: &Arc<UnixStream>,
    ) -> Result<Answer, Failure> {
        let core = &self.core;
        match request {
            Request::Status => {
                let mut status =
                    self.act(by, None, "keyd", |permit| ops::daemon_status::run(core, permit))?;
                status.warnings.extend(self.reach.tls.iter().flat_map(TlsOptions::warnings));
                Ok(Reply::Status(status).into())
            }
            Request::Clock(request) => Ok(self.clock(by, &request)?.into()),
            Request::Key(request) => Ok(self.key(by, request)?.into()),
            Request::Vault(request) => Ok(self.vault(by, request)?.into()),
            Request::Grant(request) => Ok(self.grant(by, request)?.into()),
            Request::App(request) => Ok(self.app(by, request)?.into()),
            Request::Token(request) => Ok(self.token(by, request)?.into()),
            // Public, as a certificate is.
            Request::CaCertificate => {
                let certificate = self.reach.ca_certificate.clone().ok_or(Refused::NoCa)?;
                Ok(Reply::CaCertificate(certificate).into())
            }
            Request::Des(request) => Ok(self.des(by, request)?.into()),
            Request::Disk(request) => self.disk(by, request),
            Request::Check { deep, accept_damage } => {
                Ok(self.check(by, deep, accept_damage)?.into())
            }
            Request::Backup { to, recipients } => Ok(self
                .act(by, None, "store", |permit| {
                    ops::state_backup::run(core, permit, &to, &recipients)
                })?
                .into()),
            Request::Audit(request) => Ok(self.audit(by, &request)?.into()),
            Request::Attach { id, read_only, if_lost } => {
                let ask = ops::attach::Ask { id, read_only, if_lost };
                let lease =
                    self.act(by, id, id, |permit| ops::attach::run(core, permit, ask, stream))?;
                Ok(Answer::Lease(lease))
            }
        }
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
