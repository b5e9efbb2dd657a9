//! A host of our users': a guest whose first process is systemd, with our programs and units installed as the units
//! say.

use std::{
    ffi::OsString,
    fs::{self, File},
    io,
    os::unix::fs::symlink,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use crate::{
    guest::{Guest, guest_image},
    process::{PATIENCE, program, run, tool},
    world::World,
};

/// Where systemd finds the units of an administrator.
const UNITS: &str = "etc/systemd/system";

/// Bytes of its disk, which is `/var/lib`.
const DISK: u64 = 256 << 20;

/// Its file.
const DISK_FILE: &str = "host.disk";

/// What mounts it at a boot, once its driver is there.
const MOUNT: &str = "[Unit]
Description=The disk of this host
Before=keyd.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'until mount -t ext4 /dev/vda /var/lib; do sleep 1; done'
";

/// Users and groups: what Debian's packages of QEMU and libvirt make, and what `keyd.service` says to make.
const PASSWD: &str = "root:x:0:0::/:/bin/sh
libvirt-qemu:x:64055:104::/:/usr/sbin/nologin
keyd:x:998:998::/:/usr/sbin/nologin
";
const GROUP: &str = "root:x:0:\nkvm:x:104:\nkeyd:x:998:\n";

/// A running host. It is killed when this is dropped.
#[derive(Debug)]
pub struct Host {
    /// The machine.
    pub guest: Guest,
}

impl Host {
    /// Boots a host that has `programs` in `/usr/local/bin`, and the units as they ship.
    ///
    /// # Panics
    /// If it does not come up, or a unit of its own fails.
    #[must_use]
    pub fn boot(world: &World, programs: &[&str]) -> Self {
        let disk = world.path(DISK_FILE);
        File::create(&disk).and_then(|file| file.set_len(DISK)).expect("a file");
        lay_out(&world.path("root"), programs);
        let mut host = Self::start(world);
        // A file in memory is served by other means than one on a disk.
        let _ = host.succeed("mkfs.ext4 -q /dev/vda && mount -t ext4 /dev/vda /var/lib");
        let _ = host.succeed("mkdir /var/lib/portcullis");
        host
    }

    /// Boots a host that was powered off once more, with its disk as it was, and with `enabled` units, which come up by
    /// themselves.
    ///
    /// # Panics
    /// If it does not come up, or a unit of its own fails.
    #[must_use]
    pub fn boot_again(world: &World, enabled: &[&str]) -> Self {
        let units = world.path("root").join(UNITS);
        fs::write(units.join("disk.service"), MOUNT).expect("written");
        let wants = units.join("multi-user.target.wants");
        fs::create_dir_all(&wants).expect("a directory");
        for name in ["disk.service"].iter().chain(enabled) {
            // An instance is its template by another name.
            let file = name
                .find('@')
                .map_or_else(|| (*name).to_owned(), |at| format!("{}.service", &name[..=at]));
            symlink(Path::new("/").join(UNITS).join(file), wants.join(name)).expect("a link");
        }
        Self::start(world)
    }

    fn start(world: &World) -> Self {
        let root = world.path("root");
        let ours = world.path("ours.cpio");
        pack(&root, &ours);
        let (image, all) = (guest_image(), world.path("host.cpio"));
        // The kernel unpacks one after the other.
        let mut whole = File::create(&all).expect("a file");
        for part in [image.join("initramfs.cpio"), image.join("host.cpio"), ours] {
            let copied = File::open(&part).and_then(|mut part| io::copy(&mut part, &mut whole));
            let _ = copied.unwrap_or_else(|error| panic!("{}: {error}", part.display()));
        }
        // Landlock is a part of the programs' sandbox. The console has the journal, also of what comes after the
        // channel has gone.
        let append = "lsm=landlock,capability systemd.journald.forward_to_console=1";
        let options = ["--append", append, "--mem", "1024", "--cpus", "2"];
        let mut options: Vec<OsString> = options.map(Into::into).into();
        options.extend(["--initramfs".into(), all.into_os_string(), "--".into()]);
        let disk = world.path(DISK_FILE);
        options.push("-drive".into());
        options.push(format!("if=virtio,format=raw,file={}", disk.display()).into());
        let mut guest = Guest::run_machine(world, "host", &options);
        guest.wake();
        let mut host = Self { guest };
        assert_eq!(host.succeed("systemctl is-system-running --wait").trim(), "running");
        host
    }

    /// The output of a command that has to succeed, as root.
    ///
    /// # Panics
    /// If it fails.
    pub fn succeed(&mut self, command: &str) -> String {
        let (code, output) = self.guest.run(command);
        assert_eq!(code, 0, "on the host: {command}\n{output}\n{}", self.journal());
        output
    }

    /// The same as another user.
    ///
    /// # Panics
    /// If it fails.
    pub fn succeed_as(&mut self, user: &str, command: &str) -> String {
        self.succeed(&as_user(user, command))
    }

    /// What systemd says of a unit.
    pub fn property(&mut self, unit: &str, name: &str) -> String {
        self.succeed(&format!("systemctl show --value -p {name} {unit}")).trim().to_owned()
    }

    /// What `systemctl status` shows of a unit, once its status text says all of this: that text, in one line, and the
    /// same in the journal.
    ///
    /// # Panics
    /// If it does not in time.
    pub fn told(&mut self, unit: &str, words: &[&str]) -> String {
        let show = format!("systemctl status --no-pager -l -n 100 {unit}");
        self.eventually(&format!("status of {unit}: {words:?}"), |host| {
            // One look: a start that is tried again has no status text at first.
            let shown = host.guest.run(&show).1;
            let mut lines = shown.lines().map(str::trim);
            let text = lines.find_map(|line| line.strip_prefix("Status: \"")?.strip_suffix('"'))?;
            let is_told = words.iter().all(|word| text.contains(word));
            (is_told && shown.matches(text).count() > 1).then(|| text.to_owned())
        })
    }

    /// The end of the journal.
    pub fn journal(&mut self) -> String {
        self.guest.run("journalctl --no-pager -o short-precise -n 100").1
    }

    /// Asks until there is an answer.
    ///
    /// # Panics
    /// If there is none in time: with the journal.
    pub fn eventually<T>(&mut self, what: &str, mut ask: impl FnMut(&mut Self) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(answer) = ask(self) {
                return answer;
            }
            assert!(Instant::now() < deadline, "no {what} in time:\n{}", self.journal());
            thread::sleep(Duration::from_millis(50));
        }
    }
}

