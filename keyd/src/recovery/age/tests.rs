use std::{
    collections::BTreeMap,
    fs,
    io::{BufReader, Read, Write},
    path::Path,
};

use aws_lc_rs::digest::{SHA256, digest};
use proptest::prelude::*;

use super::*;
use crate::audit::chain::hexadecimal;

/// Made with age-keygen 1.1.1 for this test.
const PUBLIC: &str = "age1dtcs2sjtp6hr3qfe4v0lpz8ykyw9whza6aw0jt37pz4gm8heh40qaegdck";
const SECRET: &str = "AGE-SECRET-KEY-1PLW5XQ7KYDK4R0E9MRSVDUTCZVELM7HDGGDZ3Z60X9R4YSU73RHQ6FS2FC";

fn identities() -> Vec<Identity> {
    Identity::parse(SECRET.as_bytes()).unwrap()
}

fn sealed(plain: &[u8]) -> Vec<u8> {
    let mut sealer = Sealer::new(Vec::new(), &[PUBLIC.parse().unwrap()]).unwrap();
    sealer.write_all(plain).unwrap();
    sealer.finish().unwrap()
}

/// What could be read, and how it ended. Pieces are small, so that nothing relies on whole reads.
fn opened(file: &[u8], identities: &[Identity]) -> (Vec<u8>, Result<(), AgeError>) {
    let mut plain = Vec::new();
    let mut opener = match Opener::new(BufReader::with_capacity(100, file), identities) {
        Ok(opener) => opener,
        Err(error) => return (plain, Err(error)),
    };
    let read = opener.read_to_end(&mut plain);
    let ended = read.map(|_| ()).map_err(|error| match error.downcast::<AgeError>() {
        Ok(error) => error,
        Err(error) => AgeError::Io(error),
    });
    (plain, ended)
}

/// A file of the test kit: lines that say what is expected, an empty line, the sealed file.
struct Vector {
    expected: BTreeMap<String, String>,
    identities: String,
    file: Vec<u8>,
}

fn vector(path: &Path) -> Vector {
    let bytes = fs::read(path).unwrap();
    let end = bytes.windows(2).position(|pair| pair == b"\n\n").unwrap();
    let mut vector = Vector {
        expected: BTreeMap::new(),
        identities: String::new(),
        file: bytes[end + 2..].to_vec(),
    };
    for line in std::str::from_utf8(&bytes[..end]).unwrap().lines() {
        let (name, value) = line.split_once(": ").unwrap();
        match name {
            "identity" => vector.identities += &format!("{value}\n"),
            _ => drop(vector.expected.insert(name.to_owned(), value.to_owned())),
        }
    }
    if vector.expected.get("compressed").is_some_and(|kind| kind == "zlib") {
        let mut file = Vec::new();
        flate2::read::ZlibDecoder::new(&vector.file[..]).read_to_end(&mut file).unwrap();
        vector.file = file;
    }
    vector
}

/// The format's own test kit. How much of a damaged file is given out before the damage is not compared: here a chunk
/// with something behind it is not tried as the last one.
#[test]
fn the_test_kit_of_the_format_is_opened_and_refused_as_it_says() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/age");
    let mut counted = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "md") {
            continue;
        }
        let Vector { expected, identities, file } = vector(&path);
        let identities = Identity::parse(identities.as_bytes()).unwrap();
        let (plain, ended) = opened(&file, &identities);
        let result = match ended {
            Ok(()) => "success",
            Err(AgeError::NoMatch) => "no match",
            Err(AgeError::Header("its tag does not fit")) => "HMAC failure",
            Err(AgeError::Header(_)) => "header failure",
            Err(AgeError::Damaged) => "payload failure",
            Err(error) => panic!("{}: {error}", path.display()),
        };
        assert_eq!(result, expected["expect"], "{}", path.display());
        if result == "success" {
            let hash = hexadecimal(digest(&SHA256, &plain).as_ref());
            assert_eq!(hash, expected["payload"], "{}", path.display());
        }
        *counted.entry(result).or_insert(0) += 1;
    }
    let counts: Vec<_> = counted.into_iter().collect();
    let all = [
        ("HMAC failure", 1),
        ("header failure", 31),
        ("no match", 3),
        ("payload failure", 18),
        ("success", 14),
    ];
    assert_eq!(counts, all);
}

