//! The header: crash points, damage, the allow-list, and the comparison with the daemon's record.

use std::io::Read;

use keyd_client::{
    ids::KeyVersion,
    message::{DiskKind, EncryptionType, Geometry},
};
use serde_json::{Value, json};

use super::*;

mod forged;
mod repair;
mod stock;

use crate::{
    limits::{BINARY_LEN, DATA_OFFSET, HEADER_COPY_LEN, HEADER_LEN},
    storage::sim::SimStorage,
};

const DATA_LEN: u64 = 8192;

fn record() -> DiskRecord {
    DiskRecord {
        id: "0b6b1c1e-6d0f-4f0e-9d5e-3f4f5f6f7f8f".parse().unwrap(),
        kind: DiskKind::Disk,
        source: None,
        platform_version: None,
        des: "prod".parse().unwrap(),
        key: "kek".parse().unwrap(),
        key_version: KeyVersion::random(),
        encryption: EncryptionType::CustomerKey,
        geometry: Geometry {
            sector_size: 512,
            data_offset: DATA_OFFSET,
            size: DATA_LEN,
            holes: Holes::Zeros,
        },
        digest: VolumeKeyDigest {
            iterations: 1000,
            salt: "DYyKeuwUE8RQe7Wu8gku7lWE/4dnKt1fHc5wxot6A1E=".into(),
            digest: "Y8cd0SbIe8zX+GcM5AfIsz3pDBkmTOwgRbJTfCTrxVk=".into(),
        },
        generation: 1,
        confirmed: true,
        created: 0,
    }
}

/// An image whose data area is small: offsets are as in a real one, so the header is too.
fn image() -> Vec<u8> {
    let storage = SimStorage::new(vec![0; (DATA_OFFSET + DATA_LEN) as usize]);
    Header::create(&record(), DATA_OFFSET + DATA_LEN).unwrap().write_new(&storage).unwrap();
    storage.bytes()
}

fn read(bytes: Vec<u8>) -> Result<(Header, Recovery), HeaderError> {
    open(&SimStorage::new(bytes))
}

/// As who serves the disk does: reads, and repairs what nothing speaks against.
fn open(storage: &SimStorage) -> Result<(Header, Recovery), HeaderError> {
    let mut header = Header::read(storage)?;
    let recovery = header.repair(storage)?;
    Ok((header, recovery))
}

/// A passphrase keyslot as `cryptsetup` makes it, with its area at byte `offset`.
fn keyslot(offset: u64) -> Value {
    json!({
        "type": "luks2", "key_size": 64,
        "af": {"type": "luks1", "hash": "sha256", "stripes": 4000},
        "area": {
            "type": "raw", "encryption": "aes-xts-plain64", "key_size": 64,
            "offset": offset.to_string(), "size": "258048",
        },
        "kdf": {"type": "pbkdf2", "hash": "sha256", "iterations": 1000, "salt": "AAAA"},
    })
}

/// What `repair` tells of a copy whose checksum is wrong.
fn mended(role: Role) -> Recovery {
    Recovery::Done(role, Cause::Damaged(CopyFault::Checksum))
}

/// The image with its metadata changed in both copies, checksums right: what a forger writes.
fn forged(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut bytes = image();
    let (binary, text) = Binary::decode(Role::First, &bytes[..HEADER_COPY_LEN]).unwrap();
    let mut json = serde_json::from_str(text).unwrap();
    change(&mut json);
    for role in [Role::First, Role::Second] {
        let copy = binary.encode(role, json.to_string().as_bytes());
        bytes[role.offset() as usize..][..HEADER_COPY_LEN].copy_from_slice(&copy);
    }
    bytes
}

#[test]
fn what_is_written_is_read() {
    let (header, recovery) = read(image()).unwrap();
    assert_eq!(recovery, Recovery::Clean);
    assert_eq!(header.disk(), record().id);
    assert_eq!(header.layout(), Layout::new(SectorSize::B512, DATA_OFFSET, DATA_LEN).unwrap());
    assert_eq!((header.holes(), header.des().as_str()), (Holes::Zeros, "prod"));
    assert_eq!(header.digest(), &record().digest);
    assert_eq!((header.seqid(), header.keyslots()), (1, 0));
    assert_eq!(header.agrees_with(&record()), Ok(header.layout()));
}

