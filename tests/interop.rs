//! No lock-in: what stock cryptsetup says of our images, given the released key. And the other side of the
//! release: the key is where it was asked for, and nowhere else.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use system_tests::{
    driver::{BlkRequest, Cut},
    front_end::{FrontEnd, Options},
    luks::{DATA_OFFSET, add_passphrase, cryptsetup, decrypt, test_volume_key},
    memory_scan::Needles,
    script::{Part, Scene, Script, play_round},
    tape::{Mix, Tape},
    world::World,
};

const SIZE: usize = 8 << 20;

/// A disk `d` with its key released to `vk`; gives its id.
fn released(world: &World, more: &str) -> String {
    let id = world.make_disk("d", &SIZE.to_string(), more);
    let _ = world.keyd(&format!("disk release-key {id} --to vk")).success();
    id
}

fn front_end(world: &World, seed: u64) -> FrontEnd {
    let options = Options { queues: 2, cut: Cut::Wild, seed, ..Options::default() };
    FrontEnd::connect(&world.path("d.sock"), options)
}

#[test]
fn cryptsetup_reads_what_an_image_is() {
    let world = World::new();
    for block in [512, 4096] {
        let name = format!("d{block}");
        let id = world.make_disk(&name, "8M", &format!("--sector-size {block}"));
        let dir = world.path("");
        let _ = cryptsetup(&dir, &format!("isLuks --type luks2 {name}.img")).success();
        let said = cryptsetup(&dir, &format!("luksDump {name}.img")).success();
        let words: Vec<&str> = said.split_whitespace().collect();
        let says = |phrase: &str| {
            let phrase: Vec<&str> = phrase.split(' ').collect();
            assert!(
                words.windows(phrase.len()).any(|words| words == phrase),
                "{phrase:?} in {said}"
            );
        };
        says("Version: 2");
        says(&format!("UUID: {id}"));
        says("offset: 16777216 [bytes]");
        says("cipher: aes-xts-plain64");
        says(&format!("sector: {block} [bytes]"));
        says("Keyslots: Tokens: 0: keyd Digests: 0: pbkdf2");
    }
}

