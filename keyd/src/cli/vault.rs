//! `keyd vault`.

use keyd_client::{
    Page, Principal,
    message::{Reply, VaultRequest, VaultStatus},
};

use super::{
    Error, Exit, args,
    ask::{Ask, unexpected},
    grant, revocation,
    table::{list, names, table, yes},
};
use crate::clock;

pub(super) fn run(ask: &Ask, verb: args::Vault) -> Result<Exit, Error> {
    match verb {
        args::Vault::Create { name, retention, purge_protection } => {
            let retention_days = retention;
            one(ask, VaultRequest::Create { name, retention_days, purge_protection })
        }
        args::Vault::List => match ask.call(VaultRequest::List)? {
            Reply::Vaults(vaults) => ask.print(&vaults, |vaults| all(vaults)),
            _ => Err(unexpected()),
        },
        args::Vault::Show { name } => one(ask, VaultRequest::Show { name }),
        args::Vault::Protect { name } => one(ask, VaultRequest::Protect { name }),
        args::Vault::Permit { name, principal, permissions, how, future, sure, wait } => {
            let edit = how.edit(permissions.is_empty())?;
            let (consent, wait_ms) = (sure.into(), wait.millis());
            let who = principal.clone();
            let request = VaultRequest::Permit {
                name,
                principal,
                edit,
                permissions,
                future,
                consent,
                wait_ms,
            };
            revocation::run_and_tell(ask, request, wait_ms, |reply| permitted(&who, reply))
        }
        args::Vault::Delete { name } => {
            let done = format!("vault {name} deleted");
            ask.call_to_do(VaultRequest::Delete { name }, done)
        }
    }
}

/// What a principal may after a change.
fn permitted(who: &Principal, reply: &Reply) -> (Page, String) {
    let Reply::PolicyChanged { vault, future, .. } = reply else {
        return (Page::default(), String::new());
    };
    let may = vault.policies.get(who).map_or_else(|| names::<String>([]), names);
    let warnings = match *future {
        true => Page::from(grant::yet_to_be(who)),
        false => Page::default(),
    };
    (warnings, format!("{who} may {may} in vault {}", vault.name))
}

fn one(ask: &Ask, request: VaultRequest) -> Result<Exit, Error> {
    match ask.call(request)? {
        Reply::Vault(vault) => ask.print(&vault, text),
        _ => Err(unexpected()),
    }
}

fn text(vault: &VaultStatus) -> Page {
    let about = list(&[
        ("name", vault.name.to_string()),
        ("keys", vault.keys.to_string()),
        ("retention", format!("{} days", vault.retention_days)),
        ("purge protection", yes(vault.purge_protection)),
        ("created", clock::text(vault.created)),
    ]);
    if vault.policies.is_empty() {
        return about;
    }
    let rows: Vec<_> =
        vault.policies.iter().map(|(who, may)| [who.to_string(), names(may)]).collect();
    about.line("").and(table(["PRINCIPAL", "PERMISSIONS"], &rows))
}

fn all(vaults: &[VaultStatus]) -> Page {
    let row = |vault: &VaultStatus| {
        [
            vault.name.to_string(),
            vault.keys.to_string(),
            format!("{} days", vault.retention_days),
            yes(vault.purge_protection),
            clock::text(vault.created),
        ]
    };
    let rows: Vec<_> = vaults.iter().map(row).collect();
    table(["NAME", "KEYS", "RETENTION", "PURGE PROTECTION", "CREATED"], &rows)
}
