//! What principals may do in the daemon as a whole, and with the disks of a set or one disk.

use std::collections::BTreeSet;

use keyd_client::{
    Scope,
    message::{Edit, GrantEdit, GrantList, GrantSource, GrantStatus, Granted, Listing},
    permission::Permission,
};

use super::{
    operation::{Name, Operation, on},
    taking,
};
use crate::{
    audit::Class,
    auth::Permit,
    core::Core,
    error::{Failure, Refused},
    limits::{GRANTS_MAX, GRANTS_PER_PAGE},
    store::{Granted as Stored, Grants, Txn, View},
};

/// Rows as they are to be.
type Rows = Vec<(Scope, BTreeSet<Permission>)>;

impl Operation for GrantEdit {
    fn subject(&self) -> String {
        self.principal.to_string()
    }

    fn names(&mut self) -> Vec<Name<'_>> {
        let set = match &mut self.scope {
            Some(Scope::Set(set)) => Some(Name::Set(set)),
            Some(Scope::All | Scope::Disk(_)) | None => None,
        };
        set.into_iter().chain([Name::Principal(&mut self.principal)]).collect()
    }

    /// Who may not attach a disk any more is told to let go, who may again that its key is back. The owner of the state
    /// directory needs no grant, and cannot be locked out by one.
    ///
    /// # Errors
    /// [`Refused::WhichDisks`], [`Refused::NotForDisks`], [`Refused::NoPermission`], [`Refused::NoSet`],
    /// [`Refused::NoDisk`], [`Refused::NobodyYet`], [`Refused::TooManyGrants`].
    fn run(self, core: &Core, permit: Permit<Self>) -> Result<Granted, Failure> {
        check(&self)?;
        let who = &self.principal;
        let gives = self.edit != Edit::Remove && !self.permissions.is_empty();
        let class = if gives { Class::Use } else { Class::Withdrawal };
        let (future, ..) = taking::commit(core, &permit, |txn| {
            exists(txn, self.scope.as_ref())?;
            let future = gives && !txn.exists(who)?;
            if future && !self.future {
                return Err(Refused::NobodyYet(who.clone()).into());
            }
            let rows = rows(txn, &self)?;
            for (scope, permissions) in &rows {
                txn.put_grant(who, scope, permissions)?;
            }
            if gives && txn.count_grants()? > GRANTS_MAX as u64 {
                return Err(Refused::TooManyGrants.into());
            }
            let detail = format!("{}{}", told(&rows), if future { " future" } else { "" });
            Ok((future, permit.entry(who).class(class).detail(detail)))
        })?;
        let mut after = core.store.snapshot()?.grants_of(who, GRANTS_PER_PAGE + 1)?;
        let more = after.len() > GRANTS_PER_PAGE;
        after.truncate(GRANTS_PER_PAGE);
        Ok(Granted { grants: after.into_iter().map(stored).collect(), more, future })
    }
}

/// Judges what is asked by itself.
fn check(change: &GrantEdit) -> Result<(), Refused> {
    let find = |for_disks| {
        let mut named = change.permissions.iter().copied();
        named.find(|permission: &Permission| permission.is_for_disks() == for_disks)
    };
    match &change.scope {
        _ if change.permissions.is_empty() && change.edit != Edit::Replace => {
            Err(Refused::NoPermission)
        }
        None if change.edit != Edit::Remove => {
            find(true).map_or(Ok(()), |permission| Err(Refused::WhichDisks(permission)))
        }
        Some(Scope::Set(_) | Scope::Disk(_)) => {
            find(false).map_or(Ok(()), |permission| Err(Refused::NotForDisks(permission)))
        }
        None | Some(Scope::All) => Ok(()),
    }
}

/// A set that is made later under a name is another one: nothing is granted for it before.
fn exists(view: &impl View, scope: Option<&Scope>) -> Result<(), Failure> {
    match scope {
        Some(Scope::Set(name)) => view.set(name).map(drop),
        Some(Scope::Disk(id)) => view.disk(*id).map(drop),
        None | Some(Scope::All) => Ok(()),
    }
}

/// The rows that change.
fn rows(txn: &Txn<'_>, change: &GrantEdit) -> Result<Rows, Failure> {
    let GrantEdit { principal: who, edit, permissions, scope, .. } = change;
    let (scope, everywhere) = match (edit, scope) {
        (Edit::Remove, None) | (Edit::Replace, None | Some(Scope::All)) => (Scope::All, true),
        (_, scope) => (scope.clone().unwrap_or(Scope::All), false),
    };
    let mut rows = Rows::new();
    if everywhere {
        let none = BTreeSet::new();
        for (_, other, before) in txn.grants_of(who, usize::MAX)? {
            if other != scope {
                let these = if *edit == Edit::Remove { permissions } else { &none };
                rows.push((other, edit.of(&before, these)));
            }
        }
    }
    let before = txn.granted(who, &scope)?;
    rows.insert(0, (scope, edit.of(&before, permissions)));
    Ok(rows)
}

/// `all=read des:prod-disks=attach,create-disk`.
fn told(rows: &Rows) -> String {
    let row = |(scope, permissions): &(Scope, BTreeSet<Permission>)| {
        let names: Vec<&str> = permissions.iter().map(|permission| permission.name()).collect();
        format!("{scope}={}", if names.is_empty() { "none".to_owned() } else { names.join(",") })
    };
    rows.iter().map(row).collect::<Vec<_>>().join(" ")
}

impl Operation for GrantList {
    on!(all "grants");

    /// First what holds without the store's saying so, then what the store says.
    fn run(self, core: &Core, _permit: Permit<Self>) -> Result<Listing<GrantStatus>, Failure> {
        let after = self.after.as_ref().map(|(who, scope)| (who, scope));
        let mut found = core.store.snapshot()?.grants(after, GRANTS_PER_PAGE + 1)?;
        let more = found.len() > GRANTS_PER_PAGE;
        found.truncate(GRANTS_PER_PAGE);
        let said = if after.is_none() { core.auth.said() } else { Vec::new() };
        let items = said.into_iter().chain(found.into_iter().map(stored)).collect();
        Ok(Listing { items, more })
    }
}

/// A row of the store as it is told.
pub(super) fn stored((principal, scope, permissions): Stored) -> GrantStatus {
    GrantStatus { principal, scope, permissions, source: GrantSource::Store }
}
