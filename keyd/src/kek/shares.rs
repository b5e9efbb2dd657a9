//! A DEK in two shares, for disks under a platform's and a customer's key (Key Vault:
//! `EncryptionAtRestWithPlatformAndCustomerKeys`): one share is wrapped under each. Either key pulled, the DEK is gone;
//! either share alone is 64 random bytes that say nothing of it (a one-time pad).

use keyd_client::{
    Dek,
    dek::{DekError, page::scrub_stack},
};

use crate::volume_key;

/// Both shares. Each has the form of a DEK, and is told from one by the [`super::bound::Purpose`] it is wrapped with.
#[derive(Debug)]
pub struct Shares {
    /// Wrapped under the customer's key.
    pub customer: Dek,
    /// Wrapped under the platform's key.
    pub platform: Dek,
}

/// Splits a DEK: one share is random, the other its difference to the DEK. Splitting again gives other shares.
///
/// # Errors
/// [`DekError`]: no page, or no random bytes.
pub fn split(dek: &Dek) -> Result<Shares, DekError> {
    let platform = volume_key::generate()?;
    let customer = join(dek, &platform)?;
    Ok(Shares { customer, platform })
}

/// The DEK of two shares. Shares of two splits give a wrong DEK, which a disk's digest finds out.
///
/// # Errors
/// [`DekError`]: no page; or the shares do not belong together.
pub fn join(customer: &Dek, platform: &Dek) -> Result<Dek, DekError> {
    let dek = Dek::fill_with(|bytes| {
        let pairs = customer.expose().iter().zip(platform.expose());
        bytes.iter_mut().zip(pairs).for_each(|(byte, (a, b))| *byte = a ^ b);
        Ok(())
    });
    scrub_stack();
    dek
}

#[cfg(test)]
mod tests {
    use keyd_client::{DiskId, ids::DesId};

    use super::*;
    use crate::kek::{Binding, Kek, KekError, KeyBits, Mismatch, Purpose};

    #[test]
    fn two_shares_give_the_dek_back() {
        let dek = volume_key::generate().unwrap();
        let Shares { customer, platform } = split(&dek).unwrap();
        assert_eq!(join(&customer, &platform).unwrap().expose(), dek.expose());
        assert_eq!(join(&platform, &customer).unwrap().expose(), dek.expose());
    }

    /// Each bit of a share is as often set as not, whatever the DEK is.
    #[test]
    fn a_share_alone_is_random() {
        const ROUNDS: u32 = 2000;
        let dek = Dek::fill_with(|bytes| {
            bytes[..32].fill(0xff);
            Ok(())
        })
        .unwrap();
        let mut set = [[0u32; 512]; 2];
        for _ in 0..ROUNDS {
            let Shares { customer, platform } = split(&dek).unwrap();
            for (share, set) in [customer, platform].iter().zip(&mut set) {
                for (bit, count) in set.iter_mut().enumerate() {
                    *count += u32::from(share.expose()[bit / 8] >> (bit % 8) & 1);
                }
            }
        }
        // Seven standard deviations of a fair coin: 1000 +- 157.
        assert!(set.iter().flatten().all(|count| count.abs_diff(ROUNDS / 2) < 157));
    }

    #[test]
    fn a_share_is_taken_for_nothing_else() {
        let kek = Kek::generate(KeyBits::Rsa2048).unwrap().0;
        let dek = volume_key::generate().unwrap();
        let whole = Binding {
            disk: DiskId::random(),
            set: DesId::random(),
            generation: 1,
            purpose: Purpose::WholeDek,
        };
        let shares = split(&dek).unwrap();
        for (purpose, secret) in [
            (Purpose::WholeDek, &dek),
            (Purpose::CustomerShare, &shares.customer),
            (Purpose::PlatformShare, &shares.platform),
        ] {
            let binding = Binding { purpose, ..whole };
            let wrapped = kek.wrap(secret, &binding).unwrap();
            for asked in [Purpose::WholeDek, Purpose::CustomerShare, Purpose::PlatformShare] {
                let unwrapped = kek.unwrap(&wrapped, &Binding { purpose: asked, ..whole });
                match unwrapped {
                    Ok(opened) => {
                        assert_eq!((asked, opened.expose()), (purpose, secret.expose()));
                    }
                    Err(KekError::Foreign(Mismatch::Purpose)) => assert_ne!(asked, purpose),
                    other => panic!("{other:?}"),
                }
            }
        }
    }
}
