//! The two copies on disk: which one is believed, how the other is repaired, in which order both are written.

use std::{fmt, io};

use super::{Binary, CopyFault, HeaderError, Metadata, MetadataError, Role, binary};
use crate::{
    limits::{HEADER_COPY_LEN, JSON_AREA_LEN},
    storage::Storage,
};

/// What was found out about the two copies, and done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovery {
    /// Both are whole.
    Clean,
    /// The first was damaged or older and has been written anew from the second.
    RepairedPrimary,
    /// The second was damaged or older and has been written anew from the first.
    RepairedSecondary,
    /// The first is damaged or older; the image is open for reading, so it stays so.
    TornPrimary,
    /// The second is damaged or older; the image is open for reading, so it stays so.
    TornSecondary,
}

impl fmt::Display for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Clean => "both copies whole",
            Self::RepairedPrimary => "the first copy was damaged and has been repaired",
            Self::RepairedSecondary => "the second copy was damaged and has been repaired",
            Self::TornPrimary => "the first copy is damaged; opening for writing repairs it",
            Self::TornSecondary => "the second copy is damaged; opening for writing repairs it",
        })
    }
}

type Judged = Result<(Binary, String), CopyFault>;

/// Both copies as they were read.
pub(super) struct Pair {
    first: Judged,
    second: Judged,
}

impl Pair {
    pub(super) fn read(storage: &impl Storage) -> Result<Self, HeaderError> {
        Ok(Self {
            first: read_copy(storage, Role::First)?,
            second: read_copy(storage, Role::Second)?,
        })
    }

    /// Which copy is to be believed, as the [`Recovery`] of the other.
    pub(super) fn judge(&self) -> Result<Recovery, HeaderError> {
        match (&self.first, &self.second) {
            // A first copy of another version is another format, not damage: repairing it would destroy it.
            (Err(CopyFault::Version(version)), _) => Err(HeaderError::Version(*version)),
            (Err(CopyFault::Magic), Err(CopyFault::Magic)) => Err(HeaderError::NotLuks),
            (&Err(first), &Err(second)) => Err(HeaderError::BothTorn { first, second }),
            (Err(_), Ok(_)) => Ok(Recovery::TornPrimary),
            (Ok(_), Err(_)) => Ok(Recovery::TornSecondary),
            (Ok((first, first_text)), Ok((second, second_text))) => {
                if first.seqid < second.seqid {
                    Ok(Recovery::TornPrimary)
                } else if first.seqid > second.seqid {
                    Ok(Recovery::TornSecondary)
                } else if first.uuid != second.uuid || first_text != second_text {
                    Err(HeaderError::CopiesDisagree)
                } else {
                    Ok(Recovery::Clean)
                }
            }
        }
    }

    /// Writes the copy that `found` calls torn anew from the other, with a fresh salt.
    pub(super) fn repair(
        &mut self,
        storage: &impl Storage,
        found: Recovery,
    ) -> Result<Recovery, HeaderError> {
        let (good, role, done) = match found {
            Recovery::TornPrimary => (&self.second, Role::First, Recovery::RepairedPrimary),
            Recovery::TornSecondary => (&self.first, Role::Second, Recovery::RepairedSecondary),
            Recovery::Clean | Recovery::RepairedPrimary | Recovery::RepairedSecondary => {
                return Ok(found);
            }
        };
        let Ok((binary, text)) = good else {
            return Ok(found);
        };
        let (mut binary, text) = (binary.clone(), text.clone());
        // What is refused must not be changed either: judged before a byte is written.
        Metadata::parse(&text)?.check_disk(keyd_client::DiskId(binary.uuid))?;
        binary.salts[role as usize] = binary::fresh_salt()?;
        write_copy(storage, role, &binary, text.as_bytes())?;
        match role {
            Role::First => self.first = Ok((binary, text)),
            Role::Second => self.second = Ok((binary, text)),
        }
        Ok(done)
    }

    /// The newest sequence number of a whole copy.
    pub(super) fn seqid(&self) -> Option<u64> {
        let seqid = |copy: &Judged| copy.as_ref().ok().map(|(binary, _)| binary.seqid);
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

fn merge_salts(first: (Binary, String), second: (Binary, String)) -> (Binary, String) {
    let salts = [first.0.salts[0], second.0.salts[1]];
    let (mut binary, text) = if second.0.seqid > first.0.seqid { second } else { first };
    binary.salts = salts;
    (binary, text)
}

fn read_copy(storage: &impl Storage, role: Role) -> io::Result<Judged> {
    let mut copy = vec![0; HEADER_COPY_LEN];
    match storage.read_at(&mut copy, role.offset()) {
        Ok(()) => Ok(Binary::decode(role, &copy).map(|(binary, text)| (binary, text.to_owned()))),
        // A file too short for a header has none.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Err(CopyFault::Magic)),
        Err(error) => Err(error),
    }
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
