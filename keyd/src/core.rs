//! What operations work on, together.

pub mod refusals;

use std::{
    collections::HashSet,
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use keyd_client::{DesName, KeyId, KeyVersion, message::UnixMillis};

use crate::{
    audit::Entry,
    auth::{Auth, Op, Permit},
    backups::Keeping,
    error::{Failure, Fault},
    kek::{KeyBits, Provider},
    keyring::Keyring,
    leases::Leases,
    lock::lock,
    model::version::Version,
    root::RootKind,
    store::{Store, Txn},
    tls::TlsOptions,
};
use refusals::Refusals;

/// How the daemon is reached by others than its socket.
#[derive(Debug, Clone, Default)]
pub struct Reach {
    /// URL of the identity endpoint, if there is one.
    pub identity_endpoint: Option<String>,
    /// Certificate of its own certification authority, PEM, if it has one.
    pub ca_certificate: Option<String>,
    /// Where HTTPS has its certificates from, if it is served.
    pub tls: Option<TlsOptions>,
}

/// The daemon's parts.
#[derive(Debug)]
pub struct Core {
    /// State and audit log.
    pub store: Store,
    /// Private keys.
    pub keyring: Keyring,
    /// Who may do what.
    pub auth: Auth,
    /// Holders.
    pub leases: Leases,
    /// Held while holders are compared with the state: what a holder is told follows the order of commits.
    pub enforcing: Mutex<()>,
    /// Backups that it keeps by itself.
    pub backups: Option<Keeping>,
    /// What was refused lately.
    pub refusals: Refusals,
    /// Held while an identity's token is made: of those who ask at once, all get that one.
    pub identity_tokens: Mutex<()>,
    /// How it is reached by others than its socket.
    pub reach: Reach,
    /// When it began.
    pub started: UnixMillis,
    /// Where its root key lies, if that is known.
    pub root: Option<RootKind>,
    /// Sets whose DEKs a thread is wrapping anew now.
    rewrapping: Mutex<HashSet<DesName>>,
    rewrapped: Condvar,
    stopping: AtomicBool,
    /// Somebody moved copies of the audit log away, and says so.
    pub hangup: Arc<AtomicBool>,
}

impl Core {
    /// The parts, with nobody attached.
    #[must_use]
    pub fn new(store: Store, keyring: Keyring, auth: Auth) -> Self {
        let started = store.clock().now();
        Self {
            store,
            keyring,
            auth,
            leases: Leases::default(),
            enforcing: Mutex::default(),
            backups: None,
            refusals: Refusals::default(),
            identity_tokens: Mutex::default(),
            reach: Reach::default(),
            started,
            root: None,
            rewrapping: Mutex::default(),
            rewrapped: Condvar::new(),
            stopping: AtomicBool::new(false),
            hangup: Arc::default(),
        }
    }

    /// [`Store::commit`] of what somebody was permitted, if they still are: between the permit and the transaction lies
    /// the wait for other commits, and one of them may have taken the permission away and told all holders already.
    ///
    /// # Errors
    /// As [`Auth::authorize`] and [`Store::commit`].
    pub fn commit<O: Op, T>(
        &self,
        permit: &Permit<O>,
        change: impl FnOnce(&Txn<'_>) -> Result<(T, Entry), Failure>,
    ) -> Result<T, Failure> {
        self.store.commit(|txn| {
            self.auth.still(permit, txn)?;
            change(txn)
        })
    }

    /// [`Store::record`] of the same.
    ///
    /// # Errors
    /// As [`Core::commit`].
    pub fn record<O: Op>(&self, permit: &Permit<O>, entry: Entry) -> Result<(), Failure> {
        self.commit(permit, |_| Ok(((), entry)))
    }

    /// Makes a version of a key, enabled. It takes from tenths of a second to seconds: no lock is held.
    ///
    /// # Errors
    /// [`Fault`]: no key, no random bytes, no page, no HSM.
    pub fn make_version(
        &self,
        key: &KeyId,
        bits: KeyBits,
        provider: Provider,
    ) -> Result<Version, Fault> {
        let version = KeyVersion::random();
        let made = self.keyring.make(key, version, bits, provider)?;
        Ok(Version::new(version, made, self.now()))
    }

    /// The time, for records and for what must have ended by now: see [`crate::clock::Clock::now`].
    #[must_use]
    pub fn now(&self) -> UnixMillis {
        self.store.clock().now()
    }

    /// The time that has come for sure, for what cannot be undone: see [`crate::clock::Clock::proven`].
    #[must_use]
    pub fn proven(&self) -> UnixMillis {
        self.store.clock().proven()
    }

    /// Claims the re-wrapping of a set's DEKs for this thread, after another that has it.
    pub fn claim_rewrap<'a>(&'a self, set: &DesName) -> RewrapClaim<'a> {
        let mut claimed = lock(&self.rewrapping);
        while claimed.contains(set) {
            claimed = self.rewrapped.wait(claimed).unwrap_or_else(PoisonError::into_inner);
        }
        claimed.insert(set.clone());
        RewrapClaim { core: self, set: set.clone() }
    }

    /// The same, if it can be had until then.
    pub fn claim_rewrap_until<'a>(
        &'a self,
        set: &DesName,
        until: Instant,
    ) -> Option<RewrapClaim<'a>> {
        let mut claimed = lock(&self.rewrapping);
        while claimed.contains(set) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            let waited = self.rewrapped.wait_timeout(claimed, left);
            claimed = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        claimed.insert(set.clone());
        Some(RewrapClaim { core: self, set: set.clone() })
    }

    /// Long work is to stop at its next step.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Whether it is.
    #[must_use]
    pub fn stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }
}

/// The right to wrap a set's DEKs anew, given back when dropped.
#[derive(Debug)]
pub struct RewrapClaim<'a> {
    core: &'a Core,
    set: DesName,
}

impl Drop for RewrapClaim<'_> {
    fn drop(&mut self) {
        lock(&self.core.rewrapping).remove(&self.set);
        self.core.rewrapped.notify_all();
    }
}
