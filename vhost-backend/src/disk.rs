//! The disk below the data path: operations go in by value, and come back, buffer and all, when they have ended.
//!
//! While an operation is in flight its buffer belongs to the disk. Only [`Ciphertext`] can be written.

pub mod buffer;
mod call;
pub mod engine;
pub mod ring;
pub mod ring_maker;
pub mod sim;
pub mod threads;
pub mod uring;
pub mod way;

use std::{fmt, io, os::fd::OwnedFd, time::Duration};

use rustix::io::Errno;

use buffer::{Blank, Ciphertext};

/// Which part of which request an operation serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// The request: its slot in the queue.
    pub flight: u16,
    /// First byte of the request's data that this piece covers.
    pub data_at: u64,
    /// First byte of the guest's disk that this piece covers.
    pub disk_at: u64,
    /// Bytes.
    pub len: u64,
}

/// What is asked of the disk. Offsets are into the image, bytes.
#[derive(Debug)]
pub enum Operation {
    /// Read `len` bytes at `at`; `done` of them are there already.
    Read {
        /// Where to.
        into: Blank,
        /// Image offset.
        at: u64,
        /// Bytes.
        len: usize,
        /// Bytes that earlier attempts brought.
        done: usize,
    },
    /// Write all of `from` at `at`; `done` bytes of it are written already.
    Write {
        /// What.
        from: Ciphertext,
        /// Image offset.
        at: u64,
        /// Bytes that earlier attempts wrote.
        done: usize,
        /// The write is durable when it ends (write-through).
        durable: bool,
    },
    /// Make all ended writes durable.
    Sync,
    /// Give the space of `len` bytes at `at` back; they read as zeros afterwards.
    Punch {
        /// Image offset.
        at: u64,
        /// Bytes.
        len: u64,
    },
}

/// An operation with its purpose.
#[derive(Debug)]
pub struct Job {
    /// What it is for.
    pub piece: Piece,
    /// How often the disk said "try again".
    pub attempts: u16,
    /// What to do.
    pub operation: Operation,
}

/// What a disk reports.
#[derive(Debug)]
pub enum Event {
    /// An operation ended: the bytes it moved, or why not.
    Done(Job, Result<usize, Errno>),
    /// The guest kicked.
    Kick,
    /// A command waits for the queue.
    Command,
}

/// What became of a submitted job.
#[derive(Debug)]
#[must_use]
pub enum Submitted {
    /// Its end will be an event.
    Queued,
    /// It has ended already: the bytes it moved, or why not.
    Ended(Job, Result<usize, Errno>),
    /// The disk has as many as it takes: try again after the next event.
    Full(Job),
}

/// How to wait for events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Submit what is queued and look; do not sleep.
    No,
    /// Submit what is queued and sleep until there is an event, or the time is up.
    Sleep(Option<Duration>),
}

/// A queue's own access to the disk, and its only place to wait.
pub trait Disk: fmt::Debug {
    /// Does a job at once, or queues it to start with the next [`Disk::wait`].
    fn submit(&mut self, job: Job) -> Submitted;

    /// Starts what is queued, and waits as told.
    ///
    /// # Errors
    /// Waiting itself failed.
    fn wait(&mut self, wait: Wait) -> io::Result<()>;

    /// Takes the next event.
    fn next(&mut self) -> Option<Event>;

    /// Watches another descriptor for kicks, or none.
    fn watch_kicks(&mut self, kick: Option<OwnedFd>);

    /// Whether a write can be durable by itself. If not, a sync has to follow it.
    fn has_durable_writes(&self) -> bool;

    /// Operations that have not ended.
    fn in_flight(&self) -> usize;
}
