//! What the daemon does: the verbs, by what they are on, and what follows from them. Each verb takes the permit for
//! itself by value, runs straight through, and writes its audit record in the transaction of its change. Reading leaves
//! no record: nothing is used by it, and an administrator must be able to look when nothing can be written.

#![allow(clippy::needless_pass_by_value, reason = "a permit is spent by passing it on")]

pub mod app;
pub mod attach;
pub mod audit;
pub mod clock;
pub mod consent;
pub mod daemon_status;
pub mod des;
pub mod des_follow;
pub mod disk;
pub mod due;
pub mod enforce;
pub mod fence;
pub mod first_start;
pub mod grant;
pub mod impact;
pub mod key;
pub mod lease_end;
pub mod operation;
pub mod purge;
pub mod reclaim;
pub mod rewrap;
pub mod rotate;
pub mod rotation_end;
pub mod rotation_policy;
pub mod state;
pub mod state_keep;
pub mod status;
pub mod taking;
pub mod vault;
pub mod vault_key_backup;
pub mod vault_key_create;
pub mod vault_key_get;
pub mod vault_key_import;
pub mod vault_key_list;
pub mod vault_key_policy;
pub mod vault_key_restore;
pub mod vault_key_rotate;
pub mod vault_key_use;
pub mod vault_random;

#[cfg(test)]
mod tests;
