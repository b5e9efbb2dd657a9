//! Headers that somebody wrote by hand: any bytes, and metadata of any text under checksums that hold. What is accepted
//! is what `cryptsetup` would take it for and lies inside its file; it can be written again, and is the same then.

use std::{
    cell::RefCell,
    io::{self, ErrorKind},
};

use arbitrary::{Arbitrary, Unstructured};
use images::{Header, Recovery, Role, Storage};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Bytes of a copy, of its binary part, and where its checksum lies (LUKS2 spec 1.1.4, section 2.1).
const COPY: usize = 16_384;
const BINARY: usize = 4096;
const SUM: std::ops::Range<usize> = 448..512;

/// Where the golden header says that its disk is: the data need not be there to be judged.
const SIZE: u64 = (16 << 20) + (1 << 20);

#[derive(Debug, Arbitrary)]
struct Input {
    /// Values of the metadata, by their number, that are another of [`FORGED`].
    forged: [Option<(u8, u8)>; 2],
    writable: bool,
    seqids: [u8; 2],
    /// The second copy's text ends earlier.
    shorter: u8,
    /// Longer or shorter than the golden one, in units of 512 bytes.
    size: i16,
    /// Checksums hold whatever is changed.
    mended: bool,
    /// Bytes of both copies that are not as they should be.
    changes: Vec<(bool, u16, u8)>,
}

/// What a forger would write: ciphers that do nothing, sizes that lead elsewhere, and values of every type.
const FORGED: [&str; 16] = [
    "null",
    "true",
    "0",
    "-1",
    "4096",
    "18446744073709551615",
    "\"\"",
    "\"0\"",
    "\"4096\"",
    "\"18446744073709551615\"",
    "\"dynamic\"",
    "\"cipher_null-ecb\"",
    "\"aes-cbc-essiv:sha256\"",
    "\"reencrypt\"",
    "{\"mandatory\":[\"online-reencrypt\"]}",
    "[\"1\"]",
];

/// What the metadata is when a run gives none: one that `Header::create` made.
#[must_use]
pub fn golden() -> &'static str {
    include_str!("header/golden.json")
}

/// Runs the target. The bytes are the metadata's text, a zero, and then how the rest of the header is.
///
/// # Panics
/// If an oracle is broken.
pub fn run(bytes: &[u8]) {
    let (text, rest) = match bytes.iter().position(|&byte| byte == 0) {
        Some(end) => (&bytes[..end], &bytes[end + 1..]),
        None => (bytes, &[][..]),
    };
    let Ok(input) = Input::arbitrary_take_rest(Unstructured::new(rest)) else { return };
    let text = if text.is_empty() { golden().trim_end().as_bytes() } else { text };
    let forged = forge(text, &input.forged);
    let memory = Memory::new(forged.as_deref().unwrap_or(text), &input);
    let before = memory.bytes.borrow().clone();
    let Ok(mut header) = Header::read(&memory) else { return };
    assert!(*memory.bytes.borrow() == before, "what was not judged was changed");
    judge(&header, &memory);
    repair(&mut header, &memory, &input);
    if !input.writable {
        assert!(header.update(&memory).is_err(), "it was opened for reading");
        return;
    }
    let (layout, seqid) = (header.layout(), header.seqid());
    let keyslots = header.keyslots();
    if header.update(&memory).is_err() {
        // The text that is not compact any more may be too long for its area.
        return;
    }
    let again = Header::read(&memory).expect("what was written is read");
    assert_eq!(again.recovery(), Recovery::Clean);
    assert_eq!((again.layout(), again.seqid()), (layout, seqid.saturating_add(1)));
    assert_eq!((again.keyslots(), again.disk()), (keyslots, header.disk()));
    assert_eq!((again.digest(), again.des()), (header.digest(), header.des()));
}

/// The text with some of its values changed; nothing if there is nothing to change.
fn forge(text: &[u8], forged: &[Option<(u8, u8)>]) -> Option<Vec<u8>> {
    let asked = forged.iter().any(Option::is_some);
    let mut json: Value = serde_json::from_slice(text).ok().filter(|_| asked)?;
    for (place, value) in forged.iter().flatten().copied() {
        let mut left = usize::from(place);
        let value = FORGED[usize::from(value) % FORGED.len()];
        put(&mut json, &mut left, &serde_json::from_str(value).expect("JSON"));
    }
    Some(json.to_string().into_bytes())
}

/// Puts a value in the place of the one of this number, counted from the outside in; whether it was there.
fn put(json: &mut Value, left: &mut usize, value: &Value) -> bool {
    if *left == 0 {
        *json = value.clone();
        return true;
    }
    *left -= 1;
    match json {
        Value::Object(members) => members.values_mut().any(|member| put(member, left, value)),
        Value::Array(items) => items.iter_mut().any(|item| put(item, left, value)),
        _ => false,
    }
}

/// A repair leaves two whole copies of what was believed, or nothing changed.
fn repair(header: &mut Header, memory: &Memory, input: &Input) {
    let (disk, seqid, before) = (header.disk(), header.seqid(), header.recovery());
    let after = header.repair(memory).expect("nobody else writes");
    let may = input.writable && header.stock_fault().is_none();
    match before {
        Recovery::Needed(role, cause) if may => assert_eq!(after, Recovery::Done(role, cause)),
        _ => assert_eq!(after, before),
    }
    let again = Header::read(memory).expect("what is served is served again");
    assert_eq!((again.disk(), again.seqid()), (disk, seqid));
    assert!(!may || again.recovery() == Recovery::Clean);
}

