//! The servers that are compared, each with a disk of its own on the medium.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, ensure};
use benches::{cores, pin, server::Server};
use serde::Serialize;
use system_tests::{
    guest::Guest,
    process::{Process, tool},
    world::World,
};

use crate::{
    media::{Kind, Medium, said},
    plan::{DISK_LEN, SPAN},
};

/// Whose server, and how it stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// Ours, encrypted in data units of 512 bytes.
    Ours512,
    /// Ours, encrypted in data units of 4096 bytes.
    Ours4096,
    /// qemu-storage-daemon, plain.
    Raw,
    /// qemu-storage-daemon, LUKS1.
    Luks,
}

/// A running server.
pub struct Candidate {
    /// For tables.
    pub name: String,
    /// What it is.
    pub family: Family,
    /// Where it listens.
    pub socket: PathBuf,
    /// What it said of its disk.
    pub remark: String,
    process: Process,
}

/// All servers on one medium. They end before it goes.
pub struct Field {
    /// The servers, in the order of their turns.
    pub candidates: Vec<Candidate>,
    world: World,
    medium: Medium,
}

/// What headers take at most, ours and LUKS1.
const HEADER_MAX: u64 = 32 << 20;

const PASSPHRASE: &str = "open sesame";

/// The core of the servers: interrupts prefer the first.
pub fn server_core() -> usize {
    cores().last().copied().unwrap_or(0)
}

/// Starts something on the servers' cores, then goes back to the client's.
pub fn on_cores<T>(server: &[usize], client: usize, start: impl FnOnce() -> T) -> T {
    pin(server);
    let started = start();
    pin(&[client]);
    started
}

impl Candidate {
    /// Its process.
    pub fn server(&self) -> Server {
        Server(self.process.pid())
    }
}

impl Field {
    /// Starts every server, each with a new disk.
    pub fn new(medium: Medium, client_core: usize) -> Result<Self> {
        let world = World::in_dir(medium.dir());
        let mut field = Self { candidates: Vec::new(), world, medium };
        field.must_keyd("key create bench")?;
        field.must_keyd("des create bench --key bench")?;
        on_cores(&[server_core()], client_core, || field.start_all())?;
        Ok(field)
    }

    /// Where the disks are.
    pub fn kind(&self) -> Kind {
        self.medium.kind
    }

    /// Those of a family.
    pub fn of(&self, family: Family) -> impl Iterator<Item = &Candidate> {
        self.candidates.iter().filter(move |candidate| candidate.family == family)
    }

    /// A guest that has the disks of all servers, in their order.
    #[must_use]
    pub fn boot(&self) -> Guest {
        let names = self.candidates.iter().map(|candidate| candidate.socket.file_name());
        let names: Vec<&str> =
            names.map(|name| name.and_then(OsStr::to_str).unwrap_or("")).collect();
        Guest::boot(&self.world, &names, &[])
    }

    /// Brings what is used of every disk into the page cache, where that is what is measured: memory may have been
    /// wanted for something else meanwhile.
    pub fn warm(&self) -> Result<()> {
        if self.medium.kind != Kind::Ext4 {
            return Ok(());
        }
        for entry in fs::read_dir(self.world.path(""))? {
            let path = entry?.path();
            if path.extension().is_some_and(|end| end == "img" || end == "raw" || end == "luks") {
                let mut used = File::open(&path)?.take(SPAN + HEADER_MAX);
                io::copy(&mut used, &mut io::sink())?;
            }
        }
        Ok(())
    }

    fn start_all(&mut self) -> Result<()> {
        let ours = self.ours("ours-512", Family::Ours512, 512, DISK_LEN, "")?;
        self.candidates.push(ours);
        let ours = self.ours("ours-4096", Family::Ours4096, 4096, DISK_LEN, "")?;
        self.candidates.push(ours);
        let dir = self.world.path("");
        let (raw, luks) = (dir.join("plain.raw"), dir.join("plain.luks"));
        File::create_new(&raw)?.set_len(DISK_LEN)?;
        let mut command = Command::new(tool("qemu-img", "qemu-utils"));
        command.args(["create", "-q", "-f", "luks", "--object", &secret()]);
        command.args([
            "-o",
            "key-secret=key,cipher-alg=aes-256,cipher-mode=xts,ivgen-alg=plain64,iter-time=10",
        ]);
        said(command.arg(&luks).arg(DISK_LEN.to_string()))?;
        for (family, format, image) in [(Family::Raw, "raw", &raw), (Family::Luks, "luks", &luks)] {
            // Linux' own AIO is for O_DIRECT only.
            let other = if self.medium.kind.direct() { "native" } else { "threads" };
            for engine in ["io_uring", other] {
                let peer = self.storage_daemon(family, format, engine, image);
                self.candidates.push(peer);
            }
        }
        Ok(())
    }

    /// Starts a server of ours with a new disk.
    pub fn ours(
        &self,
        name: &str,
        family: Family,
        unit: u32,
        len: u64,
        more: &str,
    ) -> Result<Candidate> {
        let create = format!("create {name}.img --size {len} --des bench --sector-size {unit}");
        let made = self.world.image(&create);
        ensure!(made.code == 0, "image {create}: {}", made.err);
        Ok(self.start(name, family, more))
    }

    /// Starts a server of ours on a disk that is there.
    pub fn start(&self, name: &str, family: Family, more: &str) -> Candidate {
        let cache = if self.medium.kind.direct() { "direct" } else { "buffered" };
        let process = self.world.start_backend(name, &format!("--cache {cache} {more}"));
        let heard = process.said();
        let remark = heard.lines().find(|line| line.contains("serving")).unwrap_or_default();
        let remark = remark.split_once(", ").map_or(remark, |(_, rest)| rest).to_owned();
        let socket = self.world.path(&format!("{name}.sock"));
        Candidate { name: name.replace('-', " "), family, socket, remark, process }
    }

    /// Starts qemu-storage-daemon on an image, which another one may have open: only one is loaded at a time.
    fn storage_daemon(
        &self,
        family: Family,
        format: &str,
        engine: &str,
        image: &Path,
    ) -> Candidate {
        let socket = self.world.path(&format!("{format}-{engine}.sock"));
        let direct = if self.medium.kind.direct() { "on" } else { "off" };
        let mut command = Command::new(tool("qemu-storage-daemon", "qemu-system-common"));
        let mut disk = format!("driver={format},node-name=disk,file=file");
        if family == Family::Luks {
            command.arg("--object").arg(secret());
            disk.push_str(",key-secret=key");
        }
        let options = format!("aio={engine},cache.direct={direct}");
        command.arg("--blockdev").arg(format!(
            "driver=file,node-name=file,filename={},{options},locking=off",
            image.display()
        ));
        command.arg("--blockdev").arg(disk).arg("--export").arg(format!(
            "type=vhost-user-blk,id=disk,node-name=disk,addr.type=unix,addr.path={},writable=on",
            socket.display()
        ));
        let log = self.world.path(&format!("{format}-{engine}.log"));
        let mut process = Process::start("qemu-storage-daemon", &mut command, &log);
        process.wait_until("a socket", |_| socket.exists());
        let name = format!("{} {engine}", if family == Family::Raw { "raw" } else { "LUKS" });
        Candidate { name, family, socket, remark: options, process }
    }

    fn must_keyd(&self, arguments: &str) -> Result<()> {
        let ended = self.world.keyd(arguments);
        ensure!(ended.code == 0, "keyd {arguments}: {}", ended.err);
        Ok(())
    }
}

fn secret() -> String {
    format!("secret,id=key,data={PASSPHRASE}")
}
