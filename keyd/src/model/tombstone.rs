//! What is remembered of a version that was purged: a backup could bring it back.

use keyd_client::{KeyId, Principal, VaultName, message::UnixMillis};
use serde::{Deserialize, Serialize};

/// A purged version's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tombstone {
    /// The key that had it.
    pub key: KeyId,
    /// When it was purged.
    pub at: UnixMillis,
    /// Who asked to bring it back, and where; somebody else must ask for the same.
    pub asked: Option<(Principal, VaultName)>,
}

impl Tombstone {
    /// One that nobody has asked about.
    #[must_use]
    pub fn new(key: KeyId, at: UnixMillis) -> Self {
        Self { key, at, asked: None }
    }

    /// Whether a principal's wish to bring the version back in a vault is enough; if not, it is noted.
    pub fn ask(&mut self, who: &Principal, vault: &VaultName) -> bool {
        let seconded =
            self.asked.as_ref().is_some_and(|(first, where_to)| first != who && where_to == vault);
        if !seconded {
            self.asked = Some((who.clone(), vault.clone()));
        }
        seconded
    }
}
