//! The `image` command.
fn main() {}
