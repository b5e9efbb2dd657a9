//! Somebody edits the store, with another program that knows its form, and without the root key.

use keyd_client::{Principal, Scope, permission::Permission};
use redb::{Builder, Database, ReadableDatabase, ReadableTable};

use super::{rot::fill, *};
use crate::{
    audit::Class,
    store::{
        Grants,
        names::named,
        tables::{self, GRANTS, KEYS},
    },
};

type Rows = Vec<(Vec<u8>, Vec<u8>)>;

/// The database in the hands of somebody else, and the file that comes out.
fn edited(disk: &Disk, edit: impl FnOnce(&Database)) {
    let scratch = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(scratch.path(), disk.read("store.redb").unwrap()).unwrap();
    let db = Builder::new().open(scratch.path()).unwrap();
    edit(&db);
    db.close().unwrap();
    disk.put("store.redb", Some(std::fs::read(scratch.path()).unwrap()));
}

fn rows(db: &Database, table: tables::Table) -> Rows {
    let transaction = db.begin_read().unwrap();
    let table = transaction.open_table(table).unwrap();
    let rows = table.iter().unwrap();
    rows.map(|row| row.unwrap())
        .map(|(key, value)| (key.value().to_vec(), value.value().to_vec()))
        .collect()
}

fn put_row(db: &Database, table: tables::Table, key: &[u8], value: Option<&[u8]>) {
    let transaction = db.begin_write().unwrap();
    let mut rows = transaction.open_table(table).unwrap();
    match value {
        Some(value) => drop(rows.insert(key, value).unwrap()),
        None => drop(rows.remove(key).unwrap()),
    }
    drop(rows);
    transaction.commit().unwrap();
}

fn filled() -> Disk {
    let disk = Disk::new(1);
    let store = open(&disk).unwrap();
    fill(&store);
    disk
}

