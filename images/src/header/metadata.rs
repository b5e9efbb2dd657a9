//! The JSON of a header (LUKS2 spec 1.1.4, section 3), read by allow-list.
//!
//! What is served: one `crypt` segment in `aes-xts-plain64` with no offset of the tweak, one digest that names it, one
//! token of type `keyd`, no requirement. Passphrase keyslots and other tokens are let be. Everything the spec lets a
//! header say beyond that is refused, not guessed at: forged headers have made other readers use a null cipher
//! (CVE-2025-59054, CVE-2025-58356) or decrypt in place (CVE-2021-4122).
//!
//! The text is kept as JSON, so members we do not know survive a rewrite.

use keyd_client::{
    DesName, DiskId,
    message::{DiskRecord, Holes, VolumeKeyDigest},
};
use serde_json::{Value, json};
use thiserror::Error;

use super::{
    members::{Object, decimal, expect, object, only, refused, text},
    stock::{self, StockFault},
};
use crate::{
    digest,
    layout::SectorSize,
    limits::{DIGEST_ITERATIONS_MAX, HEADER_LEN, JSON_AREA_LEN, KEYSLOTS_LEN},
};

const CIPHER: &str = "aes-xts-plain64";
const BINDING: &str = "rsa-oaep-256/v1";
const TOKEN_TYPE: &str = "keyd";
const TOKEN_VERSION: u64 = 1;

/// Why a sound LUKS2 image is not one of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Foreign {
    /// Copies of another length.
    #[error(
        "another program made this LUKS2 image (each copy of its header has {} KiB, ours have 16): open it with \
         cryptsetup, or copy its data into an image that 'image create' made", .0 / 1024
    )]
    Layout(u64),
    /// No token of ours.
    #[error(
        "another program made this LUKS2 image (its header has no keyd token): open it with cryptsetup, or copy its \
         data into an image that 'image create' made"
    )]
    NoToken,
}

/// Why metadata is not served.
#[derive(Debug, Error)]
pub enum MetadataError {
    /// Somebody else's.
    #[error(transparent)]
    Foreign(#[from] Foreign),
    /// Not JSON.
    #[error(
        "the header's metadata is not JSON ({0}): restore the first 32 KiB of the image from a backup"
    )]
    Json(#[from] serde_json::Error),
    /// A member is missing or of another type.
    #[error(
        "the header has no valid {0}: another program changed it; restore the first 32 KiB of the image from a backup"
    )]
    Missing(&'static str),
    /// A value outside the allow-list.
    #[error(
        "the header's {what} is '{found}', which is not served: another program changed it; restore the first 32 KiB \
         of the image from a backup"
    )]
    Refused {
        /// Which member.
        what: &'static str,
        /// What it says, shortened.
        found: String,
    },
    /// The token names another disk than the header.
    #[error(
        "the header is of disk {header} and its keyd token of disk {token}: the header was put together by hand; restore it from a backup"
    )]
    OtherDisk {
        /// By the binary header.
        header: DiskId,
        /// By the token.
        token: DiskId,
    },
    /// A stock re-encryption leaves our token, which names a digest that is gone.
    #[error(
        "the volume key was changed by another tool, so keyd's key does not open this image any more: \
         restore the image from before, or copy its data into a new one with that tool"
    )]
    ChangedKey,
    /// No room.
    #[error("the header's metadata would be {0} bytes and has {max}: remove keyslots or tokens that stock tools added", max = JSON_AREA_LEN - 1)]
    TooLong(usize),
}

/// Where the data area ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DataSize {
    /// At the end of the image.
    Dynamic,
    /// After so many bytes.
    Fixed(u64),
}

/// Judged metadata.
#[derive(Debug, Clone)]
pub(super) struct Metadata {
    json: Value,
    facts: Facts,
}

#[derive(Debug, Clone)]
struct Facts {
    data_offset: u64,
    data_size: DataSize,
    sector_size: SectorSize,
    digest: VolumeKeyDigest,
    segment_key: String,
    token_key: String,
    token: Token,
    keyslots: usize,
    stock_fault: Option<StockFault>,
}

#[derive(Debug, Clone)]
struct Token {
    disk: DiskId,
    holes: Holes,
    des: DesName,
}

