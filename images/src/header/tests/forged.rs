//! Metadata that somebody wrote by hand: what the allow-list must not let through.

use super::*;

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
        ("no keyd token", |j| j["tokens"] = json!({})),
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
