//! The table of Key Vault's API: which operation a request is. Those that the native socket has too are the same
//! operations.

mod keys;
mod problem;
mod uses;

use keyd_client::{KeyId, VaultName};

use super::Service;
use crate::{
    auth::{Caller, Op, Permit},
    error::{Failure, Refused},
    keyvault::{Problem, Reply, Request},
    store::{Spelling, View},
};

impl Service {
    /// Does what a request to a vault asks, or says why not.
    ///
    /// # Errors
    /// [`Problem`].
    pub fn keyvault(
        &self,
        by: &Caller,
        vault: &VaultName,
        request: Request,
    ) -> Result<Reply, Problem> {
        let row = problem::Row::of(&request);
        self.row(by, vault, request).map_err(|failure| problem::of(&failure, row))
    }

    fn row(&self, by: &Caller, vault: &VaultName, request: Request) -> Result<Reply, Failure> {
        if vault.is_platform() {
            return Err(Refused::NoVault(vault.clone()).into());
        }
        // A name counts in any case of its letters: what is there is meant.
        let id = |name| -> Result<KeyId, Failure> {
            let asked = KeyId::new(vault.clone(), name);
            Ok(self.core().store.snapshot()?.key_as_written(&asked)?)
        };
        match request {
            Request::Create { name, key } => self.create(by, &id(name)?, &key),
            Request::Import { name, key } => self.import(by, &id(name)?, *key),
            Request::Rotate { name } => self.rotate(by, &id(name)?),
            Request::Get { key } => self.get(by, &id(key.name)?, key.version),
            Request::Update { key, change } => {
                self.update(by, &id(key.name)?, key.version, &change)
            }
            Request::List { page } => self.list(by, vault, &page),
            Request::Versions { name, page } => self.versions(by, &id(name)?, &page),
            Request::Delete { name } => self.delete(by, &id(name)?),
            Request::ListDeleted { page } => self.list_deleted(by, vault, &page),
            Request::GetDeleted { name } => self.get_deleted(by, &id(name)?),
            Request::Recover { name } => self.recover(by, &id(name)?),
            Request::Purge { name } => self.purge(by, &id(name)?),
            Request::Backup { name } => self.backup(by, &id(name)?),
            Request::Restore { blob } => self.restore(by, vault, &blob),
            Request::Use { key, usage, ask } => {
                self.usage(by, &id(key.name)?, key.version, usage, &ask)
            }
            Request::Sign { key, hashed } => self.sign(by, &id(key.name)?, key.version, &hashed),
            Request::Verify { key, hashed, signature } => {
                let signed = (&hashed, signature.as_bytes());
                self.verify(by, &id(key.name)?, key.version, signed)
            }
            Request::Random { count } => self.random(by, vault, count),
            Request::GetRotationPolicy { name } => self.get_policy(by, &id(name)?),
            Request::SetRotationPolicy { name, policy } => self.set_policy(by, &id(name)?, policy),
        }
    }

    /// Does an operation on a key of a vault, if the vault's policy permits it. Who may nothing in it does not learn
    /// whether it is there.
    fn on<O: Op, T>(
        &self,
        by: &Caller,
        id: &KeyId,
        operation: impl FnOnce(Permit<O>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        self.act(by, Some(&id.vault), id, |permit| {
            self.core().store.snapshot()?.vault(&id.vault)?;
            operation(permit)
        })
    }
}
