//! Every operation, the name it has in the audit log, and the permission it needs.

use super::Permission;

/// An operation.
pub trait Op {
    /// Its name in the audit log.
    const NAME: &'static str;
    /// What its caller needs.
    const PERMISSION: Permission;
}

macro_rules! operations {
    ($($(#[$doc:meta])* $op:ident = $name:literal needs $permission:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $op;

        impl Op for $op {
            const NAME: &'static str = $name;
            const PERMISSION: Permission = Permission::$permission;
        }
    )*};
}

operations! {
    /// Make a key.
    KeyCreate = "key-create" needs ManageKeys;
    /// List keys.
    KeyList = "key-list" needs Read;
    /// Show a key.
    KeyShow = "key-show" needs Read;
    /// Bring a key back.
    KeyEnable = "key-enable" needs ManageKeys;
    /// Take a key away.
    KeyDisable = "key-disable" needs ManageKeys;
    /// Rotate a key.
    KeyRotate = "key-rotate" needs ManageKeys;
    /// Make a set.
    DesCreate = "des-create" needs ManageKeys;
    /// List sets.
    DesList = "des-list" needs Read;
    /// Show a set.
    DesShow = "des-show" needs Read;
    /// Make a disk's DEK and record.
    DiskCreate = "disk-create" needs CreateDisk;
    /// Confirm a disk's image.
    DiskConfirm = "disk-confirm" needs CreateDisk;
    /// Forget an unconfirmed disk.
    DiskAbandon = "disk-abandon" needs CreateDisk;
    /// List disks.
    DiskList = "disk-list" needs Read;
    /// Show a disk.
    DiskShow = "disk-show" needs Read;
    /// Give out a DEK for good.
    DiskReleaseKey = "disk-release-key" needs ReleaseKey;
    /// Read the audit log.
    AuditTail = "audit-tail" needs Audit;
    /// Check the audit log.
    AuditVerify = "audit-verify" needs Audit;
    /// Take a DEK under a lease.
    Attach = "attach" needs Attach;
    /// Take it again after the key came back.
    Reclaim = "reclaim" needs Attach;
    /// Report that it is gone.
    Fence = "lease-fenced" needs Attach;
}
