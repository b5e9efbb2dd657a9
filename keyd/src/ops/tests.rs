//! Operations as the socket's requests reach them, on a store in memory. What needs time to pass is written into the
//! past.

mod beginning;
mod both_keys;
mod by_clock;
mod consent;
mod follow;
mod later;
mod losses;
mod naming;
mod permits;
mod reach;
mod reactions;
mod records;
mod released;
mod restored;
mod revocation;
mod rewrapping;
mod rotation_end;
mod untold;
mod wrong_clock;

use std::{
    collections::{BTreeSet, HashMap},
    fmt::Debug,
    io::ErrorKind,
    os::unix::net::UnixStream,
    sync::{Arc, Mutex, OnceLock},
};

use serde::de::DeserializeOwned;

use keyd_client::{
    Dek, DesName, DiskId, KeyId, KeyVersion, LeaseId, Principal, Scope, VaultName,
    dek::page::PageError,
    message::{self, *},
    permission::{KeyPermission, Permission},
    wire::{self, WireError},
};

use super::first_start::platform_set;
use crate::{
    auth::{Auth, Caller},
    clock,
    core::Core,
    files::tests::twin::Disk as Twin,
    kek::{KeyBits, Provider},
    keyring::Keyring,
    leases::LeaseOver,
    limits::MILLIS_PER_DAY,
    lock::lock,
    model::{des::Des, key::Key, vault::Vault, version::Version},
    root::{RootKey, RootKind},
    service::{Answer, Service, testing::read},
    store::{Options, Store, View, testing},
};

const TERMS: Terms = Terms {
    on_revoke: OnRevoke::Park,
    lease_ms: 5000,
    grace_ms: 0,
    on_expiry: OnExpiry::RefuseNew,
};

const REPORT: FenceReport = FenceReport {
    ordered: 1,
    last_io: Some(2),
    wiped: 3,
    took_us: 4,
    held: 5,
    reaction: Reaction::Park,
};

const OWNER: u32 = 0;

/// The same in every daemon, so that key versions can be shared by all tests: making one takes tenths of a second.
fn root_key() -> RootKey {
    let fill = |bytes: &mut [u8; 32]| {
        bytes.fill(7);
        Ok::<_, PageError>(())
    };
    RootKey::fill_with(fill).unwrap()
}

/// The first version of a key of this name.
fn first_version(id: &KeyId) -> Version {
    static MADE: OnceLock<Mutex<HashMap<KeyId, Version>>> = OnceLock::new();
    let mut made = lock(MADE.get_or_init(Mutex::default));
    let version = made.entry(id.clone()).or_insert_with(|| {
        let version = KeyVersion::random();
        let keyring = Keyring::new(root_key(), None);
        let pair = keyring.make(id, version, KeyBits::Rsa2048, Provider::Software).unwrap();
        Version::new(version, pair, clock::now())
    });
    version.clone()
}

fn id(name: &str) -> KeyId {
    name.parse().unwrap()
}

fn des(name: &str) -> DesName {
    name.parse().unwrap()
}

fn identity(name: &str) -> Principal {
    Principal::Des(des(name))
}

fn all<T: Copy + Ord>(items: &[T]) -> BTreeSet<T> {
    items.iter().copied().collect()
}

fn days(count: u64) -> UnixMillis {
    count * MILLIS_PER_DAY
}

/// Key `k` of the vault `default`, its versions all on or off, whatever that hits.
fn switch(enabled: bool) -> KeyUpdate {
    update(None, KeyChange { enabled: Some(enabled), ..KeyChange::default() })
}

fn update(version: Option<KeyVersion>, change: KeyChange) -> KeyUpdate {
    update_of("k", version, change)
}

fn update_of(name: &str, version: Option<KeyVersion>, change: KeyChange) -> KeyUpdate {
    KeyUpdate { name: id(name), version, change, consent: Consent::Force, wait_ms: 0 }
}

