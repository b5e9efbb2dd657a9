//! Every kind of loss of a key against a running disk: it halts, its key is wiped and cannot be had, and it goes on
//! where it stood if what was lost comes back. Prints a table of the times: `--nocapture`.

use std::{
    collections::BTreeSet,
    fmt::Debug,
    time::{Duration, Instant},
};

use keyd_client::{
    ClientError, DesName, DiskId, KeyId, KeyVersion, Principal, VaultName,
    message::{
        Ask, Bound, Changed, Consent, DesDelete, DiskErase, DiskReleaseKey, Edit, EncryptionType,
        KeyChange, KeyDelete, KeyOperation, KeyPurge, KeyRecover, KeyRotate, KeyShow, KeyUpdate,
        KeyVersionStatus, OnExpiry, Purged, RefusalCode, Terms, UnixSeconds, VaultPermit,
        VaultProtect, Weighed,
    },
    permission::{KeyPermission, Permission},
};
use system_tests::{
    audit::fence_of,
    clock::millis,
    drill::{Drill, SIZE},
    world::{NOBODY, TERMS, World},
};
use vhost_backend::limits::DRAIN_TIME;

/// Long enough for any confirmation; a request that waits is answered as soon as all have come.
const WAIT_MS: u64 = 30_000;

/// None may run out on a busy machine: only a loss ends it here.
const LEASE_MS: u64 = 6000;

/// Far away, in seconds.
const YEAR: UnixSeconds = 365 * 24 * 3600;

/// What a set's identity needs in its key's vault.
const IDENTITY: [KeyPermission; 3] =
    [KeyPermission::Get, KeyPermission::WrapKey, KeyPermission::UnwrapKey];

