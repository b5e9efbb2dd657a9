//! Names as they are written in the store. Key Vault compares names without regard to case and shows them as they were
//! first written; so do lookups here: whoever asks is led to the name that is there, before anything is done. Inside,
//! names are compared as they are written: what a private key is sealed for, and what an index holds, is one spelling.
//!
//! Stores that were made before may hold *twins*, names that differ in case only. Each is reached by its own spelling,
//! and by no other; none is made any more.

use std::collections::BTreeMap;

use keyd_client::{AppName, DesName, KeyId, Principal};
use redb::ReadableTable;

use super::{
    tables::{self, APPS, KEYS, SETS, Table},
    view::{View, key_id},
};
use crate::error::Fault;

/// Looking for names.
pub trait Spelling: View {
    /// A key's id as it is written in the store; as it was given if there is none, or if there are twins.
    ///
    /// # Errors
    /// [`Fault`].
    fn key_as_written(&self, id: &KeyId) -> Result<KeyId, Fault> {
        let prefix = tables::keys_of(&id.vault);
        let name = self.as_written(KEYS, &prefix, id.name.as_str())?;
        Ok(parsed(name).map_or_else(|| id.clone(), |name| KeyId::new(id.vault.clone(), name)))
    }

    /// The same of a set.
    ///
    /// # Errors
    /// [`Fault`].
    fn set_as_written(&self, name: &DesName) -> Result<DesName, Fault> {
        let written = self.as_written(SETS, &[], name.as_str())?;
        Ok(parsed(written).unwrap_or_else(|| name.clone()))
    }

    /// The same of an application.
    ///
    /// # Errors
    /// [`Fault`].
    fn app_as_written(&self, name: &AppName) -> Result<AppName, Fault> {
        let written = self.as_written(APPS, &[], name.as_str())?;
        Ok(parsed(written).unwrap_or_else(|| name.clone()))
    }

    /// The same of a principal.
    ///
    /// # Errors
    /// [`Fault`].
    fn principal_as_written(&self, who: &Principal) -> Result<Principal, Fault> {
        Ok(match who {
            Principal::User(uid) => Principal::User(*uid),
            Principal::App(name) => Principal::App(self.app_as_written(name)?),
            Principal::Des(name) => Principal::Des(self.set_as_written(name)?),
        })
    }

    /// Another name than the given one that differs from it in case only.
    ///
    /// # Errors
    /// [`Fault`].
    fn twin(&self, table: Table, prefix: &[u8], name: &str) -> Result<Option<String>, Fault> {
        let mut alike = self.alike(table, prefix, name)?.into_iter();
        Ok(alike.find(|other| other != name))
    }

    /// A key, deleted or not, whose name differs in case only.
    ///
    /// # Errors
    /// [`Fault`].
    fn twin_of_key(&self, id: &KeyId) -> Result<Option<KeyId>, Fault> {
        let twin = self.twin(KEYS, &tables::keys_of(&id.vault), id.name.as_str())?;
        Ok(parsed(twin).map(|name| KeyId::new(id.vault.clone(), name)))
    }

    /// A set whose name differs in case only.
    ///
    /// # Errors
    /// [`Fault`].
    fn twin_of_set(&self, name: &DesName) -> Result<Option<DesName>, Fault> {
        Ok(parsed(self.twin(SETS, &[], name.as_str())?))
    }

    /// An application whose name differs in case only.
    ///
    /// # Errors
    /// [`Fault`].
    fn twin_of_app(&self, name: &AppName) -> Result<Option<AppName>, Fault> {
        Ok(parsed(self.twin(APPS, &[], name.as_str())?))
    }

    /// All names that differ in case only, each group with what they are names of.
    ///
    /// # Errors
    /// [`Fault`].
    fn twins(&self) -> Result<Vec<(&'static str, Vec<String>)>, Fault> {
        let mut twins = Vec::new();
        for (table, what) in [(KEYS, "keys"), (SETS, "sets"), (APPS, "applications")] {
            let mut groups: BTreeMap<Vec<u8>, Vec<String>> = BTreeMap::new();
            for row in self.row_keys(table, &[])? {
                let name = match what {
                    "keys" => key_id(&row)?.to_string(),
                    _ => String::from_utf8_lossy(&row).into_owned(),
                };
                groups.entry(row.to_ascii_lowercase()).or_default().push(name);
            }
            let several = groups.into_values().filter(|names| names.len() > 1);
            twins.extend(several.map(|names| (what, names)));
        }
        Ok(twins)
    }

    /// The one name that there is; none if there is none, or more than one and none written so.
    ///
    /// # Errors
    /// [`Fault`].
    fn as_written(&self, table: Table, prefix: &[u8], name: &str) -> Result<Option<String>, Fault> {
        // A row that is damaged is there too: whoever reads it is told so.
        if !matches!(self.value(table, &[prefix, name.as_bytes()].concat()), Ok(None)) {
            return Ok(Some(name.to_owned()));
        }
        let mut alike = self.alike(table, prefix, name)?;
        Ok(alike.pop().filter(|_| alike.is_empty()))
    }

    /// Every name that is the same but for its case.
    ///
    /// # Errors
    /// [`Fault`].
    fn alike(&self, table: Table, prefix: &[u8], name: &str) -> Result<Vec<String>, Fault> {
        let rows = self.row_keys(table, prefix)?;
        let names = rows.iter().map(|row| &row[prefix.len()..]);
        let alike = names.filter(|other| other.eq_ignore_ascii_case(name.as_bytes()));
        Ok(alike.map(|other| String::from_utf8_lossy(other).into_owned()).collect())
    }
}

impl<V: View> Spelling for V {}

fn parsed<T: std::str::FromStr>(name: Option<String>) -> Option<T> {
    name.and_then(|name| name.parse().ok())
}

/// The keys of a table's rows that have a prefix, in order.
pub(super) fn row_keys(
    table: &impl ReadableTable<&'static [u8], &'static [u8]>,
    prefix: &[u8],
) -> Result<Vec<Vec<u8>>, Fault> {
    let mut found = Vec::new();
    for row in table.range(prefix..)? {
        let (key, _) = row?;
        if !key.value().starts_with(prefix) {
            break;
        }
        found.push(key.value().to_vec());
    }
    Ok(found)
}