fn policy(principal: &Principal, permissions: &[KeyPermission]) -> VaultPermit {
    policy_in(VaultName::default_vault().as_str(), principal, permissions)
}

fn policy_in(vault: &str, principal: &Principal, permissions: &[KeyPermission]) -> VaultPermit {
    VaultPermit {
        name: vault.parse().unwrap(),
        principal: principal.clone(),
        edit: Edit::Replace,
        permissions: all(permissions),
        future: false,
        consent: Consent::Force,
        wait_ms: 0,
    }
}

/// What a user may with these disks, and nothing else.
fn grant_to(uid: u32, permissions: &[Permission], scope: Scope) -> GrantEdit {
    GrantEdit {
        principal: Principal::User(uid),
        edit: Edit::Replace,
        permissions: all(permissions),
        scope: Some(scope),
        future: false,
    }
}

fn geometry() -> Geometry {
    Geometry { sector_size: 512, data_offset: 16 << 20, size: 1 << 30, holes: Holes::Zeros }
}

/// A daemon without a socket, with key `k` and set `s` on it.
struct Daemon {
    service: Service,
    twin: Twin,
}

impl Daemon {
    fn new() -> Self {
        Self::with(TERMS)
    }

    fn new_with_root(kind: RootKind) -> Self {
        let twin = Twin::new(1);
        let store = Store::open(twin.dir(), testing::seal(), &Options::default(), None).unwrap();
        let mut core = Core::new(store, Keyring::new(root_key(), None), Auth::new(OWNER, vec![]));
        core.root = Some(kind);
        Self { service: Service::new(Arc::new(core)), twin }.filled(TERMS)
    }

    fn with(terms: Terms) -> Self {
        Self::open(Twin::new(1)).filled(terms)
    }

    /// With what a first start makes, and key `k` and set `s`.
    fn filled(self, terms: Terms) -> Self {
        let daemon = self;
        let platform = Key::new(KeyId::platform(), true, first_version(&KeyId::platform()));
        let now = clock::now();
        daemon.change(|txn| {
            for vault in [VaultName::default_vault(), VaultName::platform()] {
                txn.put_vault(&Vault::new(vault, 90, false, now).unwrap())?;
            }
            txn.put_key(&platform)?;
            txn.put_set(&Des::platform(platform_set(), &platform, TERMS, now))
        });
        daemon.make_key("k");
        daemon.make_set("s", "k", EncryptionType::CustomerKey, terms);
        daemon
    }

    fn open(twin: Twin) -> Self {
        let store = Store::open(twin.dir(), testing::seal(), &Options::default(), None).unwrap();
        Self::on(store, twin)
    }

    fn on(store: Store, twin: Twin) -> Self {
        let auth = Auth::new(OWNER, vec!["50=attach:all-disks".parse().unwrap()]);
        let core = Arc::new(Core::new(store, Keyring::new(root_key(), None), auth));
        Self { service: Service::new(core), twin }
    }

    /// The daemon ends, and another takes up its state.
    fn restarted(self) -> Self {
        let Self { service, twin } = self;
        drop(service);
        Self::open(twin)
    }

    fn core(&self) -> &Core {
        self.service.core()
    }

