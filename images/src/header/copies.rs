//! The two copies on disk: which one is believed, how the other is repaired, in which order both are written.

use std::{fmt, io};

use keyd_client::DiskId;

use super::{Binary, CopyFault, Foreign, HeaderError, Metadata, MetadataError, Role, binary};
use crate::{
    limits::{HEADER_COPY_LEN, JSON_AREA_LEN},
    storage::Storage,
};

/// How the two copies are, and what was done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovery {
    /// Both are whole and of one age.
    Clean,
    /// One has to be written anew from the other, which is believed.
    Needed(Role, Cause),
    /// It has been written anew.
    Done(Role, Cause),
}

/// Why a copy has to be written anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Its bytes are not those that were written.
    Damaged(CopyFault),
    /// It is whole, and an update older than the other.
    Older,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged(fault) => write!(f, "damaged ({fault})"),
            Self::Older => f.write_str("older than the other"),
        }
    }
}

impl fmt::Display for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clean => f.write_str("both copies whole"),
            Self::Needed(role, cause) => write!(
                f,
                "the {role} copy is {cause}; the next backend that serves the disk for writing repairs it"
            ),
            Self::Done(role, cause) => {
                write!(f, "the {role} copy was {cause} and has been repaired")
            }
        }
    }
}

/// A whole copy: its checksum is right. What it says is not judged yet.
type Whole = (Binary, String);

/// Both copies as they were read.
pub(super) struct Pair {
    first: Result<Whole, CopyFault>,
    second: Result<Whole, CopyFault>,
}

impl Pair {
    /// Reads both.
    ///
    /// # Errors
    /// [`HeaderError::Io`]; [`HeaderError::Foreign`] for a sound header of another layout, [`HeaderError::Version`]
    /// for one of another version, [`HeaderError::NotLuks`]: none of them is a damaged header of ours.
    pub(super) fn read(storage: &impl Storage) -> Result<Self, HeaderError> {
        let first = read_copy(storage, Role::First)?;
        let second = read_copy(storage, Role::Second)?;
        if let Err(fault) = &first {
            refuse_others(storage, *fault, second.as_ref().err())?;
        }
        Ok(Self { first, second })
    }

    /// Which copy is to be believed, by the [`Recovery`] of the other.
    pub(super) fn judge(&self) -> Result<Recovery, HeaderError> {
        match (&self.first, &self.second) {
            (&Err(first), &Err(second)) => Err(HeaderError::BothTorn { first, second }),
            (&Err(fault), Ok(_)) => Ok(Recovery::Needed(Role::First, Cause::Damaged(fault))),
            (Ok(_), &Err(fault)) => Ok(Recovery::Needed(Role::Second, Cause::Damaged(fault))),
            (Ok(first), Ok(second)) => judge_whole(first, second),
        }
    }

    /// The newest sequence number of a whole copy.
    pub(super) fn seqid(&self) -> Option<u64> {
        let seqid =
            |copy: &Result<Whole, CopyFault>| copy.as_ref().ok().map(|(binary, _)| binary.seqid);
        seqid(&self.first).max(seqid(&self.second))
    }

    /// The believed copy, with the salts of both.
    pub(super) fn into_best(self) -> Result<(Binary, Metadata), HeaderError> {
        let (mut binary, text) = match (self.first, self.second) {
            (Ok(first), Ok(second)) => merge_salts(first, second),
            (Ok(first), Err(_)) => first,
            (Err(_), Ok(second)) => second,
            (Err(first), Err(second)) => return Err(HeaderError::BothTorn { first, second }),
        };
        for salt in &mut binary.salts {
            // The salt of a copy that could not be read: whoever writes it next starts a fresh one.
            if *salt == [0; 64] {
                *salt = binary::fresh_salt()?;
            }
        }
        Ok((binary, Metadata::parse(&text)?))
    }
}

/// Both are whole. An update leaves two of one disk, of which one may be newer.
fn judge_whole(first: &Whole, second: &Whole) -> Result<Recovery, HeaderError> {
    let ((one, one_text), (other, other_text)) = (first, second);
    if one.uuid != other.uuid {
        return Err(HeaderError::TwoDisks { first: DiskId(one.uuid), second: DiskId(other.uuid) });
    }
    match one.seqid.cmp(&other.seqid) {
        std::cmp::Ordering::Less => Ok(Recovery::Needed(Role::First, Cause::Older)),
        std::cmp::Ordering::Greater => Ok(Recovery::Needed(Role::Second, Cause::Older)),
        std::cmp::Ordering::Equal if one_text != other_text => Err(HeaderError::CopiesDisagree),
        std::cmp::Ordering::Equal => Ok(Recovery::Clean),
    }
}

