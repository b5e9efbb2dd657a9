//! `keyd grant`.

use keyd_client::{
    Page, Principal, Scope,
    message::{GrantEdit, GrantList, GrantSource, GrantStatus, Granted},
    permission::Permission,
};

use super::{
    Error, Exit, args,
    console::Console,
    table::{names, table},
};

pub(super) fn run(console: &Console, grant: args::Grant) -> Result<Exit, Error> {
    let (Some(principal), Some(permissions)) = (grant.principal, grant.permissions) else {
        return list(console);
    };
    let (scope, future) = (grant.disks.into(), grant.future);
    let edit = grant.how.edit(permissions.is_empty())?;
    let who = principal.clone();
    let ask = GrantEdit { principal, edit, permissions, scope, future };
    console.show(ask, |granted| after(&who, granted))
}

fn after(who: &Principal, Granted { grants, more, future }: &Granted) -> Page {
    let mut page = Page::default();
    if grants.is_empty() {
        page = page.line(format_args!("{who} may nothing now"));
    }
    for grant in grants {
        page = page.line(format_args!("{who} may {}", may(grant)));
    }
    if *more {
        page = page.line("and more: 'keyd grant --list' shows all");
    }
    if *future {
        page = page.line(yet_to_be(who));
    }
    page
}

/// What is said of a principal that does not exist, wherever something was granted to it.
pub(super) fn yet_to_be(who: &Principal) -> String {
    format!("WARNING: {who} does not exist. Whoever is made under that name has these permissions.")
}

/// `attach,create-disk for the disks of set prod-disks`.
fn may(grant: &GrantStatus) -> String {
    let which = which(grant);
    let names = names(&grant.permissions);
    if which == "-" { names } else { format!("{names} for {which}") }
}

fn which(grant: &GrantStatus) -> String {
    match &grant.scope {
        Scope::Set(name) => format!("the disks of set {name}"),
        Scope::Disk(id) => format!("disk {id}"),
        Scope::All if grant.permissions.iter().any(|p| is_for_every_disk(*p)) => {
            "all disks".to_owned()
        }
        Scope::All => "-".to_owned(),
    }
}

fn is_for_every_disk(permission: Permission) -> bool {
    permission.is_for_disks() || permission == Permission::Administer
}

fn list(console: &Console) -> Result<Exit, Error> {
    let every = console.every(|last: Option<&GrantStatus>| {
        let last = last.filter(|grant| grant.source == GrantSource::Store);
        GrantList { after: last.map(|grant| (grant.principal.clone(), grant.scope.clone())) }
    })?;
    console.print(&every, |grants| text(grants))
}

/// Grants under a heading.
pub(super) fn text(grants: &[GrantStatus]) -> Page {
    let row = |grant: &GrantStatus| {
        let source = match grant.source {
            GrantSource::Owner => "owner of the state directory",
            GrantSource::ServeOption => "keyd serve --grant",
            GrantSource::Store => "keyd grant",
        };
        let (who, may) = (grant.principal.to_string(), names(&grant.permissions));
        [who, may, which(grant), source.to_owned()]
    };
    let rows: Vec<_> = grants.iter().map(row).collect();
    table(["PRINCIPAL", "PERMISSIONS", "FOR", "BY"], &rows)
}