impl Metadata {
    /// For a new image, as stock `luksFormat` shapes it.
    pub(super) fn create(record: &DiskRecord, storage_size: u64) -> Result<Self, MetadataError> {
        let geometry = &record.geometry;
        let reaches_end = geometry.data_offset.checked_add(geometry.size) == Some(storage_size);
        let size = if reaches_end { "dynamic".to_owned() } else { geometry.size.to_string() };
        let flags: &[&str] = match geometry.holes {
            Holes::Zeros => &["allow-discards"],
            Holes::None => &[],
        };
        let json = json!({
            "keyslots": {},
            "tokens": {"0": {
                "type": TOKEN_TYPE,
                "keyslots": [],
                "version": TOKEN_VERSION,
                "disk": record.id,
                "holes": geometry.holes,
                "digest": "0",
                "binding": BINDING,
                "des": record.des,
            }},
            "segments": {"0": {
                "type": "crypt",
                "offset": geometry.data_offset.to_string(),
                "size": size,
                "iv_tweak": "0",
                "encryption": CIPHER,
                "sector_size": geometry.sector_size,
            }},
            "digests": {"0": {
                "type": "pbkdf2",
                "keyslots": [],
                "segments": ["0"],
                "hash": "sha256",
                "iterations": record.digest.iterations,
                "salt": record.digest.salt,
                "digest": record.digest.digest,
            }},
            "config": {
                "json_size": JSON_AREA_LEN.to_string(),
                "keyslots_size": KEYSLOTS_LEN.to_string(),
                "flags": flags,
            },
        });
        Self::judge(json)
    }

    /// Reads and judges a copy's text.
    pub(super) fn parse(text: &str) -> Result<Self, MetadataError> {
        Self::judge(serde_json::from_str(text)?)
    }

    fn judge(json: Value) -> Result<Self, MetadataError> {
        let root = json.as_object().ok_or(MetadataError::Missing("metadata"))?;
        check_origin(root)?;
        let keyslots = object(root, "keyslots")?;
        check_keyslots(keyslots)?;
        let keyslots = keyslots.len();
        let (segment_key, segment) = only(object(root, "segments")?, "segments")?;
        let (data_offset, data_size, sector_size) = judge_segment(segment)?;
        let (digest_key, digest) = only(object(root, "digests")?, "digests")?;
        let digest = judge_digest(digest, segment_key)?;
        let (token_key, token) = judge_tokens(object(root, "tokens")?, digest_key)?;
        check_config(object(root, "config")?, data_offset)?;
        let facts = Facts {
            data_offset,
            data_size,
            sector_size,
            digest,
            segment_key: segment_key.to_owned(),
            token_key,
            token,
            keyslots,
            stock_fault: stock::judge(root).err(),
        };
        Ok(Self { json, facts })
    }

    /// The metadata as text, for the JSON area.
    pub(super) fn text(&self) -> String {
        self.json.to_string()
    }

    /// The token must be of the disk whose header it is in.
    pub(super) fn check_disk(&self, header: DiskId) -> Result<(), MetadataError> {
        let token = self.facts.token.disk;
        if token == header { Ok(()) } else { Err(MetadataError::OtherDisk { header, token }) }
    }

    pub(super) fn data_offset(&self) -> u64 {
        self.facts.data_offset
    }

    pub(super) fn data_size(&self) -> DataSize {
        self.facts.data_size
    }

    pub(super) fn sector_size(&self) -> SectorSize {
        self.facts.sector_size
    }

    pub(super) fn digest(&self) -> &VolumeKeyDigest {
        &self.facts.digest
    }

    pub(super) fn holes(&self) -> Holes {
        self.facts.token.holes
    }

    pub(super) fn des(&self) -> &DesName {
        &self.facts.token.des
    }

    pub(super) fn keyslots(&self) -> usize {
        self.facts.keyslots
    }

    pub(super) fn stock_fault(&self) -> Option<StockFault> {
        self.facts.stock_fault
    }

    pub(super) fn set_data_size(&mut self, size: u64) {
        self.json["segments"][&self.facts.segment_key]["size"] = Value::from(size.to_string());
        self.facts.data_size = DataSize::Fixed(size);
    }

    pub(super) fn set_des(&mut self, des: DesName) {
        self.json["tokens"][&self.facts.token_key]["des"] = Value::from(des.as_str());
        self.facts.token.des = des;
    }
}

fn judge_segment(segment: &Object) -> Result<(u64, DataSize, SectorSize), MetadataError> {
    const KNOWN: [&str; 6] = ["type", "offset", "size", "iv_tweak", "encryption", "sector_size"];
    // A member we do not know (integrity, a re-encryption flag) changes what the sectors mean.
    if let Some(unknown) = segment.keys().find(|key| !KNOWN.contains(&key.as_str())) {
        return Err(refused("segment member", unknown));
    }
    expect(segment, "type", "segment type", "crypt")?;
    expect(segment, "encryption", "cipher", CIPHER)?;
    expect(segment, "iv_tweak", "iv_tweak", "0")?;
    let size = match text(segment, "size", "segment size")? {
        "dynamic" => DataSize::Dynamic,
        size => DataSize::Fixed(decimal(size, "segment size")?),
    };
    let sector_size = segment.get("sector_size").ok_or(MetadataError::Missing("sector_size"))?;
    let sector_size = sector_size
        .as_u64()
        .and_then(|bytes| SectorSize::from_bytes(bytes.try_into().ok()?))
        .ok_or_else(|| refused("sector_size", sector_size))?;
    let offset = decimal(text(segment, "offset", "segment offset")?, "segment offset")?;
    Ok((offset, size, sector_size))
}