/// What must hold of a header that is served, read from its text by another reader.
fn judge(header: &Header, memory: &Memory) {
    let layout = header.layout();
    let (unit, offset) = (u64::from(layout.sector_size().bytes()), layout.data_offset());
    assert!(layout.size() > 0 && layout.size().is_multiple_of(unit) && offset.is_multiple_of(4096));
    assert!(u128::from(offset) + u128::from(layout.size()) <= u128::from(memory.size));
    assert!(offset >= 2 * COPY as u64, "data over the header");
    let believed = usize::from(matches!(header.recovery(), Recovery::Needed(Role::First, _)));
    let bytes = memory.bytes.borrow();
    let area = &bytes[believed * COPY + BINARY..(believed + 1) * COPY];
    let text = area.split(|&byte| byte == 0).next().expect("a text");
    let json: Value = serde_json::from_slice(text).expect("JSON");
    let segments = json["segments"].as_object().expect("segments");
    assert_eq!(segments.len(), 1);
    let segment = segments.values().next().expect("one");
    // A null cipher, a re-encryption, an integrity tag: what has been made of other readers.
    assert_eq!(
        (&segment["type"], &segment["encryption"]),
        (&"crypt".into(), &"aes-xts-plain64".into())
    );
    assert_eq!((&segment["iv_tweak"], &segment["integrity"]), (&"0".into(), &Value::Null));
    assert_eq!(segment["offset"], offset.to_string());
    assert_eq!(segment["sector_size"], unit);
    if segment["size"] == "dynamic" {
        assert_eq!(offset + layout.size(), memory.size);
    } else {
        assert_eq!(segment["size"], layout.size().to_string());
    }
    let keyslots = json["config"]["keyslots_size"].as_str().expect("text");
    let end = keyslots.parse::<u64>().ok().and_then(|len| len.checked_add(2 * COPY as u64));
    assert!(end.is_some_and(|end| end <= offset), "keyslots over the data");
    let mandatory = &json["config"]["requirements"]["mandatory"];
    assert!(mandatory.as_array().is_none_or(Vec::is_empty));
    assert!(json["keyslots"].as_object().expect("keyslots").values().all(|k| k["type"] == "luks2"));
}

/// A file whose first bytes are kept and whose rest is never looked at.
struct Memory {
    bytes: RefCell<Vec<u8>>,
    size: u64,
    writable: bool,
}

impl Memory {
    fn new(text: &[u8], input: &Input) -> Self {
        let mut bytes = Vec::new();
        for (second, seqid) in input.seqids.iter().enumerate() {
            let less = second * usize::from(input.shorter);
            let text = &text[..text.len().saturating_sub(less)];
            bytes.extend(copy(second == 1, *seqid, text));
        }
        for &(second, at, byte) in &input.changes {
            bytes[usize::from(second) * COPY + usize::from(at) % COPY] = byte;
        }
        if input.mended {
            bytes.chunks_mut(COPY).for_each(mend);
        }
        let size = SIZE.saturating_add_signed(i64::from(input.size) * 512);
        Self { bytes: RefCell::new(bytes), size, writable: input.writable }
    }
}

/// A copy of the header, field by field.
fn copy(second: bool, seqid: u8, text: &[u8]) -> Vec<u8> {
    let mut copy = vec![0; COPY];
    let mut put = |at: usize, bytes: &[u8]| copy[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, if second { b"SKUL\xba\xbe" } else { b"LUKS\xba\xbe" });
    put(6, &2u16.to_be_bytes());
    put(8, &(COPY as u64).to_be_bytes());
    put(16, &u64::from(seqid).to_be_bytes());
    put(72, b"sha256");
    put(168, b"0b6b1c1e-6d0f-4f0e-9d5e-3f4f5f6f7f8f");
    put(256, &(if second { COPY as u64 } else { 0 }).to_be_bytes());
    put(BINARY, &text[..text.len().min(COPY - BINARY)]);
    mend(&mut copy);
    copy
}

/// Makes a copy's checksum hold.
fn mend(copy: &mut [u8]) {
    copy[SUM].fill(0);
    let sum = Sha256::digest(&*copy);
    copy[SUM.start..SUM.start + sum.len()].copy_from_slice(&sum);
}

impl Storage for Memory {
    fn size(&self) -> io::Result<u64> {
        Ok(self.size)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let bytes = self.bytes.borrow();
        let from = usize::try_from(offset).ok().and_then(|at| bytes.get(at..)?.get(..buf.len()));
        let end = offset + buf.len() as u64;
        let from = from.filter(|_| end <= self.size).ok_or(ErrorKind::UnexpectedEof)?;
        buf.copy_from_slice(from);
        Ok(())
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        assert!(self.writable, "it was opened for reading");
        let at = usize::try_from(offset).expect("a header's offset");
        let mut bytes = self.bytes.borrow_mut();
        let place = bytes.get_mut(at..at + buf.len()).expect("written outside the header");
        place.copy_from_slice(buf);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn is_writable(&self) -> bool {
        self.writable
    }

    fn exclusively<T>(&self, work: impl FnOnce() -> T) -> io::Result<T> {
        Ok(work())
    }
}
