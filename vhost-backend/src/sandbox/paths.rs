//! Landlock: the file system, TCP, signals and abstract sockets are given up. What is open stays open: the image,
//! its locks, the sockets.
//!
//! One thing is left: names in the directory of our own socket can be removed, as that socket is at the end. The key
//! daemon's socket needs no rule: to connect to a path is not Landlock's matter before Linux 7.1 (ABI 9), and a rule
//! for it would stand on a directory that may be made anew while we wait for the daemon's return.

use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, LandlockStatus, PathBeneath, PathFd,
    RestrictionStatus, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus,
    Scope,
};

/// What is asked for: Linux 6.12. Later ones know of nothing more that could be given up.
pub const ASKED: ABI = ABI::V6;

/// How much has been given up.
#[derive(Debug, PartialEq, Eq)]
pub enum Restricted {
    /// All, by a kernel of this version of Landlock.
    All(i32),
    /// What this version has.
    Partly(i32),
    /// Nothing, and why.
    Not(&'static str),
}

/// Gives up everything that Landlock knows, for this thread and those it makes, but to remove names in `directory`. A
/// user who may not even look into that could not remove them anyway.
///
/// # Errors
/// [`RulesetError`]: the kernel has Landlock, and refused.
pub fn restrict(directory: Option<&Path>) -> Result<Restricted, RulesetError> {
    let rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(ASKED))?
        .handle_access(AccessNet::from_all(ASKED))?
        .scope(Scope::from_all(ASKED))?
        .create()?;
    let rules = match directory.map(PathFd::new) {
        Some(Ok(directory)) => rules.add_rule(PathBeneath::new(directory, AccessFs::RemoveFile))?,
        Some(Err(_)) | None => rules,
    };
    Ok(judge(&rules.restrict_self()?))
}

fn judge(status: &RestrictionStatus) -> Restricted {
    let abi = match status.landlock {
        LandlockStatus::NotEnabled => {
            return Restricted::Not("not enabled: boot with lsm=landlock,…");
        }
        LandlockStatus::NotImplemented => {
            return Restricted::Not("not in this kernel or container");
        }
        LandlockStatus::Available { effective_abi, kernel_abi } => {
            kernel_abi.unwrap_or(effective_abi as i32)
        }
    };
    match status.ruleset {
        RulesetStatus::FullyEnforced => Restricted::All(abi),
        RulesetStatus::PartiallyEnforced => Restricted::Partly(abi),
        RulesetStatus::NotEnforced => Restricted::Not("refused"),
    }
}
