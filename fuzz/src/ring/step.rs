//! What a guest, its front end and the world do, one after the other.

use arbitrary::Arbitrary;

/// One of them.
#[derive(Debug, Arbitrary)]
pub(super) enum Step {
    /// A request that is laid out well, as far as its parts are.
    Request(Request),
    /// A descriptor, anywhere.
    Descriptor {
        table: Table,
        index: u8,
        address: Address,
        len: Len,
        flags: u8,
        next: u8,
    },
    /// A head made available, there or not.
    Offer(u8),
    /// The avail index moves.
    Jump(u16),
    /// Bytes anywhere in guest memory.
    Poke(Poke),
    /// The same, one at each step of the disk from now on: between the pieces of a request.
    Race(Vec<Poke>),
    Turns(u8),
    Fence {
        fail: bool,
    },
    Key,
    Enable(bool),
    /// The ring is stopped, and started where it stood or at any index.
    Restart(Option<u16>),
    /// The second half of memory is not there, or is again.
    Memory(bool),
    Faults {
        short: u8,
        again: u8,
        error: u8,
        at_once: u8,
        reorder: bool,
    },
    Stuck(bool),
}

#[derive(Debug, Arbitrary)]
pub(super) struct Request {
    /// Type: READ, WRITE, FLUSH, GET_ID, DISCARD, WRITE_ZEROES, or any.
    pub(super) kind: u8,
    pub(super) sector: Sector,
    pub(super) data: Data,
    pub(super) ranges: Vec<(Sector, u16, bool)>,
    pub(super) indirect: bool,
    pub(super) no_status: bool,
}

/// Buffers of data, in the right direction.
#[derive(Debug, Arbitrary)]
pub(super) enum Data {
    /// Whole units, cut in pieces of these lengths and a last one.
    Cut {
        units: u8,
        pieces: Vec<u8>,
    },
    Any(Vec<(Address, Len)>),
}

#[derive(Debug, Clone, Copy, Arbitrary)]
pub(super) enum Sector {
    Near(u8),
    FromEnd(u8),
    /// Its byte offset wraps around to the beginning.
    Wrapped(u8),
    Wild(u64),
}

/// Where a buffer lies.
#[derive(Debug, Clone, Copy, Arbitrary)]
pub(super) enum Address {
    /// Among the buffers, in units of 64 bytes.
    Buffer(u16),
    /// Among ring and tables.
    Table(u16),
    /// Around a seam or the end of memory.
    Edge(u8, i8),
    Wild(u64),
}

#[derive(Debug, Clone, Copy, Arbitrary)]
pub(super) enum Len {
    Units(u8),
    Bytes(u8),
    Wild(u32),
}

#[derive(Debug, Clone, Copy, Arbitrary)]
pub(super) enum Table {
    Ring,
    Indirect(u8),
}

#[derive(Debug, Clone, Copy, Arbitrary)]
pub(super) struct Poke {
    pub(super) address: Address,
    pub(super) value: u16,
}
