//! Every operation, the name it has in the audit log, and the permission it needs. What can be asked on the native
//! socket is one type for each verb ([`keyd_client::message`]); its row here is also its way into [`crate::service`].

use keyd_client::{
    message::*,
    permission::{KeyPermission, Permission},
};

use crate::audit::Class;

/// Where an operation's permission is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// In the daemon as a whole.
    Daemon(Permission),
    /// In the vault it is done in.
    Vault(KeyPermission),
    /// For the set in which a disk is made.
    Set(Permission),
    /// For the disk it is done with.
    Disk(Permission),
    /// For the disk from which another is made, with the permission to attach it: who has the one's DEK has the
    /// other's.
    Source(Permission),
    /// For the disk, which one has made.
    Own(Permission),
    /// Any permission in the vault it is done in.
    AnyInVault,
    /// Nowhere: who has a lease may always say that it let go.
    Lease,
    /// Nowhere: an identity that has shown its secret may have a token of its own.
    Identity,
}

/// An operation.
pub trait Op {
    /// Its name in the audit log.
    const NAME: &'static str;
    /// What its caller needs.
    const NEEDS: Needs;
    /// What it needs of the disk and of the audit log, done in its ordinary way.
    const CLASS: Class;
}

/// What is asked on the native socket and answered by one frame: the verb, its name in the audit log, what its caller
/// needs, and its class if that is not [`Class::Use`]. `$then` is a macro that is given all rows.
macro_rules! asked {
    ($then:ident) => {
        $then! {
            Status = "status" needs daemon Read;
            ClockShow = "clock-show" needs daemon Read;
            ClockConfirm = "clock-confirm" needs daemon Administer, is Administration;
            KeyCreate = "key-create" needs vault Create;
            KeyList = "key-list" needs daemon Read;
            KeyListIn = "key-list" needs vault List;
            KeyListDeleted = "key-list" needs daemon Read;
            KeyShow = "key-show" needs vault Get;
            KeyUpdate = "key-update" needs vault Update;
            KeyDelete = "key-delete" needs vault Delete, is Withdrawal;
            KeyRecover = "key-recover" needs vault Recover;
            KeyPurge = "key-purge" needs vault Purge, is Administration;
            KeyRotate = "key-rotate" needs vault Rotate;
            KeyRotationPolicy = "key-rotation-policy-set" needs vault SetRotationPolicy;
            VaultCreate = "vault-create" needs daemon ManageKeys;
            VaultList = "vault-list" needs daemon Read;
            VaultShow = "vault-show" needs daemon Read;
            VaultProtect = "vault-protect" needs daemon ManageKeys;
            VaultPermit = "vault-policy" needs daemon Administer;
            VaultDelete = "vault-delete" needs daemon ManageKeys, is Administration;
            GrantList = "grant-list" needs daemon Administer;
            GrantEdit = "grant-set" needs daemon Administer;
            AppCreate = "principal-create" needs daemon Administer;
            AppList = "principal-list" needs daemon Administer;
            AppShow = "principal-show" needs daemon Administer;
            AppRemove = "principal-remove" needs daemon Administer;
            AppCertificates = "principal-certificates" needs daemon Administer;
            IdentityCreate = "principal-identity" needs daemon Administer;
            IdentityRemove = "principal-identity" needs daemon Administer;
            TokenCreate = "token-create" needs daemon Administer;
            TokenList = "token-list" needs daemon Administer;
            TokenRevoke = "token-revoke" needs daemon Administer;
            TokenRevokeAll = "token-revoke" needs daemon Administer;
            DesCreate = "des-create" needs daemon ManageKeys;
            DesList = "des-list" needs daemon Read;
            DesShow = "des-show" needs daemon Read;
            DesUpdate = "des-update" needs daemon ManageKeys;
            DesSetKey = "des-set-key" needs daemon ManageKeys;
            DesDelete = "des-delete" needs daemon ManageKeys, is Administration;
            DesResources = "des-resources" needs daemon Read;
            DiskCreate = "disk-create" needs set CreateDisk;
            DiskDerive = "disk-derive" needs source CreateDisk;
            DiskConfirm = "disk-confirm" needs own CreateDisk;
            DiskAbandon = "disk-abandon" needs own CreateDisk, is Administration;
            DiskGrow = "disk-grow" needs own CreateDisk;
            DiskMove = "disk-move" needs daemon ManageKeys;
            DiskErase = "disk-erase" needs daemon Administer, is Administration;
            DiskList = "disk-list" needs daemon Read;
            DiskShow = "disk-show" needs daemon Read;
            StateCheck = "state-check" needs daemon Read;
            StateCheckDeep = "state-check-deep" needs daemon Administer;
            StateAccept = "state-accept-damage" needs daemon Administer, is Administration;
            StateBackup = "state-backup" needs daemon Administer;
            AuditTail = "audit-tail" needs daemon Audit;
            AuditVerify = "audit-verify" needs daemon Audit;
            AuditArchive = "audit-archive" needs daemon Administer, is Administration;
            AuditReanchor = "audit-reanchor" needs daemon Administer, is Administration;
        }
    };
}
pub(crate) use asked;

