//! What the daemon knows, as plain data: stored forms, and the changes each allows. Pure: no clock, no store, no key.

pub mod des;
pub mod disk;
pub mod key;
