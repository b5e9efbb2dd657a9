//! A virtual machine on the disk: fio with verification through a rotation and a revocation, a reboot, and
//! dm-crypt in the guest as the other reader and writer of the format.

use std::{fs, thread, time::Duration};

use serde_json::Value;
use system_tests::{
    driver::BlkRequest,
    front_end::{FrontEnd, Options},
    guest::{Guest, Running},
    process::eventually,
    world::World,
};

const FIO: &str = "fio --name=v --filename=/dev/vda --direct=1 --ioengine=libaio --iodepth=8 --rw=randwrite \
    --bsrange=4k-32k --size=24M --verify=crc32c --verify_fatal=1 --randseed=7 --eta=never --output=/tmp/v.log \
    --rate_iops=,150";

/// Waits until two counts of the guest's writes are one: what was answered before the key went may be counted later.
fn writes_at_rest(guest: &mut Guest) -> u64 {
    eventually("rest", || {
        let count = guest.writes_done("vda");
        (guest.writes_done("vda") == count).then_some(count)
    })
}

#[test]
fn fio_verifies_through_rotation_revocation_and_a_reboot() {
    let world = World::new();
    let _ = world.make_disk("d", "64M", "");
    let mut backend = world.start_backend("d", "--num-queues 2");
    let mut guest = Guest::boot(&world, &["d.sock"], &[]);
    assert_eq!(guest.disks(), "vda=67108864");
    assert_eq!(guest.succeed("cat /sys/block/vda/queue/write_cache").trim(), "write back");

    let fio = guest.start(FIO);
    guest.wait_for_writes("vda", 0);
    let _ = world.keyd("key rotate d").success();
    let rotated = guest.writes_done("vda");
    guest.wait_for_writes("vda", rotated);
    let _ = world.keyd("key disable d --force").success();
    backend.wait_to_say("fenced in");
    let halted = writes_at_rest(&mut guest);
    thread::sleep(Duration::from_secs(3));
    assert_eq!(guest.writes_done("vda"), halted, "the guest's I/O hangs");
    assert!(!guest.has_ended(fio), "and without an error");
    let _ = world.keyd("key enable d").success();
    let (code, _) = guest.wait(fio);
    let log = guest.succeed("cat /tmp/v.log");
    assert_eq!(code, 0, "{log}");
    assert!(guest.writes_done("vda") > halted);
    assert!(!guest.succeed("dmesg").contains("I/O error"));

    guest.reboot();
    let verified = guest.run(&format!("{FIO} --verify_only"));
    assert_eq!(verified.0, 0, "after a reboot: {}", verified.1);

    // The cache switch of a real driver.
    let _ = guest.succeed("echo 'write through' > /sys/block/vda/cache_type");
    let _ = guest.succeed("dd if=/dev/zero of=/dev/vda bs=64k count=4 oflag=direct");
    let _ = guest.succeed("blkdiscard -f /dev/vda || blkdiscard /dev/vda");
    assert_eq!(guest.succeed("head -c 65536 /dev/vda | tr -d '\\000' | wc -c").trim(), "0");
    guest.power_off();
    assert!(backend.terminate().success());
}

/// What fio measured: answers a second, and milliseconds.
struct Measured {
    iops: f64,
    p50: f64,
    p99: f64,
    max: f64,
}

/// Starts fio on random reads and writes of 4 KiB, for some seconds.
fn start_fio(guest: &mut Guest, seconds: u32) -> Running {
    guest.start(&format!(
        "fio --name=m --filename=/dev/vda --direct=1 --ioengine=libaio --iodepth=4 --rw=randrw \
        --bs=4k --size=16M --time_based --runtime={seconds} --randseed=7 --eta=never \
        --output-format=json --output=/tmp/m.json"
    ))
}

/// Its figures of the reads: a write in the guest's own cache would be no measure.
fn measured(guest: &mut Guest, fio: Running) -> Measured {
    let (code, said) = guest.wait(fio);
    let text = guest.succeed("cat /tmp/m.json");
    assert_eq!(code, 0, "{said}{text}");
    let report: Value = serde_json::from_str(&text).expect("JSON");
    let job = &report["jobs"][0];
    assert_eq!(job["error"], 0, "{text}");
    let number = |value: &Value| value.as_f64().expect("a number");
    let latency = &job["read"]["clat_ns"];
    let millis = |value: &Value| number(value) / 1e6;
    Measured {
        iops: number(&job["read"]["iops"]) + number(&job["write"]["iops"]),
        p50: millis(&latency["percentile"]["50.000000"]),
        p99: millis(&latency["percentile"]["99.000000"]),
        max: millis(&latency["max"]),
    }
}

