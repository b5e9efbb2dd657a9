//! What goes wrong with a token, and what to do about it.

use std::path::PathBuf;

use cryptoki::{context::Function, error::Error as Cryptoki, error::RvError};
use thiserror::Error;

use crate::{kek::SignatureAlgorithm, secret_file::SecretFileError};

/// Why a token does not do what it should.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the texts say it")]
pub enum HsmError {
    #[error("the PKCS#11 module {path} cannot be used: {source}: check --hsm-module")]
    Module { path: PathBuf, source: Cryptoki },
    #[error(
        "no token is labelled '{label}', there are: {present}: check --hsm-token, or plug it in"
    )]
    NoToken { label: String, present: String },
    #[error("two tokens are labelled '{0}': give one of them another label")]
    Ambiguous(String),
    #[error("the PIN: {0}")]
    PinFile(#[from] SecretFileError),
    #[error("the PIN in {0} is not UTF-8 text")]
    PinText(PathBuf),
    #[error(
        "the token '{token}' refused the PIN of {path}: put the right one there and start keyd again; it is not tried a second time, since tokens lock themselves"
    )]
    PinRefused { token: String, path: PathBuf },
    #[error("the token '{0}' has not answered earlier requests: ask again when it does")]
    Busy(String),
    #[error("the token '{token}' failed: {source}")]
    Token { token: String, source: Cryptoki },
    #[error(
        "the token '{token}' has no key with the id {id}: use the token it was made in, or a copy of it"
    )]
    NoKey { token: String, id: String },
    #[error(
        "a key is in the token '{wanted}', and keyd uses '{used}': start it with --hsm-token {wanted}"
    )]
    OtherToken { wanted: String, used: String },
    #[error(
        "the token '{token}' does not sign by {how} with this key: {source}; another algorithm may do, and if the key was made before keyd signed, 'keyd key rotate' makes a version that does"
    )]
    CannotSign { token: String, how: SignatureAlgorithm, source: Cryptoki },
    #[error(
        "the token '{0}' made a private key that can be read out of it, and it was destroyed again: it is no HSM"
    )]
    Extractable(String),
}

/// Whether the connection to the token is gone, rather than what was asked of it wrong: another try on a new
/// connection may do.
pub(super) fn is_lost(error: &Cryptoki) -> bool {
    use RvError::{
        CryptokiNotInitialized, DeviceError, DeviceRemoved, KeyHandleInvalid, ObjectHandleInvalid,
        SessionClosed, SessionHandleInvalid, SlotIdInvalid, TokenNotPresent, TokenNotRecognized,
        UserNotLoggedIn,
    };
    matches!(
        error,
        Cryptoki::Pkcs11(
            CryptokiNotInitialized
                | DeviceError
                | DeviceRemoved
                | KeyHandleInvalid
                | ObjectHandleInvalid
                | SessionClosed
                | SessionHandleInvalid
                | SlotIdInvalid
                | TokenNotPresent
                | TokenNotRecognized
                | UserNotLoggedIn,
            _
        )
    )
}

/// Whether a token does not know a mechanism, or its parameters: it is asked to begin, and will not.
pub(super) fn is_unsupported(error: &Cryptoki) -> bool {
    use RvError::{ArgumentsBad, MechanismInvalid, MechanismParamInvalid};
    matches!(
        error,
        Cryptoki::Pkcs11(
            ArgumentsBad | MechanismInvalid | MechanismParamInvalid,
            Function::DecryptInit
        )
    )
}

/// Whether a token will not sign so with a key: it does not know the way, or the key is not for it.
pub(super) fn cannot_sign(error: &Cryptoki) -> bool {
    use RvError::{
        ArgumentsBad, KeyFunctionNotPermitted, KeyTypeInconsistent, MechanismInvalid,
        MechanismParamInvalid,
    };
    matches!(
        error,
        Cryptoki::Pkcs11(
            ArgumentsBad
                | KeyFunctionNotPermitted
                | KeyTypeInconsistent
                | MechanismInvalid
                | MechanismParamInvalid,
            Function::SignInit
        )
    )
}

/// Whether a decryption failed in a way that a bad ciphertext may be the cause of. Tokens differ: the standard has
/// CKR_ENCRYPTED_DATA_INVALID, SoftHSM says CKR_GENERAL_ERROR.
pub(super) fn may_be_ciphertext(error: &Cryptoki) -> bool {
    use RvError::{
        ArgumentsBad, DataInvalid, DataLenRange, EncryptedDataInvalid, EncryptedDataLenRange,
        FunctionFailed, GeneralError,
    };
    matches!(
        error,
        Cryptoki::Pkcs11(
            ArgumentsBad
                | DataInvalid
                | DataLenRange
                | EncryptedDataInvalid
                | EncryptedDataLenRange
                | FunctionFailed
                | GeneralError,
            Function::Decrypt
        )
    )
}