#[test]
fn a_store_that_was_edited_without_the_root_key_is_found() {
    // A grant with more permissions, under the tag of the one that was.
    let disk = filled();
    edited(&disk, |db| {
        let (key, stored) = rows(db, GRANTS).remove(0);
        let value = [&stored[..crate::seal::TAG_LEN], br#"["administer"]"#].concat();
        put_row(db, GRANTS, &key, Some(&value));
    });
    let store = open(&disk).unwrap();
    assert_eq!(store.damage().names, ["the grant of 'uid:5'"]);
    let granted = store.snapshot().unwrap().granted(&Principal::User(5), &Scope::All);
    assert!(matches!(granted, Err(Fault::Damaged(_))), "{granted:?}");
    put(&store, 9).unwrap();

    // The same grant to somebody else.
    let disk = filled();
    edited(&disk, |db| {
        let (_, stored) = rows(db, GRANTS).remove(0);
        put_row(db, GRANTS, b"uid:6", Some(&stored));
    });
    let store = open(&disk).unwrap();
    assert!(store.damage().names.contains(&"the grant of 'uid:6'".to_owned()));
    assert!(store.snapshot().unwrap().granted(&Principal::User(6), &Scope::All).is_err());
    let granted = store.snapshot().unwrap().granted(&Principal::User(5), &Scope::All).unwrap();
    assert_eq!(granted, [Permission::Attach].into());
    broken(&store);
}

/// No key is used, keys can be taken away, and it stays so.
fn broken(store: &Store) {
    let refused = put(store, 9);
    assert!(matches!(refused, Err(Failure::Refused(Refused::StoreBroken(_)))), "{refused:?}");
    put_as(store, 10, Class::Withdrawal).unwrap();
    let refused = put(store, 9);
    assert!(matches!(refused, Err(Failure::Refused(Refused::StoreBroken(_)))), "{refused:?}");
}

/// Every row by itself is one that keyd wrote.
#[test]
fn a_record_that_is_removed_or_put_back_from_an_older_day_stops_uses_until_it_is_accepted() {
    let disk = filled();
    // Key 'k2' as it was before it was disabled.
    let mut older = None;
    let store = open(&disk).unwrap();
    drop(store);
    edited(&disk, |db| older = rows(db, KEYS).into_iter().find(|(key, _)| key.ends_with(b"k2")));
    let (key, disabled) = older.unwrap();
    let store = open(&disk).unwrap();
    testing::change(&store, |txn| {
        let mut key = txn.find_key(&"k2".parse().unwrap())?.unwrap();
        let on = keyd_client::message::KeyChange { enabled: Some(true), ..Default::default() };
        key.change(None, &on, 8).unwrap();
        txn.put_key(&key)
    });
    drop(store);
    let edits: [(&str, Option<&[u8]>); 2] = [("older", Some(&disabled)), ("missing", None)];
    for (what, value) in edits {
        let files: Vec<_> =
            disk.names().into_iter().map(|name| (name.clone(), disk.read(&name))).collect();
        let disk = Disk::new(2);
        files.into_iter().for_each(|(name, bytes)| disk.put(&name, bytes));
        edited(&disk, |db| put_row(db, KEYS, &key, value));
        let store = open(&disk).unwrap();
        let told = store.damage().names.join(", ");
        assert!(told.contains(what) && told.contains("'keys'"), "{told}");
        broken(&store);
        drop(store);
        let store = open(&disk).unwrap();
        broken(&store);
        let accept = || Entry::by_daemon("state-accept-damage", "store");
        assert!(store.accept_damage(accept()).unwrap().join(", ").contains("'keys'"));
        put(&store, 11).unwrap();
        let again = store.accept_damage(accept());
        assert!(matches!(again, Err(Failure::Refused(Refused::NothingDamaged))), "{again:?}");
        drop(store);
        assert_eq!(open(&disk).unwrap().damage().names, Vec::<String>::new());
    }
}

#[test]
fn what_is_damaged_can_be_given_up_and_the_rest_goes_on() {
    let disk = filled();
    let mut name = String::new();
    edited(&disk, |db| {
        let (key, mut stored) = rows(db, KEYS).remove(0);
        name = named("keys", &key);
        *stored.last_mut().unwrap() ^= 1;
        put_row(db, KEYS, &key, Some(&stored));
    });
    let store = open(&disk).unwrap();
    assert_eq!(store.damage().names, [name.clone()]);
    assert!(store.whole().unwrap().damage().unwrap().contains(&name), "no backup is made of it");
    put(&store, 9).unwrap();
    let given = store.accept_damage(Entry::by_daemon("state-accept-damage", "store")).unwrap();
    assert_eq!(given, [name.clone()]);
    let row = store.tail_audit(1).unwrap().remove(0);
    assert!(row.detail.contains(&name), "{}", row.detail);
    assert!(store.whole().unwrap().damage().unwrap().is_empty());
    drop(store);
    let store = open(&disk).unwrap();
    assert!(store.damage().names.is_empty());
    assert_eq!(store.snapshot().unwrap().keys(None, 99).unwrap().len(), 3);
}

/// The disk under a daemon that runs: it has the right bytes in memory.
#[test]
fn what_rots_while_the_daemon_runs_is_named_by_a_check_and_by_the_next_start() {
    let disk = Disk::new(1);
    let store = open(&disk).unwrap();
    fill(&store);
    assert!(store.check().unwrap().names.is_empty());
    let mut name = String::new();
    disk.rot("store.redb", |bytes| {
        // The blob of the second disk.
        let text = b"AgICAgICAgICAgIC";
        let at = bytes.windows(text.len()).rposition(|window| window == text).unwrap();
        bytes[at] ^= 1;
        name = "disk 02020202-0202-0202-0202-020202020202".to_owned();
    });
    let found = store.check().unwrap().names;
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with(&name) && found[0].contains("on the disk"), "{found:?}");
    assert!(store.damage().names == found && store.whole().unwrap().damage().unwrap().is_empty());
    drop(store);
    assert_eq!(open(&disk).unwrap().damage().names, [name]);
}