/// A way to lose a key.
struct Loss {
    what: &'static str,
    encryption: EncryptionType,
    on_expiry: OnExpiry,
    /// The user who serves the disk, if not the administrator.
    user: Option<u32>,
    /// Whether it is lost when its version expires, and not when that is said.
    by_clock: bool,
    /// Loses it.
    take: fn(&Case<'_>),
    /// Brings it back, if that can be.
    give_back: Option<fn(&Case<'_>)>,
}

const LOSS: Loss = Loss {
    what: "",
    encryption: EncryptionType::CustomerKey,
    on_expiry: OnExpiry::RefuseNew,
    user: None,
    by_clock: false,
    take: |_| (),
    give_back: None,
};

const BOTH: EncryptionType = EncryptionType::PlatformAndCustomerKeys;

const LOSSES: [Loss; 15] = [
    Loss {
        what: "version disabled",
        take: |case| case.change(Some(case.version()), enabled(false)),
        give_back: Some(|case| case.change(None, enabled(true))),
        ..LOSS
    },
    Loss {
        what: "key disabled",
        take: |case| case.change(None, enabled(false)),
        give_back: Some(|case| case.change(None, enabled(true))),
        ..LOSS
    },
    Loss {
        what: "key deleted",
        take: |case| case.delete(),
        give_back: Some(|case| case.recover()),
        ..LOSS
    },
    Loss { what: "key deleted, purged by two users", take: |case| case.purge(), ..LOSS },
    Loss {
        what: "set's policy removed",
        take: |case| case.permit(&[]),
        give_back: Some(|case| case.permit(&IDENTITY)),
        ..LOSS
    },
    Loss {
        what: "set's permission get removed",
        take: |case| case.permit(&[KeyPermission::WrapKey, KeyPermission::UnwrapKey]),
        give_back: Some(|case| case.permit(&IDENTITY)),
        ..LOSS
    },
    Loss {
        what: "set's permission unwrapKey removed",
        take: |case| case.permit(&[KeyPermission::Get, KeyPermission::WrapKey]),
        give_back: Some(|case| case.permit(&IDENTITY)),
        ..LOSS
    },
    Loss {
        what: "key operation unwrapKey removed",
        take: |case| case.change(None, operations(&[KeyOperation::WrapKey])),
        give_back: Some(|case| case.change(None, operations(&KeyOperation::ALL))),
        ..LOSS
    },
    Loss {
        what: "expired, where that revokes",
        on_expiry: OnExpiry::Revoke,
        by_clock: true,
        take: |case| case.change(None, expiry(Bound::At(seconds() + 2))),
        give_back: Some(|case| case.change(None, expiry(Bound::Never))),
        ..LOSS
    },
    Loss {
        what: "not yet valid, where that revokes",
        on_expiry: OnExpiry::Revoke,
        take: |case| case.change(None, not_before(Bound::At(seconds() + YEAR))),
        give_back: Some(|case| case.change(None, not_before(Bound::Never))),
        ..LOSS
    },
    Loss {
        what: "both keys: the customer's disabled",
        encryption: BOTH,
        take: |case| case.change(None, enabled(false)),
        give_back: Some(|case| case.change(None, enabled(true))),
        ..LOSS
    },
    Loss {
        what: "both keys: the platform's disabled",
        encryption: BOTH,
        take: |case| case.change_of(KeyId::platform(), None, enabled(false)),
        give_back: Some(|case| case.change_of(KeyId::platform(), None, enabled(true))),
        ..LOSS
    },
    Loss {
        what: "platform key disabled",
        encryption: EncryptionType::PlatformKey,
        take: |case| case.change_of(KeyId::platform(), None, enabled(false)),
        give_back: Some(|case| case.change_of(KeyId::platform(), None, enabled(true))),
        ..LOSS
    },
    Loss {
        what: "user's permission attach removed",
        user: Some(NOBODY),
        take: |case| case.grant(&[]),
        give_back: Some(|case| case.grant(&[Permission::Attach])),
        ..LOSS
    },
    Loss { what: "disk erased, and its set", take: |case| case.erase(), ..LOSS },
];

fn enabled(on: bool) -> KeyChange {
    KeyChange { enabled: Some(on), ..KeyChange::default() }
}

fn not_before(from: Bound) -> KeyChange {
    KeyChange { not_before: Some(from), ..KeyChange::default() }
}

fn expiry(until: Bound) -> KeyChange {
    KeyChange { expires: Some(until), ..KeyChange::default() }
}

fn operations(all: &[KeyOperation]) -> KeyChange {
    let operations = Some(BTreeSet::from_iter(all.iter().copied()));
    KeyChange { operations, ..KeyChange::default() }
}

fn seconds() -> UnixSeconds {
    millis() / 1000
}

/// A disk, its set and its key, all of one name.
struct Case<'a> {
    world: &'a World,
    name: String,
    disk: DiskId,
}

impl<'a> Case<'a> {
    fn new(world: &'a World, number: usize, loss: &Loss) -> Self {
        let name = format!("d{number}");
        let mut set = name.as_str();
        if loss.encryption == EncryptionType::PlatformKey {
            set = "platform";
        } else {
            let terms = Terms { on_expiry: loss.on_expiry, lease_ms: LEASE_MS, ..TERMS };
            world.make_set(&name, loss.encryption, terms);
        }
        let create = format!("create {name}.img --size {SIZE} --des {set}");
        let _ = world.image(&create).success();
        let disk = world.disk_id(&world.path(&format!("{name}.img"))).parse().expect("an id");
        Self { world, name, disk }
    }

    fn key(&self) -> KeyId {
        self.name.parse().expect("a name of a key")
    }

    fn set(&self) -> DesName {
        self.name.parse().expect("a name of a set")
    }

    fn versions(&self) -> Vec<KeyVersionStatus> {
        self.world.ask(KeyShow { name: self.key() }).versions
    }

    fn version(&self) -> KeyVersion {
        self.versions()[0].version
    }

    fn change(&self, version: Option<KeyVersion>, change: KeyChange) {
        self.change_of(self.key(), version, change)
    }

    fn change_of(&self, name: KeyId, version: Option<KeyVersion>, change: KeyChange) {
        let consent = Consent::Force;
        self.take(KeyUpdate { name, version, change, consent, wait_ms: WAIT_MS })
    }

