//! A key pair in the token. Its private half is used there and never leaves; encryption needs the public half and is
//! done here.

use std::{
    fmt,
    sync::{Arc, Mutex, atomic::Ordering},
};

use aws_lc_rs::digest::{self, SHA1_FOR_LEGACY_USE_ONLY, SHA256};
use cryptoki::{
    context::Function,
    error::{Error as Cryptoki, RvError},
    mechanism::{
        Mechanism, MechanismType,
        rsa::{PkcsMgfType, PkcsOaepParams, PkcsOaepSource},
    },
    object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle},
    session::SessionState,
};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::{
    Hsm, HsmError,
    error::{cannot_sign, is_unsupported, may_be_ciphertext},
    oaep, signing,
    token::Lent,
};
use crate::{
    kek::{
        self, Algorithm, Encryptor, Hashed, HsmObject, KekError, KeyBits, MODULUS_LEN_MAX,
        PrivateJwk, PublicKey,
    },
    lock::lock,
};

/// 65537, as every RSA key of this daemon's making has it.
const PUBLIC_EXPONENT: [u8; 3] = [1, 0, 1];

/// A key pair of a token.
pub struct HsmKey {
    hsm: Arc<Hsm>,
    object: HsmObject,
    public: PublicKey,
    /// The private key's handle, and the connection that it is of.
    handle: Mutex<Option<(u64, ObjectHandle)>>,
}

impl fmt::Debug for HsmKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HsmKey({})", self.object.id)
    }
}

impl HsmKey {
    /// Makes a key pair in the token, out of which the private key cannot be read. The label is for people.
    ///
    /// # Errors
    /// [`HsmError`].
    pub fn generate(hsm: &Arc<Hsm>, bits: KeyBits, label: &str) -> Result<Self, HsmError> {
        let id = Uuid::new_v4();
        let public = public_template(id, label, bits);
        let private = private_template(id, label);
        hsm.with(|lent| {
            let mechanism = Mechanism::RsaPkcsKeyPairGen;
            lent.session().generate_key_pair(&mechanism, &public, &private).map(drop)
        })?;
        Self::checked(hsm, id)
    }

    /// Puts a key pair from elsewhere into the token.
    ///
    /// # Errors
    /// [`HsmError`]; not every token takes keys.
    pub fn import(hsm: &Arc<Hsm>, numbers: &PrivateJwk, label: &str) -> Result<Self, HsmError> {
        let id = Uuid::new_v4();
        let mut private = private_template(id, label);
        // The wrapper wants vectors of its own, which are wiped below.
        private.extend([
            Attribute::Class(ObjectClass::PRIVATE_KEY),
            Attribute::KeyType(KeyType::RSA),
            Attribute::Modulus(numbers.n.clone()),
            Attribute::PublicExponent(numbers.e.clone()),
            Attribute::PrivateExponent(numbers.d.to_vec()),
            Attribute::Prime1(numbers.p.to_vec()),
            Attribute::Prime2(numbers.q.to_vec()),
            Attribute::Exponent1(numbers.dp.to_vec()),
            Attribute::Exponent2(numbers.dq.to_vec()),
            Attribute::Coefficient(numbers.qi.to_vec()),
        ]);
        let created = hsm.with(|lent| lent.session().create_object(&private).map(drop));
        private.into_iter().for_each(wipe);
        created?;
        Self::checked(hsm, id)
    }

    /// A key pair that is in the token.
    ///
    /// # Errors
    /// [`HsmError::OtherToken`], [`HsmError::NoKey`], and the token's.
    pub fn open(hsm: &Arc<Hsm>, object: &HsmObject) -> Result<Self, HsmError> {
        is_its(hsm, object)?;
        let public = hsm.with(|lent| match find(lent, object.id)? {
            Some(handle) => public_numbers(lent, handle, object.id),
            None => Ok(None),
        })?;
        let missing = || no_key(object);
        Ok(Self {
            hsm: hsm.clone(),
            object: object.clone(),
            public: public.ok_or_else(missing)?,
            handle: Mutex::default(),
        })
    }

