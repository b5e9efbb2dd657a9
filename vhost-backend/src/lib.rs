//! The data path: one process per disk, between a guest's virtio rings and a file of ciphertext.
//!
//! Four contexts. *Control* ([`server`], [`session`]): one thread, the vhost-user socket. *Queues* ([`queue`]):
//! one thread each, made when its ring is first started, and what waits for the disk ([`disk::engine`]); a request
//! never leaves its queue. *Lease* ([`lease`]): one thread, the key daemon. *Survey* (`lease::survey`): one thread,
//! which looks whether the image has room for a disk that grows, as the lease thread waits for no disk. They talk by
//! commands and replies; only a queue's [handle](queue::handle) has a lock, which no queue takes.

#![deny(unsafe_code)]

pub mod backing;
pub mod config;
pub mod device;
pub mod device_state;
pub mod dirty;
#[allow(unsafe_code)]
pub mod disk;
pub mod flight;
pub mod guest;
pub mod inflight;
#[allow(unsafe_code)]
pub mod inherit;
pub mod lease;
pub mod limits;
pub mod log;
pub mod mailbox;
pub mod memory;
mod patience;
pub mod queue;
mod queues;
pub mod request;
pub mod sandbox;
pub mod seal;
pub mod serve;
pub mod server;
pub mod session;
mod stores;
pub mod vring;