#[test]
fn the_released_key_opens_the_image_and_no_other_does() {
    let world = World::new();
    let dir = world.path("");
    released(&world, "");
    let mode = fs::metadata(world.path("vk")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    assert_eq!(fs::read(world.path("vk")).unwrap().len(), 64);
    assert_eq!(test_volume_key(&dir, "d.img", "vk").code, 0);

    let mut wrong = fs::read(world.path("vk")).unwrap();
    wrong[63] ^= 1;
    fs::write(world.path("wrong"), &wrong).unwrap();
    let refusal = test_volume_key(&dir, "d.img", "wrong").failure();
    assert!(refusal.contains("does not match"), "{refusal}");
    // Nor does the key of another disk.
    let other = world.make_disk("other", "8M", "");
    let _ = world.keyd(&format!("disk release-key {other} --to other-vk")).success();
    assert_eq!(test_volume_key(&dir, "other.img", "other-vk").code, 0);
    assert_ne!(test_volume_key(&dir, "d.img", "other-vk").code, 0);
}

/// A tape on a disk without holes: cryptsetup must find the oracle, to the last byte.
fn judge_dense(block: usize) {
    let world = World::new();
    released(&world, &format!("--sector-size {block} --dense"));
    let blocks = SIZE / block / 2;
    let mix = |queue| Mix {
        block,
        first: queue * blocks,
        blocks,
        longest: (400 << 10) / block,
        discard: false,
    };
    let mut tapes: Vec<Tape> =
        (0..2).map(|queue| Tape::new(mix(queue), 50 + queue as u64)).collect();
    let mut backend = world.start_backend("d", "--num-queues 2");
    front_end(&world, block as u64).play(&mut tapes, 300);
    assert!(backend.terminate().success());

    let expected = tapes.iter().map(Tape::oracle).collect::<Vec<_>>().concat();
    assert!(
        expected.chunks(block).filter(|block| block.iter().any(|&byte| byte != 0)).count() > 100
    );
    let dir = world.path("");
    add_passphrase(&dir, "d.img", "vk");
    let plain = decrypt(&dir, "d.img");
    let wrong = plain.iter().zip(&expected).position(|(a, b)| a != b);
    assert_eq!((plain.len(), wrong), (SIZE, None), "first byte that cryptsetup sees otherwise");
    println!(
        "cryptsetup agrees with the oracle on {SIZE} bytes in {block}-byte sectors, 600 requests"
    );

    // The passphrase that another tool added is no reason to refuse the image.
    let _backend = world.start_backend("d", "--num-queues 2");
    front_end(&world, 1 + block as u64).play(&mut tapes, 50);
}

#[test]
fn cryptsetup_decrypts_a_dense_disk_to_the_oracle_at_512_bytes() {
    judge_dense(512);
}

#[test]
fn cryptsetup_decrypts_a_dense_disk_to_the_oracle_at_4096_bytes() {
    judge_dense(4096);
}

/// On a sparse disk, what is stored decrypts to the oracle, and what is not stored is zero there: stock tools show
/// noise in holes, and the token says so.
fn judge_sparse(block: usize) {
    let world = World::new();
    released(&world, &format!("--sector-size {block}"));
    let (blocks, longest) = (SIZE / block, (256 << 10) / block);
    let scene = Scene { block, blocks, longest, queues: 2, depth: 6, strange: true };
    let mut script = Script::new(scene, 7);
    let mut backend = world.start_backend("d", "--num-queues 2");
    let mut player = front_end(&world, 3);
    let mut parts = [Part { name: "vhost-backend", player: &mut player, discard_zeroes: true }];
    let requests: u64 = (0..60).map(|_| play_round(&mut parts, &script.round())).sum();
    assert!(backend.terminate().success());

    let dir = world.path("");
    let raw = fs::read(world.path("d.img")).expect("an image");
    add_passphrase(&dir, "d.img", "vk");
    let plain = decrypt(&dir, "d.img");
    let (mut holes, mut stored) = (0, 0);
    for (number, expected) in script.oracle().chunks(block).enumerate() {
        let here = number * block..(number + 1) * block;
        if raw[DATA_OFFSET..][here.clone()].iter().all(|&byte| byte == 0) {
            holes += 1;
            assert!(expected.iter().all(|&byte| byte == 0), "sector {number} is lost");
        } else {
            stored += 1;
            assert!(plain[here] == *expected, "sector {number} differs");
        }
    }
    assert!(holes > 50 && stored > 50, "{holes} holes, {stored} stored sectors");
    println!(
        "cryptsetup agrees on {stored} sectors of {block} bytes, {holes} are holes, {requests} requests"
    );
}

#[test]
fn cryptsetup_decrypts_what_a_sparse_disk_stores_at_512_bytes() {
    judge_sparse(512);
}

#[test]
fn cryptsetup_decrypts_what_a_sparse_disk_stores_at_4096_bytes() {
    judge_sparse(4096);
}

#[test]
fn the_released_key_is_in_its_file_and_nowhere_else() {
    let mut world = World::new();
    let id = released(&world, "");
    let mut backend = world.start_backend("d", "");
    let write = BlkRequest::write(0, vec![0x77; 1 << 20]);
    assert_eq!(world.front_end("d").ask(0, &write).status, 0);

    let dek = fs::read(world.path("vk")).unwrap();
    let needles = Needles::of_dek(&dek);
    assert_eq!(needles.found_in_bytes(&fs::read(world.path("vk")).unwrap()).len(), 4);
    // The daemon keeps no key after a reply.
    let keyd = world.keyd.as_ref().unwrap().pid();
    assert_eq!(needles.found_in(keyd), Vec::<String>::new(), "keyd's memory");
    let said = world.keyd(&format!("disk show {id} --json")).success()
        + &world.keyd("audit tail").success();
    assert!(said.contains("release"), "the release is on record: {said}");
    assert!(backend.terminate().success());
    assert!(world.keyd.take().unwrap().terminate().success());

    let mut files = 0;
    search(&world.path(""), &mut |path, bytes| {
        if path.file_name().is_some_and(|name| name == "vk") {
            return;
        }
        files += 1;
        assert_eq!(needles.found_in_bytes(bytes), Vec::<String>::new(), "in {}", path.display());
        let text = String::from_utf8_lossy(bytes).to_lowercase();
        for half in dek.chunks(8) {
            let hex: String = half.iter().map(|byte| format!("{byte:02x}")).collect();
            assert!(!text.contains(&hex), "in {}, in hexadecimal", path.display());
            let debug = format!("{half:?}");
            assert!(
                !text.contains(debug.trim_matches(['[', ']'])),
                "in {}, as a list",
                path.display()
            );
        }
    });
    for name in ["keyd.log", "d.log", "d.img", "state/audit.log", "state/store.redb"] {
        assert!(world.path(name).exists(), "{name} was searched");
    }
    assert!(files >= 7, "logs, state and image: {files} files");
    assert_eq!(needles.found_in_bytes(said.as_bytes()), Vec::<String>::new());
}

fn search(dir: &Path, look: &mut impl FnMut(&Path, &[u8])) {
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            search(&path, look);
        } else if path.is_file() {
            look(&path, &fs::read(&path).expect("a file"));
        }
    }
}
