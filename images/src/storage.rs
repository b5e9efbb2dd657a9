//! Bytes of an image for the tools: read, write, make durable, and lock. The data path does not come through here.

mod file;
mod remedy;
#[cfg(test)]
pub(crate) mod sim;
pub(crate) mod zeros;

use std::io;

pub use file::{Access, ImageFile, OpenError};
pub use remedy::Remedy;

/// What header code needs of an image. Tests use a faulty twin of the file, `sim`.
pub trait Storage {
    /// Bytes.
    ///
    /// # Errors
    /// What the system says.
    fn size(&self) -> io::Result<u64>;

    /// Fills `buf` from byte `offset`.
    ///
    /// # Errors
    /// What the system says; `UnexpectedEof` if the image ends before.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes all of `buf` at byte `offset`.
    ///
    /// # Errors
    /// What the system says.
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()>;

    /// Makes durable what was written.
    ///
    /// # Errors
    /// What the system says. After a failure nothing written since the last success is known to be there.
    fn sync(&self) -> io::Result<()>;

    /// Whether writing is allowed at all.
    fn is_writable(&self) -> bool;

    /// Runs `work` while no other program may look at the header.
    ///
    /// # Errors
    /// If the others do not let go in time.
    fn exclusively<T>(&self, work: impl FnOnce() -> T) -> io::Result<T>;
}