#[test]
fn a_new_header_holds_no_wrapped_dek() {
    let text = String::from_utf8_lossy(&image()[..HEADER_LEN as usize]).into_owned();
    assert!(!text.contains("wrapped") && !text.contains(&"A".repeat(64)));
}

/// The header's bytes alone, after two updates.
fn updated_twice() -> SimStorage {
    let mut small = image();
    small.truncate(HEADER_LEN as usize);
    let storage = SimStorage::new(small);
    let mut header = Header::read(&whole(&storage.bytes())).unwrap();
    for des in ["next", "last"] {
        header.set_des(des.parse().unwrap());
        header.update(&storage).unwrap();
    }
    storage
}

#[test]
fn every_cut_of_an_update_leaves_a_header_that_opens() {
    let crashes = updated_twice().crashes();
    assert!(crashes.len() > 300, "{}", crashes.len());
    let mut seen = [0; 3];
    for crash in &crashes {
        let disk = whole(crash);
        let (found, recovery) = open(&disk).expect("a cut update must open");
        let age = ["prod", "next", "last"].iter().position(|&des| des == found.des().as_str());
        let age = age.expect("one of them");
        assert_eq!(found.seqid(), 1 + age as u64);
        seen[age] += 1;
        // What was repaired is clean the next time, and says the same.
        let (again, after) = open(&disk).unwrap();
        assert_eq!(after, Recovery::Clean, "after {recovery:?}");
        assert_eq!((again.des(), again.seqid()), (found.des(), found.seqid()));
    }
    println!("{} states judged", crashes.len());
    assert!(seen.iter().all(|&count| count > 10), "{seen:?}");
}

/// Four syncs: after each copy, twice. The last keeps nothing from being torn.
#[test]
fn a_sync_that_is_left_out_between_two_copies_would_be_seen() {
    let storage = updated_twice();
    let is_lost =
        |crash: &Vec<u8>| matches!(Header::read(&whole(crash)), Err(HeaderError::BothTorn { .. }));
    for skipped in 0..3 {
        let mut crashes = storage.crashes_but(Some(skipped));
        crashes.retain(is_lost);
        assert!(!crashes.is_empty(), "without sync {skipped} some cut must leave no header");
        assert_eq!(stock_id(&crashes[0]), None, "to others neither");
    }
}

#[test]
fn stock_cryptsetup_opens_what_a_cut_leaves() {
    let crashes = updated_twice().crashes();
    for crash in crashes.iter().step_by(crashes.len() / 12) {
        assert_eq!(stock_id(crash), Some(record().id.to_string()));
    }
}

/// The disk's id by cryptsetup's account, if it takes the header.
fn stock_id(header: &[u8]) -> Option<String> {
    const PROGRAM: &str = "/usr/sbin/cryptsetup";
    let there = std::path::Path::new(PROGRAM).exists();
    assert!(there, "stock cryptsetup is needed: apt-get install -y cryptsetup-bin");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), header).unwrap();
    file.as_file().set_len(DATA_OFFSET + DATA_LEN).unwrap();
    let mut command = std::process::Command::new("timeout");
    let told = command.args(["60", PROGRAM, "luksUUID"]).arg(file.path()).output().unwrap();
    let id = String::from_utf8_lossy(&told.stdout).trim().to_owned();
    told.status.success().then_some(id)
}

/// A disk with this header and room for its data.
fn whole(header: &[u8]) -> SimStorage {
    SimStorage::beginning_with(header.to_vec(), DATA_OFFSET + DATA_LEN)
}

