//! A disk in memory that can be cut at any moment: for tests of what a crash leaves behind.
