//! Real peers for the system tests: a guest's driver, front ends, the daemons as processes, other people's tools.

pub mod driver;
pub mod front_end;
pub mod guest;
pub mod memory_scan;
pub mod process;
pub mod tape;
pub mod world;
