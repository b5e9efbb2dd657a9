//! What the help texts and the README show, as one story: in the order in which somebody would try it.

use crate::follow::Advised;

pub fn all(on: &mut Advised) {
    on.examples(&[
        "keyd key create prod --bits 3072",
        "keyd des create prod-disks --key prod --lease 30s",
    ]);
    on.examples(&[
        "image create web.img --size 10G",
        "image create db.img --size 10G --des prod-disks",
    ]);
    on.example("image create web.img 10G", "image create other.img 10G");
    on.example(
        "image create db.img --size 1T --des prod",
        "image create tb.img --size 1T --des prod-disks",
    );
    on.example("keyd des create prod-disks --key prod", "des create more-disks --key prod");
    on.example(
        "keyd des create prod-disks --key prod --on-revoke park --lease 60s",
        "des create most-disks --key prod --on-revoke park --lease 60s",
    );

    keys(on);
    versions(on);
    for verb in ["key", "vault", "grant", "des", "disk", "audit", "clock", "principal", "root"] {
        let help = on.example("keyd VERB --help", &format!("{verb} --help"));
        assert!(help.contains("Examples:"), "{help}");
    }
    on.examples(&["image info web.img --json", "image resize db.img --size 2T"]);
    vaults(on);
    one_disk(on);
    grants(on);
    on.examples(&["keyd key delete prod --force", "keyd key recover prod"]);
    for (example, filled) in [
        ("keyd key disable K", "key disable prod --force"),
        ("keyd key enable K", "key enable prod"),
        ("keyd key delete K", "key delete prod --force"),
        ("keyd key recover K", "key recover prod"),
    ] {
        on.example(example, filled);
    }
}

fn keys(on: &mut Advised) {
    on.examples(&[
        "keyd key disable prod --dry-run",
        "keyd key disable prod --force --wait",
        "keyd key enable prod",
    ]);
    on.examples(&[
        "keyd key rotate prod",
        "keyd status",
        "keyd audit verify",
        "keyd audit tail -n 100",
    ]);
    on.examples(&["keyd audit tail --json", "keyd disk list --json", "keyd grant --list"]);
    let key = "keyd key set prod";
    for change in [
        "--expires 365d --tag owner=ops",
        "--operations wrapKey,unwrapKey",
        "--expires 2027-01-01T00:00:00Z --not-before never",
    ] {
        on.examples(&[&format!("{key} {change}")]);
    }
    on.example("keyd key set K --expires never", "key set prod --expires never");
    on.examples(&["keyd key rotation-policy set prod --rotate-after 90 --expires-after 120"]);
    on.example(
        "keyd key rotation-policy set K --rotate-after 90",
        "key rotation-policy set prod --rotate-after 90",
    );
    on.examples(&["keyd key rotation-policy set prod --rotate-after P18M --expires-after P2Y"]);
}

fn versions(on: &mut Advised) {
    let told = on.ok("key disable prod --dry-run");
    let token =
        told.lines().find_map(|line| line.trim().strip_prefix("keyd key disable prod --token "));
    on.example(
        "keyd key disable prod --token 0123456789abcdef --wait 2m",
        &format!("key disable prod --token {} --wait 2m", token.expect("a token")),
    );
    on.ok("key enable prod");
    on.example("keyd key create prod", "key create prod-1");
    on.example("keyd key create prod --bits 4096", "key create prod-2 --bits 4096");
    on.ok("key rotate prod-1");
    let shown: serde_json::Value =
        serde_json::from_str(&on.ok("key show prod-1 --json")).expect("JSON");
    let version = shown["versions"][1]["version"].as_str().expect("a version");
    on.example(
        "keyd key disable prod --version 0123456789abcdef0123456789abcdef",
        &format!("key disable prod-1 --version {version}"),
    );
}