    /// A new key pair, destroyed again if the token did not keep it to itself.
    fn checked(hsm: &Arc<Hsm>, id: Uuid) -> Result<Self, HsmError> {
        let key = Self::open(hsm, &HsmObject { token: hsm.token().to_owned(), id })?;
        let wanted = [AttributeType::Sensitive, AttributeType::Extractable];
        let found = hsm.with(|lent| match find(lent, id)? {
            Some(handle) => lent.session().get_attributes(handle, &wanted),
            None => Ok(Vec::new()),
        })?;
        let kept = [Attribute::Sensitive(true), Attribute::Extractable(false)];
        if !kept.iter().all(|attribute| found.contains(attribute)) {
            Self::destroy(hsm, key.object())?;
            return Err(HsmError::Extractable(hsm.token().to_owned()));
        }
        Ok(key)
    }

    /// Where it is.
    #[must_use]
    pub fn object(&self) -> &HsmObject {
        &self.object
    }

    /// Its public half, as the token tells it.
    #[must_use]
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Destroys a key pair, or what is left of it. What it wrapped is lost.
    ///
    /// # Errors
    /// [`HsmError`].
    pub fn destroy(hsm: &Arc<Hsm>, object: &HsmObject) -> Result<(), HsmError> {
        is_its(hsm, object)?;
        hsm.with(|lent| {
            let id = Attribute::Id(object.id.as_bytes().to_vec());
            let objects = lent.session().find_objects(&[id])?;
            objects.into_iter().try_for_each(|object| lent.session().destroy_object(object))
        })
    }

    /// Decrypts in the token, into a page; tells the plaintext's length.
    ///
    /// # Errors
    /// [`KekError::Unwrap`] for every bad ciphertext; [`KekError::Hsm`].
    pub(crate) fn decrypt(
        &self,
        algorithm: Algorithm,
        cipher: &[u8],
        page: &mut [u8; MODULUS_LEN_MAX],
    ) -> Result<usize, KekError> {
        // RFC 8017, 7.1.2, step 1, and 5.1.2: "ciphertext representative out of range".
        let n = &self.public.n;
        if cipher.len() != n.len() || cipher >= n.as_slice() {
            return Err(KekError::Unwrap);
        }
        let Some(way) = Oaep::of(algorithm) else {
            return self.in_token(&Mechanism::RsaPkcs, algorithm, cipher, page);
        };
        let bare = &self.hsm.bare_oaep[way.index()];
        if !bare.load(Ordering::Relaxed) {
            match self.in_token(&way.mechanism(), algorithm, cipher, page) {
                Err(KekError::Hsm(HsmError::Token { source, .. })) if is_unsupported(&source) => {
                    bare.store(true, Ordering::Relaxed);
                }
                done => return done,
            }
        }
        self.bare(way.hash(), cipher, page)
    }

