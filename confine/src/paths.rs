//! Landlock: the file system, TCP, signals and abstract sockets are given up but for what a rule names. What is open
//! stays open. To connect to a socket by its path is not Landlock's matter before Linux 7.1 (ABI 9).

use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, LandlockStatus,
    PathBeneath, PathFd, RestrictionStatus, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError,
    RulesetStatus, Scope,
};

/// What is asked for: Linux 6.12. Later ones know of nothing more that could be given up.
pub const ASKED: ABI = ABI::V6;

/// What stays allowed, in a directory and all below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule {
    /// To remove files.
    Remove(PathBuf),
    /// To make and to remove sockets.
    Sockets(PathBuf),
    /// To read.
    Read(PathBuf),
    /// To do anything with regular files, and to use devices.
    Files(PathBuf),
    /// To connect by TCP to anybody.
    Connect,
}

impl Rule {
    fn right(&self) -> Option<(&Path, BitFlags<AccessFs>)> {
        let read = AccessFs::ReadFile | AccessFs::ReadDir;
        let write = AccessFs::WriteFile | AccessFs::Truncate | AccessFs::IoctlDev;
        let names = AccessFs::MakeReg | AccessFs::RemoveFile;
        match self {
            Self::Remove(path) => Some((path, AccessFs::RemoveFile.into())),
            Self::Sockets(path) => Some((path, AccessFs::MakeSock | AccessFs::RemoveFile)),
            Self::Read(path) => Some((path, read)),
            Self::Files(path) => Some((path, read | write | names)),
            Self::Connect => None,
        }
    }
}

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

/// Gives up everything that Landlock knows, for this thread and those it makes, but what the rules name. A rule for a
/// directory that this user may not even look into allows nothing, as before.
///
/// # Errors
/// [`RulesetError`]: the kernel has Landlock, and refused.
pub fn restrict(rules: &[Rule]) -> Result<Restricted, RulesetError> {
    let net = match rules.contains(&Rule::Connect) {
        true => AccessNet::from_all(ASKED) & !AccessNet::ConnectTcp,
        false => AccessNet::from_all(ASKED),
    };
    let mut set = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(ASKED))?
        .handle_access(net)?
        .scope(Scope::from_all(ASKED))?
        .create()?;
    for (path, right) in rules.iter().filter_map(Rule::right) {
        if let Ok(path) = PathFd::new(path) {
            set = set.add_rule(PathBeneath::new(path, right))?;
        }
    }
    Ok(judge(&set.restrict_self()?))
}

/// The directory that a path's last name is in.
#[must_use]
pub fn directory(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => PathBuf::from("."),
        Some(parent) => parent.to_owned(),
        None => PathBuf::from("/"),
    }
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
