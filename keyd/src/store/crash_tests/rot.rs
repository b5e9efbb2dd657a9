//! A store that rots: its bits, one at a time. What follows is harmless, or named, or refused. Nothing is silent,
//! nothing panics, and no value is another than it was.

use std::collections::BTreeMap;

use keyd_client::{
    DesName, DiskId, Principal, Scope, TokenId,
    message::{
        Bound, DiskKind, EncryptionType, Geometry, Holes, KeyChange, OnExpiry, OnRevoke, Terms,
        VolumeKeyDigest,
    },
    permission::Permission,
};
use redb::TableHandle;
use uuid::Uuid;

use super::*;
use crate::{
    model::{
        app::App,
        des::{Choice, Des},
        disk::{Disk as DiskRecord, Wrap},
        token::{SecretHash, Token},
        vault::Vault,
    },
    store::{
        names::named,
        tables::{ALL, INDEXES},
        testing::change,
        view::Range,
    },
};

const STORE: &str = "store.redb";

fn version() -> Version {
    let material = Material::Sealed(SealedKey(vec![5; 60]));
    let public = PublicKey { n: vec![0x91; 64], e: vec![1, 0, 1] };
    Version::new(KeyVersion::random(), (material, public), 1)
}

fn set(key: &Key, name: &str) -> Des {
    let terms = Terms {
        on_revoke: OnRevoke::Park,
        lease_ms: 5000,
        grace_ms: 0,
        on_expiry: OnExpiry::RefuseNew,
    };
    let encryption = EncryptionType::CustomerKey;
    let choice = Choice { encryption, terms, auto_rotate: true };
    let name: DesName = name.parse().unwrap();
    Des::on_key(name, (key, key.newest().version), KeyVersion::random(), choice, 1).unwrap()
}

fn disk(n: u8, key: &Key, set: &Des) -> DiskRecord {
    let blob = keyd_client::WrappedDek(vec![n; 256]);
    let digest =
        VolumeKeyDigest { iterations: 1000, salt: "salt".to_owned(), digest: "digest".to_owned() };
    DiskRecord {
        id: DiskId(Uuid::from_bytes([n; 16])),
        kind: DiskKind::Disk,
        source: (n > 1).then(|| DiskId(Uuid::from_bytes([1; 16]))),
        des: set.name.clone(),
        wraps: vec![Wrap { key: key.id.clone(), version: key.newest().version, blob }],
        geometry: Geometry {
            sector_size: 512,
            data_offset: 16 << 20,
            size: 512,
            holes: Holes::Zeros,
        },
        digest,
        generation: 1,
        confirmed: true,
        created: 1,
        maker: Principal::User(0),
        released: None,
    }
}

/// One of each thing that is stored.
pub(super) fn fill(store: &Store) {
    let keys = ["k1", "k2"].map(|name| Key::new(name.parse().unwrap(), false, version()));
    let sets = ["s1", "s2"].map(|name| set(&keys[0], name));
    let mut deleted = Key::new("k3".parse().unwrap(), false, version());
    let ends = KeyChange { expires: Some(Bound::At(9_000_000_000)), ..KeyChange::default() };
    deleted.change(None, &ends, 5).unwrap();
    deleted.delete(5, 6).unwrap();
    change(store, |txn| {
        txn.put_vault(&Vault::new("default".parse().unwrap(), 7, false, 1).unwrap())?;
        keys.iter().chain([&deleted]).try_for_each(|key| txn.put_key(key))?;
        sets.iter().try_for_each(|set| txn.put_set(set))?;
        txn.put_grant(&Principal::User(5), &Scope::All, &[Permission::Attach].into())
    });
    change(store, |txn| {
        (1..=3).try_for_each(|n| txn.add_disk(&disk(n, &keys[0], &sets[0]), &sets[0]))
    });
    let app = App::new("app".parse().unwrap(), [keyd_client::Fingerprint([3; 32])].into(), 1);
    let secret = SecretHash::of("secret");
    let token = Token {
        id: TokenId(Uuid::from_bytes([4; 16])),
        app: "app".parse().unwrap(),
        label: String::new(),
        created: 1,
        expires: 9_000_000_000_000,
    };
    store
        .commit(|txn| {
            txn.put_app(&app?)?;
            txn.add_token(&secret, &token)?;
            Ok(((), Entry::by_daemon("put", "app")))
        })
        .unwrap();
    // The newest commit changes a record: to lose it would bring an older one back.
    change(store, |txn| {
        let mut key = txn.find_key(&keys[1].id)?.unwrap();
        let off = KeyChange { enabled: Some(false), ..KeyChange::default() };
        key.change(None, &off, 7).unwrap();
        txn.put_key(&key)
    });
}

