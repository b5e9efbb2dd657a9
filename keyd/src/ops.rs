//! One verb a file. Each operation takes the permit for itself by value, runs straight through, and writes its audit
//! record in the transaction of its change. Reading keys, sets and disks leaves no record: nothing is used by it.

#![allow(clippy::needless_pass_by_value, reason = "a permit is spent by passing it on")]

pub mod attach;
pub mod audit_read;
pub mod des_create;
pub mod des_show;
pub mod disk_abandon;
pub mod disk_confirm;
pub mod disk_create;
pub mod disk_release;
pub mod disk_show;
pub mod fence;
pub mod first_start;
pub mod key_create;
pub mod key_disable;
pub mod key_enable;
pub mod key_rotate;
pub mod key_show;
pub mod lease_end;
pub mod reclaim;
pub mod rewrap;
pub mod status;
