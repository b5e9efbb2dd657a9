//! Random operations of an administrator on a disk that dies at a random moment, again and again. After each crash: a
//! key that was taken away stays away, a DEK that was had can be had again, indexes agree with what they index, and the
//! audit log is whole.

use std::os::unix::net::UnixStream;

use keyd_client::{
    Dek, DesName, DiskId, KeyId, Principal, VaultName,
    dek::page::PageError,
    message::{
        Ask, Consent, DesCreate, DiskConfirm, DiskCreate, DiskErase, DiskMove, DiskReleaseKey,
        Edit, EncryptionType, Geometry, Holes, KeyChange, KeyCreate, KeyDelete, KeyRecover,
        KeyRotate, KeyUpdate, OnExpiry, OnRevoke, RefusalCode, Request, Status, Terms, VaultPermit,
    },
    permission::KeyPermission,
};

use serde::de::DeserializeOwned;

use super::*;
use crate::{
    auth::{Auth, Caller},
    core::Core,
    keyring::Keyring,
    ops::first_start,
    root::RootKey,
    service::{Service, testing::read},
    store::tables::{self, DISKS, DISKS_BY_SET, DISKS_BY_SOURCE, DISKS_BY_VERSION, KEYS_DELETED},
};

/// The same at every opening.
fn root_key() -> RootKey {
    let fill = |bytes: &mut [u8; 32]| {
        bytes.fill(7);
        Ok::<_, PageError>(())
    };
    RootKey::fill_with(fill).unwrap()
}

struct Daemon {
    service: Service,
    stream: Arc<UnixStream>,
}

impl Daemon {
    fn open(disk: &Disk) -> Self {
        let mut options = options();
        options.log.segment = 4000;
        let store = Store::open(disk.dir(), testing::seal(), &options, None).unwrap();
        let auth = Auth::new(0, Vec::new());
        let core = Arc::new(Core::new(store, Keyring::new(root_key(), None), auth));
        let stream = Arc::new(UnixStream::pair().unwrap().0);
        Self { service: Service::new(core), stream }
    }

    fn store(&self) -> &Store {
        &self.service.core().store
    }

    /// Asks; a DEK is told by its hash.
    fn ask<T: DeserializeOwned>(
        &self,
        request: impl Into<Request>,
    ) -> Result<(T, Option<String>), RefusalCode> {
        let answer = self.service.answer(&Caller::local(0, 1), request.into(), &self.stream);
        let hash = |dek: Dek| crate::audit::chain::hash(&dek.expose()[..]);
        match read(answer) {
            Ok((reply, dek)) => Ok((reply, dek.map(hash))),
            Err(refusal) => Err(refusal.code),
        }
    }

    fn must<A: Ask>(&self, ask: A) -> A::Reply {
        self.ask(ask).unwrap().0
    }

    fn release(&self, id: DiskId) -> Result<String, RefusalCode> {
        self.ask(DiskReleaseKey { id }).map(|((), hash)| hash.unwrap())
    }
}

fn key(n: u64) -> KeyId {
    format!("k{}", n % 2).parse().unwrap()
}

fn set(n: u64) -> DesName {
    format!("s{}", n % 2).parse().unwrap()
}

/// What is expected of the store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Model {
    /// Enabled, deleted.
    keys: BTreeMap<KeyId, (bool, bool)>,
    /// Whether a set's identity may use its key.
    permitted: BTreeMap<DesName, bool>,
    /// A disk's set.
    disks: BTreeMap<DiskId, DesName>,
}

impl Model {
    fn of(store: &Store) -> Self {
        let view = store.snapshot().unwrap();
        let customers = |key: &Key| !key.id.vault.is_platform();
        let keys = view.keys(None, usize::MAX).unwrap().into_iter().filter(customers);
        let vault = view.vault(&VaultName::default_vault()).unwrap();
        let may = |n| vault.permits(&Principal::Des(set(n)), KeyPermission::UnwrapKey);
        let disks = view.disks(None, usize::MAX).unwrap();
        Self {
            keys: keys.map(|k| (k.id.clone(), (k.enabled(), k.deleted().is_some()))).collect(),
            permitted: (0..2).map(|n| (set(n), may(n))).collect(),
            disks: disks.into_iter().map(|disk| (disk.id, disk.des)).collect(),
        }
    }

    fn usable(&self, id: DiskId) -> bool {
        let set = &self.disks[&id];
        let key = if *set == self::set(0) { key(0) } else { key(1) };
        self.keys[&key] == (true, false) && self.permitted[set]
    }
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }
}

fn update(name: KeyId, enabled: bool) -> KeyUpdate {
    let change = KeyChange { enabled: Some(enabled), ..KeyChange::default() };
    KeyUpdate { name, version: None, change, consent: Consent::Force, wait_ms: 0 }
}

