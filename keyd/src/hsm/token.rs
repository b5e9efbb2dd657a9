//! The token: found by its label, logged in to, and found again when it was gone.

use std::{
    fmt,
    path::PathBuf,
    sync::{
        Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use cryptoki::{
    context::{CInitializeArgs, CInitializeFlags, Pkcs11},
    error::{Error as Cryptoki, RvError},
    session::{Session, UserType},
    slot::Slot,
    types::AuthPin,
};

use super::error::{HsmError, is_lost};
use crate::{
    limits::{HSM_PIN_LEN_MAX, HSM_SESSIONS_MAX, HSM_WAIT},
    lock::lock,
    secret_file,
};

/// Where the token is and how to log in.
#[derive(Debug, Clone)]
pub struct HsmConfig {
    /// The PKCS#11 module, a shared library that comes with the HSM.
    pub module: PathBuf,
    /// Label of the token.
    pub token: String,
    /// File with the user PIN, mode 0600.
    pub pin_file: PathBuf,
}

/// A token in use. One module and one token a process: PKCS#11 modules are global.
pub struct Hsm {
    config: HsmConfig,
    module: Pkcs11,
    sessions: Mutex<Sessions>,
    given_back: Condvar,
    pin_refused: AtomicBool,
    /// Whether the token does only the bare RSA operation where OAEP with SHA-1, SHA-256 is wanted. Found by trying.
    pub(super) bare_oaep: [AtomicBool; 2],
}

/// Sessions cannot be shared between threads, and tokens have few.
#[derive(Default)]
struct Sessions {
    idle: Vec<Session>,
    lent: usize,
    /// Counts connections: object handles and sessions of an earlier one are void.
    connection: u64,
}

impl fmt::Debug for Hsm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hsm({})", self.config.token)
    }
}

/// A session on loan; it goes back when dropped.
pub(super) struct Lent<'a> {
    hsm: &'a Hsm,
    session: Option<Session>,
    pub(super) connection: u64,
}

impl Hsm {
    /// Loads the module. The token is looked for at first use: it may come later than the daemon.
    ///
    /// # Errors
    /// [`HsmError::Module`].
    pub fn load(config: HsmConfig) -> Result<Self, HsmError> {
        let path = config.module.clone();
        let module = Pkcs11::new(&path).map_err(|source| HsmError::Module { path, source })?;
        let hsm = Self {
            config,
            module,
            sessions: Mutex::default(),
            given_back: Condvar::new(),
            pin_refused: AtomicBool::new(false),
            bare_oaep: Default::default(),
        };
        hsm.initialize()?;
        Ok(hsm)
    }

