//! The rows that use keys, and the one that gives random bytes.

use keyd_client::{KeyId, KeyVersion, VaultName, message::KeyOperation};

use super::Service;
use crate::{
    auth::{Caller, op},
    error::Failure,
    kek::Hashed,
    keyvault::{Reply, Use, crypto::Ask},
    ops::{
        self,
        vault_key_use::{With, decrypt, encrypt, sign, verify},
    },
};

impl Service {
    /// Each use is an operation of its own, with a permission and a name in the audit log.
    pub(super) fn usage(
        &self,
        by: &Caller,
        id: &KeyId,
        version: Option<KeyVersion>,
        usage: Use,
        ask: &Ask,
    ) -> Result<Reply, Failure> {
        let core = self.core();
        let with = With { key: id, version, operation: usage.operation() };
        let cipher = |(version, cipher)| Reply::Ciphertext(id.name.clone(), version, cipher);
        let plain = |(version, plain)| Reply::Plaintext(id.name.clone(), version, plain);
        match usage {
            Use::Wrap => self
                .on(by, id, |permit| encrypt::<op::KeyWrap>(core, permit, with, ask))
                .map(cipher),
            Use::Encrypt => self
                .on(by, id, |permit| encrypt::<op::KeyEncrypt>(core, permit, with, ask))
                .map(cipher),
            Use::Unwrap => self
                .on(by, id, |permit| decrypt::<op::KeyUnwrap>(core, permit, with, ask))
                .map(plain),
            Use::Decrypt => self
                .on(by, id, |permit| decrypt::<op::KeyDecrypt>(core, permit, with, ask))
                .map(plain),
        }
    }

    pub(super) fn sign(
        &self,
        by: &Caller,
        id: &KeyId,
        version: Option<KeyVersion>,
        hashed: &Hashed,
    ) -> Result<Reply, Failure> {
        let with = With { key: id, version, operation: KeyOperation::Sign };
        let (version, signature) =
            self.on(by, id, |permit| sign(self.core(), permit, with, hashed))?;
        Ok(Reply::Signature(id.name.clone(), version, signature))
    }

    pub(super) fn verify(
        &self,
        by: &Caller,
        id: &KeyId,
        version: Option<KeyVersion>,
        signed: (&Hashed, &[u8]),
    ) -> Result<Reply, Failure> {
        let with = With { key: id, version, operation: KeyOperation::Verify };
        self.on(by, id, |permit| verify(self.core(), permit, with, signed)).map(Reply::Verified)
    }

    pub(super) fn random(
        &self,
        by: &Caller,
        vault: &VaultName,
        count: u8,
    ) -> Result<Reply, Failure> {
        self.act(by, Some(vault), vault, |permit| {
            ops::vault_random::run(self.core(), permit, vault, count)
        })
        .map(Reply::Random)
    }
}