fn permit(des: DesName, may: bool) -> VaultPermit {
    let needed = [KeyPermission::Get, KeyPermission::WrapKey, KeyPermission::UnwrapKey];
    VaultPermit {
        name: VaultName::default_vault(),
        principal: Principal::Des(des),
        permissions: needed.into_iter().filter(|_| may).collect(),
        edit: Edit::Replace,
        future: false,
        consent: Consent::Force,
        wait_ms: 0,
    }
}

fn geometry() -> Geometry {
    Geometry { sector_size: 512, data_offset: 16 << 20, size: 1 << 30, holes: Holes::Zeros }
}

/// A random operation. Rotations are rare: each costs a new key.
fn operation(random: &mut Random, model: &Model) -> Request {
    let (n, which) = (random.next(), random.next());
    let disk = || model.disks.keys().nth(n as usize % model.disks.len().max(1)).copied();
    let id = disk().unwrap_or_else(DiskId::random);
    match which % 25 {
        0..4 => update(key(n), false).into(),
        4..9 => update(key(n), true).into(),
        9..11 => KeyDelete { name: key(n), consent: Consent::Force, wait_ms: 0 }.into(),
        11..14 => KeyRecover { name: key(n) }.into(),
        14 => KeyRotate { name: key(n) }.into(),
        15..18 => DiskCreate { des: Some(set(n)), geometry: geometry() }.into(),
        18 => DiskConfirm { id }.into(),
        19 => DiskMove { id, des: set(n >> 8), consent: Consent::Force }.into(),
        20 => DiskErase { id, consent: Consent::Force }.into(),
        21..23 => permit(set(n), false).into(),
        _ => permit(set(n), true).into(),
    }
}

/// Two keys, two sets, one of them under the platform's key too, and a disk in each.
fn base() -> Disk {
    let disk = Disk::new(7);
    let daemon = Daemon::open(&disk);
    first_start::run(daemon.service.core()).unwrap();
    for n in 0..2 {
        daemon.must(KeyCreate { name: key(n), bits: 2048, hsm: false });
        let both = EncryptionType::PlatformAndCustomerKeys;
        let lease_ms = 5000;
        daemon.must(DesCreate {
            name: set(n),
            key: key(n),
            version: None,
            encryption: if n == 0 { EncryptionType::CustomerKey } else { both },
            terms: Terms {
                on_revoke: OnRevoke::Park,
                lease_ms,
                grace_ms: 0,
                on_expiry: OnExpiry::RefuseNew,
            },
            auto_rotate: true,
            permit: true,
        });
        daemon.must(DiskCreate { des: Some(set(n)), geometry: geometry() });
    }
    drop(daemon);
    disk
}