type Records = BTreeMap<(String, Vec<u8>), Vec<u8>>;

/// All rows that can be had, indexes among them.
fn records(store: &Store) -> Records {
    let view = store.snapshot().unwrap();
    let rows = ALL.into_iter().flat_map(|table| {
        let rows = view.rows(table, Range::ALL).unwrap();
        rows.into_iter().map(move |(key, value)| ((table.name().to_owned(), key), value))
    });
    rows.collect()
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// All is as it was, and nothing is said.
    Harmless,
    /// All is as it was, and it is said what was mended.
    Mended,
    /// What is gone has a name; the rest is served.
    Named,
    /// It is said that something is wrong, and no key is used.
    Distrusted,
    /// It does not start, and says what to do.
    Refused,
}

/// What a store does whose files are these.
fn outcome(files: &[(String, Vec<u8>)], expected: &Records) -> Outcome {
    let disk = Disk::new(1);
    files.iter().for_each(|(name, bytes)| disk.put(name, Some(bytes.clone())));
    let store = match open(&disk) {
        Ok(store) => store,
        Err(fault) => {
            assert!(fault.to_string().contains("'keyd restore'"), "{fault}");
            assert_eq!(
                disk.read(STORE).as_ref(),
                files.iter().find(|f| f.0 == STORE).map(|f| &f.1)
            );
            return Outcome::Refused;
        }
    };
    let (found, damage) = (records(&store), store.damage());
    if store.writable().is_err() {
        // It may have lost its newest commit, and says so.
        assert!(store.audit_status().broken.is_some() || damage.distrusted.is_some());
        return Outcome::Distrusted;
    }
    for (place, value) in &found {
        assert_eq!(Some(value), expected.get(place), "another value of {place:?}");
    }
    let gone: Vec<_> = expected.keys().filter(|place| !found.contains_key(*place)).collect();
    for (table, key) in &gone {
        let told = |name: &String| {
            *name == named(table, key) || name.ends_with(&format!("missing in '{table}'"))
        };
        // A key that has rotted itself is told as it is now; nothing else is gone then.
        let told = damage.names.iter().any(told) || damage.names.len() >= gone.len();
        assert!(told, "{} is gone, and not named: {:?}", named(table, key), damage.names);
        assert!(!INDEXES.iter().any(|index| index.name() == table), "an index is made anew");
    }
    // Whatever it is, the daemon goes on with it, and says the same after its next start.
    put(&store, 99).unwrap();
    drop(store);
    let again = open(&disk).unwrap().damage();
    assert_eq!(again.names, damage.names);
    match (damage.names.is_empty(), &damage.mended) {
        (false, _) => Outcome::Named,
        (true, Some(_)) => Outcome::Mended,
        (true, None) => Outcome::Harmless,
    }
}

fn files(disk: &Disk) -> Vec<(String, Vec<u8>)> {
    disk.names().into_iter().map(|name| (name.clone(), disk.read(&name).unwrap())).collect()
}

/// The bits that are tried: in each page that holds anything, up to where it ends.
fn bits(store: &[u8], step: usize) -> impl Iterator<Item = (usize, u8)> {
    let pages = store.chunks(4096).enumerate().flat_map(|(page, bytes)| {
        let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 2);
        (page * 4096..page * 4096 + end.min(4096)).collect::<Vec<_>>()
    });
    pages.flat_map(|at| (0..8).map(move |bit| (at, bit))).step_by(step)
}

/// Every so-manieth bit of a store that was closed, and of one whose daemon was killed.
fn every_bit(step: usize) {
    let disk = Disk::new(1);
    let store = open(&disk).unwrap();
    fill(&store);
    let expected = records(&store);
    let killed = files(&disk);
    drop(store);
    for (how, files) in [("killed", killed), ("closed", files(&disk))] {
        let mut outcomes = BTreeMap::<Outcome, u32>::new();
        let at = files.iter().position(|(name, _)| name == STORE).unwrap();
        for (byte, bit) in bits(&files[at].1, step) {
            let mut files = files.clone();
            files[at].1[byte] ^= 1 << bit;
            *outcomes.entry(outcome(&files, &expected)).or_default() += 1;
        }
        println!("{how}: {outcomes:?}");
        assert!(outcomes.contains_key(&Outcome::Named) && outcomes[&Outcome::Mended] > 0);
    }
}

#[test]
fn a_bit_that_rots_is_harmless_or_named_or_refused() {
    every_bit(401);
}

#[test]
#[ignore = "every bit: hours"]
fn any_bit_that_rots_is_harmless_or_named_or_refused() {
    every_bit(1);
}
