//! Real peers for the system tests: a guest's driver, front ends, the daemons as processes, other people's tools.

pub mod audit;
pub mod bench;
pub mod clock;
pub mod drill;
pub mod driver;
pub mod front_end;
pub mod guest;
pub mod history;
pub mod hostile;
pub mod liar;
pub mod loop_device;
pub mod luks;
pub mod memory_scan;
pub mod meter;
pub mod monitor;
pub mod power;
pub mod process;
pub mod refusal;
pub mod relay;
pub mod script;
pub mod siege;
pub mod small_fs;
pub mod storage_daemon;
pub mod tape;
pub mod virtio_client;
pub mod world;
