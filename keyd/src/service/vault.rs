//! The table of what is asked of vaults and of permissions on the native socket.

use std::collections::BTreeSet;

use keyd_client::{
    message::{GrantRequest, Reply, VaultRequest},
    permission::KeyPermission,
};

use super::Service;
use crate::{
    auth::Caller,
    error::Failure,
    ops::{self, taking::Ask},
};

impl Service {
    pub(super) fn vault(&self, by: &Caller, request: VaultRequest) -> Result<Reply, Failure> {
        let core = &self.core;
        match request {
            VaultRequest::Create { name, retention_days, purge_protection } => {
                let vault = self.act(by, None, &name, |permit| {
                    ops::vault_create::run(core, permit, &name, retention_days, purge_protection)
                })?;
                Ok(Reply::Vault(vault))
            }
            VaultRequest::List => {
                let vaults =
                    self.act(by, None, "vaults", |permit| ops::vault_show::all(core, permit))?;
                Ok(Reply::Vaults(vaults))
            }
            VaultRequest::Show { name } => {
                let vault =
                    self.act(by, None, &name, |permit| ops::vault_show::one(core, permit, &name))?;
                Ok(Reply::Vault(vault))
            }
            VaultRequest::Protect { name } => {
                let vault = self
                    .act(by, None, &name, |permit| ops::vault_protect::run(core, permit, &name))?;
                Ok(Reply::Vault(vault))
            }
            VaultRequest::Policy { name, principal, permissions, consent, wait_ms } => {
                let subject = name.to_string();
                let arguments = format!(" {principal} {}", names(&permissions));
                let verb = "vault permit";
                let ask = Ask { verb, subject, arguments, consent: &consent, wait_ms };
                self.act_or_rehearse(ask.is_dry_run(), by, None, &name, |permit| {
                    let policy = (&principal, &permissions);
                    ops::vault_policy::run(core, permit, &name, policy, &ask)
                })
            }
            VaultRequest::Permit { name, principal, permissions } => {
                self.act(by, None, &name, |permit| {
                    ops::vault_permit::run(core, permit, &name, (&principal, &permissions))
                })
            }
            VaultRequest::Delete { name } => {
                self.act(by, None, &name, |permit| ops::vault_delete::run(core, permit, &name))?;
                Ok(Reply::Done)
            }
        }
    }

    pub(super) fn grant(&self, by: &Caller, request: GrantRequest) -> Result<Reply, Failure> {
        let core = &self.core;
        match request {
            GrantRequest::List => {
                let grants =
                    self.act(by, None, "grants", |permit| ops::grant::list(core, permit))?;
                Ok(Reply::Grants(grants))
            }
            GrantRequest::Add { principal, permissions } => {
                self.act(by, None, &principal, |permit| {
                    ops::grant::add(core, permit, &principal, &permissions)
                })?;
                Ok(Reply::Done)
            }
            GrantRequest::Set { principal, permissions } => {
                self.act(by, None, &principal, |permit| {
                    ops::grant::set(core, permit, &principal, &permissions)
                })?;
                Ok(Reply::Done)
            }
        }
    }
}

/// Permissions as the command line takes them.
fn names(permissions: &BTreeSet<KeyPermission>) -> String {
    if permissions.is_empty() {
        return "none".to_owned();
    }
    permissions.iter().map(|permission| permission.name()).collect::<Vec<_>>().join(",")
}
