//! How requests come in: a listener, and what a connection is allowed to cost.

pub mod http;
pub mod native;
pub mod opening;
pub mod session;
pub mod socket;
