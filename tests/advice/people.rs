//! What is said to who may not, and of applications and their tokens.

use keyd_client::{
    DiskId,
    message::{
        Consent, DiskConfirm, DiskCreate, DiskDerive, DiskKind, DiskList, DiskMove, Geometry,
        Holes, KeyRotate,
    },
};
use system_tests::world::NOBODY;

use crate::follow::Advised;

pub fn who_are_applications(on: &mut Advised) {
    on.ok("principal create ci");
    on.shows("principal show nope", "keyd principal list", "ci");
    let token = "token revoke ci 0b9c1f6e-6f0c-4e0e-9d43-1c8f4b2a7d55";
    on.shows(token, "keyd token list ci", "ID");
    on.ok("token create ci");
    let nonsense = on.keyd("token revoke ci nonsense").failure();
    let listed = on.heed(&nonsense, "keyd token list", &[], "ci");
    let id = listed.lines().nth(1).and_then(|line| line.split_whitespace().next());
    on.ok(&format!("token revoke ci {}", id.expect("a token")));
}

pub fn who_may_not(on: &mut Advised) {
    on.ok("key create k --bits 2048");
    on.ok("des create s --key k");
    let name = || "k".parse().expect("a name");
    on.helps_nobody(KeyRotate { name: name() });
    // What was granted before is there still.
    on.helps_nobody(DiskList { after: None });
    on.world.ask_as(NOBODY, KeyRotate { name: name() }).expect("kept");
    of_disks(on);
}

/// For a set, for one disk, and for one that is to move to where this user's disks are.
fn of_disks(on: &mut Advised) {
    let geometry =
        Geometry { sector_size: 512, data_offset: 16 << 20, size: 1 << 20, holes: Holes::Zeros };
    let des = || Some("s".parse().expect("a name"));
    on.helps_nobody(DiskCreate { des: des(), geometry });
    let made = on.world.ask(DiskCreate { des: des(), geometry });
    let id: DiskId = made.record.id;
    on.world.ask(DiskConfirm { id });
    let kind = DiskKind::Snapshot;
    on.helps_nobody(DiskDerive { source: id, kind, des: None });

    on.ok("des create t --key k");
    on.ok("grant uid:65534 manage-keys");
    on.ok("grant uid:65534 attach --des t");
    let made = on.world.ask(DiskCreate { des: des(), geometry });
    let (des, consent) = ("t".parse().expect("a name"), Consent::Force);
    on.helps_nobody(DiskMove { id: made.record.id, des, consent });
}
