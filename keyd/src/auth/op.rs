//! Every operation, the name it has in the audit log, and the permission it needs.

use keyd_client::permission::{KeyPermission, Permission};

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

macro_rules! operations {
    ($(
        $(#[$doc:meta])*
        $op:ident = $name:literal needs $scope:ident $permission:ident $(, is $class:ident)?;
    )*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $op;

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

operations! {
    /// Tell how the daemon is.
    Status = "status" needs daemon Read;
    /// Tell what the clock says.
    ClockShow = "clock-show" needs daemon Read;
    /// Say that the clock is right.
    ClockConfirm = "clock-confirm" needs daemon Administer, is Administration;
    /// Make a key.
    KeyCreate = "key-create" needs vault Create;
    /// List keys of all vaults.
    KeyList = "key-list" needs daemon Read;
    /// List keys of one vault.
    KeyListIn = "key-list" needs vault List;
    /// Show a key.
    KeyShow = "key-show" needs vault Get;
    /// Change attributes; also take a key away by them, and bring it back.
    KeyUpdate = "key-update" needs vault Update;
    /// Delete a key.
    KeyDelete = "key-delete" needs vault Delete, is Withdrawal;
    /// Bring a deleted key back.
    KeyRecover = "key-recover" needs vault Recover;
    /// Destroy a deleted key.
    KeyPurge = "key-purge" needs vault Purge, is Administration;
    /// Rotate a key.
    KeyRotate = "key-rotate" needs vault Rotate;
    /// Say when a key is rotated by itself.
    KeyRotationPolicy = "key-rotation-policy-set" needs vault SetRotationPolicy;
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
    /// Make a vault.
    VaultCreate = "vault-create" needs daemon ManageKeys;
    /// List vaults.
    VaultList = "vault-list" needs daemon Read;
    /// Show a vault.
    VaultShow = "vault-show" needs daemon Read;
    /// Protect a vault's deleted keys.
    VaultProtect = "vault-protect" needs daemon ManageKeys;
    /// Say who may do what in a vault.
    VaultPolicy = "vault-policy" needs daemon Administer;
    /// Forget an empty vault.
    VaultDelete = "vault-delete" needs daemon ManageKeys, is Administration;
    /// List grants.
    GrantList = "grant-list" needs daemon Administer;
    /// Grant.
    GrantSet = "grant-set" needs daemon Administer;
    /// Make an application.
    AppCreate = "principal-create" needs daemon Administer;
    /// List applications.
    AppList = "principal-list" needs daemon Administer;
    /// Show an application.
    AppShow = "principal-show" needs daemon Administer;
    /// Forget an application and what it has.
    AppRemove = "principal-remove" needs daemon Administer;
    /// Say which client certificates are an application's.
    AppCertificates = "principal-certificates" needs daemon Administer;
    /// Let an application fetch tokens, or not.
    AppIdentity = "principal-identity" needs daemon Administer;
    /// Make a token.
    TokenCreate = "token-create" needs daemon Administer;
    /// List an application's tokens.
    TokenList = "token-list" needs daemon Administer;
    /// Let a token be good no more.
    TokenRevoke = "token-revoke" needs daemon Administer;
    /// Fetch a token at the identity endpoint.
    IdentityToken = "identity-token" needs identity Itself;
    /// Make a set.
    DesCreate = "des-create" needs daemon ManageKeys;
    /// List sets.
    DesList = "des-list" needs daemon Read;
    /// Show a set.
    DesShow = "des-show" needs daemon Read;
    /// Change a set's terms.
    DesUpdate = "des-update" needs daemon ManageKeys;
    /// Put a set on another key.
    DesSetKey = "des-set-key" needs daemon ManageKeys;
    /// Forget an empty set.
    DesDelete = "des-delete" needs daemon ManageKeys, is Administration;
    /// List a set's disks.
    DesResources = "des-resources" needs daemon Read;
    /// Make a disk's DEK and record.
    DiskCreate = "disk-create" needs set CreateDisk;
    /// Make a snapshot's or image's record.
    DiskDerive = "disk-derive" needs source CreateDisk;
    /// Confirm a disk's image.
    DiskConfirm = "disk-confirm" needs own CreateDisk;
    /// Forget an unconfirmed disk.
    DiskAbandon = "disk-abandon" needs own CreateDisk, is Administration;
    /// Make a disk longer.
    DiskGrow = "disk-grow" needs own CreateDisk;
    /// Move a disk to another set.
    DiskMove = "disk-move" needs daemon ManageKeys;
    /// Destroy a disk's DEK.
    DiskErase = "disk-erase" needs daemon Administer, is Administration;
    /// List disks.
    DiskList = "disk-list" needs daemon Read;
    /// Show a disk.
    DiskShow = "disk-show" needs daemon Read;
    /// Give out a DEK for good.
    DiskReleaseKey = "disk-release-key" needs daemon ReleaseKey;
    /// Check every record.
    StateCheck = "state-check" needs daemon Read;
    /// Open every DEK, too.
    StateCheckDeep = "state-check-deep" needs daemon Administer;
    /// Go on without what is damaged.
    StateAccept = "state-accept-damage" needs daemon Administer, is Administration;
    /// Write the whole state into a sealed file.
    StateBackup = "state-backup" needs daemon Administer;
    /// Read the audit log.
    AuditTail = "audit-tail" needs daemon Audit;
    /// Check the audit log.
    AuditVerify = "audit-verify" needs daemon Audit;
    /// Move old rows of the audit log elsewhere.
    AuditArchive = "audit-archive" needs daemon Administer, is Administration;
    /// Accept a break of the audit log.
    AuditReanchor = "audit-reanchor" needs daemon Administer, is Administration;
    /// Take a DEK under a lease.
    Attach = "attach" needs disk Attach;
    /// Take it again after the key came back.
    Reclaim = "reclaim" needs disk Attach;
    /// Report that it is gone.
    Fence = "lease-fenced" needs lease Holder;
}