#[test]
fn what_is_sealed_is_opened_by_its_identity_alone() {
    for len in [0, 1, 65_535, 65_536, 65_537, 131_072, 200_000] {
        let plain: Vec<u8> = (0..len).map(|n| (n * 7 % 251) as u8).collect();
        let file = sealed(&plain);
        let (found, ended) = opened(&file, &identities());
        ended.unwrap();
        assert_eq!(found, plain);
        let kit = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/age/x25519");
        let other = Identity::parse(vector(&kit).identities.as_bytes()).unwrap();
        assert!(matches!(opened(&file, &other).1, Err(AgeError::NoMatch)));
    }
}

#[test]
fn any_cut_is_found() {
    let file = sealed(&[7; 70_000]);
    for len in (0..file.len()).step_by(997).chain([file.len() - 1]) {
        assert!(opened(&file[..len], &identities()).1.is_err(), "{len}");
    }
    // Without its end nothing is opened, though every chunk is whole.
    let mut file = Vec::new();
    let mut sealer = Sealer::new(&mut file, &[PUBLIC.parse().unwrap()]).unwrap();
    sealer.write_all(&[7; 70_000]).unwrap();
    drop(sealer);
    assert!(file.len() > 65_536 && opened(&file, &identities()).1.is_err());
}

#[test]
fn several_recipients_open_the_same_file() {
    let kit = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/age/x25519");
    let other = Identity::parse(vector(&kit).identities.as_bytes()).unwrap();
    // The recipient of that identity, as `age-keygen -y` prints it.
    let public = "age1xmwwc06ly3ee5rytxm9mflaz2u56jjj36s0mypdrwsvlul66mv4q47ryef".parse().unwrap();
    let mut sealer = Sealer::new(Vec::new(), &[PUBLIC.parse().unwrap(), public]).unwrap();
    sealer.write_all(b"plain").unwrap();
    let file = sealer.finish().unwrap();
    for identities in [&identities(), &other] {
        let (plain, ended) = opened(&file, identities);
        ended.unwrap();
        assert_eq!(plain, b"plain");
    }
}

#[test]
fn what_is_no_key_is_refused() {
    assert_eq!(PUBLIC.parse::<Recipient>().unwrap().to_string(), PUBLIC);
    assert!(PUBLIC.to_uppercase().parse::<Recipient>().is_ok());
    let mixed = format!("{}{}", &PUBLIC[..20], PUBLIC[20..].to_uppercase());
    let typo = PUBLIC.replacen('q', "p", 1);
    for wrong in
        ["", "age1", "age", &PUBLIC[1..], &PUBLIC[..61], &mixed, &typo, SECRET, "ssh-rsa A"]
    {
        assert!(wrong.parse::<Recipient>().is_err(), "{wrong}");
    }
    let with_comments = format!("# created: now\n# public key: {PUBLIC}\n\n{SECRET}\r\n");
    assert_eq!(Identity::parse(with_comments.as_bytes()).unwrap().len(), 1);
    let cut = &SECRET[..SECRET.len() - 1];
    for wrong in ["", "# only a comment\n", PUBLIC, cut, &format!("{SECRET}\n{cut}")] {
        assert!(matches!(Identity::parse(wrong.as_bytes()), Err(AgeError::Identity)), "{wrong}");
    }
    assert_eq!(format!("{:?}", identities()), "[Identity(secret)]");
}

/// A point of low order has no secret with anybody.
#[test]
fn a_recipient_of_low_order_is_refused() {
    // 32 zero bytes in Bech32, made with the Python package bech32.
    let zero: Recipient =
        "age1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq5cu47z".parse().unwrap();
    assert!(matches!(Sealer::new(Vec::new(), &[zero]), Err(AgeError::Recipient(_))));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_changed_byte_is_found(at in any::<prop::sample::Index>(), flip in 1u8..=255) {
        let mut file = sealed(b"plain");
        let at = at.index(file.len());
        file[at] ^= flip;
        prop_assert!(opened(&file, &identities()).1.is_err());
    }

    #[test]
    fn bytes_of_any_kind_are_refused_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(opened(&bytes, &identities()).1.is_err());
        let file = [b"age-encryption.org/v1\n-> X25519 ", &bytes[..]].concat();
        prop_assert!(opened(&file, &identities()).1.is_err());
    }
}
