//! What is answered when something was not done: a status, and `{"error":{"code","message","innererror":{"code"}}}`.
//!
//! The SDKs decide by the status whether to try again, programs by the codes what to do: both are Key Vault's own.
//! Messages are too where they are known; each says what to do next.

use std::time::Duration;

use keyd_client::Printable;
use serde_json::{Value, json};

/// What kind of problem it is: the status and both codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The request is not one of the API.
    BadParameter,
    /// It has a body longer than any that could be meant.
    TooLong,
    /// The caller is not known.
    Unauthorized,
    /// Not with this key or in this vault.
    Forbidden,
    /// The vault's access policy does not give the permission.
    ForbiddenByPolicy,
    /// The key's version is disabled.
    KeyDisabled,
    /// The version's `nbf` is to come.
    KeyNotYetValid,
    /// The version's `exp` is past.
    KeyExpired,
    /// No such key or version.
    KeyNotFound,
    /// No such vault.
    VaultNotFound,
    /// The state of things does not allow it.
    Conflict,
    /// The name is that of a deleted key that can be recovered.
    DeletedButRecoverable,
    /// Too much is asked at once.
    Throttled,
    /// A fault of the daemon's own.
    Internal,
    /// For now: the use of a key cannot be written down.
    Unavailable,
}

impl Kind {
    /// The HTTP status.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::BadParameter => 400,
            Self::Unauthorized => 401,
            Self::Forbidden
            | Self::ForbiddenByPolicy
            | Self::KeyDisabled
            | Self::KeyNotYetValid
            | Self::KeyExpired => 403,
            Self::KeyNotFound | Self::VaultNotFound => 404,
            Self::Conflict | Self::DeletedButRecoverable => 409,
            Self::TooLong => 413,
            Self::Throttled => 429,
            Self::Internal => 500,
            Self::Unavailable => 503,
        }
    }

    /// The code.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::BadParameter | Self::TooLong => "BadParameter",
            Self::Unauthorized => "Unauthorized",
            Self::Forbidden
            | Self::ForbiddenByPolicy
            | Self::KeyDisabled
            | Self::KeyNotYetValid
            | Self::KeyExpired => "Forbidden",
            Self::KeyNotFound => "KeyNotFound",
            Self::VaultNotFound => "VaultNotFound",
            Self::Conflict | Self::DeletedButRecoverable => "Conflict",
            Self::Throttled => "Throttled",
            Self::Internal => "InternalServerError",
            Self::Unavailable => "ServiceUnavailable",
        }
    }

    /// The inner code, where there is one.
    #[must_use]
    pub fn inner(self) -> Option<&'static str> {
        match self {
            Self::ForbiddenByPolicy => Some("ForbiddenByPolicy"),
            Self::KeyDisabled => Some("KeyDisabled"),
            Self::KeyNotYetValid => Some("KeyNotYetValid"),
            Self::KeyExpired => Some("KeyExpired"),
            Self::DeletedButRecoverable => Some("ObjectIsDeletedButRecoverable"),
            _ => None,
        }
    }

    /// When to come again. The SDKs try any status again that says so: only what may be otherwise by then does.
    #[must_use]
    pub fn retry_after(self) -> Option<Duration> {
        matches!(self, Self::Throttled | Self::Unavailable).then_some(Duration::from_secs(1))
    }
}

/// A problem and its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What kind.
    pub kind: Kind,
    /// One line for people. Never a secret.
    pub message: String,
}

impl Problem {
    /// A problem. What its text quotes of a request is made printable.
    #[must_use]
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: Printable::from(message.into()).to_string() }
    }

    /// 400: most of what a parser finds.
    #[must_use]
    pub fn bad(message: impl Into<String>) -> Self {
        Self::new(Kind::BadParameter, message)
    }

    /// 500: of a fault nobody is told more than that there was one.
    #[must_use]
    pub fn internal() -> Self {
        Self::new(
            Kind::Internal,
            "keyd could not do this because of a fault of its own: its log says which",
        )
    }

    /// The body of the answer.
    #[must_use]
    pub fn json(&self) -> Value {
        let mut error = json!({ "code": self.kind.code(), "message": self.message });
        if let Some(inner) = self.kind.inner() {
            error["innererror"] = json!({ "code": inner });
        }
        json!({ "error": error })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_is_as_the_service_writes_it() {
        let text = "Operation unwrapKey is not allowed on a disabled key.";
        let problem = Problem::new(Kind::KeyDisabled, text);
        assert_eq!(problem.kind.status(), 403);
        assert_eq!(
            problem.json(),
            json!({ "error": {
                "code": "Forbidden",
                "message": text,
                "innererror": { "code": "KeyDisabled" },
            }})
        );
        let bare = Problem::bad("x").json();
        assert_eq!(bare, json!({ "error": { "code": "BadParameter", "message": "x" } }));
    }

    #[test]
    fn a_refusal_for_good_does_not_ask_to_come_again() {
        for kind in [Kind::Forbidden, Kind::KeyDisabled, Kind::BadParameter, Kind::Unauthorized] {
            assert_eq!(kind.retry_after(), None);
        }
        assert!(Kind::Unavailable.retry_after().is_some());
    }
}
