//! Parts of the list of a vault's keys.

use keyd_client::{KeyId, VaultName};

use super::{
    tables::{self, KEYS_DELETED},
    view::{Range, View, key_id},
};
use crate::{
    error::{Failure, Fault},
    model::key::Key,
};

/// Lists of keys that are, and of those that were deleted.
pub trait KeyLists: View {
    /// At most `limit` keys of a vault that are not deleted, in order of name, after one.
    ///
    /// # Errors
    /// [`Fault`].
    fn keys_alive(
        &self,
        vault: &VaultName,
        after: Option<&KeyId>,
        limit: usize,
    ) -> Result<Vec<Key>, Fault> {
        let (mut found, mut after) = (Vec::new(), after.cloned());
        loop {
            let batch = self.keys_of(vault, after.as_ref(), limit)?;
            let last = batch.len() < limit;
            after = batch.last().map(|key| key.id.clone());
            found.extend(batch.into_iter().filter(|key| key.alive().is_ok()));
            if last || found.len() >= limit {
                found.truncate(limit);
                return Ok(found);
            }
        }
    }

    /// At most `limit` deleted keys of a vault in order of name, after one.
    ///
    /// # Errors
    /// [`Fault`].
    fn keys_deleted(
        &self,
        vault: &VaultName,
        after: Option<&KeyId>,
        limit: usize,
    ) -> Result<Vec<Key>, Failure> {
        let (prefix, after) = (tables::keys_of(vault), after.map(tables::key));
        let range = Range { prefix: &prefix, after: after.as_deref(), limit };
        let rows = self.rows(KEYS_DELETED, range)?;
        rows.iter().map(|(row, _)| self.key(&key_id(row)?)).collect()
    }
}

impl<V: View> KeyLists for V {}
