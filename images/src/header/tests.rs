//! The header: crash points, damage, the allow-list, and the comparison with the daemon's record.

use std::io::Read;

use keyd_client::{
    WrappedDek,
    ids::KeyVersion,
    message::{DiskKind, EncryptionType, Geometry},
};
use serde_json::{Value, json};

use super::*;
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
        wrapped: WrappedDek(vec![0; 384]),
    }
}

/// An image whose data area is small: offsets are as in a real one, so the header is too.
fn image() -> Vec<u8> {
    let storage = SimStorage::new(vec![0; (DATA_OFFSET + DATA_LEN) as usize]);
    Header::create(&record(), DATA_OFFSET + DATA_LEN).unwrap().write_new(&storage).unwrap();
    storage.bytes()
}

fn read(bytes: Vec<u8>) -> Result<(Header, Recovery), HeaderError> {
    Header::read(&SimStorage::new(bytes))
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
    let mut header = Header::read(&whole(&storage.bytes())).unwrap().0;
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
        let (found, recovery) = Header::read(&disk).expect("a cut update must open");
        let age = ["prod", "next", "last"].iter().position(|&des| des == found.des().as_str());
        let age = age.expect("one of them");
        assert_eq!(found.seqid(), 1 + age as u64);
        seen[age] += 1;
        // What was repaired is clean the next time, and says the same.
        let (again, after) = Header::read(&disk).unwrap();
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
    assert_eq!(Header::read(&storage).unwrap().1, Recovery::RepairedPrimary);
    let crashes = storage.crashes();
    assert!(crashes.len() > 50, "{}", crashes.len());
    for crash in crashes {
        let (header, recovery) = Header::read(&whole(&crash)).expect("a cut repair must open");
        assert_eq!(header.seqid(), 1);
        assert!(matches!(recovery, Recovery::Clean | Recovery::RepairedPrimary));
    }
}

#[test]
fn a_failing_disk_fails_the_update_and_keeps_a_header() {
    for operations in 0..4 {
        let storage = SimStorage::new(image());
        let mut header = Header::read(&storage).unwrap().0;
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
        (0..512, Recovery::RepairedPrimary),
        (0..4096, Recovery::RepairedPrimary),
        (0..second, Recovery::RepairedPrimary),
        (5000..5001, Recovery::RepairedPrimary),
        (second..second + 512, Recovery::RepairedSecondary),
        (second + 16000..second + 16001, Recovery::RepairedSecondary),
    ];
    for (range, expected) in damages {
        let mut bytes = image();
        bytes[range.clone()].fill(0x55);
        let storage = SimStorage::new(bytes);
        let (header, recovery) = Header::read(&storage).unwrap();
        assert_eq!(recovery, expected, "{range:?}");
        assert_eq!(header.agrees_with(&record()), Ok(header.layout()));
        assert_eq!(Header::read(&storage).unwrap().1, Recovery::Clean, "{range:?}");
    }
}

