//! What a process gives up between its start and the first word of a client: a user, privileges, paths, system calls;
//! and, before the first key, dumps. A program says what it needs and when ([`Sandbox`]); here is how, and what the
//! kernel said. And the one thing it must open before: its way to the service manager.

#![forbid(unsafe_code)]

pub mod calls;
pub mod harden;
pub mod manager;
pub mod paths;
mod sandbox;
pub mod user;

pub use harden::harden;
pub use sandbox::{Sandbox, SandboxError};
