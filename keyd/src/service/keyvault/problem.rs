//! What Key Vault says where an operation here refuses: its statuses, codes and texts, so that clients do what they do
//! with Azure.

use keyd_client::{KeyId, message::RefusalCode};

use crate::{
    error::{Failure, Fault, Refused},
    keyvault::{Kind, Problem, Request},
};

/// What a problem's text and kind depend on beside the refusal.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    /// The operation, as Key Vault's messages call it.
    name: &'static str,
    /// Whether it makes a key: then a deleted one is in its way. To all others there is none.
    makes: bool,
    /// Whether it is about deleted keys.
    deleted: bool,
}

impl Row {
    pub(super) fn of(request: &Request) -> Self {
        let name = match request {
            Request::Create { .. } => "create",
            Request::Import { .. } => "import",
            Request::Rotate { .. } => "rotate",
            Request::Get { .. } | Request::GetDeleted { .. } => "get",
            Request::Update { .. } => "update",
            Request::List { .. } | Request::Versions { .. } | Request::ListDeleted { .. } => "list",
            Request::Delete { .. } => "delete",
            Request::Recover { .. } => "recover",
            Request::Purge { .. } => "purge",
            Request::Backup { .. } => "backup",
            Request::Restore { .. } => "restore",
            Request::Use { usage, .. } => usage.operation().name(),
            Request::Sign { .. } => "sign",
            Request::Verify { .. } => "verify",
            Request::Random { .. } => "rng",
            Request::GetRotationPolicy { .. } => "getrotationpolicy",
            Request::SetRotationPolicy { .. } => "setrotationpolicy",
        };
        Self {
            name,
            makes: matches!(name, "create" | "import" | "restore"),
            deleted: matches!(
                request,
                Request::GetDeleted { .. } | Request::Recover { .. } | Request::Purge { .. }
            ),
        }
    }
}

/// The problem that a failure is. The log has what a fault was.
pub(super) fn of(failure: &Failure, row: Row) -> Problem {
    match failure {
        Failure::Refused(refused) => refusal(refused, row),
        // Fail closed: nothing can be written down until somebody has looked.
        Failure::Fault(Fault::Poisoned) => unavailable(),
        Failure::Fault(_) => Problem::internal(),
    }
}

fn refusal(refused: &Refused, row: Row) -> Problem {
    let Row { name, .. } = row;
    let told = |kind| Problem::new(kind, refused.to_string());
    match refused {
        Refused::ForbiddenIn { who, vault, permission } => Problem::new(
            Kind::ForbiddenByPolicy,
            format!(
                "The user, group or application '{who}' does not have keys {permission} permission on key vault '{vault}'. 'keyd vault permit {vault} {who} {permission} --add' gives it."
            ),
        ),
        Refused::Forbidden { .. } => told(Kind::ForbiddenByPolicy),
        Refused::NoVault(_) => told(Kind::VaultNotFound),
        Refused::NoKey(id) | Refused::NotDeleted(id) if row.deleted => {
            Problem::new(Kind::KeyNotFound, format!("Deleted Key not found: {}", id.name))
        }
        Refused::NoKey(id) => not_found(&id.name),
        Refused::NoVersion(id, version) => not_found(&format_args!("{}/{version}", id.name)),
        Refused::KeyDeleted(id) if row.makes => deleted(id),
        Refused::KeyDeleted(id) => not_found(&id.name),
        Refused::KeyDisabled(_) => Problem::new(
            Kind::KeyDisabled,
            format!("Operation {name} is not allowed on a disabled key."),
        ),
        Refused::Operation(..) => Problem::new(
            Kind::Forbidden,
            format!("Operation {name} is not permitted on this key: it is not among its key_ops."),
        ),
        Refused::NotYetValid(_) => Problem::new(
            Kind::KeyNotYetValid,
            format!("Operation {name} is not allowed on a key before its nbf."),
        ),
        Refused::Expired(_) | Refused::Ended(_) => Problem::new(
            Kind::KeyExpired,
            format!("Operation {name} is not allowed on a key at or after its exp."),
        ),
        Refused::PurgeProtection(vault) => Problem::new(
            Kind::Forbidden,
            format!(
                "Operation \"purge\" is not allowed because purge protection is enabled for this vault. Key Vault service will automatically purge it after the retention period has passed. Vault: {vault}"
            ),
        ),
        _ if refused.code() == RefusalCode::Unavailable => unavailable(),
        _ => told(by_code(refused.code())),
    }
}

fn by_code(code: RefusalCode) -> Kind {
    match code {
        RefusalCode::BadRequest => Kind::BadParameter,
        RefusalCode::Forbidden | RefusalCode::KeyDisabled => Kind::Forbidden,
        RefusalCode::NotFound => Kind::KeyNotFound,
        RefusalCode::Conflict | RefusalCode::NeedsConsent | RefusalCode::InUse => Kind::Conflict,
        RefusalCode::Unavailable => Kind::Unavailable,
        RefusalCode::Internal => Kind::Internal,
    }
}

fn not_found(what: &dyn std::fmt::Display) -> Problem {
    Problem::new(
        Kind::KeyNotFound,
        format!(
            "A key with (name/id) {what} was not found in this key vault. If you recently deleted this key you may be able to recover it using the correct recovery command."
        ),
    )
}

fn deleted(id: &KeyId) -> Problem {
    Problem::new(
        Kind::DeletedButRecoverable,
        format!(
            "Key {} is currently in a deleted but recoverable state, and its name cannot be reused; in this state, the key can only be recovered or purged.",
            id.name
        ),
    )
}

fn unavailable() -> Problem {
    Problem::new(
        Kind::Unavailable,
        "no key is used while that cannot be written to the audit log: 'keyd status' says why",
    )
}
