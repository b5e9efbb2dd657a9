//! What principals may do in the daemon as a whole, and with the disks of a set or one disk.

use std::collections::BTreeSet;

use keyd_client::{
    Principal, Scope,
    message::{Edit, GrantSource, GrantStatus, Reply},
    permission::Permission,
};

use super::taking;
use crate::{
    audit::Class,
    auth::{Permit, op},
    core::Core,
    error::{Failure, Refused},
    limits::{GRANTS_MAX, GRANTS_PER_PAGE},
    store::{Granted, Grants, Txn, View},
};

/// What is to be changed.
#[derive(Debug, Clone, Copy)]
pub struct Change<'a> {
    /// Whose.
    pub who: &'a Principal,
    /// How.
    pub edit: Edit,
    /// What.
    pub permissions: &'a BTreeSet<Permission>,
    /// What for. If nothing is said, nothing is given on disks, and what is taken away or replaced is so everywhere.
    pub scope: Option<&'a Scope>,
    /// Whether the principal may be one that does not exist yet.
    pub future: bool,
}

/// Rows as they are to be.
type Rows = Vec<(Scope, BTreeSet<Permission>)>;

/// Changes what a principal may do. Who may not attach a disk any more is told to let go, who may again that its key is
/// back. The owner of the state directory needs no grant, and cannot be locked out by one.
///
/// # Errors
/// [`Refused::WhichDisks`], [`Refused::NotForDisks`], [`Refused::NoPermission`], [`Refused::NoSet`],
/// [`Refused::NoDisk`], [`Refused::NobodyYet`], [`Refused::TooManyGrants`].
pub fn edit(
    core: &Core,
    permit: Permit<op::GrantSet>,
    change: Change<'_>,
) -> Result<Reply, Failure> {
    check(change)?;
    let who = change.who;
    let gives = change.edit != Edit::Remove && !change.permissions.is_empty();
    let class = if gives { Class::Use } else { Class::Withdrawal };
    let (future, ..) = taking::commit(core, &permit, |txn| {
        exists(txn, change.scope)?;
        let future = gives && !txn.exists(who)?;
        if future && !change.future {
            return Err(Refused::NobodyYet(who.clone()).into());
        }
        let rows = rows(txn, change)?;
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
    Ok(Reply::Granted { grants: after.into_iter().map(stored).collect(), more, future })
}

/// Judges what is asked by itself.
fn check(change: Change<'_>) -> Result<(), Refused> {
    let find = |for_disks| {
        let mut named = change.permissions.iter().copied();
        named.find(|permission: &Permission| permission.is_for_disks() == for_disks)
    };
    match change.scope {
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
fn rows(txn: &Txn<'_>, change: Change<'_>) -> Result<Rows, Failure> {
    let Change { who, edit, permissions, scope, .. } = change;
    let (scope, everywhere) = match (edit, scope) {
        (Edit::Remove, None) | (Edit::Replace, None | Some(Scope::All)) => (Scope::All, true),
        (_, scope) => (scope.cloned().unwrap_or(Scope::All), false),
    };
    let mut rows = Rows::new();
    if everywhere {
        let none = BTreeSet::new();
        for (_, other, before) in txn.grants_of(who, usize::MAX)? {
            if other != scope {
                let these = if edit == Edit::Remove { permissions } else { &none };
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

/// A page of grants: first what holds without the store's saying so, then what the store says.
///
/// # Errors
/// [`crate::error::Fault`].
pub fn list(
    core: &Core,
    _permit: Permit<op::GrantList>,
    after: Option<&(Principal, Scope)>,
) -> Result<Reply, Failure> {
    let after = after.map(|(who, scope)| (who, scope));
    let mut found = core.store.snapshot()?.grants(after, GRANTS_PER_PAGE + 1)?;
    let more = found.len() > GRANTS_PER_PAGE;
    found.truncate(GRANTS_PER_PAGE);
    let said = if after.is_none() { core.auth.said() } else { Vec::new() };
    let grants = said.into_iter().chain(found.into_iter().map(stored)).collect();
    Ok(Reply::Grants { grants, more })
}

/// A row of the store as it is told.
pub(super) fn stored((principal, scope, permissions): Granted) -> GrantStatus {
    GrantStatus { principal, scope, permissions, source: GrantSource::Store }
}
