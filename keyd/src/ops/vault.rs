//! Vaults, and who may do what in them.

use std::collections::BTreeMap;

use keyd_client::{
    VaultName,
    message::{
        Changed, Edit, Permitted, VaultCreate, VaultDelete, VaultList, VaultPermit, VaultProtect,
        VaultShow, VaultStatus, Weighed,
    },
};

use super::{
    consent::Asked,
    operation::{Name, Operation, on},
    taking::{self, Concern},
};
use crate::{
    audit::Class,
    auth::Permit,
    core::Core,
    error::{Failure, Refused},
    limits::VAULTS_MAX,
    model::vault::Vault,
    store::{Grants, View},
};

impl Operation for VaultCreate {
    on!(vault name);

    /// # Errors
    /// [`Refused::VaultExists`], [`Refused::TooManyVaults`], [`Refused::Retention`].
    fn run(self, core: &Core, permit: Permit<Self>) -> Result<VaultStatus, Failure> {
        let Self { name, retention_days, purge_protection } = self;
        core.commit(&permit, |txn| {
            if txn.find_vault(&name)?.is_some() {
                return Err(Refused::VaultExists(name.clone()).into());
            }
            if txn.vaults()?.len() >= VAULTS_MAX {
                return Err(Refused::TooManyVaults.into());
            }
            let vault = Vault::new(name.clone(), retention_days, purge_protection, core.now())?;
            txn.put_vault(&vault)?;
            let detail =
                format!("retention-days={retention_days} purge-protection={purge_protection}");
            Ok((vault.status(0), permit.entry(&name).detail(detail)))
        })
    }
}

impl Operation for VaultList {
    on!(all "vaults");

    fn run(self, core: &Core, _permit: Permit<Self>) -> Result<Vec<VaultStatus>, Failure> {
        let view = core.store.snapshot()?;
        let vaults = view.vaults()?;
        let told = vaults.iter().map(|vault| {
            let policies = BTreeMap::new();
            Ok(VaultStatus { policies, ..vault.status(view.count_keys(&vault.name)?) })
        });
        told.collect()
    }
}

impl Operation for VaultShow {
    on!(vault name);

    /// # Errors
    /// [`Refused::NoVault`].
    fn run(self, core: &Core, _permit: Permit<Self>) -> Result<VaultStatus, Failure> {
        let view = core.store.snapshot()?;
        Ok(view.vault(&self.name)?.status(view.count_keys(&self.name)?))
    }
}

impl Operation for VaultProtect {
    on!(vault name);

    /// # Errors
    /// [`Refused::NoVault`].
    fn run(self, core: &Core, permit: Permit<Self>) -> Result<VaultStatus, Failure> {
        core.commit(&permit, |txn| {
            let mut vault = txn.vault(&self.name)?;
            vault.protect();
            txn.put_vault(&vault)?;
            Ok((vault.status(txn.count_keys(&self.name)?), permit.entry(&self.name)))
        })
    }
}

impl Operation for VaultPermit {
    on!(vault name);
    on!(weighed);

    fn names(&mut self) -> Vec<Name<'_>> {
        vec![Name::Principal(&mut self.principal)]
    }

    /// Holders who lose their right by it are told to let go, those who regain it that it is back.
    ///
    /// # Errors
    /// [`Refused::NoVault`], [`Refused::OwnVault`], [`Refused::NoPermission`], [`Refused::NobodyYet`],
    /// [`Refused::TooManyPolicies`], and those of [`taking::run`].
    fn run(
        self,
        core: &Core,
        permit: Permit<Self>,
    ) -> Result<Weighed<Changed<Permitted>>, Failure> {
        if self.permissions.is_empty() && self.edit != Edit::Replace {
            return Err(Refused::NoPermission.into());
        }
        let who = &self.principal;
        let asked = Asked::new("vault permit", &self.name, &self.consent)
            .with(format!(" {who} {}{}", names(&self), option(self.edit)))
            .waiting(self.wait_ms);
        let gives = self.edit != Edit::Remove && !self.permissions.is_empty();
        let class = if gives { Class::Use } else { Class::Withdrawal };
        let concern = Concern::Identity(&self.name, who);
        let taken = taking::run_as(core, permit, class, &asked, concern, |txn| {
            if self.name.is_platform() {
                return Err(Refused::OwnVault(self.name.clone()).into());
            }
            let mut vault = txn.vault(&self.name)?;
            if gives && !self.future && !txn.exists(who)? {
                return Err(Refused::NobodyYet(who.clone()).into());
            }
            let after = self.edit.of(&vault.policy(who), &self.permissions);
            vault.permit(who.clone(), after.clone())?;
            txn.put_vault(&vault)?;
            let names: Vec<&str> = after.iter().map(|permission| permission.name()).collect();
            Ok(format!("{who}={}", names.join(",")))
        })?;
        taken.and_then(|changed| {
            let view = core.store.snapshot()?;
            let future = gives && !view.exists(who)?;
            let vault = view.vault(&self.name)?.status(view.count_keys(&self.name)?);
            Ok(changed.to(Permitted { vault, future }))
        })
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
fn names(ask: &VaultPermit) -> String {
    if ask.permissions.is_empty() {
        return "none".to_owned();
    }
    ask.permissions.iter().map(|permission| permission.name()).collect::<Vec<_>>().join(",")
}

impl Operation for VaultDelete {
    on!(vault name);

    /// A deleted key must stay recoverable, so its vault stays, too.
    ///
    /// # Errors
    /// [`Refused::NoVault`], [`Refused::VaultInUse`], [`Refused::OwnVault`].
    fn run(self, core: &Core, permit: Permit<Self>) -> Result<(), Failure> {
        let name = &self.name;
        core.commit(&permit, |txn| {
            txn.vault(name)?;
            if *name == VaultName::default_vault() || name.is_platform() {
                return Err(Refused::OwnVault(name.clone()).into());
            }
            if txn.count_keys(name)? > 0 {
                return Err(Refused::VaultInUse(name.clone()).into());
            }
            txn.remove_vault(name)?;
            Ok(((), permit.entry(name)))
        })
    }
}