    fn change(
        &self,
        change: impl FnOnce(&crate::store::Txn<'_>) -> Result<(), crate::error::Fault>,
    ) {
        testing::change(&self.core().store, change);
    }

    /// As the socket tells it.
    fn answer<T: DeserializeOwned>(
        &self,
        uid: u32,
        request: Request,
    ) -> Result<(T, Option<Dek>), Refusal> {
        let stream = Arc::new(UnixStream::pair().unwrap().0);
        read(self.service.answer(&Caller::local(uid, 1), request, &stream))
    }

    fn try_as<A: Ask>(&self, uid: u32, ask: A) -> Result<A::Reply, Refusal> {
        self.answer(uid, ask.into()).map(|(reply, _)| reply)
    }

    fn ask<A: Ask>(&self, ask: A) -> A::Reply {
        self.answer(OWNER, ask.into()).unwrap().0
    }

    fn refused(&self, request: impl Into<Request>) -> Refusal {
        match self.answer::<serde_json::Value>(OWNER, request.into()) {
            Err(refusal) => refusal,
            Ok((reply, _)) => panic!("{reply}"),
        }
    }

    fn make_key(&self, name: &str) {
        self.put_key(Key::new(id(name), false, first_version(&id(name))));
    }

    fn put_key(&self, key: Key) {
        self.change(|txn| txn.put_key(&key));
    }

    fn make_set(&self, name: &str, key: &str, encryption: EncryptionType, terms: Terms) {
        self.ask(DesCreate {
            name: des(name),
            key: id(key),
            version: None,
            encryption,
            terms,
            auto_rotate: true,
            permit: true,
        });
    }

    fn make_disk(&self, set: &str) -> DiskId {
        let request = DiskCreate { des: Some(des(set)), geometry: geometry() };
        let disk = self.ask(request);
        self.ask(DiskConfirm { id: disk.record.id });
        disk.record.id
    }

    /// The plaintext DEK, by break-glass.
    fn dek(&self, id: DiskId) -> Vec<u8> {
        let ((), dek) = self.answer(OWNER, DiskReleaseKey { id }.into()).unwrap();
        dek.unwrap().expose().to_vec()
    }

    fn key(&self, name: &str) -> KeyStatus {
        self.ask(KeyShow { name: id(name) })
    }

    fn set(&self, name: &str) -> DesStatus {
        self.ask(DesShow { name: des(name) })
    }

    fn disk(&self, id: DiskId) -> DiskStatus {
        self.ask(DiskShow { id })
    }

    fn edit_key(&self, name: &str, edit: impl FnOnce(&mut Key)) {
        let mut key = self.core().store.snapshot().unwrap().key(&id(name)).unwrap();
        edit(&mut key);
        self.put_key(key);
    }

    fn edit_set(&self, name: &str, edit: impl FnOnce(&mut Des)) {
        let mut set = self.core().store.snapshot().unwrap().set(&des(name)).unwrap();
        edit(&mut set);
        self.change(|txn| txn.put_set(&set));
    }

    /// Audit records of an operation, oldest first.
    fn records(&self, operation: &str) -> Vec<AuditRecord> {
        let records = self.core().store.tail_audit(500).unwrap();
        records.into_iter().filter(|record| record.operation == operation).collect()
    }

    fn warnings(&self) -> String {
        self.ask(Status {}).warnings.join("\n")
    }

    fn try_attach_as(&self, uid: u32, disk: DiskId) -> Result<Holder<'_>, Refusal> {
        self.try_attach_or(IfLost::Refuse, uid, disk)
    }

    fn try_attach_or(
        &self,
        if_lost: IfLost,
        uid: u32,
        disk: DiskId,
    ) -> Result<Holder<'_>, Refusal> {
        let (ours, theirs) = UnixStream::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        let caller = Caller::local(uid, 77);
        let ask = Attach { id: disk, read_only: false, if_lost };
        match self.service.answer(&caller, ask.into(), &Arc::new(ours)) {
            Answer::Lease(lease) => {
                let (answer, dek) = wire::receive(&mut &theirs).unwrap();
                let message::Answer::Done(attached) = answer else { panic!("{answer:?}") };
                let attached: Attached = attached;
                assert_eq!(dek.is_none(), attached.withheld.is_some());
                let dek = dek.map_or_else(Vec::new, |dek| dek.expose().to_vec());
                Ok(Holder { daemon: self, caller, lease, theirs, attached, dek })
            }
            refused @ Answer::Reply(..) => match read::<()>(refused) {
                Err(refusal) => Err(refusal),
                Ok(_) => panic!("attached without a lease"),
            },
        }
    }

    fn try_attach(&self, disk: DiskId) -> Result<Holder<'_>, Refusal> {
        self.try_attach_as(OWNER, disk)
    }

    fn attach(&self, disk: DiskId) -> Holder<'_> {
        self.try_attach(disk).unwrap()
    }

    /// Whether it attaches now; it lets go at once.
    fn attachable(&self, disk: DiskId) -> Result<(), Refusal> {
        self.try_attach(disk).map(Holder::hang_up)
    }
}

