pub(crate) mod vectors;

use keyd_client::{DiskId, ids::DesId};
use proptest::prelude::*;
use rsa::{Oaep, Pkcs1v15Encrypt, RsaPrivateKey, pkcs8::DecodePrivateKey, traits::PublicKeyParts};
use sha1::Sha1;
use sha2::Sha256;
use vectors::Vector;

use super::*;
use crate::volume_key;

fn binding() -> Binding {
    Binding {
        disk: DiskId::random(),
        set: DesId::random(),
        generation: 1,
        purpose: Purpose::WholeDek,
    }
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

/// The `rsa` crate verifies a signature by each algorithm.
fn verified_elsewhere(
    key: &rsa::RsaPublicKey,
    algorithm: SignatureAlgorithm,
    digest: &[u8],
    signature: &[u8],
) -> bool {
    use rsa::{Pkcs1v15Sign, Pss};
    use sha2::{Sha384, Sha512};
    let verify = |scheme| key.verify(scheme, digest, signature).is_ok();
    let verify_pss = |scheme: Pss| key.verify(scheme, digest, signature).is_ok();
    match algorithm {
        SignatureAlgorithm::Rs256 => verify(Pkcs1v15Sign::new::<Sha256>()),
        SignatureAlgorithm::Rs384 => verify(Pkcs1v15Sign::new::<Sha384>()),
        SignatureAlgorithm::Rs512 => verify(Pkcs1v15Sign::new::<Sha512>()),
        SignatureAlgorithm::Ps256 => verify_pss(Pss::new::<Sha256>()),
        SignatureAlgorithm::Ps384 => verify_pss(Pss::new::<Sha384>()),
        SignatureAlgorithm::Ps512 => verify_pss(Pss::new::<Sha512>()),
    }
}

#[test]
fn another_implementation_verifies_what_was_signed_and_changes_are_noticed() {
    for bits in [KeyBits::Rsa2048, KeyBits::Rsa3072] {
        let (kek, der) = Kek::generate(bits).unwrap();
        let other = RsaPrivateKey::from_pkcs8_der(der.expose()).unwrap().to_public_key();
        for algorithm in SignatureAlgorithm::ALL {
            let digest = vec![7; algorithm.hash().output_len()];
            let hashed = Hashed::new(algorithm, &digest).unwrap();
            let mut signature = kek.sign(&hashed).unwrap();
            assert!(verified_elsewhere(&other, algorithm, &digest, &signature), "{algorithm}");
            assert!(kek.verify(&hashed, &signature).unwrap(), "{algorithm}");
            let another = Hashed::new(algorithm, &vec![8; digest.len()]).unwrap();
            assert!(!kek.verify(&another, &signature).unwrap(), "{algorithm}");
            for wrong in SignatureAlgorithm::ALL.into_iter().filter(|wrong| *wrong != algorithm) {
                let digest = vec![7; wrong.hash().output_len()];
                let hashed = Hashed::new(wrong, &digest).unwrap();
                assert!(!kek.verify(&hashed, &signature).unwrap(), "{algorithm} as {wrong}");
            }
            assert!(
                !kek.verify(&hashed, &signature[1..]).unwrap()
                    && !kek.verify(&hashed, b"").unwrap()
            );
            signature[9] ^= 1;
            assert!(!kek.verify(&hashed, &signature).unwrap(), "{algorithm}");
        }
    }
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
    let forms = [vec![], vec![1; 64], vec![0; 105], vec![4; 105], vec![1; 104], vec![1; 106]];
    for plain in forms {
        let mut rng = rsa::rand_core::OsRng;
        let wrapped = other.encrypt(&mut rng, Oaep::new::<Sha256>(), &plain).unwrap();
        let result = kek.unwrap(&WrappedDek(wrapped), &binding());
        assert!(matches!(result, Err(KekError::Foreign(Mismatch::Form))), "{plain:?}");
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

/// Vectors from outside, through the function that unwraps. None is skipped unseen: they are counted.
fn agree(vectors: &[Vector]) -> (usize, usize) {
    let (mut valid, mut invalid) = (0, 0);
    for vector in vectors {
        let kek = Kek::load(&vector.pkcs8).unwrap();
        match (kek.decrypt(vector.algorithm, &vector.cipher), &vector.plain) {
            (Ok(opened), Some(plain)) => {
                assert_eq!(opened.expose(), plain, "{}", vector.about);
                valid += 1;
            }
            (Err(KekError::Unwrap), None) => invalid += 1,
            (result, _) => panic!("{}: {result:?}", vector.about),
        }
    }
    (valid, invalid)
}

#[test]
fn wycheproof_oaep() {
    assert_eq!(agree(&vectors::oaep()), (58, 76));
}

#[test]
fn wycheproof_pkcs1() {
    assert_eq!(agree(&vectors::pkcs1()), (124, 77));
}

/// Encrypts and decrypts by the `rsa` crate.
struct Oracle(RsaPrivateKey);

impl Oracle {
    fn encrypt(&self, algorithm: Algorithm, plain: &[u8]) -> Vec<u8> {
        let (public, mut rng) = (self.0.to_public_key(), rsa::rand_core::OsRng);
        match algorithm {
            Algorithm::Rsa15 => public.encrypt(&mut rng, Pkcs1v15Encrypt, plain),
            Algorithm::RsaOaep => public.encrypt(&mut rng, Oaep::new::<Sha1>(), plain),
            Algorithm::RsaOaep256 => public.encrypt(&mut rng, Oaep::new::<Sha256>(), plain),
        }
        .unwrap()
    }

    fn decrypt(&self, algorithm: Algorithm, cipher: &[u8]) -> Vec<u8> {
        match algorithm {
            Algorithm::Rsa15 => self.0.decrypt(Pkcs1v15Encrypt, cipher),
            Algorithm::RsaOaep => self.0.decrypt(Oaep::new::<Sha1>(), cipher),
            Algorithm::RsaOaep256 => self.0.decrypt(Oaep::new::<Sha256>(), cipher),
        }
        .unwrap()
    }
}

/// Key Vault's limits for RSA-OAEP-256 are 190, 318 and 446 bytes.
#[test]
fn every_algorithm_agrees_with_another_implementation_up_to_its_limit() {
    for (bits, limits) in [
        (KeyBits::Rsa2048, [245, 214, 190]),
        (KeyBits::Rsa3072, [373, 342, 318]),
        (KeyBits::Rsa4096, [501, 470, 446]),
    ] {
        let (kek, der) = Kek::generate(bits).unwrap();
        let oracle = Oracle(RsaPrivateKey::from_pkcs8_der(der.expose()).unwrap());
        for (algorithm, limit) in Algorithm::ALL.into_iter().zip(limits) {
            for len in [0, 1, 32, limit] {
                let plain: Vec<u8> = (0..len).map(|n| n as u8).collect();
                let cipher = kek.encrypt(algorithm, &plain).unwrap();
                assert_eq!(oracle.decrypt(algorithm, &cipher), plain, "{algorithm} {len}");
                let cipher = oracle.encrypt(algorithm, &plain);
                assert_eq!(kek.decrypt(algorithm, &cipher).unwrap().expose(), plain);
            }
            let error = kek.encrypt(algorithm, &vec![7; limit + 1]).unwrap_err();
            let told = format!("takes at most {limit} bytes, not {}", limit + 1);
            assert!(error.to_string().contains(&told), "{error}");
        }
    }
}

#[test]
fn a_ciphertext_of_another_algorithm_key_or_length_is_refused_alike() {
    let (kek, other) = (kek(), kek());
    for made in Algorithm::ALL {
        let cipher = kek.encrypt(made, b"plain").unwrap();
        let refused = |kek: &Kek, algorithm, cipher: &[u8]| {
            let error = kek.decrypt(algorithm, cipher).unwrap_err();
            assert!(matches!(error, KekError::Unwrap), "{made} as {algorithm}: {error:?}");
        };
        for algorithm in Algorithm::ALL.into_iter().filter(|algorithm| *algorithm != made) {
            refused(&kek, algorithm, &cipher);
        }
        refused(&other, made, &cipher);
        refused(&kek, made, &cipher[1..]);
        refused(&kek, made, &[&[0], &cipher[..]].concat());
        refused(&kek, made, &[]);
        refused(&kek, made, &[0xff; 256]);
        refused(&kek, made, &[0; 256]);
    }
}

#[test]
fn the_public_key_is_that_of_the_private_key() {
    let (kek, der) = Kek::generate(KeyBits::Rsa3072).unwrap();
    let other = RsaPrivateKey::from_pkcs8_der(der.expose()).unwrap();
    assert_eq!(kek.public().n, other.n().to_bytes_be());
    assert_eq!(kek.public().e, [1, 0, 1]);
    assert_eq!(kek.public().bits(), 3072);
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