#[test]
fn a_torn_copy_is_only_reported_where_nothing_may_be_written() {
    let mut bytes = image();
    bytes[300] ^= 1;
    let storage = SimStorage::read_only(bytes.clone());
    assert_eq!(Header::read(&storage).unwrap().1, Recovery::TornPrimary);
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
    for (storage, expected) in
        [(read_only, Recovery::TornPrimary), (SimStorage::new(bytes), Recovery::RepairedPrimary)]
    {
        let (header, recovery) = Header::read(&storage).unwrap();
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
    Header::read(&storage).unwrap().0.update(&storage).unwrap();
    let mut after = storage.bytes();
    assert_eq!((salt(&after, 0), salt(&after, 1)), (salt(&before, 0), salt(&before, 1)));
    after[HEADER_COPY_LEN + 20] ^= 1;
    let storage = SimStorage::new(after.clone());
    Header::read(&storage).unwrap();
    assert_eq!(salt(&storage.bytes(), 0), salt(&before, 0));
    let repaired = salt(&storage.bytes(), 1);
    assert_ne!(repaired, salt(&before, 1));
    assert_ne!(repaired, salt(&before, 0));
    assert_ne!(repaired, [0; 64]);
}

#[test]
fn an_update_does_not_overwrite_what_another_program_wrote() {
    let storage = SimStorage::new(image());
    let mut ours = Header::read(&storage).unwrap().0;
    let mut theirs = Header::read(&storage).unwrap().0;
    theirs.update(&storage).unwrap();
    assert!(matches!(ours.update(&storage), Err(HeaderError::Changed)));
}

#[test]
fn members_and_keyslots_of_stock_tools_survive_an_update() {
    let mut bytes = forged(|json| {
        json["keyslots"]["3"] = json!({"type": "luks2", "key_size": 64, "note": [1, {"a": null}]});
        json["tokens"]["7"] = json!({"type": "systemd-tpm2", "keyslots": ["3"]});
        json["extra"] = json!({"kept": true});
    });
    let area = HEADER_LEN as usize..DATA_OFFSET as usize;
    bytes[area.clone()].iter_mut().zip(0u32..).for_each(|(byte, n)| *byte = n as u8);
    let storage = SimStorage::new(bytes.clone());
    let mut header = Header::read(&storage).unwrap().0;
    assert_eq!(header.keyslots(), 1);
    header.update(&storage).unwrap();
    let json = |bytes: &[u8]| -> Value {
        let (_, text) = Binary::decode(Role::First, &bytes[..HEADER_COPY_LEN]).unwrap();
        serde_json::from_str(text).unwrap()
    };
    assert_eq!(json(&storage.bytes()), json(&bytes));
    assert!(storage.bytes()[area.clone()] == bytes[area], "the keyslots area was touched");
}

/// What the allow-list must not let through, by the word its refusal must contain.
#[test]
fn forged_metadata_is_refused_by_name() {
    type Forgery = (&'static str, fn(&mut Value));
    let forgeries: [Forgery; 29] = [
        ("cipher", |j| j["segments"]["0"]["encryption"] = json!("cipher_null-ecb")),
        ("cipher", |j| j["segments"]["0"]["encryption"] = json!("aes-xts-plain")),
        ("segment type", |j| j["segments"]["0"]["type"] = json!("linear")),
        ("iv_tweak", |j| j["segments"]["0"]["iv_tweak"] = json!("8")),
        ("sector_size", |j| j["segments"]["0"]["sector_size"] = json!(1024)),
        ("sector_size", |j| j["segments"]["0"]["sector_size"] = json!("512")),
        ("segment member", |j| j["segments"]["0"]["integrity"] = json!({"type": "hmac(sha256)"})),
        ("segment member", |j| j["segments"]["0"]["flags"] = json!(["in-reencryption"])),
        ("segments", |j| j["segments"]["1"] = j["segments"]["0"].clone()),
        ("segments", |j| j["segments"] = json!({})),
        ("segment offset", |j| j["segments"]["0"]["offset"] = json!("-4096")),
        ("segment offset", |j| j["segments"]["0"]["offset"] = json!("+16777216")),
        ("segment size", |j| j["segments"]["0"]["size"] = json!("1e9")),
        ("impossible disk", |j| j["segments"]["0"]["size"] = json!("0")),
        ("impossible disk", |j| j["segments"]["0"]["size"] = json!("18446744073709551104")),
        ("cut short", |j| j["segments"]["0"]["size"] = json!("8704")),
        ("keyslots_size", |j| j["config"]["keyslots_size"] = json!("16744449")),
        ("json_size", |j| j["config"]["json_size"] = json!("12289")),
        ("requirements", |j| j["config"]["requirements"] = json!({"mandatory": ["opal"]})),
        ("keyslot type", |j| j["keyslots"]["0"] = json!({"type": "reencrypt"})),
        ("digest type", |j| j["digests"]["0"]["type"] = json!("argon")),
        ("iterations", |j| j["digests"]["0"]["iterations"] = json!(4_000_000_000_u64)),
        ("digest salt", |j| j["digests"]["0"]["salt"] = json!("AAAA")),
        ("digest's segments", |j| j["digests"]["0"]["segments"] = json!(["1"])),
        ("token of type keyd", |j| j["tokens"] = json!({})),
        ("token of type keyd", |j| j["tokens"]["1"] = j["tokens"]["0"].clone()),
        ("volume key was changed", |j| j["tokens"]["0"]["digest"] = json!("1")),
        ("token binding", |j| j["tokens"]["0"]["binding"] = json!("none")),
        ("by hand", |j| j["tokens"]["0"]["disk"] = json!(DiskId::random())),
    ];
    for (word, forgery) in forgeries {
        let bytes = forged(forgery);
        let refusal = read(bytes).map(|_| word).expect_err(word).to_string();
        assert!(refusal.contains(word), "{refusal}");
        assert!(!refusal.contains('\n'), "{refusal}");
    }
}

/// A forged value must not steer the reader's terminal or flood it.
#[test]
fn a_refusal_shows_no_control_characters() {
    let nasty = format!("\x1b[2J\r\n{}", "x".repeat(5000));
    let refusal =
        read(forged(|j| j["segments"]["0"]["type"] = json!(nasty))).unwrap_err().to_string();
    assert!(!refusal.chars().any(char::is_control) && refusal.len() < 250, "{refusal}");
}

#[test]
fn a_torn_image_that_would_be_refused_is_not_repaired() {
    let mut bytes = forged(|j| j["segments"]["0"]["encryption"] = json!("cipher_null-ecb"));
    bytes[HEADER_COPY_LEN + 300] ^= 1;
    let storage = SimStorage::new(bytes);
    assert!(Header::read(&storage).is_err());
    assert_eq!(storage.operations(), 0);
}

#[test]
fn other_files_are_told_apart() {
    assert!(matches!(read(vec![0; 1 << 20]), Err(HeaderError::NotLuks)));
    assert!(matches!(read(vec![]), Err(HeaderError::NotLuks)));
    let mut luks1 = image();
    luks1[7] = 1;
    assert!(matches!(read(luks1), Err(HeaderError::Version(1))));
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
        let header = Header::read(&storage).unwrap().0;
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
