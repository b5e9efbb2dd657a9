//! What was decrypted: secret bytes of any length up to a limit, in a locked page, wiped when dropped.

use std::fmt;

use keyd_client::{Locked, dek::page::PageError};

/// At most `MAX` secret bytes.
pub struct Opened<const MAX: usize> {
    page: Locked<[u8; MAX]>,
    len: usize,
}

impl<const MAX: usize> Opened<MAX> {
    /// Runs `fill` on a fresh page; it says how many bytes it wrote, from the first on.
    ///
    /// # Errors
    /// [`PageError`], and what `fill` returns.
    pub(crate) fn fill_with<E: From<PageError>>(
        fill: impl FnOnce(&mut [u8; MAX]) -> Result<usize, E>,
    ) -> Result<Self, E> {
        let mut page = Locked::new(|| [0; MAX])?;
        let len = fill(&mut page)?.min(MAX);
        Ok(Self { page, len })
    }

    /// Leaves out what comes behind the first `len` bytes.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// The secret bytes.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.page[..self.len]
    }
}

impl<const MAX: usize> fmt::Debug for Opened<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Opened(secret)")
    }
}
