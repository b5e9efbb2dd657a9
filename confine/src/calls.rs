//! seccomp: the system calls of a program that serves, by a list of what it makes, each with its reason. Any other ends
//! the process: whoever makes one has taken it over, or it has a fault, and either is better ended than answered. The
//! supervisor starts another; the kernel's log has the number of the call.
//!
//! A few are refused instead, with EPERM: libraries try them and go on without.

use std::{collections::BTreeMap, fmt};

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, apply_filter_all_threads,
};
use thiserror::Error;

/// Why system calls could not be given up although the kernel has seccomp.
#[derive(Debug, Error)]
pub enum CallsError {
    /// The list is no list.
    #[error(transparent)]
    List(#[from] BackendError),
    /// The kernel refused.
    #[error(transparent)]
    Install(#[from] seccompiler::Error),
}

/// A system call on a list.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    /// Its name, with the argument that tells it from others of the same name.
    pub name: &'static str,
    number: i64,
    when: When,
}

/// What its arguments must be.
#[derive(Debug, Clone, Copy)]
pub enum When {
    /// Anything.
    Always,
    /// The argument of this index is this number.
    Is(u8, u64),
    /// It has all of these bits.
    With(u8, u64),
    /// It has none of these bits.
    Without(u8, u64),
    /// It is a null pointer.
    Null(u8),
    /// It is this process.
    Us(u8),
}

/// A call, whatever its arguments.
#[must_use]
pub const fn any(name: &'static str, number: i64) -> Call {
    Call { name, number, when: When::Always }
}

/// A call with an argument that is as told.
#[must_use]
pub const fn only(name: &'static str, number: i64, when: When) -> Call {
    Call { name, number, when }
}

/// What is let through.
#[derive(Debug, Clone)]
pub enum Filter {
    /// These and no others.
    Only {
        /// What may be made.
        allowed: Vec<Call>,
        /// What is refused, and forgiven.
        probed: &'static [Call],
        /// What is not there, as on an older kernel: a library then takes another way, which is on the list.
        absent: &'static [Call],
    },
    /// Everything but these, where code of others runs in the process, whose calls nobody here knows.
    Without(&'static [Call]),
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Only { allowed, .. } => write!(f, "{} calls", allowed.len()),
            Self::Without(calls) => write!(f, "all but {} calls", calls.len()),
        }
    }
}

/// Gives up, on every thread, what the filter does not let through. If the kernel has no seccomp, says so.
///
/// # Errors
/// [`CallsError`].
pub fn restrict(filter: &Filter) -> Result<Option<&'static str>, CallsError> {
    for program in filter.programs()? {
        match apply_filter_all_threads(&program) {
            Ok(()) => {}
            Err(seccompiler::Error::Seccomp(error) | seccompiler::Error::Prctl(error))
                if matches!(
                    error.raw_os_error(),
                    Some(libc::ENOSYS | libc::EINVAL | libc::EPERM)
                ) =>
            {
                return Ok(Some("not in this kernel or container"));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}

impl Filter {
    /// Of several filters' verdicts the strictest counts. The strict one is last: it forbids to install another.
    fn programs(&self) -> Result<Vec<BpfProgram>, CallsError> {
        use SeccompAction::{Allow, Errno, KillProcess};
        match self {
            Self::Without(calls) => Ok(vec![program(calls, Allow, KillProcess)?]),
            Self::Only { allowed, probed, absent } => {
                let or_dies = [allowed, *probed, *absent].concat();
                Ok(vec![
                    program(probed, Allow, Errno(libc::EPERM as u32))?,
                    program(absent, Allow, Errno(libc::ENOSYS as u32))?,
                    program(&or_dies, KillProcess, Allow)?,
                ])
            }
        }
    }
}

fn program(
    list: &[Call],
    others: SeccompAction,
    listed: SeccompAction,
) -> Result<BpfProgram, CallsError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for entry in list {
        // A number without rules always matches.
        let of_number = rules.entry(entry.number).or_default();
        if let Some(condition) = entry.when.condition()? {
            of_number.push(SeccompRule::new(vec![condition])?);
        }
    }
    let arch = std::env::consts::ARCH.try_into()?;
    Ok(SeccompFilter::new(rules, others, listed, arch)?.try_into()?)
}

impl When {
    fn condition(self) -> Result<Option<SeccompCondition>, BackendError> {
        let (index, len, how, value) = match self {
            Self::Always => return Ok(None),
            Self::Is(index, value) => (index, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value),
            Self::With(index, bits) => {
                (index, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(bits), bits)
            }
            Self::Without(index, bits) => {
                (index, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(bits), 0)
            }
            Self::Null(index) => (index, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, 0),
            Self::Us(index) => {
                let process = u64::from(std::process::id());
                (index, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, process)
            }
        };
        SeccompCondition::new(index, len, how, value).map(Some)
    }
}
