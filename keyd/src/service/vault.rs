//! The table of what is asked of vaults and of permissions on the native socket.

use std::collections::BTreeSet;

use keyd_client::{
    message::{Edit, GrantRequest, Reply, VaultRequest},
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
            VaultRequest::Permit {
                name,
                principal,
                edit,
                permissions,
                future,
                consent,
                wait_ms,
            } => {
                let subject = name.to_string();
                let arguments = format!(" {principal} {}{}", names(&permissions), option(edit));
                let verb = "vault permit";
                let ask = Ask { verb, subject, arguments, consent: &consent, wait_ms };
                self.act_or_rehearse(ask.is_dry_run(), by, None, &name, |permit| {
                    let (who, permissions) = (&principal, &permissions);
                    let change = ops::vault_permit::Change { who, edit, permissions, future };
                    ops::vault_permit::run(core, permit, &name, change, &ask)
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
            GrantRequest::List { after } => self
                .act(by, None, "grants", |permit| ops::grant::list(core, permit, after.as_ref())),
            GrantRequest::Edit { principal, edit, permissions, scope, future } => {
                self.act(by, None, &principal, |permit| {
                    let (who, permissions, scope) = (&principal, &permissions, scope.as_ref());
                    let change = ops::grant::Change { who, edit, permissions, scope, future };
                    ops::grant::edit(core, permit, change)
                })
            }
        }
    }
}

/// An edit as the command line says it.
fn option(edit: Edit) -> &'static str {
    match edit {
        Edit::Add => "",
        Edit::Remove => " --remove",
        Edit::Replace => " --set",
    }
}

/// Permissions as the command line takes them.
fn names(permissions: &BTreeSet<KeyPermission>) -> String {
    if permissions.is_empty() {
        return "none".to_owned();
    }
    permissions.iter().map(|permission| permission.name()).collect::<Vec<_>>().join(",")
}
