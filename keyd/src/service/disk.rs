//! The table of what is asked of disks on the native socket, but for what hands out a DEK.

use keyd_client::message::{AuditRequest, DiskRequest, Reply};

use super::{Answer, Service};
use crate::{
    auth::Caller,
    error::Failure,
    ops::{
        self,
        taking::{Ask, Taken},
    },
};

impl Service {
    pub(super) fn disk(&self, by: &Caller, request: DiskRequest) -> Result<Answer, Failure> {
        let core = &self.core;
        let reply = match request {
            DiskRequest::Create { des, geometry } => {
                let des = des.unwrap_or_else(ops::disk_create::default_set);
                let disk = self.act(by, &des, "disk", |permit| {
                    ops::disk_create::run(core, permit, &des, geometry)
                })?;
                Reply::Disk(Box::new(disk))
            }
            DiskRequest::Derive { source, kind, des } => {
                let disk = self.act(by, source, source, |permit| {
                    ops::disk_derive::run(core, permit, source, kind, des.as_ref())
                })?;
                Reply::Disk(Box::new(disk))
            }
            DiskRequest::Confirm { id } => {
                self.act(by, id, id, |permit| ops::disk_confirm::run(core, permit, id))?
            }
            DiskRequest::Abandon { id } => {
                self.act(by, id, id, |permit| ops::disk_abandon::run(core, permit, id))?
            }
            DiskRequest::Grow { id, size, dry_run } => {
                let disk = self.act_or_rehearse(dry_run, by, id, id, |permit| match dry_run {
                    true => ops::disk_grow::rehearse(core, &permit, id, size),
                    false => ops::disk_grow::run(core, permit, id, size),
                })?;
                Reply::Disk(Box::new(disk))
            }
            DiskRequest::Move { id, des, consent } => {
                let (subject, arguments) = (id.to_string(), format!(" --to {des}"));
                let consent = &consent;
                let ask = Ask { verb: "disk move", subject, arguments, consent, wait_ms: 0 };
                self.act_or_rehearse(ask.is_dry_run(), by, None, id, |permit| {
                    ops::disk_move::run(core, permit, id, &des, &ask)
                })?
            }
            DiskRequest::Erase { id, consent } => {
                let subject = id.to_string();
                let arguments = String::new();
                let ask =
                    Ask { verb: "disk erase", subject, arguments, consent: &consent, wait_ms: 0 };
                let taken = self.act_or_rehearse(ask.is_dry_run(), by, None, id, |permit| {
                    ops::disk_erase::run(core, permit, id, &ask)
                })?;
                match taken {
                    Taken::Would(impact) => Reply::Impact(impact),
                    Taken::Done { .. } => Reply::Done,
                }
            }
            DiskRequest::List { after } => {
                self.act(by, None, "disks", |permit| ops::disk_show::page(core, permit, after))?
            }
            DiskRequest::Show { id } => {
                let disk =
                    self.act(by, None, id, |permit| ops::disk_show::one(core, permit, id))?;
                Reply::Disk(Box::new(disk))
            }
            DiskRequest::ReleaseKey { id } => {
                let dek =
                    self.act(by, None, id, |permit| ops::disk_release::run(core, permit, id))?;
                return Ok(Answer::Reply(Box::new(Reply::ReleasedKey), Some(dek)));
            }
        };
        Ok(reply.into())
    }

    pub(super) fn check(
        &self,
        by: &Caller,
        deep: bool,
        accept_damage: bool,
    ) -> Result<Reply, Failure> {
        let core = &self.core;
        match (accept_damage, deep) {
            (true, _) => {
                self.act(by, None, "store", |permit| ops::state_check::accept(core, permit))
            }
            (_, true) => self.act(by, None, "store", |permit| ops::state_check::deep(core, permit)),
            _ => self.act(by, None, "store", |permit| ops::state_check::run(core, permit)),
        }
    }

    pub(super) fn audit(&self, by: &Caller, request: &AuditRequest) -> Result<Reply, Failure> {
        let core = &self.core;
        match request {
            AuditRequest::Tail { count } => {
                let records = self.act(by, None, "audit.log", |permit| {
                    ops::audit_read::tail(core, permit, *count)
                })?;
                Ok(Reply::Audit(records))
            }
            AuditRequest::Verify => {
                self.act(by, None, "audit.log", |permit| ops::audit_read::verify(core, permit))
            }
            AuditRequest::Archive { before, to } => self.act(by, None, to.display(), |permit| {
                ops::audit_archive::run(core, permit, *before, to)
            }),
            AuditRequest::Reanchor { accept_break } => self.act(by, None, "audit.log", |permit| {
                ops::audit_reanchor::run(core, permit, *accept_break)
            }),
        }
    }
}