/// Every row of an index has what it indexes, and the other way round.
fn indexes_agree(store: &Store, what: &str) {
    let view = store.snapshot().unwrap();
    let all = |table| {
        let range = crate::store::view::Range { prefix: &[], after: None, limit: usize::MAX };
        let rows = view.rows(table, range).unwrap();
        rows.into_iter().map(|(key, _)| key).collect::<BTreeSet<Vec<u8>>>()
    };
    let (mut by_version, mut by_set, mut by_source) =
        (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for disk in view.disks(None, usize::MAX).unwrap() {
        let set = view.set(&disk.des).unwrap();
        by_source.extend(disk.source.map(|source| tables::by_source(source, disk.id)));
        for wrap in &disk.wraps {
            by_version.insert(tables::by_version(&wrap.under(), disk.id));
            by_set.insert(tables::by_set(set.id, &wrap.under(), disk.id));
            let key = view.key(&wrap.key).unwrap();
            assert!(key.versions().iter().any(|v| v.version == wrap.version), "{what}");
        }
    }
    assert_eq!(all(DISKS_BY_VERSION), by_version, "{what}");
    assert_eq!(all(DISKS_BY_SET), by_set, "{what}");
    assert_eq!(all(DISKS_BY_SOURCE), by_source, "{what}");
    assert_eq!(all(DISKS).len(), view.disks(None, usize::MAX).unwrap().len());
    let keys = view.keys(None, usize::MAX).unwrap();
    let deleted = keys.iter().filter(|key| key.deleted().is_some());
    assert_eq!(all(KEYS_DELETED), deleted.map(|key| tables::key(&key.id)).collect(), "{what}");
}

/// DEKs by disk, as they were had.
type Deks = BTreeMap<DiskId, String>;

/// Every DEK that may be had can be had and is what it was; no other can.
fn keys_are_right(daemon: &Daemon, model: &Model, deks: &mut Deks, what: &str) {
    for id in model.disks.keys() {
        match daemon.release(*id) {
            Ok(hash) => {
                assert!(model.usable(*id), "{what}: a DEK under a key that was taken away");
                assert_eq!(deks.entry(*id).or_insert_with(|| hash.clone()), &hash, "{what}");
            }
            Err(code) => {
                assert_eq!(code, RefusalCode::KeyDisabled, "{what}: {model:?}");
                assert!(!model.usable(*id), "{what}: a DEK is lost: {model:?}");
            }
        }
    }
}

impl Model {
    /// What an operation makes of it if it is done.
    fn after(&self, request: &Request) -> Self {
        let mut after = self.clone();
        match request {
            Request::KeyUpdate(KeyUpdate { name, change, .. }) => {
                let state = after.keys.get_mut(name).unwrap();
                state.0 = if state.1 { state.0 } else { change.enabled == Some(true) };
            }
            Request::KeyDelete(KeyDelete { name, .. }) => {
                after.keys.get_mut(name).unwrap().1 = true;
            }
            Request::KeyRecover(KeyRecover { name }) => {
                after.keys.get_mut(name).unwrap().1 = false;
            }
            Request::VaultPermit(VaultPermit { principal, permissions, .. }) => {
                for (set, may) in &mut after.permitted {
                    if *principal == Principal::Des(set.clone()) {
                        *may = !permissions.is_empty();
                    }
                }
            }
            Request::DiskErase(DiskErase { id, .. }) => drop(after.disks.remove(id)),
            Request::DiskMove(DiskMove { id, des, .. }) => {
                after.disks.entry(*id).and_modify(|set| *set = des.clone());
            }
            _ => {}
        }
        after
    }

    /// The same without a disk that a creation may have made.
    fn without_new(&self, before: &Self, request: &Request) -> Self {
        let mut old = self.clone();
        if matches!(request, Request::DiskCreate(DiskCreate { .. })) {
            let news: Vec<_> =
                old.disks.keys().filter(|id| !before.disks.contains_key(id)).copied().collect();
            assert!(news.len() <= 1);
            news.iter().for_each(|id| drop(old.disks.remove(id)));
        }
        old
    }
}

/// How far a daemon came: the state before its last operation, that operation, and whether it was answered.
struct Last {
    before: Model,
    request: Request,
    answered: bool,
}

/// Works until the disk dies.
fn work(daemon: &Daemon, disk: &Disk, random: &mut Random, deks: &mut Deks) -> Last {
    loop {
        let before = Model::of(daemon.store());
        let request = operation(random, &before);
        let answered = daemon.ask::<serde_json::Value>(request.clone()).is_ok();
        if disk.died() {
            return Last { before, request, answered };
        }
        let model = Model::of(daemon.store());
        let made = model.disks.keys().find(|id| !before.disks.contains_key(id)).copied();
        if let Some(id) = made
            && let Ok(hash) = daemon.release(id)
        {
            deks.insert(id, hash);
        }
        if disk.died() {
            return Last { before: model, request: Status {}.into(), answered: false };
        }
    }
}

#[test]
fn operations_crash_at_random_and_no_key_comes_back_and_no_dek_is_lost() {
    let base = base();
    let (mut crashes, mut half, mut kinds) = (0, 0, BTreeMap::<String, u32>::new());
    for seed in 0..40 {
        let mut random = Random(seed + 1);
        let mut disk = base.reboot();
        let mut deks = Deks::new();
        for round in 0..8 {
            let what = format!("seed {seed} round {round}");
            let daemon = Daemon::open(&disk);
            keys_are_right(&daemon, &Model::of(daemon.store()), &mut deks, &what);
            disk.arm(1 + random.next() % 150);
            let last = work(&daemon, &disk, &mut random, &mut deks);
            drop(daemon);
            disk = disk.reboot();
            crashes += 1;
            let daemon = Daemon::open(&disk);
            let what = format!("{what} {:?}", last.request);
            daemon.store().verify_audit().unwrap();
            let now = Model::of(daemon.store());
            let old = now.without_new(&last.before, &last.request);
            let (before, after) = (&last.before, last.before.after(&last.request));
            assert!(old == *before && !last.answered || old == after, "{what}: {old:?} {before:?}");
            half += u32::from(!last.answered && after != *before && old == after);
            *kinds.entry(kind(&last.request)).or_default() += 1;
            indexes_agree(daemon.store(), &what);
            keys_are_right(&daemon, &now, &mut deks, &what);
        }
    }
    println!("{crashes} crashes, {half} of them done and not answered; during {kinds:?}");
    assert!(kinds.len() >= 8, "{kinds:?}");
}

fn kind(request: &Request) -> String {
    let text = format!("{request:?}");
    text.split([' ', '{']).next().unwrap_or_default().to_owned()
}
