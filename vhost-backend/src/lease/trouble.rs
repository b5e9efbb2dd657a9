//! Why the disk is not to be had, for people: who has to be looked for is not always the daemon.

use std::{io::ErrorKind, time::Duration};

use images::OpenError;
use keyd_client::{ClientError, message::RefusalCode, wire::WireError};

use super::LeaseError;
use crate::limits::{RECONNECT_TIME, REFUSED_PAUSE_MAX};

impl LeaseError {
    /// Whether another process has the disk.
    #[must_use]
    pub fn is_in_use(&self) -> bool {
        match self {
            Self::Daemon(ClientError::Refused(refusal)) => refusal.code == RefusalCode::InUse,
            Self::Image(OpenError::InUse { .. } | OpenError::HeaderBusy(_)) => true,
            _ => false,
        }
    }
}

impl LeaseError {
    /// Whether a start waits for what is missing: the daemon is away, or cannot hand out keys for now. Anything else is
    /// there and says no.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Daemon(ClientError::Unreachable { source, .. }) => matches!(
                source.kind(),
                ErrorKind::NotFound
                    | ErrorKind::ConnectionRefused
                    | ErrorKind::TimedOut
                    | ErrorKind::WouldBlock
            ),
            Self::Daemon(ClientError::Refused(refusal)) => {
                matches!(refusal.code, RefusalCode::Unavailable | RefusalCode::Internal)
            }
            Self::Daemon(ClientError::Wire(error)) | Self::Wire(error) => {
                matches!(error, WireError::Closed | WireError::Io(_))
            }
            Self::ImageHangs | Self::Poll(_) => true,
            _ => false,
        }
    }

    /// The longest pause before it is tried again.
    #[must_use]
    pub(super) fn longest_pause(&self) -> Duration {
        match self.may_pass() || self.is_in_use() {
            true => RECONNECT_TIME.1,
            false => REFUSED_PAUSE_MAX,
        }
    }
}

/// Something was said to be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Trouble {
    /// In a few words.
    pub(super) what: &'static str,
    /// Whether the daemon was, at any time since all was well.
    keyd: bool,
}

impl Trouble {
    pub(super) fn of(error: &LeaseError) -> Self {
        let keyd = matches!(
            error,
            LeaseError::Daemon(ClientError::Unreachable { .. } | ClientError::Wire(_))
                | LeaseError::Wire(_)
        );
        let what = match error {
            _ if keyd => "keyd is out of reach",
            LeaseError::Daemon(ClientError::NotForUs { .. }) => "keyd is not for this user",
            _ if error.is_in_use() => "the disk is not free",
            LeaseError::Daemon(ClientError::Refused(_)) => "keyd refuses the disk",
            LeaseError::Image(_) => "the image cannot be locked",
            _ => "the disk cannot be served",
        };
        Self { what, keyd }
    }

    /// This, after another that has not ended.
    pub(super) fn after(self, before: Option<Self>) -> Self {
        Self { keyd: self.keyd || before.is_some_and(|before| before.keyd), ..self }
    }

    /// That it has ended.
    pub(super) fn end(self) -> &'static str {
        if self.keyd { "keyd is back" } else { "the disk is here now" }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use keyd_client::{DiskId, message::Refusal};

    use super::*;

    fn refused(code: RefusalCode) -> LeaseError {
        ClientError::Refused(Refusal { code, message: Default::default() }).into()
    }

    #[test]
    fn only_a_daemon_that_is_not_heard_is_out_of_reach() {
        let path = || "d".into();
        let lost = || io::Error::from(io::ErrorKind::ConnectionReset);
        let id = DiskId::random();
        for (error, what) in [
            (
                ClientError::Unreachable { path: path(), option: "--keyd", source: lost() }.into(),
                "out of reach",
            ),
            (WireError::Io(lost()).into(), "out of reach"),
            (ClientError::Wire(WireError::Io(lost())).into(), "out of reach"),
            (refused(RefusalCode::InUse), "not free"),
            (OpenError::InUse { path: path(), pid: None }.into(), "not free"),
            (refused(RefusalCode::Conflict), "refuses"),
            (OpenError::Lock { path: path(), source: lost() }.into(), "locked"),
            (LeaseError::RecordChanged(id), "cannot be served"),
            (LeaseError::WrongKey(id), "cannot be served"),
            (LeaseError::ImageHangs, "cannot be served"),
        ] {
            let trouble = Trouble::of(&error);
            assert!(trouble.what.contains(what), "{error}: {}", trouble.what);
            assert_eq!(trouble.end().contains("keyd"), what == "out of reach", "{error}");
        }
    }

    #[test]
    fn a_start_waits_for_a_daemon_and_not_for_one_that_says_no() {
        let unreachable = |kind: ErrorKind| -> LeaseError {
            let source = kind.into();
            ClientError::Unreachable { path: "d".into(), option: "--keyd", source }.into()
        };
        for (error, waits) in [
            (unreachable(ErrorKind::NotFound), true),
            (unreachable(ErrorKind::ConnectionRefused), true),
            (unreachable(ErrorKind::WouldBlock), true),
            (unreachable(ErrorKind::InvalidInput), false),
            (ClientError::Wire(WireError::Closed).into(), true),
            (WireError::Io(ErrorKind::TimedOut.into()).into(), true),
            (ClientError::Wire(WireError::Version(9)).into(), false),
            (refused(RefusalCode::Unavailable), true),
            (refused(RefusalCode::Internal), true),
            (refused(RefusalCode::KeyDisabled), false),
            (refused(RefusalCode::Forbidden), false),
            (refused(RefusalCode::NotFound), false),
            (refused(RefusalCode::InUse), false),
            (LeaseError::WrongKey(DiskId::random()), false),
        ] {
            assert_eq!(error.may_pass(), waits, "{error}");
        }
    }

    #[test]
    fn a_daemon_that_was_away_is_back_whatever_came_after_it() {
        let lost = Trouble::of(&LeaseError::Wire(WireError::Io(io::ErrorKind::Other.into())));
        let in_use = Trouble::of(&refused(RefusalCode::InUse));
        assert_eq!(in_use.after(Some(lost)).end(), "keyd is back");
        assert_eq!(in_use.after(Some(in_use)).end(), "the disk is here now");
    }
}
