//! The payload: chunks of 64 KiB under ChaCha20-Poly1305 (RFC 8439), numbered, the last one marked, so that none can be
//! changed, moved or left out. Plaintext is in a locked page on both ways.

use std::{
    fmt,
    io::{self, BufRead, Read, Write},
};

use aws_lc_rs::{
    aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hkdf::{HKDF_SHA256, Salt},
    rand,
};
use keyd_client::Locked;

use super::{
    AgeError, Identity, Recipient, header,
    keys::{FILE_KEY_LEN, FileKey},
};

const CHUNK_LEN: usize = 64 << 10;
const TAG_LEN: usize = 16;

/// Random bytes before the payload.
const SALT_LEN: usize = 16;

type Page = Locked<[u8; CHUNK_LEN + TAG_LEN]>;

/// The key of the chunks, and how many there were.
struct Chunks {
    key: LessSafeKey,
    count: u128,
}

impl Chunks {
    fn new(file_key: &FileKey, salt: &[u8; SALT_LEN]) -> Result<Self, AgeError> {
        let derived = Salt::new(HKDF_SHA256, salt).extract(&file_key[..]);
        let info = [b"payload".as_slice()];
        let key = derived.expand(&info, &CHACHA20_POLY1305).map_err(|_| AgeError::Random)?;
        Ok(Self { key: LessSafeKey::new(UnboundKey::from(key)), count: 0 })
    }

    /// Eleven bytes of the chunk's number, big-endian, and whether it is the last.
    fn nonce(&mut self, last: bool) -> Nonce {
        let mut nonce = [0; NONCE_LEN];
        let number = self.count.to_be_bytes();
        nonce[..NONCE_LEN - 1].copy_from_slice(&number[number.len() - (NONCE_LEN - 1)..]);
        nonce[NONCE_LEN - 1] = u8::from(last);
        self.count += 1;
        Nonce::assume_unique_for_key(nonce)
    }
}

/// Seals what is written to it. Without [`Sealer::finish`] nobody opens it.
pub struct Sealer<W> {
    to: W,
    chunks: Chunks,
    page: Page,
    len: usize,
}

impl<W> fmt::Debug for Sealer<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer(secret)")
    }
}

impl<W: Write> Sealer<W> {
    /// Writes the header for some recipients.
    ///
    /// # Errors
    /// [`AgeError`].
    pub fn new(mut to: W, recipients: &[Recipient]) -> Result<Self, AgeError> {
        let mut file_key = Locked::new(|| [0; FILE_KEY_LEN])?;
        rand::fill(&mut file_key[..]).map_err(|_| AgeError::Random)?;
        header::write(&mut to, recipients, &file_key)?;
        let mut salt = [0; SALT_LEN];
        rand::fill(&mut salt).map_err(|_| AgeError::Random)?;
        to.write_all(&salt)?;
        let (chunks, page) = (Chunks::new(&file_key, &salt)?, Locked::new(|| [0; _])?);
        Ok(Self { to, chunks, page, len: 0 })
    }

    fn put(&mut self, last: bool) -> io::Result<()> {
        let nonce = self.chunks.nonce(last);
        let (body, rest) = self.page.split_at_mut(self.len);
        let sealed = self.chunks.key.seal_in_place_separate_tag(nonce, Aad::empty(), body);
        let tag = sealed.map_err(|_| io::Error::from(AgeError::Random))?;
        rest[..TAG_LEN].copy_from_slice(tag.as_ref());
        self.to.write_all(&self.page[..self.len + TAG_LEN])?;
        self.len = 0;
        Ok(())
    }

    /// Marks the end, and gives back what it wrote to.
    ///
    /// # Errors
    /// Writing failed.
    pub fn finish(mut self) -> io::Result<W> {
        self.put(true)?;
        Ok(self.to)
    }
}

impl<W: Write> Write for Sealer<W> {
    /// A full chunk waits for the next byte: only then is it known not to be the last.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.len == CHUNK_LEN && !bytes.is_empty() {
            self.put(false)?;
        }
        let taken = bytes.len().min(CHUNK_LEN - self.len);
        self.page[self.len..self.len + taken].copy_from_slice(&bytes[..taken]);
        self.len += taken;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Opens what was sealed. Each chunk is judged before a byte of it is given out; that the last one came is known when
/// reading tells the end.
pub struct Opener<R> {
    from: R,
    chunks: Chunks,
    page: Page,
    /// Where in the page what is not yet read is.
    ready: std::ops::Range<usize>,
    ended: bool,
}

impl<R> fmt::Debug for Opener<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Opener(secret)")
    }
}

impl<R: BufRead> Opener<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// [`AgeError`].
    pub fn new(mut from: R, identities: &[Identity]) -> Result<Self, AgeError> {
        let file_key = header::read(&mut from, identities)?;
        let mut salt = [0; SALT_LEN];
        from.read_exact(&mut salt).map_err(cut)?;
        let (chunks, page) = (Chunks::new(&file_key, &salt)?, Locked::new(|| [0; _])?);
        Ok(Self { from, chunks, page, ready: 0..0, ended: false })
    }

    fn take(&mut self) -> Result<(), AgeError> {
        let mut len = 0;
        while len < self.page.len() {
            match self.from.read(&mut self.page[len..])? {
                0 => break,
                read => len += read,
            }
        }
        let last = self.from.fill_buf()?.is_empty();
        let first = self.chunks.count == 0;
        let nonce = self.chunks.nonce(last);
        let opened = self.chunks.key.open_in_place(nonce, Aad::empty(), &mut self.page[..len]);
        let len = opened.map_err(|_| AgeError::Damaged)?.len();
        // Nothing is sealed in a chunk of its own only if nothing was sealed at all.
        if len == 0 && !first {
            return Err(AgeError::Damaged);
        }
        (self.ready, self.ended) = (0..len, last);
        Ok(())
    }
}

impl<R: BufRead> Read for Opener<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        while self.ready.is_empty() && !self.ended {
            self.take()?;
        }
        let given = self.ready.len().min(bytes.len());
        let from = self.ready.start;
        bytes[..given].copy_from_slice(&self.page[from..from + given]);
        self.ready.start += given;
        Ok(given)
    }
}

fn cut(error: io::Error) -> AgeError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => AgeError::Header("it ends too early"),
        _ => error.into(),
    }
}
