//! What a row says before it has a number and a time. What others said in it is printable and short from here on: a
//! row is one line in every viewer, and nobody makes rows that are long.

use std::fmt;

use keyd_client::Printable;

use crate::limits::{AUDIT_DETAIL_MAX, AUDIT_OUTCOME_MAX, AUDIT_SUBJECT_MAX, AUDIT_WHO_MAX};

/// A decision or a use, to be recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// When it may be recorded at all.
    pub class: Class,
    /// Who: a principal, or `keyd` itself.
    pub who: Printable,
    /// What: a verb such as `key-disable`.
    pub operation: &'static str,
    /// On what: a name or an id.
    pub subject: Printable,
    /// `ok`, or the reason of the refusal.
    pub outcome: Printable,
    /// More. Never a secret.
    pub detail: Printable,
}

/// What an operation needs of the disk and of the log before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Class {
    /// Uses a key or lets it be used, or costs the daemon something: not while the disk is full, and not beside a
    /// broken audit log. The strictest, so what is not classed is this.
    #[default]
    Use,
    /// Frees space, or says what the daemon did: it may spend reserved space.
    Administration,
    /// Takes a key away, or tells of one that was: it may spend reserved space, and is possible beside a broken log.
    Withdrawal,
}

impl Entry {
    /// Something that was done, of the strictest class.
    #[must_use]
    pub fn new(
        who: impl fmt::Display,
        operation: &'static str,
        subject: impl fmt::Display,
    ) -> Self {
        Self {
            class: Class::Use,
            who: Printable::cut(who, AUDIT_WHO_MAX),
            operation,
            subject: Printable::cut(subject, AUDIT_SUBJECT_MAX),
            outcome: "ok".into(),
            detail: Printable::default(),
        }
    }

    /// Something the daemon did of its own accord.
    #[must_use]
    pub fn by_daemon(operation: &'static str, subject: impl fmt::Display) -> Self {
        Self::new("keyd", operation, subject)
    }

    /// The same of another class.
    #[must_use]
    pub fn class(mut self, class: Class) -> Self {
        self.class = class;
        self
    }

    /// The same with another outcome.
    #[must_use]
    pub fn outcome(mut self, outcome: impl fmt::Display) -> Self {
        self.outcome = Printable::cut(outcome, AUDIT_OUTCOME_MAX);
        self
    }

    /// The same with a detail.
    #[must_use]
    pub fn detail(mut self, detail: impl fmt::Display) -> Self {
        self.detail = Printable::cut(detail, AUDIT_DETAIL_MAX);
        self
    }
}