#[test]
fn every_cut_of_a_repair_leaves_a_header_that_opens() {
    let mut torn = image();
    torn.truncate(HEADER_LEN as usize);
    torn[100..5000].fill(0xee);
    let storage = whole(&torn);
    let recovery = open(&storage).unwrap().1;
    assert!(matches!(recovery, Recovery::Done(Role::First, Cause::Damaged(_))), "{recovery}");
    let crashes = storage.crashes();
    assert!(crashes.len() > 50, "{}", crashes.len());
    for crash in crashes {
        let (header, recovery) = open(&whole(&crash)).expect("a cut repair must open");
        assert_eq!(header.seqid(), 1);
        assert!(matches!(recovery, Recovery::Clean | Recovery::Done(Role::First, _)));
    }
}

#[test]
fn a_failing_disk_fails_the_update_and_keeps_a_header() {
    for operations in 0..4 {
        let storage = SimStorage::new(image());
        let mut header = Header::read(&storage).unwrap();
        header.set_des("other".parse().unwrap());
        storage.fail_after(operations);
        assert!(matches!(header.update(&storage), Err(HeaderError::Io(_))), "{operations}");
        assert_eq!(header.seqid(), 1, "a failed update is not counted");
        assert!(read(storage.bytes()).is_ok());
    }
}

#[test]
fn a_torn_copy_is_repaired_and_said() {
    let second = HEADER_COPY_LEN;
    let damages = [
        (0..512, "first copy was damaged (no LUKS2 magic) and has been repaired"),
        (0..4096, "first copy was damaged"),
        (0..second, "first copy was damaged"),
        (5000..5001, "first copy was damaged (its checksum is wrong) and has been repaired"),
        (second..second + 512, "second copy was damaged"),
        (second + 16000..second + 16001, "second copy was damaged (its checksum is wrong)"),
    ];
    for (range, expected) in damages {
        let mut bytes = image();
        bytes[range.clone()].fill(0x55);
        let storage = SimStorage::new(bytes);
        let (header, recovery) = open(&storage).unwrap();
        assert!(recovery.to_string().contains(expected), "{range:?}: {recovery}");
        assert_eq!(header.agrees_with(&record()), Ok(header.layout()));
        assert_eq!(open(&storage).unwrap().1, Recovery::Clean, "{range:?}");
    }
}

#[test]
fn a_torn_copy_is_only_reported_where_nothing_may_be_written() {
    let mut bytes = image();
    bytes[300] ^= 1;
    let storage = SimStorage::read_only(bytes.clone());
    let torn = Recovery::Needed(Role::First, Cause::Damaged(CopyFault::Checksum));
    assert_eq!(open(&storage).unwrap().1, torn);
    assert_eq!(storage.bytes(), bytes);
}

#[test]
fn two_torn_copies_are_refused_and_nothing_is_written() {
    let mut bytes = image();
    bytes[300] ^= 1;
    bytes[HEADER_COPY_LEN + 300] ^= 1;
    let storage = SimStorage::new(bytes);
    assert!(matches!(Header::read(&storage), Err(HeaderError::BothTorn { .. })));
    assert_eq!(storage.operations(), 0);
}

#[test]
fn the_newer_copy_wins() {
    let mut bytes = image();
    let (binary, text) = Binary::decode(Role::Second, &bytes[HEADER_COPY_LEN..][..HEADER_COPY_LEN])
        .map(|(binary, text)| (binary, text.replace("\"prod\"", "\"next\"")))
        .unwrap();
    let copy = binary.successor().encode(Role::Second, text.as_bytes());
    bytes[HEADER_COPY_LEN..][..HEADER_COPY_LEN].copy_from_slice(&copy);
    let read_only = SimStorage::read_only(bytes.clone());
    for (storage, expected) in [
        (read_only, Recovery::Needed(Role::First, Cause::Older)),
        (SimStorage::new(bytes), Recovery::Done(Role::First, Cause::Older)),
    ] {
        let (header, recovery) = open(&storage).unwrap();
        assert!(!recovery.to_string().contains("damaged"), "{recovery}");
        assert_eq!(recovery, expected);
        assert_eq!((header.des().as_str(), header.seqid()), ("next", 2));
    }
}

