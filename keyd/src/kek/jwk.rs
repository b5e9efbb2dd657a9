//! Private keys from elsewhere, as JWK (RFC 7518, 6.3.2; Key Vault: import).

use std::fmt;

use aws_lc_rs::rsa::{KeyPair, KeyPairComponents, PublicKeyComponents};
use thiserror::Error;
use zeroize::Zeroizing;

use super::{Algorithm, Kek, KekError, KeyBits, PrivateDer, PublicKey};

/// The smallest public exponent that NIST SP 800-56B (6.2.1) allows.
const EXPONENT_MIN: u64 = 65_537;

/// The largest that AWS-LC computes with, so that a public operation stays cheap.
const EXPONENT_MAX: u64 = (1 << 33) - 1;

/// The eight numbers of a two-prime RSA private key, unsigned, big-endian. Key Vault wants all of them.
#[derive(Default)]
#[allow(missing_docs, reason = "RFC 7518 names them")]
pub struct PrivateJwk {
    pub n: Vec<u8>,
    pub e: Vec<u8>,
    pub d: Zeroizing<Vec<u8>>,
    pub p: Zeroizing<Vec<u8>>,
    pub q: Zeroizing<Vec<u8>>,
    pub dp: Zeroizing<Vec<u8>>,
    pub dq: Zeroizing<Vec<u8>>,
    pub qi: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for PrivateJwk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateJwk(secret)")
    }
}

/// Why numbers from elsewhere are no key here.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum ImportError {
    /// Another length.
    #[error("an RSA key to import has a modulus of 2048, 3072 or 4096 bits, this one {0}")]
    Bits(u32),
    /// Even, too small or too large.
    #[error("the public exponent e of a key to import is an odd number from 65537 to 2^33 - 1")]
    Exponent,
    /// A prime is far longer than the other, or a number longer than the modulus.
    #[error("the primes p and q of a key to import have half as many bits as its modulus n")]
    Primes,
    /// They fail the equations of RFC 8017, 3.2.
    #[error("n, e, d, p, q, dp, dq and qi of a key to import do not belong together")]
    Inconsistent,
}

/// A key from elsewhere that is one.
#[derive(Debug)]
pub struct ImportedKey {
    kek: Kek,
    der: PrivateDer,
    bits: KeyBits,
    numbers: PrivateJwk,
}

impl ImportedKey {
    /// Judges a key: its size, its exponent, that its numbers belong together (AWS-LC), and, since nobody looks whether
    /// `p` and `q` are prime, that it opens what it encrypted.
    ///
    /// # Errors
    /// [`ImportError`].
    pub fn new(mut jwk: PrivateJwk) -> Result<Self, ImportError> {
        let public = PublicKey { n: strip(&jwk.n).to_vec(), e: strip(&jwk.e).to_vec() };
        let bits =
            KeyBits::try_from(public.bits()).map_err(|_| ImportError::Bits(public.bits()))?;
        check_exponent(&public.e)?;
        check_lengths(&jwk, public.bits())?;
        let (kek, der) = assemble(&jwk, &public).map_err(|_| ImportError::Inconsistent)?;
        try_out(&kek)?;
        (jwk.n, jwk.e) = (public.n, public.e);
        Ok(Self { kek, der, bits, numbers: jwk })
    }

    /// The key, and its form to be sealed.
    pub(crate) fn into_parts(self) -> (Kek, PrivateDer) {
        (self.kek, self.der)
    }

    /// Its numbers: an HSM takes over a key by these.
    #[must_use]
    pub fn numbers(&self) -> &PrivateJwk {
        &self.numbers
    }

    /// Its modulus length.
    #[must_use]
    pub fn bits(&self) -> KeyBits {
        self.bits
    }
}

fn check_exponent(e: &[u8]) -> Result<(), ImportError> {
    let value = e
        .iter()
        .try_fold(0u64, |value, byte| value.checked_mul(256).map(|value| value | u64::from(*byte)));
    match value {
        Some(value) if value % 2 == 1 && (EXPONENT_MIN..=EXPONENT_MAX).contains(&value) => Ok(()),
        _ => Err(ImportError::Exponent),
    }
}

/// What a prime's length is, is no secret: it follows from the modulus.
fn check_lengths(jwk: &PrivateJwk, bits: u32) -> Result<(), ImportError> {
    let is_half = |prime: &[u8]| bit_len(prime) == bits / 2;
    let no_longer = |number: &[u8]| bit_len(number) <= bits;
    let rest = [&jwk.d, &jwk.dp, &jwk.dq, &jwk.qi];
    if is_half(&jwk.p) && is_half(&jwk.q) && rest.iter().all(|number| no_longer(number)) {
        return Ok(());
    }
    Err(ImportError::Primes)
}

fn bit_len(number: &[u8]) -> u32 {
    let number = strip(number);
    let top = number.first().map_or(0, |byte| byte.leading_zeros());
    u32::try_from(number.len()).map_or(u32::MAX, |len| len.saturating_mul(8).saturating_sub(top))
}

fn assemble(jwk: &PrivateJwk, public: &PublicKey) -> Result<(Kek, PrivateDer), KekError> {
    let components = KeyPairComponents {
        public_key: PublicKeyComponents { n: &public.n[..], e: &public.e[..] },
        d: &jwk.d[..],
        p: &jwk.p[..],
        q: &jwk.q[..],
        dP: &jwk.dp[..],
        dQ: &jwk.dq[..],
        qInv: &jwk.qi[..],
    };
    let pair = KeyPair::from_components(&components).map_err(|_| KekError::Load)?;
    let der = PrivateDer::of(&pair)?;
    Ok((Kek::load(der.expose())?, der))
}

fn try_out(kek: &Kek) -> Result<(), ImportError> {
    const PROBE: &[u8] = b"a key that opens this is one";
    let opened = kek
        .encrypt(Algorithm::RsaOaep256, PROBE)
        .and_then(|cipher| kek.decrypt(Algorithm::RsaOaep256, &cipher));
    match opened {
        Ok(opened) if opened.expose() == PROBE => Ok(()),
        _ => Err(ImportError::Inconsistent),
    }
}

fn strip(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}

#[cfg(test)]
mod tests;