#[test]
fn a_key_is_rotated_under_fio_without_an_error() {
    const SECONDS: u32 = 5;
    let world = World::new();
    let _ = world.make_disk("d", "64M", "");
    world.make_records("d", 100);
    let backend = world.start_backend("d", "");
    let mut guest = Guest::boot(&world, &["d.sock"], &[]);
    let _ = guest.succeed("dd if=/dev/urandom of=/dev/vda bs=1M count=16 oflag=direct");
    let fio = start_fio(&mut guest, SECONDS);
    let before = measured(&mut guest, fio);
    let fio = start_fio(&mut guest, SECONDS);
    let mut rotations = 0;
    while !guest.has_ended(fio) {
        let _ = world.keyd("key rotate d").success();
        rotations += 1;
    }
    let during = measured(&mut guest, fio);
    let fio = start_fio(&mut guest, SECONDS);
    let after = measured(&mut guest, fio);
    assert!(!backend.said().contains("fenced"), "{}", backend.said());
    assert!(!guest.succeed("dmesg").contains("I/O error"));
    guest.power_off();
    println!("\nfio in the guest, 100 other disks   IOPS      p50      p99      max");
    let during_what = format!("during {rotations} rotations");
    for (what, row) in [("before", before), (&during_what, during), ("after", after)] {
        let Measured { iops, p50, p99, max } = row;
        println!("{what:<30} {iops:>9.0} {p50:>5.2} ms {p99:>5.1} ms {max:>5.1} ms");
    }
}

#[test]
fn dm_crypt_in_a_guest_and_the_backend_read_each_other() {
    const LEN: usize = 1 << 20;
    let world = World::new();
    let sizes = [512, 4096];
    let pattern =
        |salt: u8| (0..LEN).map(|n| (n / 512) as u8 ^ (n as u8) ^ salt).collect::<Vec<u8>>();
    let sectors = || (0..LEN / 512).step_by(256).map(|sector| sector as u64);
    for size in sizes {
        let name = format!("d{size}");
        let id = world.make_disk(&name, "8M", &format!("--sector-size {size}"));
        let _backend = world.start_backend(&name, "");
        let mut front_end =
            FrontEnd::connect(&world.path(&format!("{name}.sock")), Options::default());
        let data = pattern(size as u8);
        for (sector, out) in sectors().zip(data.chunks(256 * 512)) {
            let write = BlkRequest { kind: 1, sector, out: out.to_vec(), room: 0 };
            assert_eq!(front_end.ask(0, &write).status, 0);
        }
        let _ = world.keyd(&format!("disk release-key {id} --to {name}.vk")).success();
    }
    let drives: Vec<String> = sizes
        .iter()
        .flat_map(|size| {
            let image = world.path(&format!("d{size}.img"));
            let drive = format!("file={},format=raw,if=virtio,cache=writeback", image.display());
            ["-drive".to_owned(), drive]
        })
        .collect();
    let mut guest = Guest::boot(&world, &[], &drives);
    for (size, disk) in sizes.iter().zip(["vda", "vdb"]) {
        guest.put("/tmp/vk", &fs::read(world.path(&format!("d{size}.vk"))).unwrap());
        let open = "cryptsetup open --type luks2 --volume-key-file /tmp/vk --key-size 512";
        let _ = guest.succeed(&format!("{open} /dev/{disk} c{size}"));
        assert_eq!(
            guest.succeed(&format!("blockdev --getss /dev/mapper/c{size}")).trim(),
            size.to_string()
        );
        fs::write(world.path("expected"), pattern(*size as u8)).unwrap();
        let sum = guest.succeed(&format!("head -c {LEN} /dev/mapper/c{size} | sha256sum"));
        let expected = system_tests::process::run(
            std::process::Command::new("sha256sum").arg(world.path("expected")),
        );
        assert_eq!(sum[..64], expected.out[..64], "dm-crypt reads what the backend wrote, {size}");
        let move_up = format!(
            "dd if=/dev/mapper/c{size} of=/tmp/copy bs={LEN} count=1 && \
             dd if=/tmp/copy of=/dev/mapper/c{size} bs={LEN} seek=2 conv=fsync"
        );
        let _ = guest.succeed(&move_up);
        let _ = guest.succeed(&format!("cryptsetup close c{size}; sync"));
    }
    guest.power_off();
    for size in sizes {
        let name = format!("d{size}");
        let _backend = world.start_backend(&name, "");
        let mut front_end =
            FrontEnd::connect(&world.path(&format!("{name}.sock")), Options::default());
        let data = pattern(size as u8);
        for (sector, expected) in sectors().zip(data.chunks(256 * 512)) {
            let sector = sector + 2 * (LEN as u64) / 512;
            let read = BlkRequest { kind: 0, sector, out: vec![], room: expected.len() };
            let answer = front_end.ask(0, &read);
            assert!(
                answer.status == 0 && answer.data == expected,
                "the backend reads what dm-crypt wrote"
            );
        }
    }
}