#[test]
fn salts_differ_are_kept_on_update_and_new_after_repair() {
    let salt = |bytes: &[u8], copy: usize| bytes[copy * HEADER_COPY_LEN + 104..][..64].to_vec();
    let before = image();
    assert_ne!(salt(&before, 0), salt(&before, 1));
    let storage = SimStorage::new(before.clone());
    Header::read(&storage).unwrap().update(&storage).unwrap();
    let mut after = storage.bytes();
    assert_eq!((salt(&after, 0), salt(&after, 1)), (salt(&before, 0), salt(&before, 1)));
    after[HEADER_COPY_LEN + 20] ^= 1;
    let storage = SimStorage::new(after.clone());
    open(&storage).unwrap();
    assert_eq!(salt(&storage.bytes(), 0), salt(&before, 0));
    let repaired = salt(&storage.bytes(), 1);
    assert_ne!(repaired, salt(&before, 1));
    assert_ne!(repaired, salt(&before, 0));
    assert_ne!(repaired, [0; 64]);
}

#[test]
fn an_update_does_not_overwrite_what_another_program_wrote() {
    let storage = SimStorage::new(image());
    let mut ours = Header::read(&storage).unwrap();
    let mut theirs = Header::read(&storage).unwrap();
    theirs.update(&storage).unwrap();
    assert!(matches!(ours.update(&storage), Err(HeaderError::Changed)));
}

#[test]
fn members_and_keyslots_of_stock_tools_survive_an_update() {
    let mut bytes = forged(|json| {
        json["keyslots"]["3"] = keyslot(32768);
        json["keyslots"]["3"]["note"] = json!([1, {"a": null}]);
        json["digests"]["0"]["keyslots"] = json!(["3"]);
        json["tokens"]["7"] = json!({"type": "systemd-tpm2", "keyslots": ["3"]});
        json["extra"] = json!({"kept": true});
    });
    let area = HEADER_LEN as usize..DATA_OFFSET as usize;
    bytes[area.clone()].iter_mut().zip(0u32..).for_each(|(byte, n)| *byte = n as u8);
    let storage = SimStorage::new(bytes.clone());
    let mut header = Header::read(&storage).unwrap();
    assert_eq!(header.keyslots(), 1);
    header.update(&storage).unwrap();
    let json = |bytes: &[u8]| -> Value {
        let (_, text) = Binary::decode(Role::First, &bytes[..HEADER_COPY_LEN]).unwrap();
        serde_json::from_str(text).unwrap()
    };
    assert_eq!(json(&storage.bytes()), json(&bytes));
    assert!(storage.bytes()[area.clone()] == bytes[area], "the keyslots area was touched");
}

#[test]
fn other_files_are_told_apart() {
    assert!(matches!(read(vec![0; 1 << 20]), Err(HeaderError::NotLuks)));
    assert!(matches!(read(vec![]), Err(HeaderError::NotLuks)));
    // A LUKS1 header over ours: what is behind its version is not what it was.
    let mut luks1 = image();
    luks1[7..11].copy_from_slice(b"\x01aes");
    let storage = SimStorage::new(luks1);
    assert!(matches!(open(&storage), Err(HeaderError::Version(1))));
    assert_eq!(storage.operations(), 0);
    let mut short = image();
    short.truncate(DATA_OFFSET as usize - 1);
    assert!(matches!(read(short), Err(HeaderError::Truncated { .. })));
    let mut twins = image();
    let (binary, text) = Binary::decode(Role::First, &twins[..HEADER_COPY_LEN])
        .map(|(binary, text)| (binary, text.replace("prod", "test")))
        .unwrap();
    twins[..HEADER_COPY_LEN].copy_from_slice(&binary.encode(Role::First, text.as_bytes()));
    assert!(matches!(read(twins), Err(HeaderError::CopiesDisagree)));
}

#[test]
fn text_behind_the_json_is_damage() {
    let bytes = image();
    let (binary, text) = Binary::decode(Role::First, &bytes[..HEADER_COPY_LEN]).unwrap();
    let copy = binary.encode(Role::First, format!("{text}\0hidden").as_bytes());
    assert_eq!(Binary::decode(Role::First, &copy), Err(CopyFault::Text));
}

