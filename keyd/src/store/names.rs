//! What a row is called where people read of it.

use keyd_client::DiskId;
use redb::TableHandle;
use uuid::Uuid;

use super::tables::{APPS, DISKS, GRANTS, KEYS, SETS, TOKENS, VAULTS};

/// A row by its table and key, whatever bytes those are.
pub(super) fn named(table: &str, key: &[u8]) -> String {
    let text = key.escape_ascii();
    let is = |other: super::tables::Table| other.name() == table;
    match Uuid::from_slice(key) {
        Ok(id) if is(DISKS) => format!("disk {}", DiskId(id)),
        _ if is(DISKS) => format!("a disk without an id ({text})"),
        _ if is(VAULTS) => format!("vault '{text}'"),
        _ if is(KEYS) => format!("key '{text}'"),
        _ if is(SETS) => format!("set '{text}'"),
        _ if is(GRANTS) => format!("the grant of '{text}'"),
        _ if is(APPS) => format!("application '{text}'"),
        // Its key is the hash of a secret.
        _ if is(TOKENS) => "a token".to_owned(),
        _ => format!("a row of '{table}'"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_keys_are_named_without_their_control_characters() {
        assert_eq!(named("keys", b"default/k\x1b[2J"), "key 'default/k\\x1b[2J'");
        assert_eq!(named("disks", &[0; 16]), "disk 00000000-0000-0000-0000-000000000000");
        assert_eq!(named("disks", b"\n"), "a disk without an id (\\n)");
        assert_eq!(named("disks-by-set", b"\x01"), "a row of 'disks-by-set'");
    }
}
