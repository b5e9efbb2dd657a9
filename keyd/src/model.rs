//! What is stored, and what may be done with it in which state. No input and no output here.

pub mod app;
pub mod calendar;
pub mod des;
pub mod disk;
pub mod following;
pub mod key;
pub mod right;
pub mod token;
pub mod tombstone;
pub mod vault;
pub mod version;
