//! All control flow: which operation a request is, who may, what a refusal leaves behind. The only match on the kind of
//! a request. Operations themselves are in [`crate::ops`], one a file.

use std::{fmt, os::unix::net::UnixStream, sync::Arc};

use keyd_client::{
    Dek, LeaseId,
    message::{HolderMessage, Refusal, RefusalCode, Reply, Request},
};

use crate::{
    auth::{self, Auth, Caller, Op, Permit},
    core::Core,
    error::{Failure, Fault},
    log, ops,
};

/// The daemon's rules and parts.
#[derive(Debug)]
pub struct Service {
    auth: Auth,
    core: Arc<Core>,
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

/// Why a lease is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseOver {
    /// The holder closed the connection, or spoke nonsense.
    HungUp,
    /// Its time ran out.
    RanOut,
}

impl Service {
    /// A service by these rules.
    #[must_use]
    pub fn new(auth: Auth, core: Arc<Core>) -> Self {
        Self { auth, core }
    }

    /// The parts.
    #[must_use]
    pub fn core(&self) -> &Arc<Core> {
        &self.core
    }

    /// Does what a request asks, or says why not.
    pub fn answer(&self, caller: &Caller, request: Request, stream: &Arc<UnixStream>) -> Answer {
        self.dispatch(caller, request, stream)
            .unwrap_or_else(|failure| Reply::Refused(told(failure)).into())
    }

    // One arm a line or two: a table of all requests, on one screen.
    #[rustfmt::skip]
    fn dispatch(
        &self,
        by: &Caller,
        request: Request,
        stream: &Arc<UnixStream>,
    ) -> Result<Answer, Failure> {
        let core = &self.core;
        let reply = match request {
            Request::KeyCreate { name, bits } => Reply::Key(
                self.act(by, name.clone(), |permit| {
                    ops::key_create::run(core, permit, name, bits)
                })?),
            Request::KeyList => Reply::Keys(
                self.act(by, "keys", |permit| ops::key_show::all(core, permit))?),
            Request::KeyShow { name } => Reply::Key(
                self.act(by, &name, |permit| ops::key_show::one(core, permit, &name))?),
            Request::KeySetEnabled { name, enabled: true } =>
                self.act(by, &name, |permit| ops::key_enable::run(core, permit, &name))?,
            Request::KeySetEnabled { name, enabled: false } =>
                self.act(by, &name, |permit| ops::key_disable::run(core, permit, &name))?,
            Request::KeyRotate { name } =>
                self.act(by, &name, |permit| ops::key_rotate::run(core, permit, &name))?,
            Request::DesCreate { name, key, on_revoke, lease_ms } => Reply::Des(
                self.act(by, name.clone(), |permit| {
                    let policy = crate::model::des::Policy { on_revoke, lease_ms };
                    ops::des_create::run(core, permit, name, &key, policy)
                })?),
            Request::DesList => Reply::DesSets(
                self.act(by, "sets", |permit| ops::des_show::all(core, permit))?),
            Request::DesShow { name } => Reply::Des(
                self.act(by, &name, |permit| ops::des_show::one(core, permit, &name))?),
            Request::DiskCreate { des, geometry } => Reply::Disk(Box::new(
                self.act(by, "disk", |permit| {
                    ops::disk_create::run(core, permit, des, geometry)
                })?)),
            Request::DiskConfirm { id } =>
                self.act(by, id, |permit| ops::disk_confirm::run(core, permit, id))?,
            Request::DiskAbandon { id } =>
                self.act(by, id, |permit| ops::disk_abandon::run(core, permit, id))?,
            Request::DiskList { after } =>
                self.act(by, "disks", |permit| ops::disk_show::page(core, permit, after))?,
            Request::DiskShow { id } => Reply::Disk(Box::new(
                self.act(by, id, |permit| ops::disk_show::one(core, permit, id))?)),
            Request::AuditTail { count } => Reply::Audit(
                self.act(by, "audit.log", |permit| ops::audit_read::tail(core, permit, count))?),
            Request::AuditVerify =>
                self.act(by, "audit.log", |permit| ops::audit_read::verify(core, permit))?,
            Request::DiskReleaseKey { id } => {
                let dek = self.act(by, id, |permit| ops::disk_release::run(core, permit, id))?;
                return Ok(Answer::Reply(Box::new(Reply::ReleasedKey), Some(dek)));
            }
            Request::Attach { id, read_only, wait } => {
                let ask = ops::attach::Ask { id, read_only, wait };
                let lease = self.act(by, id, |permit| ops::attach::run(core, permit, ask, stream));
                return lease.map(Answer::Lease);
            }
        };
        Ok(reply.into())
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
                core.leases.renew(lease);
                Ok(())
            }
            HolderMessage::Fenced(report) => {
                self.act(caller, lease.0, |permit| ops::fence::run(core, permit, lease, report))
            }
            HolderMessage::Reclaim => {
                let result =
                    self.act(caller, lease.0, |permit| ops::reclaim::run(core, permit, lease));
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
    fn act<O: Op, T>(
        &self,
        caller: &Caller,
        subject: impl fmt::Display,
        operation: impl FnOnce(Permit<O>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let subject = subject.to_string();
        let permit = self.auth.authorize::<O>(caller).map_err(Failure::from);
        let result = permit.and_then(operation);
        match &result {
            Ok(_) => log::line(format_args!("{caller} {} {subject}: ok", O::NAME)),
            Err(failure) => {
                let why = log::chain(failure);
                log::line(format_args!("{caller} {} {subject}: {why}", O::NAME));
                self.record_failure::<O>(caller, &subject, failure)?;
            }
        }
        result
    }

    /// A refusal that cannot be recorded becomes a fault. A fault itself is recorded if that is still possible.
    fn record_failure<O: Op>(
        &self,
        caller: &Caller,
        subject: &str,
        failure: &Failure,
    ) -> Result<(), Fault> {
        let (outcome, detail) = match failure {
            Failure::Refused(refused) => (outcome_of(refused.code()), refused.to_string()),
            Failure::Fault(_) => ("fault", String::new()),
        };
        let entry = auth::entry::<O>(caller, subject).outcome(outcome).detail(detail);
        match (self.core.store.record(entry), failure) {
            (Err(Failure::Fault(fault)), Failure::Refused(_)) => Err(fault),
            // With a broken audit log nothing is recorded; the refusal stands, and nothing was done.
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
                .to_owned(),
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
        RefusalCode::InUse => "refused: in use",
        RefusalCode::Internal => "fault",
    }
}