    fn permit(&self, permissions: &[KeyPermission]) {
        let (name, principal) = (VaultName::default_vault(), Principal::Des(self.set()));
        let permissions = permissions.iter().copied().collect();
        let (consent, wait_ms) = (Consent::Force, WAIT_MS);
        self.take(VaultPermit {
            name,
            principal,
            permissions,
            edit: Edit::Replace,
            future: false,
            consent,
            wait_ms,
        })
    }

    fn grant(&self, permissions: &[Permission]) {
        self.world.grant(NOBODY, self.set().as_str(), permissions);
    }

    fn delete(&self) {
        let (name, consent) = (self.key(), Consent::Force);
        self.take(KeyDelete { name, consent, wait_ms: WAIT_MS })
    }

    /// Whoever was told has confirmed when the answer comes.
    fn take<T: Debug>(&self, ask: impl Ask<Reply = Weighed<Changed<T>>>) {
        let revocation = self.world.change(ask).revocation;
        assert!(revocation.confirmed(), "{revocation:?}");
    }

    fn recover(&self) {
        self.world.ask(KeyRecover { name: self.key() });
    }

    fn purge(&self) {
        self.delete();
        let vault = VaultName::default_vault();
        let permissions = BTreeSet::from([KeyPermission::Purge]);
        let (principal, consent) = (Principal::User(NOBODY), Consent::Force);
        let policy = VaultPermit {
            name: vault,
            principal,
            permissions,
            edit: Edit::Replace,
            future: false,
            consent,
            wait_ms: 0,
        };
        self.world.ask(policy);
        let purge = || KeyPurge { name: self.key(), consent: Consent::Force };
        let asked = Purged::Asked { lost_for_ever: 1 };
        assert_eq!(self.world.change(purge()), asked);
        assert_eq!(self.world.change(purge()), asked, "still one");
        let destroyed = self.world.ask_as(NOBODY, purge()).expect("allowed");
        assert_eq!(destroyed, Weighed::Done(Purged::Destroyed));
        let recovered = self.world.try_ask(KeyRecover { name: self.key() });
        assert_eq!(refusal(recovered), RefusalCode::NotFound);
    }

    fn expired(&self) -> Instant {
        let end = self.versions()[0].expires.expect("an end") * 1000;
        let ago = Duration::from_millis(millis().saturating_sub(end));
        Instant::now().checked_sub(ago).expect("since boot")
    }

