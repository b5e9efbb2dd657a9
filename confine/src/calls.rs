//! seccomp: the system calls of a program that serves, by a list of what it makes, each with its reason. Any other ends
//! the process: whoever makes one has taken it over, or it has a fault, and either is better ended than answered. The
//! supervisor starts another; the kernel's log has the number of the call.
//!
//! A few are refused instead, with EPERM: libraries try them and go on without.

use std::{collections::BTreeMap, fmt};

use libc::{BPF_ABS, BPF_JGE, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, apply_filter_all_threads, sock_filter,
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
    Without {
        /// What may not be made.
        never: &'static [Call],
        /// What is not there.
        absent: &'static [Call],
    },
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Only { allowed, .. } => write!(f, "{} calls", allowed.len()),
            Self::Without { never, .. } => write!(f, "all but {} calls", never.len()),
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
            Self::Without { never, absent } => Ok(vec![
                OTHER_NUMBERS.to_vec(),
                program(absent, Allow, Errno(libc::ENOSYS as u32))?,
                program(never, Allow, KillProcess)?,
            ]),
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

/// The first number of another table of calls: that of x32 (arch/x86/entry/syscalls/syscall_64.tbl), which the kernel
/// reports as the same architecture. A list of what is forbidden would have to have each of them, too.
const X32: u32 = 0x4000_0000;

/// Ends who makes a call of another table. No architecture has so many calls of its own.
const OTHER_NUMBERS: [sock_filter; 4] = [
    // The number is the first word of what a filter sees (struct seccomp_data).
    instruction(BPF_LD | BPF_W | BPF_ABS, (0, 0), 0),
    instruction(BPF_JMP | BPF_JGE | BPF_K, (0, 1), X32),
    instruction(BPF_RET | BPF_K, (0, 0), libc::SECCOMP_RET_KILL_PROCESS),
    instruction(BPF_RET | BPF_K, (0, 0), libc::SECCOMP_RET_ALLOW),
];

const fn instruction(code: u32, (jt, jf): (u8, u8), k: u32) -> sock_filter {
    sock_filter { code: code as u16, jt, jf, k }
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

#[cfg(test)]
mod tests {
    use libc::{BPF_ALU, BPF_AND, BPF_JA, BPF_JEQ, BPF_JGT, BPF_JSET};

    use super::*;

    /// What a filter sees of a call (struct seccomp_data, seccomp(2)).
    fn seen(number: u32, argument: u64) -> [u32; 16] {
        #[cfg(target_arch = "x86_64")]
        let arch = 0xc000_003e;
        #[cfg(target_arch = "aarch64")]
        let arch = 0xc000_00b7;
        let mut words = [0; 16];
        words[..2].copy_from_slice(&[number, arch]);
        words[4..6].copy_from_slice(&[argument as u32, (argument >> 32) as u32]);
        words
    }

    /// Runs a program as the kernel does, with those instructions that filters are made of.
    fn verdict(program: &[sock_filter], seen: &[u32; 16]) -> u32 {
        let (mut at, mut accumulator) = (0, 0);
        loop {
            let sock_filter { code, jt, jf, k } = program[at];
            at += 1;
            let jump = |is: bool| usize::from(if is { jt } else { jf });
            match u32::from(code) {
                c if c == BPF_LD | BPF_W | BPF_ABS => accumulator = seen[k as usize / 4],
                c if c == BPF_ALU | BPF_AND | BPF_K => accumulator &= k,
                c if c == BPF_JMP | BPF_JA => at += k as usize,
                c if c == BPF_JMP | BPF_JEQ | BPF_K => at += jump(accumulator == k),
                c if c == BPF_JMP | BPF_JGE | BPF_K => at += jump(accumulator >= k),
                c if c == BPF_JMP | BPF_JGT | BPF_K => at += jump(accumulator > k),
                c if c == BPF_JMP | BPF_JSET | BPF_K => at += jump(accumulator & k != 0),
                c if c == BPF_RET | BPF_K => return k,
                _ => panic!("instruction {code:#x}"),
            }
        }
    }

    /// The strictest verdict of all programs counts: as signed numbers, the smallest (seccomp(2)).
    fn judged(filter: &Filter, number: i64, argument: u64) -> u32 {
        let programs = filter.programs().unwrap();
        let seen = seen(number as u32, argument);
        programs.iter().map(|one| verdict(one, &seen)).min_by_key(|v| *v as i32).unwrap()
    }

    const KILLED: u32 = libc::SECCOMP_RET_KILL_PROCESS;
    const MADE: u32 = libc::SECCOMP_RET_ALLOW;
    const NOT_THERE: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;

    #[test]
    fn a_list_of_what_is_forbidden_has_no_way_around_it() {
        let user = libc::CLONE_NEWUSER as u64;
        const NEVER: &[Call] = &[
            any("execve", libc::SYS_execve),
            only("clone", libc::SYS_clone, When::With(0, libc::CLONE_NEWUSER as u64)),
        ];
        const ABSENT: &[Call] = &[any("clone3", libc::SYS_clone3)];
        let filter = Filter::Without { never: NEVER, absent: ABSENT };
        assert_eq!(judged(&filter, libc::SYS_execve, 0), KILLED);
        assert_eq!(judged(&filter, libc::SYS_clone, user), KILLED);
        assert_eq!(judged(&filter, libc::SYS_clone, libc::CLONE_THREAD as u64), MADE);
        assert_eq!(judged(&filter, libc::SYS_getpid, 0), MADE);
        // Its flags are in memory: the C library takes the other one.
        assert_eq!(judged(&filter, libc::SYS_clone3, 0), NOT_THERE);
        // x32: execve is 520 there, getpid the same with the bit.
        for other in [520, libc::SYS_execve, libc::SYS_getpid] {
            assert_eq!(judged(&filter, i64::from(X32) | other, 0), KILLED, "{other}");
        }
        assert_eq!(judged(&filter, -1, 0), KILLED);
    }
}
