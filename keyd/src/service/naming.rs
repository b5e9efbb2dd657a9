//! Names in requests, which count in any case of their letters, become those that are written in the store: behind it
//! there is one spelling of each.

use keyd_client::{
    AppName, DesName, KeyId, Principal, Scope,
    message::{
        AppRequest, DesRequest, DiskRequest, GrantRequest, KeyRequest, Request, TokenRequest,
        VaultRequest,
    },
};

use super::Service;
use crate::{error::Fault, store::Spelling};

/// A name in a request. Those of vaults have one form only.
enum Name<'a> {
    Key(&'a mut KeyId),
    Set(&'a mut DesName),
    App(&'a mut AppName),
    Principal(&'a mut Principal),
}

impl Service {
    /// The request with the names that are written in the store, where those are there.
    ///
    /// # Errors
    /// [`Fault`].
    pub(super) fn as_written(&self, mut request: Request) -> Result<Request, Fault> {
        let names = names(&mut request);
        if names.is_empty() {
            return Ok(request);
        }
        let view = self.core.store.snapshot()?;
        for name in names {
            match name {
                Name::Key(id) => *id = view.key_as_written(id)?,
                Name::Set(name) => *name = view.set_as_written(name)?,
                Name::App(name) => *name = view.app_as_written(name)?,
                Name::Principal(who) => *who = view.principal_as_written(who)?,
            }
        }
        Ok(request)
    }
}

/// The names in a request that are meant to be found. Where a page of a list begins is no such name.
fn names(request: &mut Request) -> Vec<Name<'_>> {
    match request {
        Request::Key(request) => of_key(request),
        Request::Vault(VaultRequest::Permit { principal, .. }) => vec![Name::Principal(principal)],
        Request::Grant(GrantRequest::Edit { principal, scope: Some(Scope::Set(set)), .. }) => {
            vec![Name::Principal(principal), Name::Set(set)]
        }
        Request::Grant(GrantRequest::Edit { principal, .. }) => vec![Name::Principal(principal)],
        Request::App(request) => of_app(request),
        Request::Token(
            TokenRequest::Create { app, .. }
            | TokenRequest::List { app }
            | TokenRequest::Revoke { app, .. }
            | TokenRequest::RevokeAll { app },
        ) => vec![Name::App(app)],
        Request::Des(request) => of_set(request),
        Request::Disk(
            DiskRequest::Create { des: Some(des), .. }
            | DiskRequest::Derive { des: Some(des), .. }
            | DiskRequest::Move { des, .. },
        ) => vec![Name::Set(des)],
        Request::Status
        | Request::Vault(_)
        | Request::Grant(_)
        | Request::CaCertificate
        | Request::Clock(_)
        | Request::Check { .. }
        | Request::Disk(_)
        | Request::Audit(_)
        | Request::Backup { .. }
        | Request::Attach { .. } => Vec::new(),
    }
}

fn of_key(request: &mut KeyRequest) -> Vec<Name<'_>> {
    match request {
        KeyRequest::Create { name, .. }
        | KeyRequest::Show { name }
        | KeyRequest::Update { name, .. }
        | KeyRequest::Delete { name, .. }
        | KeyRequest::Recover { name }
        | KeyRequest::Purge { name, .. }
        | KeyRequest::Rotate { name }
        | KeyRequest::RotationPolicy { name, .. } => vec![Name::Key(name)],
        KeyRequest::List { .. } | KeyRequest::ListIn { .. } => Vec::new(),
    }
}

fn of_app(request: &mut AppRequest) -> Vec<Name<'_>> {
    match request {
        AppRequest::Create { name, .. }
        | AppRequest::Show { name }
        | AppRequest::Remove { name }
        | AppRequest::Certificates { name, .. }
        | AppRequest::CreateIdentity { name }
        | AppRequest::RemoveIdentity { name } => vec![Name::App(name)],
        AppRequest::List => Vec::new(),
    }
}

fn of_set(request: &mut DesRequest) -> Vec<Name<'_>> {
    match request {
        DesRequest::Create { name, key, .. } | DesRequest::SetKey { name, key, .. } => {
            vec![Name::Set(name), Name::Key(key)]
        }
        DesRequest::Show { name }
        | DesRequest::Update { name, .. }
        | DesRequest::Delete { name }
        | DesRequest::Resources { name, .. } => vec![Name::Set(name)],
        DesRequest::List { .. } => Vec::new(),
    }
}
