//! One verb a file. Each operation takes the permit for itself by value, runs straight through, and writes its audit
//! record in the transaction of its change. Reading leaves no record: nothing is used by it, and an administrator must
//! be able to look when nothing can be written.

#![allow(clippy::needless_pass_by_value, reason = "a permit is spent by passing it on")]

pub mod app_certificates;
pub mod app_create;
pub mod app_identity;
pub mod app_remove;
pub mod app_show;
pub mod attach;
pub mod audit_archive;
pub mod audit_read;
pub mod audit_reanchor;
pub mod clock_check;
pub mod daemon_status;
pub mod des_create;
pub mod des_delete;
pub mod des_follow;
pub mod des_set_key;
pub mod des_show;
pub mod des_update;
pub mod disk_abandon;
pub mod disk_confirm;
pub mod disk_create;
pub mod disk_derive;
pub mod disk_erase;
pub mod disk_grow;
pub mod disk_move;
pub mod disk_release;
pub mod disk_show;
pub mod due;
pub mod enforce;
pub mod fence;
pub mod first_start;
pub mod grant;
pub mod impact;
pub mod key_create;
pub mod key_delete;
pub mod key_purge;
pub mod key_recover;
pub mod key_rotate;
pub mod key_rotation_policy;
pub mod key_show;
pub mod key_update;
pub mod lease_end;
pub mod reclaim;
pub mod rewrap;
pub mod rotation_end;
pub mod state_backup;
pub mod state_check;
pub mod state_keep;
pub mod status;
pub mod taking;
pub mod token_create;
pub mod token_list;
pub mod token_revoke;
pub mod vault_create;
pub mod vault_delete;
pub mod vault_key_backup;
pub mod vault_key_create;
pub mod vault_key_get;
pub mod vault_key_import;
pub mod vault_key_list;
pub mod vault_key_policy;
pub mod vault_key_restore;
pub mod vault_key_rotate;
pub mod vault_key_use;
pub mod vault_permit;
pub mod vault_protect;
pub mod vault_random;
pub mod vault_show;

#[cfg(test)]
mod tests;