    /// The token takes off the padding.
    fn in_token(
        &self,
        mechanism: &Mechanism<'_>,
        algorithm: Algorithm,
        cipher: &[u8],
        page: &mut [u8; MODULUS_LEN_MAX],
    ) -> Result<usize, KekError> {
        match self.ask(mechanism, cipher) {
            Ok(plain) => put(&plain, page).ok_or(KekError::Unwrap),
            Err(HsmError::Token { source, .. })
                if may_be_ciphertext(&source) && self.opens_its_own(mechanism, algorithm) =>
            {
                Err(KekError::Unwrap)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The token does the bare operation, the padding comes off here. The operation itself cannot fail for the
    /// ciphertext's sake.
    fn bare(
        &self,
        hash: &'static digest::Algorithm,
        cipher: &[u8],
        page: &mut [u8; MODULUS_LEN_MAX],
    ) -> Result<usize, KekError> {
        let number = self.ask(&Mechanism::RsaX509, cipher)?;
        let block = &mut page[..cipher.len()];
        // Tokens may leave out leading zeros.
        let zeros = block.len().checked_sub(number.len()).ok_or(KekError::Unwrap)?;
        block[zeros..].copy_from_slice(&number);
        oaep::decode(hash, block).ok_or(KekError::Unwrap)
    }

    /// Whether the key works: then what it did not open was at fault.
    fn opens_its_own(&self, mechanism: &Mechanism<'_>, algorithm: Algorithm) -> bool {
        const PROBE: &[u8] = b"a key that opens this is one";
        let cipher = Encryptor::new(&self.public).and_then(|key| key.encrypt(algorithm, PROBE));
        let opened = cipher.map(|cipher| self.ask(mechanism, &cipher));
        matches!(opened, Ok(Ok(plain)) if plain.as_slice() == PROBE)
    }

    /// Signs a digest in the token. The signature is verified before it is told: one that a faulty token gets wrong can
    /// betray the key (Boneh, DeMillo, Lipton 1997).
    ///
    /// # Errors
    /// [`KekError::Hsm`]; [`KekError::Sign`].
    pub(crate) fn sign(&self, hashed: &Hashed) -> Result<Vec<u8>, KekError> {
        let (mechanism, data) = signing::of(hashed);
        let signature = self.hsm.with(|lent| match self.handle(lent)? {
            Some(handle) => lent.session().sign(&mechanism, handle, &data).map(Some),
            None => Ok(None),
        });
        let signature = match signature {
            Err(HsmError::Token { token, source }) if cannot_sign(&source) => {
                return Err(HsmError::CannotSign { token, how: hashed.algorithm(), source }.into());
            }
            signature => signature?.ok_or_else(|| no_key(&self.object))?,
        };
        match kek::verify(&self.public, hashed, &signature)? {
            true => Ok(signature),
            false => Err(KekError::Sign),
        }
    }

    /// The wrapper of PKCS#11 returns plaintext on the heap: it is wiped as soon as it is copied into a page.
    fn ask(
        &self,
        mechanism: &Mechanism<'_>,
        cipher: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, HsmError> {
        let plain = self.hsm.with(|lent| match self.handle(lent)? {
            Some(handle) => lent.session().decrypt(mechanism, handle, cipher).map(Some),
            None => Ok(None),
        })?;
        plain.map(Zeroizing::new).ok_or_else(|| no_key(&self.object))
    }

    fn handle(&self, lent: &Lent<'_>) -> Result<Option<ObjectHandle>, Cryptoki> {
        let known = *lock(&self.handle);
        match known {
            Some((connection, handle)) if connection == lent.connection => Ok(Some(handle)),
            _ => {
                let found = find(lent, self.object.id)?;
                *lock(&self.handle) = found.map(|handle| (lent.connection, handle));
                Ok(found)
            }
        }
    }
}

/// OAEP's two hashes.
#[derive(Clone, Copy)]
enum Oaep {
    Sha1,
    Sha256,
}

impl Oaep {
    fn of(algorithm: Algorithm) -> Option<Self> {
        match algorithm {
            Algorithm::Rsa15 => None,
            Algorithm::RsaOaep => Some(Self::Sha1),
            Algorithm::RsaOaep256 => Some(Self::Sha256),
        }
    }

    fn index(self) -> usize {
        match self {
            Self::Sha1 => 0,
            Self::Sha256 => 1,
        }
    }

    fn hash(self) -> &'static digest::Algorithm {
        match self {
            Self::Sha1 => &SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => &SHA256,
        }
    }

    fn mechanism(self) -> Mechanism<'static> {
        let (hash, mgf) = match self {
            Self::Sha1 => (MechanismType::SHA1, PkcsMgfType::MGF1_SHA1),
            Self::Sha256 => (MechanismType::SHA256, PkcsMgfType::MGF1_SHA256),
        };
        PkcsOaepParams::new(hash, mgf, PkcsOaepSource::empty()).into()
    }
}

fn public_template(id: Uuid, label: &str, bits: KeyBits) -> Vec<Attribute> {
    vec![
        Attribute::Token(true),
        Attribute::Id(id.as_bytes().to_vec()),
        Attribute::Label(label.as_bytes().to_vec()),
        Attribute::ModulusBits(u64::from(bits.count()).into()),
        Attribute::PublicExponent(PUBLIC_EXPONENT.to_vec()),
        Attribute::Encrypt(true),
        Attribute::Verify(false),
    ]
}

fn private_template(id: Uuid, label: &str) -> Vec<Attribute> {
    vec![
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Id(id.as_bytes().to_vec()),
        Attribute::Label(label.as_bytes().to_vec()),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Decrypt(true),
        Attribute::Unwrap(false),
        Attribute::Sign(true),
        Attribute::SignRecover(false),
    ]
}

/// The private key with an id.
fn find(lent: &Lent<'_>, id: Uuid) -> Result<Option<ObjectHandle>, Cryptoki> {
    find_of(lent, id, ObjectClass::PRIVATE_KEY)
}

fn find_of(
    lent: &Lent<'_>,
    id: Uuid,
    class: ObjectClass,
) -> Result<Option<ObjectHandle>, Cryptoki> {
    let wanted = [Attribute::Class(class), Attribute::Id(id.as_bytes().to_vec())];
    let found = lent.session().find_objects(&wanted)?;
    // Who is not logged in sees no private objects, and is not told so.
    let state = lent.session().get_session_info()?.session_state();
    if found.is_empty() && !matches!(state, SessionState::RwUser) {
        return Err(Cryptoki::Pkcs11(RvError::UserNotLoggedIn, Function::FindObjects));
    }
    Ok(found.first().copied())
}

/// The public numbers of a private key. Some tokens tell the exponent with the public key only.
fn public_numbers(
    lent: &Lent<'_>,
    private: ObjectHandle,
    id: Uuid,
) -> Result<Option<PublicKey>, Cryptoki> {
    let wanted = [AttributeType::Modulus, AttributeType::PublicExponent];
    let mut found = lent.session().get_attributes(private, &wanted)?;
    if found.len() < wanted.len()
        && let Some(public) = find_of(lent, id, ObjectClass::PUBLIC_KEY)?
    {
        found.extend(lent.session().get_attributes(public, &wanted[1..])?);
    }
    let (mut n, mut e) = (None, None);
    for attribute in found {
        match attribute {
            Attribute::Modulus(number) => n = Some(strip(number)),
            Attribute::PublicExponent(number) => e = Some(strip(number)),
            _ => {}
        }
    }
    Ok(n.zip(e).map(|(n, e)| PublicKey { n, e }))
}

fn strip(mut number: Vec<u8>) -> Vec<u8> {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.drain(..zeros);
    number
}

fn put(plain: &[u8], page: &mut [u8; MODULUS_LEN_MAX]) -> Option<usize> {
    page.get_mut(..plain.len())?.copy_from_slice(plain);
    Some(plain.len())
}

fn wipe(attribute: Attribute) {
    match attribute {
        Attribute::PrivateExponent(number)
        | Attribute::Prime1(number)
        | Attribute::Prime2(number)
        | Attribute::Exponent1(number)
        | Attribute::Exponent2(number)
        | Attribute::Coefficient(number) => drop(Zeroizing::new(number)),
        _ => {}
    }
}

fn is_its(hsm: &Hsm, object: &HsmObject) -> Result<(), HsmError> {
    if object.token == hsm.token() {
        return Ok(());
    }
    let (wanted, used) = (object.token.clone(), hsm.token().to_owned());
    Err(HsmError::OtherToken { wanted, used })
}

fn no_key(object: &HsmObject) -> HsmError {
    HsmError::NoKey { token: object.token.clone(), id: object.id.simple().to_string() }
}
