//! What is repaired, and from what: a copy that is overwritten is lost.

use super::*;

fn second(bytes: &mut [u8]) -> &mut [u8] {
    &mut bytes[HEADER_COPY_LEN..][..HEADER_COPY_LEN]
}

/// A copy of the image's header, changed: its binary part and its metadata.
fn another(role: Role, change: impl FnOnce(&mut Binary, &mut Value)) -> Vec<u8> {
    let (mut binary, mut json) = {
        let bytes = image();
        let (binary, text) = Binary::decode(Role::First, &bytes[..HEADER_COPY_LEN]).unwrap();
        (binary, serde_json::from_str(text).unwrap())
    };
    change(&mut binary, &mut json);
    binary.encode(role, json.to_string().as_bytes())
}

#[test]
fn reading_never_writes() {
    let mut bytes = image();
    bytes[300] ^= 1;
    let storage = SimStorage::new(bytes.clone());
    let header = Header::read(&storage).unwrap();
    assert!(header.agrees_with(&record()).is_ok());
    assert_eq!((storage.bytes() == bytes, storage.operations()), (true, 0));
}

/// One whole copy of this disk and a newer one of another: no update leaves that, and neither may be overwritten.
#[test]
fn copies_of_two_disks_are_refused_and_both_stay() {
    let other = DiskId::random();
    let copy = another(Role::Second, |binary, json| {
        binary.uuid = other.0;
        binary.seqid = 2;
        json["tokens"]["0"]["disk"] = json!(other);
    });
    let mut bytes = image();
    second(&mut bytes).copy_from_slice(&copy);
    let storage = SimStorage::new(bytes);
    let refusal = open(&storage).unwrap_err();
    assert!(matches!(refusal, HeaderError::TwoDisks { .. }), "{refusal}");
    let told = refusal.to_string();
    assert!(told.contains(&other.to_string()) && told.contains(&record().id.to_string()), "{told}");
    assert_eq!(storage.operations(), 0);
}

/// Its data are right, so it is served. But `cryptsetup` takes the older copy of the two: that one must stay.
#[test]
fn nothing_is_repaired_from_a_copy_that_cryptsetup_refuses() {
    let newer = another(Role::Second, |binary, json| {
        binary.seqid = 2;
        json["config"]["flags"] = json!(7);
    });
    let mut bytes = image();
    second(&mut bytes).copy_from_slice(&newer);
    let storage = SimStorage::new(bytes);
    let (mut header, recovery) = open(&storage).unwrap();
    assert_eq!((header.seqid(), recovery), (2, Recovery::Needed(Role::First, Cause::Older)));
    assert!(header.stock_fault().is_some());
    assert!(matches!(header.update(&storage), Err(HeaderError::Stock(_))));
    assert_eq!(storage.operations(), 0);
    assert_eq!(stock_id(&storage.bytes()[..HEADER_LEN as usize]), Some(record().id.to_string()));
}

#[test]
fn a_flipped_bit_anywhere_in_one_copy_is_repaired_from_the_other() {
    let good = image()[..HEADER_LEN as usize].to_vec();
    let fields = (0..72).chain([72, 104, 168, 208, 256, 263, 300, 448, 479, 511, 4096, 9000]);
    for (role, place) in [Role::First, Role::Second]
        .into_iter()
        .flat_map(|role| fields.clone().map(move |at| (role, at)))
    {
        for bit in 0..8 {
            let mut bytes = good.clone();
            let at = role.offset() as usize + place;
            bytes[at] ^= 1 << bit;
            let storage = whole(&bytes);
            let (header, recovery) = open(&storage)
                .unwrap_or_else(|error| panic!("bit {bit} of byte {at} was not repaired: {error}"));
            assert!(
                matches!(recovery, Recovery::Done(torn, Cause::Damaged(_)) if torn == role),
                "bit {bit} of byte {at}: {recovery}"
            );
            assert_eq!(header.agrees_with(&record()), Ok(header.layout()));
            assert_eq!(open(&storage).unwrap().1, Recovery::Clean);
        }
    }
}

#[test]
fn a_header_that_another_program_wrote_meanwhile_is_not_repaired() {
    let mut bytes = image();
    bytes[300] ^= 1;
    let storage = SimStorage::new(bytes);
    let mut ours = Header::read(&storage).unwrap();
    let mut theirs = Header::read(&storage).unwrap();
    theirs.set_des("moved".parse().unwrap());
    theirs.update(&storage).unwrap();
    assert!(matches!(ours.repair(&storage), Err(HeaderError::Changed)));
    // Who repaired it meanwhile did what was to be done.
    let mut bytes = image();
    bytes[300] ^= 1;
    let storage = SimStorage::new(bytes);
    let (mut ours, mut theirs) = (Header::read(&storage).unwrap(), Header::read(&storage).unwrap());
    assert_eq!(theirs.repair(&storage).unwrap(), mended(Role::First));
    assert_eq!(ours.repair(&storage).unwrap(), Recovery::Clean);
}

/// A file of another length, an offset off by one, a cipher without a name: what is wrong, and what to do.
#[test]
fn what_does_not_fit_is_told_with_the_way_out() {
    type Change = fn(&mut Value);
    let nothing: Change = |_| {};
    let cases: [(i64, Change, &[&str]); 6] = [
        (1, nothing, &["1 bytes are too many", "truncate", "keyd disk show", "16777216"]),
        (-1, nothing, &["or 1 are missing", "restore it from a backup"]),
        (
            0,
            |j| j["segments"]["0"]["offset"] = json!("16777217"),
            &["16777217", "restore the first"],
        ),
        (
            0,
            |j| j["segments"]["0"]["encryption"] = json!(""),
            &["cipher is ''", "restore the first"],
        ),
        (0, |j| j["segments"]["0"]["size"] = json!("8191"), &["8191", "restore the first"]),
        (0, |j| j["segments"]["0"]["size"] = json!("8704"), &["cut short", "backup"]),
    ];
    for (longer, change, words) in cases {
        let mut bytes = forged(change);
        let len = bytes.len().saturating_add_signed(longer as isize);
        bytes.resize(len, 0);
        let refusal = read(bytes).unwrap_err().to_string();
        for word in words {
            assert!(refusal.contains(word), "'{word}' is not in: {refusal}");
        }
    }
    // Whole sectors less: only the daemon's record tells.
    let mut short = image();
    short.truncate(short.len() - 512);
    let mismatch = read(short).unwrap().0.agrees_with(&record()).unwrap_err().to_string();
    assert!(mismatch.contains("cut short") && mismatch.contains("backup"), "{mismatch}");
}
