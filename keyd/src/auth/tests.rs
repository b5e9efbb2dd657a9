use std::collections::BTreeSet;

use keyd_client::{DesName, DiskId};

use keyd_client::message::{
    Attach, AuditTail, DiskCreate, DiskReleaseKey, GrantEdit, KeyDelete, KeyList, KeyPurge,
    KeyUpdate,
};

use super::*;
use crate::{
    model::vault::Vault,
    store::{Store, testing},
};

fn may<O: Op>(auth: &Auth, store: &Store, who: &str, vault: Option<&str>) -> bool {
    let vault = vault.map(|name| name.parse().unwrap());
    may_in::<O>(auth, store, who, vault.as_ref())
}

fn may_in<O: Op>(auth: &Auth, store: &Store, who: &str, place: impl Into<Place>) -> bool {
    let caller = Caller::remote(who.parse().unwrap());
    auth.authorize::<O>(&caller, place, &store.snapshot().unwrap()).is_ok()
}

/// With no disk in particular: only who may attach every disk may.
fn attaches(auth: &Auth, store: &Store, who: &str) -> bool {
    may_in::<Attach>(auth, store, who, DiskId::random())
}

fn creates(auth: &Auth, store: &Store, who: &str, set: &str) -> bool {
    may_in::<DiskCreate>(auth, store, who, &set.parse::<DesName>().unwrap())
}

/// What somebody may, by permission, one operation of each.
fn all(auth: &Auth, store: &Store, who: &str) -> [bool; 8] {
    [
        attaches(auth, store, who),
        creates(auth, store, who, "s"),
        may::<KeyList>(auth, store, who, None),
        may::<KeyUpdate>(auth, store, who, Some("bank")),
        may::<KeyPurge>(auth, store, who, Some("bank")),
        may::<DiskReleaseKey>(auth, store, who, None),
        may::<AuditTail>(auth, store, who, None),
        may::<GrantEdit>(auth, store, who, None),
    ]
}

const NOTHING: [bool; 8] = [false; 8];

#[test]
fn nothing_is_allowed_that_was_not_granted() {
    let grants = [
        "10=attach:all-disks",
        "11=create-disk:all-disks,read",
        "12=manage-keys",
        "13=release-key",
        "14=audit",
        "15=administer",
    ];
    let grants = grants.iter().map(|text| text.parse().unwrap());
    let (auth, store) = (Auth::new(7, grants.collect()), testing::store());
    assert_eq!(all(&auth, &store, "uid:7"), [true; 8]);
    assert_eq!(all(&auth, &store, "uid:15"), [true; 8]);
    assert_eq!(all(&auth, &store, "uid:0"), NOTHING, "root is not the owner here");
    let only = |at: &[usize]| std::array::from_fn(|n| at.contains(&n));
    assert_eq!(all(&auth, &store, "uid:10"), only(&[0]));
    assert_eq!(all(&auth, &store, "uid:11"), only(&[1, 2]));
    assert_eq!(all(&auth, &store, "uid:12"), only(&[3]), "who manages keys does not purge them");
    assert_eq!(all(&auth, &store, "uid:13"), only(&[5]));
    assert_eq!(all(&auth, &store, "uid:14"), only(&[6]));
    assert_eq!(all(&auth, &store, "uid:16"), NOTHING);
    assert_eq!(all(&auth, &store, "app:7"), NOTHING, "an application is not the user of its name");
}

#[test]
fn grants_of_the_command_line_and_of_the_store_add_up() {
    let store = testing::store();
    let auth = Auth::new(7, vec!["10=attach:all-disks,create-disk:des=s".parse().unwrap()]);
    testing::change(&store, |txn| {
        let permissions = BTreeSet::from([Permission::Read]);
        txn.put_grant(&"uid:10".parse().unwrap(), &Scope::All, &permissions)
    });
    assert!(attaches(&auth, &store, "uid:10"));
    assert!(creates(&auth, &store, "uid:10", "s") && !creates(&auth, &store, "uid:10", "t"));
    assert!(may::<KeyList>(&auth, &store, "uid:10", None));
    testing::change(&store, |txn| {
        txn.put_grant(&"uid:10".parse().unwrap(), &Scope::All, &BTreeSet::new())
    });
    assert!(!may::<KeyList>(&auth, &store, "uid:10", None));
}

#[test]
fn a_vaults_policy_counts_in_that_vault_alone() {
    let (auth, store) = (Auth::new(7, vec![]), testing::store());
    let mut vault = Vault::new("bank".parse().unwrap(), 7, false, 0).unwrap();
    let who: Principal = "app:ci".parse().unwrap();
    vault.permit(who, [KeyPermission::Update, KeyPermission::Purge].into()).unwrap();
    testing::change(&store, |txn| txn.put_vault(&vault));
    assert!(may::<KeyUpdate>(&auth, &store, "app:ci", Some("bank")));
    assert!(may::<KeyPurge>(&auth, &store, "app:ci", Some("bank")));
    assert!(!may::<KeyUpdate>(&auth, &store, "app:ci", Some("other")));
    assert!(!may::<KeyDelete>(&auth, &store, "app:ci", Some("bank")));
    assert!(!may::<KeyUpdate>(&auth, &store, "app:ci", None));
}

#[test]
fn the_platforms_vault_is_its_administrators_alone() {
    let auth = Auth::new(7, vec!["12=manage-keys".parse().unwrap()]);
    let store = testing::store();
    assert!(may::<KeyUpdate>(&auth, &store, "uid:7", Some("platform")));
    assert!(!may::<KeyUpdate>(&auth, &store, "uid:12", Some("platform")));
}