macro_rules! operations {
    ($($op:ident = $name:literal needs $scope:ident $permission:ident $(, is $class:ident)?;)*) => {$(
        impl Op for $op {
            const NAME: &'static str = $name;
            const NEEDS: Needs = operations!(@ $scope $permission);
            const CLASS: Class = operations!(@class $($class)?);
        }
    )*};
    (@class) => { Class::Use };
    (@class $class:ident) => { Class::$class };
    (@ vault Any) => { Needs::AnyInVault };
    (@ lease Holder) => { Needs::Lease };
    (@ identity Itself) => { Needs::Identity };
    (@ daemon $permission:ident) => { Needs::Daemon(Permission::$permission) };
    (@ vault $permission:ident) => { Needs::Vault(KeyPermission::$permission) };
    (@ set $permission:ident) => { Needs::Set(Permission::$permission) };
    (@ disk $permission:ident) => { Needs::Disk(Permission::$permission) };
    (@ source $permission:ident) => { Needs::Source(Permission::$permission) };
    (@ own $permission:ident) => { Needs::Own(Permission::$permission) };
}

asked!(operations);

// What hands a DEK over.
operations! {
    DiskReleaseKey = "disk-release-key" needs daemon ReleaseKey;
    Attach = "attach" needs disk Attach;
}

/// What is asked elsewhere: over HTTPS, at the identity endpoint, during a lease.
macro_rules! elsewhere {
    ($($(#[$doc:meta])* $op:ident = $name:literal needs $scope:ident $permission:ident;)*) => {
        $(
            $(#[$doc])*
            #[derive(Debug)]
            pub struct $op;
        )*
        operations! { $($op = $name needs $scope $permission;)* }
    };
}

elsewhere! {
    /// Tell of a key over HTTPS.
    VaultKeyGet = "key-get" needs vault Get;
    /// List a vault's keys, a key's versions, or a vault's deleted keys.
    VaultKeyList = "key-list" needs vault List;
    /// Bring a key's private part.
    KeyImport = "key-import" needs vault Import;
    /// Take a key out, sealed.
    KeyBackup = "key-backup" needs vault Backup;
    /// Bring that back.
    KeyRestore = "key-restore" needs vault Restore;
    /// Wrap under a key.
    KeyWrap = "key-wrap" needs vault WrapKey;
    /// Unwrap.
    KeyUnwrap = "key-unwrap" needs vault UnwrapKey;
    /// Encrypt under a key.
    KeyEncrypt = "key-encrypt" needs vault Encrypt;
    /// Decrypt.
    KeyDecrypt = "key-decrypt" needs vault Decrypt;
    /// Sign under a key.
    KeySign = "key-sign" needs vault Sign;
    /// Verify a signature.
    KeyVerify = "key-verify" needs vault Verify;
    /// Give random bytes.
    VaultRandom = "random" needs vault Any;
    /// Tell when a key is rotated by itself.
    VaultKeyPolicyGet = "key-rotation-policy-get" needs vault GetRotationPolicy;
    /// Fetch a token at the identity endpoint.
    IdentityToken = "identity-token" needs identity Itself;
    /// Take it again after the key came back.
    Reclaim = "reclaim" needs disk Attach;
    /// Report that it is gone.
    Fence = "lease-fenced" needs lease Holder;
}
