//! Names count in any case of their letters, as in Key Vault, and are shown as they were first written.

use super::*;

fn create(name: &str) -> KeyCreate {
    KeyCreate { name: id(name), bits: 2048, hsm: false }
}

fn create_set(name: &str, key: &str) -> DesCreate {
    DesCreate {
        name: des(name),
        key: id(key),
        version: None,
        encryption: EncryptionType::CustomerKey,
        terms: TERMS,
        auto_rotate: true,
        permit: true,
    }
}

fn create_app(name: &str) -> AppCreate {
    AppCreate { name: name.parse().unwrap(), certificates: BTreeSet::new() }
}

#[test]
fn a_key_and_a_set_are_found_in_any_case_and_shown_as_they_were_made() {
    let daemon = Daemon::new();
    daemon.ask(create("Prod-Key"));
    let set = daemon.ask(create_set("Prod-Disks", "prod-KEY"));
    assert_eq!((set.name.as_str(), set.key.to_string().as_str()), ("Prod-Disks", "Prod-Key"));
    assert_eq!(daemon.key("PROD-KEY").name.to_string(), "Prod-Key");
    assert_eq!(daemon.set("prod-disks").name.as_str(), "Prod-Disks");
    let disk = daemon.make_disk("PROD-DISKS");
    assert_eq!(daemon.disk(disk).record.des.as_str(), "Prod-Disks");
    let dek = daemon.dek(disk);

    // What follows the key by the name that it has in the set, in an index, and in what its private half is sealed for.
    assert_eq!(daemon.ask(KeyRotate { name: id("prod-key") }).rewrapped, 1);
    let holder = daemon.attach(disk);
    let off = KeyChange { enabled: Some(false), ..KeyChange::default() };
    let halted = daemon.ask(update_of("PROD-key", None, off));
    assert_eq!(revocation(halted).told, 1, "halted");
    holder.hang_up();
    let on = KeyChange { enabled: Some(true), ..KeyChange::default() };
    daemon.ask(update_of("prod-KEY", None, on));
    assert_eq!(daemon.dek(disk), dek);
    let daemon = daemon.restarted();
    assert_eq!(daemon.dek(disk), dek);
    let subjects = daemon.records("key-update");
    assert!(subjects.iter().all(|record| record.subject == "Prod-Key"), "{subjects:?}");
}

#[test]
fn a_name_that_differs_in_case_only_is_taken_also_by_what_is_deleted() {
    let daemon = Daemon::new();
    daemon.ask(create("Prod"));
    for twin in ["prod", "PROD", "default/pRod", "DEFAULT/prod"] {
        let refused = daemon.refused(create(twin));
        assert_eq!(refused.code, RefusalCode::Conflict, "{twin}");
        assert!(refused.message.contains("'Prod'"), "{}", refused.message);
    }
    daemon.ask(VaultCreate {
        name: "bank".parse().unwrap(),
        retention_days: 7,
        purge_protection: false,
    });
    daemon.ask(create("bank/prod"));
    let delete = KeyDelete { name: id("PROD"), consent: Consent::Force, wait_ms: 0 };
    daemon.ask(delete);
    let refused = daemon.refused(create("prod"));
    assert!(refused.message.contains("key recover Prod"), "{}", refused.message);
    daemon.ask(KeyRecover { name: id("prod") });

    let refused = daemon.refused(create_set("S", "prod"));
    assert!(refused.message.contains("'s' already"), "{}", refused.message);
    daemon.ask(create_app("CI"));
    let refused = daemon.refused(create_app("ci"));
    assert!(refused.message.contains("'CI' already"), "{}", refused.message);
}

/// As two requests at once would, each of which found nothing when it asked.
#[test]
fn no_twin_is_made_behind_the_border_either() {
    let daemon = Daemon::new();
    daemon.make_key("Prod");
    let state = daemon.core().store.snapshot().unwrap();
    let refused = crate::ops::key::creatable(&state, &id("prod")).unwrap_err();
    assert!(refused.to_string().contains("'Prod'"), "{refused}");
    assert!(crate::ops::key::creatable(&state, &id("prod-2")).is_ok());
}

#[test]
fn principals_are_found_in_any_case() {
    let daemon = Daemon::new();
    daemon.ask(create_app("CI"));
    let ci = || "app:ci".parse::<Principal>().unwrap();
    daemon.ask(policy(&ci(), &[KeyPermission::Get]));
    daemon.ask(policy(&identity("S"), &[KeyPermission::Get, KeyPermission::UnwrapKey]));
    let vault = daemon.ask(VaultShow { name: VaultName::default_vault() });
    let named: Vec<String> = vault.policies.keys().map(ToString::to_string).collect();
    assert_eq!(named, ["app:CI", "des:s"], "no second entry for the same principal");
    let permissions = [Permission::Attach].into();
    daemon.ask(GrantEdit {
        principal: ci(),
        edit: Edit::Replace,
        permissions,
        scope: Some(Scope::Set(des("S"))),
        future: false,
    });
    let grants = daemon.ask(GrantList { after: None }).items;
    assert!(grants.iter().any(|grant| grant.scope == Scope::Set(des("s"))), "{grants:?}");
    assert!(grants.iter().any(|grant| grant.principal.to_string() == "app:CI"), "{grants:?}");
    let app = || "ci".parse().unwrap();
    daemon.ask(TokenCreate { app: app(), label: String::new(), lifetime_ms: 60_000 });
    assert_eq!(daemon.ask(TokenRevokeAll { app: app() }), 1);
    daemon.ask(AppRemove { name: app() });
    assert_eq!(daemon.refused(AppShow { name: app() }).code, RefusalCode::NotFound);
}

/// A store from before may hold them.
#[test]
fn twins_that_exist_are_told_and_each_is_found_by_its_own_name() {
    let daemon = Daemon::new();
    assert!(!daemon.warnings().contains("differ in case only"), "{}", daemon.warnings());
    daemon.make_key("twin");
    daemon.make_key("Twin");
    daemon.make_set("of-twin", "Twin", EncryptionType::CustomerKey, TERMS);
    let warned = daemon.warnings();
    assert!(warned.contains("the keys Twin, twin differ in case only"), "{warned}");
    assert_eq!(daemon.key("twin").name.to_string(), "twin");
    assert_eq!(daemon.key("Twin").name.to_string(), "Twin");
    assert_eq!(daemon.refused(KeyShow { name: id("TWIN") }).code, RefusalCode::NotFound);
    // Neither is taken for the other.
    let off = KeyChange { enabled: Some(false), ..KeyChange::default() };
    daemon.ask(update_of("twin", None, off));
    assert!(daemon.key("Twin").enabled && daemon.set("of-twin").key_lost.is_none());
    assert_eq!(daemon.refused(create("TWIN")).code, RefusalCode::Conflict);
}
