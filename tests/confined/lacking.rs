//! A kernel without a system call, or a container that forbids it: what asks for it is told so.

use std::{
    os::unix::process::CommandExt,
    process::{Command, ExitCode},
};

use seccompiler::BpfProgram;
use seccompiler::{SeccompAction, SeccompFilter, apply_filter};

const NO_SUCH_CALL: u32 = 38;
const NOT_PERMITTED: u32 = 1;

/// Becomes a program on such a kernel.
pub fn run(call: &str, program: &str, arguments: &[&str]) -> ExitCode {
    let (number, answer) = match call {
        "landlock" => (libc::SYS_landlock_create_ruleset, NO_SUCH_CALL),
        "seccomp" => (libc::SYS_seccomp, NO_SUCH_CALL),
        // As in the profiles of container runtimes.
        "io_uring" => (libc::SYS_io_uring_setup, NOT_PERMITTED),
        _ => panic!("{call} is not known here"),
    };
    let rules = [(number, vec![])].into();
    let arch = std::env::consts::ARCH.try_into().expect("an architecture with seccomp");
    let none = SeccompAction::Errno(answer);
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, none, arch).expect("a filter");
    let filter: BpfProgram = filter.try_into().expect("a program");
    apply_filter(&filter).expect("this kernel has seccomp itself");
    panic!("becoming {program}: {}", Command::new(program).args(arguments).exec())
}
