//! What can be asked of the daemon: one type for each verb, which knows the type of its answer.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::*;

/// A verb. Its fields say what is asked.
pub trait Ask: Into<Request> {
    /// What is answered when it was done.
    type Reply: Serialize + DeserializeOwned;
}

/// The answer to an [`Ask`] on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer<T> {
    /// It was done.
    Done(T),
    /// It was not: why, and what to do next.
    Refused(Refusal),
}

/// The verbs, and what each is answered with.
macro_rules! asks {
    ($($ask:ident -> $reply:ty;)*) => {
        /// A request: a frame that is answered by one [`Answer`]. [`Request::Attach`] turns the connection into a
        /// lease.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(tag = "ask", rename_all = "kebab-case")]
        pub enum Request {
            $(
                #[doc = concat!("See [`", stringify!($ask), "`].")]
                $ask($ask),
            )*
        }

        $(
            impl Ask for $ask {
                type Reply = $reply;
            }

            impl From<$ask> for Request {
                fn from(ask: $ask) -> Self {
                    Self::$ask(ask)
                }
            }
        )*
    };
}

asks! {
    Status -> DaemonStatus;
    CaShow -> String;
    ClockShow -> ClockStatus;
    ClockConfirm -> ClockStatus;
    KeyCreate -> KeyStatus;
    KeyList -> Listing<KeyStatus>;
    KeyListIn -> Listing<KeyStatus>;
    KeyListDeleted -> Listing<KeyStatus>;
    KeyShow -> KeyStatus;
    KeyUpdate -> Weighed<Changed<KeyNow>>;
    KeyDelete -> Weighed<Changed<KeyNow>>;
    KeyRecover -> Changed<KeyNow>;
    KeyPurge -> Weighed<Purged>;
    KeyRotate -> Rotated;
    KeyRotationPolicy -> Weighed<KeyStatus>;
    VaultCreate -> VaultStatus;
    VaultList -> Vec<VaultStatus>;
    VaultShow -> VaultStatus;
    VaultProtect -> VaultStatus;
    VaultPermit -> Weighed<Changed<Permitted>>;
    VaultDelete -> ();
    GrantList -> Listing<GrantStatus>;
    GrantEdit -> Granted;
    AppCreate -> AppStatus;
    AppList -> Vec<AppStatus>;
    AppShow -> AppStatus;
    AppRemove -> ();
    AppCertificates -> AppStatus;
    IdentityCreate -> NewIdentity;
    IdentityRemove -> ();
    TokenCreate -> NewToken;
    TokenList -> Vec<TokenStatus>;
    TokenRevoke -> ();
    TokenRevokeAll -> u64;
    DesCreate -> DesStatus;
    DesList -> Listing<DesStatus>;
    DesShow -> DesStatus;
    DesUpdate -> Weighed<DesStatus>;
    DesSetKey -> Weighed<Rewrapped>;
    DesDelete -> ();
    DesResources -> Listing<DiskStatus>;
    DiskCreate -> DiskStatus;
    DiskDerive -> DiskStatus;
    DiskConfirm -> ();
    DiskAbandon -> ();
    DiskGrow -> DiskStatus;
    DiskMove -> Weighed<Rewrapped>;
    DiskErase -> Weighed<()>;
    DiskList -> Listing<DiskStatus>;
    DiskShow -> DiskStatus;
    DiskReleaseKey -> ();
    AuditTail -> Vec<AuditRecord>;
    AuditVerify -> AuditWhole;
    AuditArchive -> AuditArchived;
    AuditReanchor -> AuditReanchored;
    StateCheck -> StateChecked;
    StateCheckDeep -> StateChecked;
    StateAccept -> StateChecked;
    StateBackup -> BackedUp;
    Attach -> Attached;
}
