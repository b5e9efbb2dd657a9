//! `keyd vault`.

use keyd_client::{
    Page, Principal,
    message::{Permitted, VaultStatus},
};

use super::{
    Error, Exit, args,
    console::Console,
    grant, revocation,
    table::{list, names, table, yes},
};
use crate::clock;

pub(super) fn run(console: &Console, verb: args::Vault) -> Result<Exit, Error> {
    match verb {
        args::Vault::Create(ask) => console.show(ask, text),
        args::Vault::List(ask) => console.show(ask, |vaults| all(vaults)),
        args::Vault::Show(ask) => console.show(ask, text),
        args::Vault::Protect(ask) => console.show(ask, text),
        args::Vault::Permit { mut ask, how } => {
            ask.edit = how.edit(ask.permissions.is_empty())?;
            let (who, wait_ms) = (ask.principal.clone(), ask.wait_ms);
            revocation::run_and_tell(console, ask, wait_ms, |permitted| after(&who, permitted))
        }
        args::Vault::Delete(ask) => {
            let done = format!("vault {} deleted", ask.name);
            console.done(ask, done)
        }
    }
}

/// What a principal may after a change.
fn after(who: &Principal, Permitted { vault, future }: &Permitted) -> (Page, String) {
    let may = vault.policies.get(who).map_or_else(|| names::<String>([]), names);
    let warnings = match *future {
        true => Page::from(grant::yet_to_be(who)),
        false => Page::default(),
    };
    (warnings, format!("{who} may {may} in vault {}", vault.name))
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
