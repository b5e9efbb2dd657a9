//! Fuzz targets: whatever comes from outside, made up. Each is a plain function of bytes that panics when an oracle is
//! broken, and each oracle knows the standards and nothing of our parsers.
//!
//! `tests/corpus.rs` replays what is kept in `corpus/` and changes it a little, in the ordinary tests; `scripts/fuzz`
//! runs libFuzzer (`libfuzzer/`) for as long as asked, and keeps what reaches something new.

pub mod alarm;
pub mod corpus;
pub mod daemon;
pub mod disk;
pub mod frame;
pub mod header;
pub mod http;
pub mod inflight;
pub mod key;
pub mod message;
pub mod mutation;
pub mod pages;
pub mod request;
pub mod ring;

/// A target: panics if what these bytes lead to must not be.
pub type Target = fn(&[u8]);

/// Every target by its name, which is also that of its directory of the corpus.
pub const TARGETS: [(&str, Target); 8] = [
    ("request", request::run),
    ("ring", ring::run),
    ("message", message::run),
    ("header", header::run),
    ("frame", frame::run),
    ("http", http::run),
    ("inflight", inflight::run),
    ("pages", pages::run),
];
