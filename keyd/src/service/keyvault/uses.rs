//! The rows that use keys.

use keyd_client::{KeyId, KeyVersion};

use super::Service;
use crate::{
    auth::{Caller, op},
    error::Failure,
    keyvault::{Reply, Use, crypto::Ask},
    ops::vault_key_use::{With, decrypt, encrypt},
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
}
