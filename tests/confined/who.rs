//! The programs that have a sandbox, as who takes one of them over finds it.

use std::{path::Path, str::FromStr};

use confine::{
    Sandbox, SandboxError,
    calls::{Call, Filter},
    paths::Rule,
};
use keyd::sandbox as keyd;
use vhost_backend::{config::EngineWish, sandbox as backend};

/// Whose sandbox it is.
#[derive(Clone, Copy)]
pub enum Who {
    /// One with rings.
    Backend,
    /// One without a token.
    Keyd,
    /// One with a PKCS#11 module.
    Module,
}

impl FromStr for Who {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "backend" => Ok(Self::Backend),
            "keyd" => Ok(Self::Keyd),
            "module" => Ok(Self::Module),
            _ => Err(format!("{text} is nobody here")),
        }
    }
}

impl Who {
    /// Goes into it, but for seccomp. The sockets are in `directory`, keyd's state in `own` there.
    pub fn enter(self, directory: &Path) -> Result<Sandbox, SandboxError> {
        let socket = directory.join("own.sock");
        match self {
            Self::Backend => backend::enter(backend::Wishes {
                user: None,
                socket: Some(&socket),
                required: true,
            }),
            Self::Keyd | Self::Module => {
                let mut sandbox = Sandbox::begin(true)?;
                let state = directory.join("own");
                let wishes = keyd::Wishes { required: true, ..keyd::Wishes::default() };
                keyd::enter(&mut sandbox, &wishes, self.places(&state, &socket))?;
                Ok(sandbox)
            }
        }
    }

    /// What of paths stays in it.
    pub fn rules(self, directory: &Path) -> Vec<Rule> {
        let socket = directory.join("own.sock");
        match self {
            Self::Backend => backend::rules(Some(&socket)),
            Self::Keyd | Self::Module => {
                let state = directory.join("own");
                keyd::rules(&keyd::Wishes::default(), self.places(&state, &socket))
            }
        }
    }

    /// What of calls stays in it, or one less.
    pub fn filter(self, without: Option<&str>) -> Filter {
        match self {
            Self::Backend => backend::syscalls::filter(&less(
                backend::syscalls::allowed(EngineWish::Auto),
                without,
            )),
            Self::Keyd => {
                // The longer list, where an entry is to be missing from it.
                let allowed = keyd::calls::allowed(without.is_some());
                keyd::filter(&less(allowed, without), false)
            }
            Self::Module => keyd::filter(&[], true),
        }
    }

    fn places<'a>(self, state: &'a Path, socket: &'a Path) -> keyd::Places<'a> {
        let module = matches!(self, Self::Module);
        keyd::Places { state, socket, copy: None, certificate: None, module }
    }
}

/// A list without one of its entries.
pub fn less(mut list: Vec<Call>, without: Option<&str>) -> Vec<Call> {
    if let Some(call) = without {
        let whole = list.len();
        list.retain(|entry| entry.name != call);
        assert_eq!(list.len() + 1, whole, "{call} is one entry of the list");
    }
    list
}