fn merge_salts(first: Whole, second: Whole) -> Whole {
    let salts = [first.0.salts[0], second.0.salts[1]];
    let (mut binary, text) = if second.0.seqid > first.0.seqid { second } else { first };
    binary.salts = salts;
    (binary, text)
}

/// Tells another program's sound header, and what is no header at all, from a damaged one of ours. What is not ours
/// must not be repaired: that would destroy it.
fn refuse_others(
    storage: &impl Storage,
    first: CopyFault,
    second: Option<&CopyFault>,
) -> Result<(), HeaderError> {
    match (first, second) {
        (CopyFault::Version(version), _) => return Err(HeaderError::Version(version)),
        (CopyFault::Size(len), _) if is_whole(storage, Role::First, len)? => {
            return Err(Foreign::Layout(len).into());
        }
        // The second copy of ours is whole: the first is damaged.
        (_, None) => return Ok(()),
        (_, Some(_)) => {}
    }
    // The first copy is gone: a second one that lies elsewhere is another layout's.
    for len in binary::OTHER_COPY_LENS {
        if is_whole(storage, Role::Second, len)? {
            return Err(Foreign::Layout(len).into());
        }
    }
    match (first, second) {
        (CopyFault::Magic, Some(CopyFault::Magic)) => Err(HeaderError::NotLuks),
        _ => Ok(()),
    }
}

/// Whether a copy of another length than ours is there, whole.
fn is_whole(storage: &impl Storage, role: Role, len: u64) -> io::Result<bool> {
    if !binary::OTHER_COPY_LENS.contains(&len) {
        return Ok(false);
    }
    let offset = if role == Role::First { 0 } else { len };
    let mut beginning = [0; 8];
    match read_whole(storage, &mut beginning, offset)? {
        true if binary::begins(role, &beginning) => {}
        _ => return Ok(false),
    }
    let mut copy = vec![0; usize::try_from(len).unwrap_or_default()];
    Ok(read_whole(storage, &mut copy, offset)? && binary::is_whole(&copy, role, offset))
}

/// Fills `buf`; false if the image ends before.
fn read_whole(storage: &impl Storage, buf: &mut [u8], offset: u64) -> io::Result<bool> {
    match storage.read_at(buf, offset) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

fn read_copy(storage: &impl Storage, role: Role) -> io::Result<Result<Whole, CopyFault>> {
    let mut copy = vec![0; HEADER_COPY_LEN];
    // A file too short for a header has none.
    if !read_whole(storage, &mut copy, role.offset())? {
        return Ok(Err(CopyFault::Magic));
    }
    Ok(Binary::decode(role, &copy).map(|(binary, text)| (binary, text.to_owned())))
}

/// Both copies, the first durable before the second is touched.
pub(super) fn write_both(
    storage: &impl Storage,
    binary: &Binary,
    metadata: &Metadata,
) -> Result<(), HeaderError> {
    let text = metadata.text();
    if text.len() >= JSON_AREA_LEN {
        return Err(MetadataError::TooLong(text.len()).into());
    }
    write_copy(storage, Role::First, binary, text.as_bytes())?;
    write_copy(storage, Role::Second, binary, text.as_bytes())?;
    Ok(())
}

/// One copy from the believed one, with a fresh salt. The text is the believed copy's, to the byte.
pub(super) fn write_one(storage: &impl Storage, pair: Pair, role: Role) -> Result<(), HeaderError> {
    let believed = match role {
        Role::First => pair.second,
        Role::Second => pair.first,
    };
    let (mut binary, text) = believed.map_err(|_| HeaderError::Changed)?;
    binary.salts[role as usize] = binary::fresh_salt()?;
    write_copy(storage, role, &binary, text.as_bytes())
}

/// One write, then durable: a crash inside it tears this copy and no other.
fn write_copy(
    storage: &impl Storage,
    role: Role,
    binary: &Binary,
    text: &[u8],
) -> Result<(), HeaderError> {
    storage.write_at(&binary.encode(role, text), role.offset())?;
    Ok(storage.sync()?)
}