fn grants(on: &mut Advised) {
    let id = on.world.disk_id(&on.world.path("web.img"));
    for (example, filled) in [
        (
            "keyd grant libvirt-qemu attach,create-disk --des prod-disks",
            "grant nobody attach,create-disk --des prod-disks",
        ),
        (
            "keyd grant backup attach,create-disk --des prod-disks",
            "grant nobody attach,create-disk --des prod-disks",
        ),
        ("keyd grant backup attach --all-disks", "grant nobody attach --all-disks"),
        ("keyd grant libvirt-qemu attach --remove", "grant nobody attach --remove"),
        ("keyd grant vm-17 attach --remove", "grant nobody attach --remove"),
        ("keyd grant uid:1000 audit", "grant uid:1000 audit"),
        ("keyd grant app:ci read --set", "grant app:ci read --set"),
        ("keyd grant app:ci none", "grant app:ci none"),
        ("keyd grant NAME attach --des SET", "grant nobody attach --des prod-disks"),
        ("keyd grant USER attach --des SET", "grant uid:7 attach --des prod-disks"),
        ("keyd grant USER attach --remove", "grant uid:7 attach --remove"),
        (
            "keyd vault permit default app:ci get,wrapKey,unwrapKey --add",
            "vault permit default app:ci get,wrapKey,unwrapKey --add",
        ),
        (
            "keyd vault permit bank des:prod-disks none --dry-run",
            "vault permit bank des:prod-disks none --dry-run",
        ),
        (
            "keyd vault permit bank alice get,list,create,update,rotate",
            "vault permit bank nobody get,list,create,update,rotate",
        ),
        (
            "keyd vault permit bank alice rotate --remove",
            "vault permit bank nobody rotate --remove",
        ),
    ] {
        on.example(example, filled);
    }
    for who in ["uid:1001", "vm-17"] {
        let example =
            format!("keyd grant {who} attach --disk 1f3e8c5e-4c4b-4b0c-9d2a-0c5d6b7f8a90");
        on.example(&example, &format!("grant uid:1001 attach --disk {id}"));
    }
}

fn vaults(on: &mut Advised) {
    on.examples(&[
        "keyd principal create ci",
        "keyd vault create bank --retention 30 --purge-protection",
    ]);
    on.ok("key create bank/db --bits 2048");
    on.ok("key create bank/db-2027 --bits 2048");
    on.examples(&[
        "keyd key list --vault bank",
        "keyd vault show bank",
        "keyd vault permit bank app:ci get --set",
    ]);
    on.examples(&["keyd des create db --key bank/db --on-revoke fail --lease 10s --grace 5m"]);
    on.examples(&["keyd des create both --key bank/db --encryption platform-and-customer-keys"]);
    on.examples(&[
        "keyd des set-key db --key bank/db-2027",
        "keyd des show db",
        "keyd des resources db",
    ]);
    on.examples(&["keyd des update db --on-revoke park --on-expiry revoke"]);
    on.examples(&["keyd token create ci --expires 30d", "keyd token list ci"]);
    let tokens: serde_json::Value = serde_json::from_str(&on.ok("token list ci --json")).unwrap();
    let id = tokens[0]["id"].as_str().unwrap();
    on.example("keyd token revoke ci ID", &format!("token revoke ci {id}"));
}

fn one_disk(on: &mut Advised) {
    let id = on.world.disk_id(&on.world.path("db.img"));
    on.ok("des create bank-disks --key bank/db");
    for example in [
        "keyd disk show ID",
        "keyd disk derive ID --kind snapshot",
        "keyd disk release-key ID --to volume-key",
        "keyd disk erase ID --dry-run",
    ] {
        on.example(example, &example.replace("ID", &id));
    }
    let json = on.example("keyd disk show --json", &format!("disk show {id} --json"));
    assert!(json.contains("wrapped") || json.contains("blob"), "{json}");
    // One without a snapshot, which would stay in its set.
    let other = on.world.disk_id(&on.world.path("web.img"));
    on.example("keyd disk move ID --to bank-disks", &format!("disk move {other} --to bank-disks"));
}
