//! Headers as stock `cryptsetup` sees them. It is the judge: each case is given to it, too.

use super::*;

type Change = fn(&mut Value);

/// The image's header with a whole keyslot, changed.
fn with_keyslot(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    forged(|json| {
        json["keyslots"]["0"] = keyslot(32768);
        json["digests"]["0"]["keyslots"] = json!(["0"]);
        change(json);
    })
}

fn nested(levels: usize) -> Value {
    (0..levels).fold(json!(1), |inner, _| json!([inner]))
}

/// Metadata that our allow-list takes and a stock tool may not.
const ODD: [(&str, Change); 31] = [
    ("nothing", |_| {}),
    ("keyslot without area", |j| j["keyslots"]["0"]["area"] = json!(null)),
    ("area before the keyslots area", |j| j["keyslots"]["0"]["area"]["offset"] = json!("16384")),
    ("area of no length", |j| j["keyslots"]["0"]["area"]["size"] = json!("0")),
    ("area over the data", |j| j["keyslots"]["0"]["area"]["offset"] = json!("16777216")),
    ("area's sum overflows", |j| {
        j["keyslots"]["0"]["area"]["size"] = json!("18446744073709551615")
    }),
    ("area of another type", |j| j["keyslots"]["0"]["area"]["type"] = json!("journal")),
    ("area's place a number", |j| j["keyslots"]["0"]["area"]["offset"] = json!(32768)),
    ("area's place signed", |j| j["keyslots"]["0"]["area"]["offset"] = json!("+32768")),
    ("area without key size", |j| j["keyslots"]["0"]["area"]["key_size"] = json!("64")),
    ("area without cipher", |j| j["keyslots"]["0"]["area"]["encryption"] = json!("")),
    ("overlapping areas", |j| {
        j["keyslots"]["1"] = keyslot(32768 + 4096);
        j["digests"]["0"]["keyslots"] = json!(["0", "1"]);
    }),
    ("areas side by side", |j| {
        j["keyslots"]["1"] = keyslot(32768 + 258_048);
        j["digests"]["0"]["keyslots"] = json!(["0", "1"]);
    }),
    ("keyslot without digest", |j| j["digests"]["0"]["keyslots"] = json!([])),
    ("digest of a missing keyslot", |j| j["digests"]["0"]["keyslots"] = json!(["0", "5"])),
    ("token of a missing keyslot", |j| j["tokens"]["0"]["keyslots"] = json!(["5"])),
    ("token without keyslots", |j| j["tokens"]["3"] = json!({"type": "other"})),
    ("token without a number", |j| j["tokens"]["x"] = json!({"type": "other", "keyslots": []})),
    ("keyslot without key size", |j| j["keyslots"]["0"]["key_size"] = json!(null)),
    ("keyslot of a huge key size", |j| j["keyslots"]["0"]["key_size"] = json!(1_u64 << 33)),
    ("splitter of another type", |j| j["keyslots"]["0"]["af"]["type"] = json!("luks2")),
    ("splitter without stripes", |j| j["keyslots"]["0"]["af"]["stripes"] = json!(null)),
    ("derivation without salt", |j| j["keyslots"]["0"]["kdf"]["salt"] = json!("")),
    ("derivation without memory", |j| {
        j["keyslots"]["0"]["kdf"] =
            json!({"type": "argon2id", "time": 4, "cpus": 1, "salt": "AAAA"});
    }),
    ("derivation with members left over", |j| j["keyslots"]["0"]["kdf"]["time"] = json!(4)),
    ("keyslots_size off by one", |j| j["config"]["keyslots_size"] = json!("16744447")),
    ("flags a number", |j| j["config"]["flags"] = json!(7)),
    ("flags with a number", |j| j["config"]["flags"] = json!(["allow-discards", 7])),
    ("requirements without a list", |j| j["config"]["requirements"] = json!({})),
    ("JSON 120 deep", |j| j["extra"] = nested(118)),
    ("JSON as deep as it may be", |j| j["extra"] = nested(30)),
];

#[test]
fn what_cryptsetup_refuses_is_served_and_told() {
    let mut refused = 0;
    for (case, change) in ODD {
        let bytes = with_keyslot(change);
        let fault = match Header::read(&SimStorage::new(bytes.clone())) {
            Ok(header) => header.stock_fault(),
            Err(error) => panic!("{case}: {error}"),
        };
        let stock = stock_id(&bytes[..HEADER_LEN as usize]);
        assert_eq!(
            fault.is_none(),
            stock.is_some(),
            "{case}: ours {fault:?}, cryptsetup's {stock:?}"
        );
        refused += usize::from(stock.is_none());
    }
    assert!(refused >= 20, "cryptsetup refuses {refused} of them");
}

#[test]
fn the_depth_at_which_cryptsetup_gives_up_is_known() {
    for levels in 28..36 {
        let bytes = forged(|json| json["extra"] = nested(levels));
        let ours = Header::read(&SimStorage::new(bytes.clone())).unwrap().stock_fault();
        let stock = stock_id(&bytes[..HEADER_LEN as usize]);
        assert_eq!(ours.is_none(), stock.is_some(), "{levels} levels");
    }
}

/// Sound headers of other layouts: told as what they are, and never touched.
#[test]
fn sound_headers_of_others_are_told_apart_from_damaged_ones() {
    let layouts: [(&[&str], &str); 5] = [
        (&[], "no keyd token"),
        (&["--luks2-metadata-size", "32k"], "32 KiB"),
        (&["--luks2-metadata-size", "64k", "--luks2-keyslots-size", "4m"], "64 KiB"),
        (&["--luks2-metadata-size", "4m"], "4096 KiB"),
        (&["--luks2-keyslots-size", "4m", "--offset", "16384"], "no keyd token"),
    ];
    for (options, why) in layouts {
        let whole = formatted(options);
        // The first copy lost, the second lies where that layout has it.
        let mut torn = whole.clone();
        torn[..4096].fill(0);
        for bytes in [whole, torn] {
            let storage = SimStorage::new(bytes);
            let refusal = open(&storage).unwrap_err().to_string();
            for word in ["another program made", why, "cryptsetup", "image create"] {
                assert!(refusal.contains(word), "{options:?}: '{word}' is not in: {refusal}");
            }
            assert_eq!(storage.operations(), 0);
        }
    }
    let luks1 = formatted(&["--type", "luks1"]);
    assert!(matches!(read(luks1), Err(HeaderError::Version(1))));
}

/// What `cryptsetup luksFormat` makes, its header alone.
fn formatted(options: &[&str]) -> Vec<u8> {
    use std::io::Write;
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(40 << 20).unwrap();
    let mut command = std::process::Command::new("timeout");
    command.args(["60", "/usr/sbin/cryptsetup", "--batch-mode", "luksFormat"]);
    command.args(["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000", "--key-file", "-"]);
    let mut child =
        command.args(options).arg(file.path()).stdin(std::process::Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"throw-away").unwrap();
    assert!(child.wait().unwrap().success(), "{options:?}");
    std::fs::read(file.path()).unwrap()
}
