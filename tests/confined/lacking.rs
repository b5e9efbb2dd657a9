//! A kernel without a system call, or a container that has none: what asks for it is told that there is none.

use std::{
    os::unix::process::CommandExt,
    process::{Command, ExitCode},
};

use seccompiler::BpfProgram;
use seccompiler::{SeccompAction, SeccompFilter, apply_filter};

const NO_SUCH_CALL: u32 = 38;

/// Becomes a program on such a kernel.
pub fn run(call: &str, program: &str, arguments: &[&str]) -> ExitCode {
    let number = match call {
        "landlock" => libc::SYS_landlock_create_ruleset,
        "seccomp" => libc::SYS_seccomp,
        _ => panic!("{call} is not known here"),
    };
    let rules = [(number, vec![])].into();
    let arch = std::env::consts::ARCH.try_into().expect("an architecture with seccomp");
    let none = SeccompAction::Errno(NO_SUCH_CALL);
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, none, arch).expect("a filter");
    let filter: BpfProgram = filter.try_into().expect("a program");
    apply_filter(&filter).expect("this kernel has seccomp itself");
    panic!("becoming {program}: {}", Command::new(program).args(arguments).exec())
}
