//! `keyd grant`.

use keyd_client::message::{GrantRequest, GrantSource, GrantStatus, Reply};

use super::{
    Error, Exit, args,
    ask::{Ask, unexpected},
    table::{names, table},
};

pub(super) fn run(ask: &Ask, grant: args::Grant) -> Result<Exit, Error> {
    let (Some(principal), Some(permissions)) = (grant.principal, grant.permissions) else {
        return list(ask);
    };
    let may = format!("{principal} may {}", names(&permissions));
    match grant.add {
        true => ask.call_to_do(GrantRequest::Add { principal, permissions }, may + " too"),
        false => ask.call_to_do(GrantRequest::Set { principal, permissions }, may),
    }
}

fn list(ask: &Ask) -> Result<Exit, Error> {
    match ask.call(GrantRequest::List)? {
        Reply::Grants(grants) => ask.print(&grants, |grants| text(grants)),
        _ => Err(unexpected()),
    }
}

fn text(grants: &[GrantStatus]) -> String {
    let row = |grant: &GrantStatus| {
        let source = match grant.source {
            GrantSource::Owner => "owner of the state directory",
            GrantSource::ServeOption => "keyd serve --grant",
            GrantSource::Store => "keyd grant",
        };
        [grant.principal.to_string(), names(&grant.permissions), source.to_owned()]
    };
    let rows: Vec<_> = grants.iter().map(row).collect();
    table(["PRINCIPAL", "PERMISSIONS", "BY"], &rows)
}