    fn erase(&self) {
        let gone = self.world.try_ask(DesDelete { name: self.set() });
        assert_eq!(refusal(gone), RefusalCode::Conflict, "a set with a disk stays");
        self.world.ask(DiskErase { id: self.disk, consent: Consent::Force });
        self.world.ask(DesDelete { name: self.set() });
    }
}

fn refusal<T: Debug>(answer: Result<T, ClientError>) -> RefusalCode {
    match answer {
        Err(ClientError::Refused(refusal)) => refusal.code,
        other => panic!("no refusal: {other:?}"),
    }
}

/// Loses the key under load, brings it back if that can be: one row of the table.
fn drill(world: &World, number: usize, loss: &Loss) -> String {
    let case = Case::new(world, number, loss);
    let backend = match loss.user {
        Some(user) => {
            case.grant(&[Permission::Attach]);
            world.start_backend_as(user, &case.name)
        }
        None => world.start_backend(&case.name, ""),
    };
    let mut drill = Drill::of(world, &case.name, number as u64, backend);
    // There is nothing to come back for: what the guest asks is answered with errors.
    drill.may_fail = loss.what.starts_with("disk erased");
    drill.load_for(Duration::from_millis(200));

    let since = millis();
    let (halt, ()) = drill.halt(|| (loss.take)(&case));
    let lost = if loss.by_clock { case.expired() } else { halt.asked };
    let fence = fence_of(world, case.disk, since);
    // The last I/O comes after the command, unless the host's disk stood still: then the drain took all of its time.
    let stood_still = u128::from(fence.took_us) >= DRAIN_TIME.as_micros();
    let in_order = |last| (since <= last || stood_still) && last <= fence.wiped;
    assert!(fence.last_io.is_some_and(in_order), "{fence:?}");
    assert!(fence.ordered <= fence.wiped);
    if loss.user.is_none() {
        let released = world.try_ask(DiskReleaseKey { id: case.disk });
        let lost = [RefusalCode::KeyDisabled, RefusalCode::NotFound];
        assert!(lost.contains(&refusal(released)), "the key cannot be had");
    }
    drill.assert_halted();
    let back = loss.give_back.map(|give_back| {
        let asked = Instant::now();
        give_back(&case);
        let first = drill.next_answer();
        drill.assert_running();
        drill.assert_intact();
        ms(first, asked)
    });
    // Who takes a key away is answered when every holder has confirmed; who erases or grants, at once.
    let answered = (!loss.by_clock).then(|| ms(halt.returned, lost));
    format!(
        "{:<36} {:>8.1} ms {} {:>6} us {:>6} {}",
        loss.what,
        ms(halt.last, lost),
        or(answered, "by clock"),
        fence.took_us,
        fence.held,
        or(back, "never")
    )
}

fn or(ms: Option<f64>, none: &str) -> String {
    ms.map_or_else(|| format!("{none:>11}"), |ms| format!("{ms:>8.1} ms"))
}

/// Milliseconds from one moment to another, which may be earlier.
fn ms(to: Instant, from: Instant) -> f64 {
    let after = to.saturating_duration_since(from).as_secs_f64();
    (after - from.saturating_duration_since(to).as_secs_f64()) * 1e3
}

#[test]
fn every_kind_of_loss_halts_a_running_disk_and_what_comes_back_goes_on() {
    if !must_run::is_root_for("be two users") {
        return;
    }
    let world = World::new();
    let row = |(number, loss): (usize, &Loss)| {
        println!("{}", loss.what);
        drill(&world, number, loss)
    };
    let rows: Vec<String> = LOSSES.iter().enumerate().map(row).collect();
    println!(
        "\n{:<36} {:>11} {:>11} {:>9} {:>6} {:>11}",
        "the key is lost by", "last I/O", "answered", "fence", "held", "goes on"
    );
    rows.iter().for_each(|row| println!("{row}"));
    let _ = world.keyd("audit verify").success();
}

#[test]
fn what_takes_no_key_away_is_not_noticed() {
    let world = World::new();
    world.make_set("other", EncryptionType::CustomerKey, TERMS);
    let case = Case::new(&world, 0, &LOSS);
    let other = Case { world: &world, name: "other".to_owned(), disk: case.disk };
    let mut drill = Drill::on(&world, &case.name, 100);
    let mut goes_on = |what: &str| {
        drill.assert_running();
        assert!(!drill.backend.said().contains("fenced"), "{what}: {}", drill.backend.said());
    };
    let old = case.version();
    world.ask(KeyRotate { name: case.key() });
    goes_on("rotation");
    let (name, change) = (case.key(), enabled(false));
    let (version, consent) = (Some(old), Consent::IfUnused);
    world.ask(KeyUpdate { name, version, change, consent, wait_ms: 0 });
    goes_on("a version disabled that wraps nothing any more");
    let harmless: [(&str, &dyn Fn()); 6] = [
        ("another key disabled", &|| other.change(None, enabled(false))),
        ("another set's policy removed", &|| other.permit(&[])),
        ("the permission wrapKey removed", &|| {
            case.permit(&[KeyPermission::Get, KeyPermission::UnwrapKey])
        }),
        ("every operation but unwrapKey removed", &|| {
            case.change(Some(case.version()), operations(&[KeyOperation::UnwrapKey]))
        }),
        ("expired, where that only refuses new disks", &|| {
            case.change(Some(case.version()), expiry(Bound::At(seconds() - 1)))
        }),
        ("the vault protected", &|| {
            world.ask(VaultProtect { name: VaultName::default_vault() });
        }),
    ];
    for (what, act) in harmless {
        act();
        goes_on(what);
    }
    // One lease later, too.
    drill.load_for(Duration::from_millis(LEASE_MS + 500));
    drill.assert_running();
    drill.assert_intact();
    assert!(!drill.backend.said().contains("fenced"), "{}", drill.backend.said());
}