    /// Label of the token.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.config.token
    }

    /// Whether the token is there and lets keyd in.
    ///
    /// # Errors
    /// [`HsmError`].
    pub fn check(&self) -> Result<(), HsmError> {
        self.with(|lent| lent.session().get_session_info().map(drop))
    }

    /// Works on a session. If the connection turns out to be lost, once more on a new one.
    pub(super) fn with<T>(
        &self,
        work: impl Fn(&Lent<'_>) -> Result<T, Cryptoki>,
    ) -> Result<T, HsmError> {
        let lent = self.lend()?;
        let error = match work(&lent) {
            Err(error) if is_lost(&error) => error,
            done => return done.map_err(|source| self.failed(source)),
        };
        crate::log::line(format_args!("the token '{}' is asked again: {error}", self.token()));
        self.disconnect(lent.connection);
        drop(lent);
        work(&self.lend()?).map_err(|source| self.failed(source))
    }

    pub(super) fn failed(&self, source: Cryptoki) -> HsmError {
        HsmError::Token { token: self.config.token.clone(), source }
    }

    fn lend(&self) -> Result<Lent<'_>, HsmError> {
        let (mut sessions, waited) = self
            .given_back
            .wait_timeout_while(lock(&self.sessions), HSM_WAIT, |s| s.lent >= HSM_SESSIONS_MAX)
            .unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            return Err(HsmError::Busy(self.config.token.clone()));
        }
        sessions.lent += 1;
        let (session, connection) = (sessions.idle.pop(), sessions.connection);
        drop(sessions);
        // From here on dropping it counts it back, also if no session can be opened.
        let mut lent = Lent { hsm: self, session, connection };
        if lent.session.is_none() {
            lent.session = Some(self.connect()?);
        }
        Ok(lent)
    }

    /// Sessions of a lost connection are given up, once.
    fn disconnect(&self, connection: u64) {
        let mut sessions = lock(&self.sessions);
        if sessions.connection == connection {
            sessions.connection += 1;
            let void = std::mem::take(&mut sessions.idle);
            // They are closed, which may take time, while others already open new ones.
            drop(sessions);
            drop(void);
        }
    }

    fn connect(&self) -> Result<Session, HsmError> {
        if self.pin_refused.load(Ordering::Relaxed) {
            return Err(self.pin_error());
        }
        self.initialize()?;
        let slot = self.slot()?;
        let session = self.module.open_rw_session(slot).map_err(|source| self.failed(source))?;
        match session.login(UserType::User, Some(&self.pin()?)) {
            // Logging in is for all sessions of the process.
            Ok(()) | Err(Cryptoki::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(session),
            Err(Cryptoki::Pkcs11(
                RvError::PinIncorrect | RvError::PinLocked | RvError::PinLenRange,
                _,
            )) => {
                self.pin_refused.store(true, Ordering::Relaxed);
                Err(self.pin_error())
            }
            Err(source) => Err(self.failed(source)),
        }
    }

    fn initialize(&self) -> Result<(), HsmError> {
        match self.module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
            Ok(()) | Err(Cryptoki::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => Ok(()),
            Err(source) => Err(HsmError::Module { path: self.config.module.clone(), source }),
        }
    }

    fn slot(&self) -> Result<Slot, HsmError> {
        let slots =
            self.module.get_slots_with_initialized_token().map_err(|source| self.failed(source))?;
        let label = |slot: &Slot| {
            self.module.get_token_info(*slot).map(|info| info.label().to_owned()).ok()
        };
        let labels: Vec<_> = slots.iter().filter_map(|slot| Some((*slot, label(slot)?))).collect();
        let mut found = labels.iter().filter(|(_, label)| *label == self.config.token);
        match (found.next(), found.next()) {
            (Some((slot, _)), None) => Ok(*slot),
            (Some(_), Some(_)) => Err(HsmError::Ambiguous(self.config.token.clone())),
            (None, _) => {
                let present: Vec<_> = labels.iter().map(|(_, l)| format!("'{l}'")).collect();
                let present =
                    if present.is_empty() { "none".to_owned() } else { present.join(", ") };
                Err(HsmError::NoToken { label: self.config.token.clone(), present })
            }
        }
    }

    fn pin(&self) -> Result<AuthPin, HsmError> {
        let file = secret_file::read::<HSM_PIN_LEN_MAX>(&self.config.pin_file)?;
        let text = std::str::from_utf8(file.expose())
            .map_err(|_| HsmError::PinText(self.config.pin_file.clone()))?;
        // A box of just the right size: nothing is left behind by growing or shrinking, and it wipes itself.
        Ok(AuthPin::from(Box::<str>::from(text.trim_end_matches(['\r', '\n']))))
    }

    fn pin_error(&self) -> HsmError {
        let HsmConfig { token, pin_file, .. } = self.config.clone();
        HsmError::PinRefused { token, path: pin_file }
    }
}

impl Lent<'_> {
    /// # Panics
    /// Never: it is lent with a session.
    pub(super) fn session(&self) -> &Session {
        self.session.as_ref().expect("a session is lent")
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let mut sessions = lock(&self.hsm.sessions);
        sessions.lent -= 1;
        if self.connection == sessions.connection {
            sessions.idle.extend(self.session.take());
        }
        self.hsm.given_back.notify_one();
    }
}