#[test]
fn each_field_that_differs_from_the_record_is_named() {
    type Change = (&'static str, fn(&mut DiskRecord));
    let changes: [Change; 8] = [
        ("UUID", |r| r.id = DiskId::random()),
        ("sector size", |r| r.geometry.sector_size = 4096),
        ("data offset", |r| r.geometry.data_offset += 4096),
        ("length", |r| r.geometry.size += 512),
        ("rule for holes", |r| r.geometry.holes = Holes::None),
        ("digest iterations", |r| r.digest.iterations += 1),
        ("digest salt", |r| r.digest.salt = r.digest.digest.clone()),
        ("digest", |r| r.digest.digest = r.digest.salt.clone()),
    ];
    let header = read(image()).unwrap().0;
    for (field, change) in changes {
        let mut record = record();
        change(&mut record);
        let mismatch = header.agrees_with(&record).unwrap_err();
        assert_eq!(mismatch.field, field);
        assert!(mismatch.to_string().contains(field), "{mismatch}");
    }
}

#[test]
fn a_data_area_that_does_not_reach_the_end_has_a_fixed_size() {
    let end = DATA_OFFSET + DATA_LEN;
    for (storage_size, fixed) in [(end, false), (end + 512, true)] {
        let storage = SimStorage::new(vec![0; storage_size as usize]);
        Header::create(&record(), storage_size).unwrap().write_new(&storage).unwrap();
        let text =
            String::from_utf8_lossy(&storage.bytes()[BINARY_LEN..HEADER_COPY_LEN]).into_owned();
        assert_eq!(text.contains("\"size\":\"8192\""), fixed, "{text}");
        assert_eq!(text.contains("\"size\":\"dynamic\""), !fixed, "{text}");
        let header = Header::read(&storage).unwrap();
        assert_eq!(header.agrees_with(&record()), Ok(header.layout()));
    }
}

/// Headers that stock cryptsetup accepts and decrypts: another writer's checksums, JSON and padding are read as ours.
/// Their keyd token is of another program, and that is why they are refused.
#[test]
fn golden_headers_are_read_up_to_their_token() {
    for (gz, sector_size) in [
        (&include_bytes!("../../tests/golden/golden-luks2-512.img.gz")[..], 512),
        (&include_bytes!("../../tests/golden/golden-luks2-4096.img.gz")[..], 4096),
    ] {
        let mut bytes = Vec::new();
        flate2::read::GzDecoder::new(gz).read_to_end(&mut bytes).unwrap();
        let (binary, text) = Binary::decode(Role::First, &bytes[..HEADER_COPY_LEN]).unwrap();
        let second =
            Binary::decode(Role::Second, &bytes[HEADER_COPY_LEN..][..HEADER_COPY_LEN]).unwrap();
        assert_eq!((binary.uuid, text), (second.0.uuid, second.1));
        // Written again with the same fields it is the same to the last byte, but for the order of JSON members.
        let again = binary.encode(Role::First, text.as_bytes());
        assert!(again == bytes[..HEADER_COPY_LEN], "our encoding of the golden copy differs");
        let json: Value = serde_json::from_str(text).unwrap();
        assert_eq!(json["segments"]["0"]["sector_size"], sector_size);
        let refusal = read(bytes).unwrap_err().to_string();
        assert!(refusal.contains("keyd token"), "{refusal}");
    }
}

proptest::proptest! {
    #[test]
    fn random_metadata_never_panics(text in "\\{[ -~]{0,400}\\}") {
        let _ = Metadata::parse(&text);
    }

    #[test]
    fn random_damage_opens_or_is_refused(
        damage in proptest::collection::vec((0usize..HEADER_LEN as usize, 1u8..), 1..6),
    ) {
        let mut bytes = image();
        for (place, flip) in damage {
            bytes[place] ^= flip;
        }
        if let Ok((header, _)) = read(bytes) {
            proptest::prop_assert_eq!(header.agrees_with(&record()), Ok(header.layout()));
        }
    }
}