fn judge_digest(digest: &Object, segment: &str) -> Result<VolumeKeyDigest, MetadataError> {
    expect(digest, "type", "digest type", "pbkdf2")?;
    expect(digest, "hash", "digest hash", "sha256")?;
    let segments =
        digest.get("segments").ok_or(MetadataError::Missing("list of a digest's segments"))?;
    if *segments != json!([segment]) {
        return Err(refused("list of a digest's segments", segments));
    }
    let iterations = digest
        .get("iterations")
        .and_then(Value::as_u64)
        .and_then(|iterations| u32::try_from(iterations).ok())
        .filter(|iterations| (1..=DIGEST_ITERATIONS_MAX).contains(iterations))
        .ok_or(MetadataError::Missing("number of digest iterations"))?;
    let bytes = |name, what| {
        let text = text(digest, name, what)?;
        digest::decode(text).ok_or(MetadataError::Missing(what))?;
        Ok::<_, MetadataError>(text.to_owned())
    };
    Ok(VolumeKeyDigest {
        iterations,
        salt: bytes("salt", "digest salt of 32 bytes")?,
        digest: bytes("digest", "digest of 32 bytes")?,
    })
}

/// An image without a token of ours is somebody else's, whatever else it has.
fn check_origin(root: &Object) -> Result<(), MetadataError> {
    match object(root, "tokens")?.values().any(is_ours) {
        true => Ok(()),
        false => Err(Foreign::NoToken.into()),
    }
}

fn is_ours(token: &Value) -> bool {
    token.get("type").and_then(Value::as_str) == Some(TOKEN_TYPE)
}

/// Exactly one token is ours; the others belong to stock tools.
fn judge_tokens(tokens: &Object, digest: &str) -> Result<(String, Token), MetadataError> {
    let mut ours = tokens.iter().filter(|(_, token)| is_ours(token));
    let (Some((key, token)), None) = (ours.next(), ours.next()) else {
        return Err(MetadataError::Missing("single token of type keyd"));
    };
    let token = token.as_object().ok_or(MetadataError::Missing("keyd token"))?;
    let version = token.get("version").ok_or(MetadataError::Missing("keyd token version"))?;
    if version.as_u64() != Some(TOKEN_VERSION) {
        return Err(refused("keyd token version", version));
    }
    expect(token, "binding", "keyd token binding", BINDING)?;
    if text(token, "digest", "keyd token digest")? != digest {
        return Err(MetadataError::ChangedKey);
    }
    let parsed = Token {
        disk: text(token, "disk", "keyd token disk")?
            .parse()
            .map_err(|_| MetadataError::Missing("keyd token disk"))?,
        holes: match text(token, "holes", "keyd token holes")? {
            "zeros" => Holes::Zeros,
            "none" => Holes::None,
            other => return Err(refused("keyd token holes", other)),
        },
        des: text(token, "des", "keyd token des")?
            .parse()
            .map_err(|_| MetadataError::Missing("keyd token des"))?,
    };
    Ok((key.clone(), parsed))
}

/// Passphrase keyslots are let be; a `reencrypt` keyslot means the segments are being rewritten.
fn check_keyslots(keyslots: &Object) -> Result<(), MetadataError> {
    for keyslot in keyslots.values() {
        let kind = keyslot
            .get("type")
            .and_then(Value::as_str)
            .ok_or(MetadataError::Missing("keyslot type"))?;
        if kind != "luks2" {
            return Err(refused("keyslot type", kind));
        }
    }
    Ok(())
}

fn check_config(config: &Object, data_offset: u64) -> Result<(), MetadataError> {
    let json_size = text(config, "json_size", "json_size")?;
    if decimal(json_size, "json_size")? != JSON_AREA_LEN as u64 {
        return Err(refused("json_size", json_size));
    }
    let keyslots_size = text(config, "keyslots_size", "keyslots_size")?;
    let end = HEADER_LEN.checked_add(decimal(keyslots_size, "keyslots_size")?);
    if end.is_none_or(|end| end > data_offset) {
        return Err(refused("keyslots_size", keyslots_size));
    }
    match config.get("requirements") {
        None => Ok(()),
        Some(requirements) if *requirements == json!({}) => Ok(()),
        Some(requirements) if *requirements == json!({"mandatory": []}) => Ok(()),
        Some(requirements) => Err(refused("list of requirements", requirements)),
    }
}
