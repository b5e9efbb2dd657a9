//! What principals may do, in the store. A principal has a row for the daemon as a whole, and one for each set and disk
//! that something was granted for: whether it may attach a disk is three looks, however many it may.

use std::collections::BTreeSet;

use keyd_client::{Principal, Scope, permission::Permission};

use super::{
    apps::Apps,
    tables::GRANTS,
    txn::Txn,
    view::{Range, Row, decode},
};
use crate::error::Fault;

/// A row: who, what for, what.
pub type Granted = (Principal, Scope, BTreeSet<Permission>);

/// Reading of grants.
pub trait Grants: Apps {
    /// What a principal may do with this, by what was granted for just this.
    ///
    /// # Errors
    /// [`Fault`].
    fn granted(&self, who: &Principal, scope: &Scope) -> Result<BTreeSet<Permission>, Fault> {
        Ok(decode(self.value(GRANTS, &row(who, scope))?)?.unwrap_or_default())
    }

    /// At most `limit` rows in order, after one.
    ///
    /// # Errors
    /// [`Fault`].
    fn grants(
        &self,
        after: Option<(&Principal, &Scope)>,
        limit: usize,
    ) -> Result<Vec<Granted>, Fault> {
        let after = after.map(|(who, scope)| row(who, scope));
        let rows = self.rows(GRANTS, Range { after: after.as_deref(), limit, ..Range::ALL })?;
        rows.iter().map(granted).collect()
    }

    /// At most `limit` rows of a principal.
    ///
    /// # Errors
    /// [`Fault`].
    fn grants_of(&self, who: &Principal, limit: usize) -> Result<Vec<Granted>, Fault> {
        let everywhere = self.granted(who, &Scope::All)?;
        let prefix = format!("{who}/").into_bytes();
        let rows = self.rows(GRANTS, Range { prefix: &prefix, limit, ..Range::ALL })?;
        let mut found: Vec<Granted> = rows.iter().map(granted).collect::<Result<_, _>>()?;
        if !everywhere.is_empty() {
            found.insert(0, (who.clone(), Scope::All, everywhere));
        }
        found.truncate(limit);
        Ok(found)
    }

    /// All rows that are for one of these.
    ///
    /// # Errors
    /// [`Fault`].
    fn grants_for(&self, scopes: &[Scope]) -> Result<Vec<Granted>, Fault> {
        let mut all = self.grants(None, usize::MAX)?;
        all.retain(|(_, scope, _)| scopes.contains(scope));
        Ok(all)
    }

    /// Whether a principal is there. A user of a host always is, as far as can be known here.
    ///
    /// # Errors
    /// [`Fault`].
    fn exists(&self, who: &Principal) -> Result<bool, Fault> {
        Ok(match who {
            Principal::User(_) => true,
            Principal::App(name) => self.find_app(name)?.is_some(),
            Principal::Des(name) => self.find_set(name)?.is_some(),
        })
    }

    /// How many rows there are.
    ///
    /// # Errors
    /// [`Fault`].
    fn count_grants(&self) -> Result<u64, Fault> {
        self.count(GRANTS, &[])
    }
}

impl<V: Apps> Grants for V {}

impl Txn<'_> {
    /// Stores what a principal may do with this; nothing takes it away.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn put_grant(
        &self,
        who: &Principal,
        scope: &Scope,
        permissions: &BTreeSet<Permission>,
    ) -> Result<(), Fault> {
        if permissions.is_empty() {
            return self.remove(GRANTS, &row(who, scope));
        }
        self.put(GRANTS, &row(who, scope), &serde_json::to_vec(permissions)?)
    }

    /// Takes away all that was granted to a principal: who is made under its name later begins with nothing.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn remove_grants_of(&self, who: &Principal) -> Result<(), Fault> {
        for (who, scope, _) in self.grants_of(who, usize::MAX)? {
            self.remove(GRANTS, &row(&who, &scope))?;
        }
        Ok(())
    }

    /// Takes away all that was granted for a set or a disk that is forgotten.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn remove_grants_for(&self, scope: &Scope) -> Result<(), Fault> {
        for (who, scope, _) in self.grants_for(std::slice::from_ref(scope))? {
            self.remove(GRANTS, &row(&who, &scope))?;
        }
        Ok(())
    }
}

/// A slash is in no name: nobody's rows begin like another's.
fn row(who: &Principal, scope: &Scope) -> Vec<u8> {
    match scope {
        Scope::All => who.to_string(),
        Scope::Set(_) | Scope::Disk(_) => format!("{who}/{scope}"),
    }
    .into_bytes()
}

fn granted((key, value): &Row) -> Result<Granted, Fault> {
    let text = String::from_utf8_lossy(key);
    let (who, scope) = text.split_once('/').unwrap_or((&text, "all"));
    let nobody = || Fault::Dangling("a grant to nobody".to_owned());
    let who = who.parse().map_err(|_| nobody())?;
    let scope = scope.parse().map_err(|_| nobody())?;
    Ok((who, scope, serde_json::from_slice(value)?))
}