/// A command, to be run as a user.
#[must_use]
pub fn as_user(user: &str, command: &str) -> String {
    format!("su -s /bin/sh {user} -c 'PATH=/usr/local/bin:$PATH; {command}'")
}

/// What is on the host of ours.
fn lay_out(root: &Path, programs: &[&str]) {
    let bin = root.join("usr/local/bin");
    for dir in [&bin, &root.join(UNITS), &root.join("var/lib")] {
        fs::create_dir_all(dir).expect("a directory");
    }
    for name in programs {
        // What is for debuggers is four fifths of it.
        let mut strip = Command::new(tool("strip", "binutils"));
        let _ = run(strip.arg("-o").arg(bin.join(name)).arg(program(name))).success();
    }
    let share = Path::new(env!("CARGO_MANIFEST_DIR")).join("../vhost-backend/share");
    for name in ["keyd.service", "vhost-backend@.service"] {
        let _ = fs::copy(share.join(name), root.join(UNITS).join(name)).expect("a unit");
    }
    fs::write(root.join("etc/passwd"), PASSWD).expect("written");
    fs::write(root.join("etc/group"), GROUP).expect("written");
}

/// Packs a directory, as root's.
fn pack(root: &Path, archive: &Path) {
    let cpio = tool("cpio", "cpio");
    let script = r#"find . | "$0" --quiet -o -H newc -R 0:0 >"$1""#;
    let mut pack = Command::new("bash");
    pack.args(["-o", "pipefail", "-c", script]).arg(cpio).arg(archive);
    let _ = run(pack.current_dir(root)).success();
}
