//! A store that rots: its bits, one at a time. What follows is harmless, or named, or refused. Nothing is silent,
//! nothing panics, and no value is another than it was.

use std::{
    any::Any,
    collections::BTreeMap,
    panic::{self, AssertUnwindSafe},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Instant,
};

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
        tombstone::Tombstone,
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
const PAGE: usize = 4096;

fn version() -> Version {
    let material = Material::Sealed(SealedKey(vec![5; 12]));
    let public = PublicKey { n: vec![0x91; 8], e: vec![1, 0, 1] };
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
    let blob = keyd_client::WrappedDek(vec![n; 24]);
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
        txn.put_tombstone(KeyVersion::random(), &Tombstone::new(keys[0].id.clone(), 4))?;
        txn.put_backed_up(3)?;
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
fn outcome(disk: &Disk, expected: &Records) -> Outcome {
    let before = disk.read(STORE);
    let store = match open(disk) {
        Ok(store) => store,
        Err(fault) => {
            assert!(fault.to_string().contains("'keyd restore'"), "{fault}");
            assert!(disk.read(STORE) == before, "what was refused was changed");
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
    let again = open(disk).unwrap().damage();
    assert_eq!(again.names, damage.names);
    match (damage.names.is_empty(), &damage.mended) {
        (false, _) => Outcome::Named,
        (true, Some(_)) => Outcome::Mended,
        (true, None) => Outcome::Harmless,
    }
}

/// A bit of the store's file: its byte, and which of that.
type Bit = (usize, u8);

/// A store's files before a bit of them rots, and what is in it.
struct Sound {
    how: &'static str,
    disk: Disk,
    expected: Records,
}

impl Sound {
    /// Every bit of the pages that anything reads: at a start, for each record, for another commit, and at the start
    /// after that. What is in the others leads nowhere. The bits of what a page holds are cases of their own; those of
    /// the padding behind it (zeros; redb's mark where it is built to be debugged) are tried in all pages at once: what
    /// is harmless in all of them is so in each.
    fn cases(&self) -> Vec<Vec<Bit>> {
        let disk = self.disk.copied();
        disk.note_reads();
        assert_eq!(outcome(&disk, &self.expected), Outcome::Harmless);
        let store = self.disk.read(STORE).unwrap();
        let live: Vec<usize> =
            disk.blocks_read(STORE).into_iter().map(|page| page as usize * PAGE).collect();
        let holds = |page: usize| {
            let (bytes, padding) = (&store[page..page + PAGE], store[page + PAGE - 1]);
            page + bytes.iter().rposition(|byte| *byte != padding).map_or(0, |last| last + 1)
        };
        let bits = |byte: usize| (0..8).map(move |bit| (byte, bit));
        let held = live.iter().flat_map(|page| (*page..holds(*page)).flat_map(bits));
        let padding = (0..PAGE).flat_map(bits).map(|(at, bit)| {
            let behind = live.iter().filter(|page| *page + at >= holds(**page));
            behind.map(|page| (page + at, bit)).collect::<Vec<Bit>>()
        });
        held.map(|bit| vec![bit]).chain(padding.filter(|bits| !bits.is_empty())).collect()
    }

    /// What becomes of it when these bits have rotted.
    fn rotten(&self, bits: &[Bit]) -> Outcome {
        let disk = self.disk.copied();
        disk.edit(STORE, |bytes| bits.iter().for_each(|(byte, bit)| bytes[*byte] ^= 1 << bit));
        outcome(&disk, &self.expected)
    }

    /// Judges bits; those that are not harmless together, one at a time.
    fn judge(&self, bits: &[Bit], judged: &mut Judged) {
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| self.rotten(bits)));
        match outcome {
            Ok(outcome) if bits.len() == 1 || outcome == Outcome::Harmless => {
                *judged.0.entry(outcome).or_default() += bits.len();
            }
            Err(why) if bits.len() == 1 => {
                judged.1.push(format!("{bits:?} of {}: {}", self.how, said(&*why)));
            }
            _ => bits.chunks(1).for_each(|bit| self.judge(bit, judged)),
        }
    }
}

/// Outcomes by their number, and what went wrong.
type Judged = (BTreeMap<Outcome, usize>, Vec<String>);

/// Judges every so-manieth case of a store that was closed, and of one whose daemon was killed, on all cores.
fn every_bit(step: usize) {
    let disk = Disk::new(1);
    let store = open(&disk).unwrap();
    fill(&store);
    let expected = records(&store);
    let killed = Sound { how: "killed", disk: disk.copied(), expected: expected.clone() };
    drop(store);
    let mut all_wrong = Vec::new();
    for sound in [killed, Sound { how: "closed", disk, expected }] {
        let cases = sound.cases();
        let all = cases.iter().map(Vec::len).sum::<usize>();
        let cases: Vec<_> = cases.into_iter().step_by(step).collect();
        let begun = Instant::now();
        let (outcomes, wrong) = judged(&sound, &cases);
        println!(
            "{}: {} of {all} bits in {} cases, {:.0?}: {outcomes:?}",
            sound.how,
            outcomes.values().sum::<usize>() + wrong.len(),
            cases.len(),
            begun.elapsed()
        );
        all_wrong.extend(wrong);
        assert!(outcomes.contains_key(&Outcome::Named) && outcomes[&Outcome::Mended] > 0);
    }
    let some = &all_wrong[..all_wrong.len().min(50)];
    assert!(all_wrong.is_empty(), "{} bits: {some:#?}", all_wrong.len());
}

fn judged(sound: &Sound, cases: &[Vec<Bit>]) -> Judged {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut judged = Judged::default();
        while let Some(bits) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            sound.judge(bits, &mut judged);
        }
        judged
    };
    let cores = thread::available_parallelism().unwrap().get();
    thread::scope(|scope| {
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        let mut all = Judged::default();
        for (outcomes, wrong) in workers.into_iter().map(|worker| worker.join().unwrap()) {
            outcomes.into_iter().for_each(|(what, n)| *all.0.entry(what).or_default() += n);
            all.1.extend(wrong);
        }
        all
    })
}

/// The words of a panic.
fn said(why: &(dyn Any + Send)) -> String {
    let text = why.downcast_ref::<String>().cloned();
    text.or_else(|| why.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}

/// A prime: no place of a byte or of a page is left out.
#[test]
fn a_bit_that_rots_is_harmless_or_named_or_refused() {
    every_bit(73);
}

#[test]
#[ignore = "every bit: minutes, in a release build (CONTRIBUTING.md)"]
fn any_bit_that_rots_is_harmless_or_named_or_refused() {
    every_bit(1);
}