/// A process that holds a disk's DEK.
struct Holder<'d> {
    daemon: &'d Daemon,
    caller: Caller,
    lease: LeaseId,
    theirs: UnixStream,
    attached: Attached,
    dek: Vec<u8>,
}

impl Holder<'_> {
    /// The next event, if one was sent.
    fn heard(&mut self) -> Option<(Event, Option<Dek>)> {
        match wire::receive(&mut self.theirs) {
            Ok(event) => Some(event),
            Err(WireError::Io(error)) if error.kind() == ErrorKind::WouldBlock => None,
            Err(error) => panic!("{error}"),
        }
    }

    fn expect(&mut self, event: &Event) -> Option<Dek> {
        let (heard, dek) = self.heard().expect("an event");
        assert_eq!(heard, *event);
        dek
    }

    fn expect_revoked(&mut self) -> (String, Reaction) {
        match self.heard() {
            Some((Event::Revoked { reason, on_revoke }, _)) => (reason.to_string(), on_revoke),
            other => panic!("{other:?}"),
        }
    }

    fn expect_nothing(&mut self) {
        assert_eq!(self.heard().map(|(event, _)| event), None);
    }

    fn say(&self, message: &HolderMessage) {
        self.daemon.service.holder_says(&self.caller, self.lease, message).unwrap();
    }

    fn fence(&self) {
        self.say(&HolderMessage::Fenced(REPORT));
    }

    /// Its lease is prolonged, as that of one which holds its DEK is.
    fn expect_renewal(&mut self, lease_ms: u64) {
        self.say(&HolderMessage::Renew);
        self.expect(&Event::Renewed { lease_ms });
    }

    fn expect_still_revoked(&mut self) -> String {
        self.say(&HolderMessage::Reclaim);
        match self.heard() {
            Some((Event::StillRevoked(refusal), None)) => refusal.message.to_string(),
            other => panic!("{other:?}"),
        }
    }

    /// It hears that its key is back, and gets the same DEK again.
    fn expect_back(&mut self) {
        self.expect(&Event::Granted);
        self.say(&HolderMessage::Reclaim);
        let again = self.expect(&Event::Reclaimed).expect("a DEK");
        assert_eq!(again.expose().as_slice(), self.dek);
    }

    fn hang_up(self) {
        self.daemon.service.lease_over(self.lease, LeaseOver::HungUp);
    }
}

/// What was done, where that was more than a dry run.
fn done<T: Debug>(weighed: Weighed<T>) -> T {
    match weighed {
        Weighed::Done(done) => done,
        Weighed::Would(impact) => panic!("{impact:?}"),
    }
}

/// What a dry run told.
fn would<T: Debug>(weighed: Weighed<T>) -> Impact {
    match weighed {
        Weighed::Would(impact) => impact,
        Weighed::Done(done) => panic!("{done:?}"),
    }
}

fn revocation<T: Debug>(weighed: Weighed<Changed<T>>) -> Revocation {
    done(weighed).revocation
}

fn rotate(name: &str) -> KeyRotate {
    KeyRotate { name: id(name) }
}

fn set_key(name: &str, key: &str) -> DesSetKey {
    let (name, key, consent) = (des(name), id(key), Consent::IfUnused);
    DesSetKey { name, key, version: None, permit: true, consent }
}

fn move_to(id: DiskId, set: &str) -> DiskMove {
    DiskMove { id, des: des(set), consent: Consent::IfUnused }
}
