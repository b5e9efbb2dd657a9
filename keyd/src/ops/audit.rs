//! The audit log: read, checked, moved away, taken up again after a break.

use keyd_client::{
    limits::AUDIT_TAIL_MAX,
    message::{
        AuditArchive, AuditArchived, AuditReanchor, AuditReanchored, AuditRecord, AuditTail,
        AuditVerify, AuditWhole,
    },
};

use super::operation::{Operation, on};
use crate::{
    auth::Permit,
    core::Core,
    error::{Failure, Refused},
    files::SystemDir,
    store::Verified,
};

impl Operation for AuditTail {
    on!(all "audit.log");

    fn run(self, core: &Core, _permit: Permit<Self>) -> Result<Vec<AuditRecord>, Failure> {
        Ok(core.store.tail_audit(self.count.min(AUDIT_TAIL_MAX) as usize)?)
    }
}

impl Operation for AuditVerify {
    on!(all "audit.log");

    /// # Errors
    /// [`Refused::AuditBroken`] with the first bad row.
    fn run(self, core: &Core, _permit: Permit<Self>) -> Result<AuditWhole, Failure> {
        let Verified { begin, head } = core.store.verify_audit()?;
        Ok(AuditWhole { first: begin, records: head.seq + 1 - begin, head: head.hash })
    }
}

impl Operation for AuditArchive {
    fn subject(&self) -> String {
        self.to.display().to_string()
    }

    /// Moves closed files whose rows all come before `before`. The log begins behind them from then on.
    ///
    /// # Errors
    /// [`Refused::ArchivePath`], and those of [`crate::store::Store::archive_audit`].
    fn run(self, core: &Core, permit: Permit<Self>) -> Result<AuditArchived, Failure> {
        let Self { before, to } = self;
        // The daemon's own working directory is nobody's business.
        if !to.is_absolute() || !to.is_dir() {
            return Err(Refused::ArchivePath(to).into());
        }
        let entry = permit.entry(to.display());
        let done = core.store.archive_audit(before, &SystemDir::new(&to), entry)?;
        Ok(AuditArchived { files: done.files as u64, first: done.begin })
    }
}

impl Operation for AuditReanchor {
    on!(all "audit.log");

    /// What the break hides is given up, and that is recorded.
    ///
    /// # Errors
    /// [`Refused::AcceptBreak`], and those of [`crate::store::Store::reanchor_audit`].
    fn run(self, core: &Core, permit: Permit<Self>) -> Result<AuditReanchored, Failure> {
        if !self.accept_break {
            return Err(Refused::AcceptBreak.into());
        }
        let done = core.store.reanchor_audit(permit.entry("audit.log"))?;
        Ok(AuditReanchored {
            accepted: done.accepted,
            first: done.begin,
            sealed: done.sealed as u64,
            sha256: done.sha256,
        })
    }
}
