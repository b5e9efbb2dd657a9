//! The header: who can open the file, each with the file's key wrapped to it, and a tag under that key over all of it.

use std::io::{BufRead, Read, Write};

use aws_lc_rs::{
    hkdf::{HKDF_SHA256, Salt},
    hmac::{self, HMAC_SHA256},
};
use base64::{Engine, prelude::BASE64_STANDARD_NO_PAD as BASE64};

use super::{
    AgeError, Identity, Recipient,
    keys::{FileKey, Wrapped},
};
use crate::limits::AGE_HEADER_LEN_MAX;

const VERSION: &[u8] = b"age-encryption.org/v1\n";
const STANZA: &[u8] = b"-> ";
const END: &[u8] = b"---";
const X25519: &str = "X25519";

/// Columns of a stanza's body; a shorter line ends it.
const COLUMNS: usize = 64;

/// Writes the header for some recipients.
pub(super) fn write(
    to: &mut impl Write,
    recipients: &[Recipient],
    key: &FileKey,
) -> Result<(), AgeError> {
    let mut header = VERSION.to_vec();
    for recipient in recipients {
        let Wrapped { share, body } = recipient.wrap(key)?;
        let (share, body) = (BASE64.encode(share), BASE64.encode(body));
        // 32 bytes are 43 characters: one line, shorter than a full one.
        header.extend(format!("-> {X25519} {share}\n{body}\n").into_bytes());
    }
    header.extend(END);
    let tag = hmac::sign(&tag_key(key)?, &header);
    header.extend(format!(" {}\n", BASE64.encode(tag.as_ref())).into_bytes());
    to.write_all(&header)?;
    Ok(())
}

/// Reads the header and opens the file's key with the first identity that can.
pub(super) fn read(from: &mut impl BufRead, identities: &[Identity]) -> Result<FileKey, AgeError> {
    let mut lines = Lines { from, header: Vec::new() };
    if lines.next()? != VERSION {
        return Err(AgeError::Header("it does not begin like one"));
    }
    let (mut wrapped, mut count, mut alone) = (Vec::new(), 0, false);
    let tag = loop {
        let line = lines.next()?;
        if let Some(tag) = line.strip_prefix(END) {
            lines.header.truncate(lines.header.len() - tag.len());
            break tag_of(tag)?;
        }
        let stanza = Stanza::read(&line, &mut lines)?;
        count += 1;
        // A passphrase opens for nobody else (age v1, "scrypt recipient").
        alone |= stanza.kind == "scrypt";
        wrapped.extend(stanza.x25519()?);
    };
    if count == 0 || (alone && count > 1) {
        return Err(AgeError::Header("recipients that cannot be together"));
    }
    let key = find_key(identities, &wrapped)?;
    hmac::verify(&tag_key(&key)?, &lines.header, &tag)
        .map_err(|_| AgeError::Header("its tag does not fit"))?;
    Ok(key)
}

fn find_key(identities: &[Identity], wrapped: &[Wrapped]) -> Result<FileKey, AgeError> {
    for wrapped in wrapped {
        for identity in identities {
            if let Some(key) = identity.unwrap(wrapped)? {
                return Ok(key);
            }
        }
    }
    Err(AgeError::NoMatch)
}

fn tag_key(key: &FileKey) -> Result<hmac::Key, AgeError> {
    let derived = Salt::new(HKDF_SHA256, &[]).extract(&key[..]);
    let info = [b"header".as_slice()];
    let expanded = derived.expand(&info, HMAC_SHA256).map_err(|_| AgeError::Random)?;
    Ok(hmac::Key::from(expanded))
}

fn tag_of(rest: &[u8]) -> Result<Vec<u8>, AgeError> {
    let wrong = || AgeError::Header("its last line is none");
    let text = rest.strip_prefix(b" ").and_then(|text| text.strip_suffix(b"\n"));
    let tag = BASE64.decode(text.ok_or_else(wrong)?).map_err(|_| wrong())?;
    if tag.len() == 32 { Ok(tag) } else { Err(wrong()) }
}

/// Lines of limited length, ends included, kept for the tag.
struct Lines<'a, R> {
    from: &'a mut R,
    header: Vec<u8>,
}

impl<R: BufRead> Lines<'_, R> {
    fn next(&mut self) -> Result<Vec<u8>, AgeError> {
        let left = AGE_HEADER_LEN_MAX - self.header.len();
        let mut line = Vec::new();
        self.from.by_ref().take(left as u64).read_until(b'\n', &mut line)?;
        if !line.ends_with(b"\n") {
            return Err(AgeError::Header("it ends too early, or too late"));
        }
        self.header.extend(&line);
        Ok(line)
    }
}

/// One recipient's part.
struct Stanza {
    kind: String,
    arguments: Vec<String>,
    body: Vec<u8>,
}

impl Stanza {
    fn read(line: &[u8], lines: &mut Lines<'_, impl BufRead>) -> Result<Self, AgeError> {
        let wrong = || AgeError::Header("a recipient's line is none");
        let line = line.strip_prefix(STANZA).and_then(|line| line.strip_suffix(b"\n"));
        let text = std::str::from_utf8(line.ok_or_else(wrong)?).map_err(|_| wrong())?;
        let mut words = text.split(' ').map(str::to_owned);
        let kind = words.next().unwrap_or_default();
        let arguments: Vec<String> = words.collect();
        let visible =
            |word: &String| !word.is_empty() && word.bytes().all(|b| b.is_ascii_graphic());
        if !visible(&kind) || !arguments.iter().all(visible) {
            return Err(wrong());
        }
        Ok(Self { kind, arguments, body: body(lines)? })
    }

    /// The file's key, if it is wrapped in the way that is known here.
    fn x25519(self) -> Result<Option<Wrapped>, AgeError> {
        let wrong = || AgeError::Header("an X25519 recipient is none");
        if self.kind != X25519 {
            return Ok(None);
        }
        let [share] = self.arguments.as_slice() else {
            return Err(wrong());
        };
        let share = BASE64.decode(share).map_err(|_| wrong())?.try_into().map_err(|_| wrong())?;
        let body = self.body.try_into().map_err(|_| wrong())?;
        Ok(Some(Wrapped { share, body }))
    }
}

fn body(lines: &mut Lines<'_, impl BufRead>) -> Result<Vec<u8>, AgeError> {
    let wrong = || AgeError::Header("a recipient's body is none");
    let mut text = Vec::new();
    loop {
        let line = lines.next()?;
        let line = line.strip_suffix(b"\n").unwrap_or_default();
        if line.len() > COLUMNS {
            return Err(wrong());
        }
        text.extend(line);
        if line.len() < COLUMNS {
            return BASE64.decode(text).map_err(|_| wrong());
        }
    }
}
