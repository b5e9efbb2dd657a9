//! The faulty twin of the system's files.

pub(crate) mod twin;
