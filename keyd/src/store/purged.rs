//! What is remembered of keys that were taken out of the daemon or purged: when everything was backed up last, and the
//! versions whose return takes two.

use keyd_client::{KeyVersion, message::UnixMillis};

use super::{
    tables::{META, PURGED},
    txn::Txn,
    view::{Range, View, decode},
};
use crate::{error::Fault, limits::PURGED_MAX, model::tombstone::Tombstone};

const BACKED_UP: &[u8] = b"backed-up";

/// Reading of it.
pub trait Purged: View {
    /// When a backup of everything was made last.
    ///
    /// # Errors
    /// [`Fault`].
    fn backed_up(&self) -> Result<Option<UnixMillis>, Fault> {
        decode(self.value(META, BACKED_UP)?)
    }

    /// What is remembered of a version, if it was purged.
    ///
    /// # Errors
    /// [`Fault`].
    fn tombstone(&self, version: KeyVersion) -> Result<Option<Tombstone>, Fault> {
        decode(self.value(PURGED, version.to_string().as_bytes())?)
    }
}

impl<V: View> Purged for V {}

impl Txn<'_> {
    /// Notes that a backup of everything is made.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn put_backed_up(&self, now: UnixMillis) -> Result<(), Fault> {
        self.put(META, BACKED_UP, &serde_json::to_vec(&now)?)
    }

    /// Stores what is remembered of a purged version. Where there is too much of it, the oldest is forgotten.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn put_tombstone(&self, version: KeyVersion, tombstone: &Tombstone) -> Result<(), Fault> {
        self.put_among(version, tombstone, PURGED_MAX)
    }

    fn put_among(
        &self,
        version: KeyVersion,
        tombstone: &Tombstone,
        most: u64,
    ) -> Result<(), Fault> {
        self.put(PURGED, version.to_string().as_bytes(), &serde_json::to_vec(tombstone)?)?;
        if self.count(PURGED, &[])? <= most {
            return Ok(());
        }
        let mut oldest: Option<(UnixMillis, Vec<u8>)> = None;
        for (row, value) in self.rows(PURGED, Range::ALL)? {
            let Tombstone { at, .. } = serde_json::from_slice(&value)?;
            if oldest.as_ref().is_none_or(|(other, _)| at < *other) {
                oldest = Some((at, row));
            }
        }
        oldest.map_or(Ok(()), |(_, row)| self.remove(PURGED, &row))
    }

    /// Forgets that a version was purged: it is back.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn remove_tombstone(&self, version: KeyVersion) -> Result<(), Fault> {
        self.remove(PURGED, version.to_string().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing;

    #[test]
    fn where_there_is_too_much_to_remember_the_oldest_is_forgotten() {
        let store = testing::store();
        let versions: Vec<KeyVersion> = (0..4).map(|_| KeyVersion::random()).collect();
        for (version, at) in versions.iter().zip([7, 5, u64::MAX, 6]) {
            let tombstone = Tombstone::new("k".parse().unwrap(), at);
            testing::change(&store, |txn| txn.put_among(*version, &tombstone, 3));
        }
        let view = store.snapshot().unwrap();
        let known = |version: &KeyVersion| view.tombstone(*version).unwrap().is_some();
        assert_eq!(versions.iter().map(known).collect::<Vec<_>>(), [true, false, true, true]);
    }
}
