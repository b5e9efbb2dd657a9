//! The whole state, sealed to a recovery recipient, and brought back on an empty directory.

pub mod age;
