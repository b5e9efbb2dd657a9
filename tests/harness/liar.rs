//! A disk that lies, below the unmodified programs: a file system of one file, mounted over an image. It reads short,
//! is late and out of order, fails as it is told, and loses its power.
//!
//! The file is open for direct I/O only (FOPEN_DIRECT_IO), else the kernel's page cache would stand between; a write
//! that must be durable comes with O_DSYNC and keeps that promise here. Locks are the kernel's.
//!
//! Without FUSE_ASYNC_DIO io_uring would go on by itself after a short read or write, and Linux (6.18) would begin
//! the rest where the whole began. With it a short read is told, and of a short write the kernel makes an error: so no
//! write is short here. Short writes are the other twin's part (`vhost-backend/src/disk/sim.rs`).

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant, UNIX_EPOCH},
};

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    INodeNo, InitFlags, KernelConfig, LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyData,
    ReplyEmpty, ReplyOpen, ReplyWrite, Request, Session, WriteFlags,
};
use nix::mount::{MntFlags, umount2};
use vhost_backend::disk::sim::{Change, Happening};

use crate::power::PoweredDisk;

/// Requests that are at the disk at one time, and so can overtake each other. More than fuser has the kernel keep in
/// the background (16): when those hang, others still find a worker.
const WORKERS: usize = 24;

/// FALLOC_FL_KEEP_SIZE and FALLOC_FL_PUNCH_HOLE: the one kind of fallocate that is served.
const PUNCH: i32 = 3;

/// How long what hangs does: longer than a test waits, but a test that fails waits for its programs to end, and they
/// for the disk.
const HANGING: Duration = Duration::from_secs(60);

/// What goes wrong, in how many of 256 operations.
#[derive(Debug, Clone, Copy, Default)]
pub struct Lies {
    /// Reads that bring some whole sectors only.
    pub short: u8,
    /// Operations that are to be tried again (EAGAIN).
    pub again: u8,
    /// Reads and writes that fail with EIO.
    pub error: u8,
    /// Writes that find no space (ENOSPC).
    pub full: u8,
    /// Flushes at which something of what they were to write is lost for good. Each open file hears of it once, at its
    /// next flush (EIO), as on Linux (`errseq_t`).
    pub loss: u8,
    /// Flushes that do nothing, and say that they did.
    pub no_sync: u8,
    /// Operations that never end, if nobody [wakes](Liar::wake) them.
    pub hung: bool,
    /// Longest time until an operation takes effect, and again until that is said.
    pub late: Duration,
}

/// The disk. Unmounted when this is dropped: end the programs that have it open before.
pub struct Liar {
    shim: Shim,
    image: PathBuf,
    _mounted: BackgroundSession,
}

#[derive(Clone)]
struct Shim(Arc<Mutex<State>>);

struct State {
    disk: PoweredDisk,
    lies: Lies,
    random: fastrand::Rng,
    /// Operations so far.
    number: u64,
    /// Without power nothing is done. What was under way when it went is not done when it is back.
    power: bool,
    cuts: u64,
    /// Losses so far, and how many of them each open file has heard of.
    losses: u64,
    heard: Vec<u64>,
    /// Open files that were flushed.
    flushed: BTreeSet<usize>,
    /// Operations that hang, and how often the disk was woken.
    hung: usize,
    woken: u64,
}

/// What is to become of an operation.
enum Fate {
    Done,
    Short(usize),
    Pretended,
    /// A flush: what it was to write is lost already.
    Lost,
    Fails(Errno),
}

/// A change that is under way.
struct Begun {
    number: u64,
    file: usize,
    cuts: u64,
    fate: Fate,
    pauses: [Duration; 2],
}

impl Liar {
    /// Mounts a lying disk over an image. `None` where this system has no FUSE for us.
    ///
    /// # Panics
    /// If there is no image.
    #[must_use]
    pub fn over(image: &Path, seed: u64) -> Option<Self> {
        let disk = PoweredDisk::new(fs::read(image).expect("an image"));
        let random = fastrand::Rng::with_seed(seed);
        let state = State {
            disk,
            lies: Lies::default(),
            random,
            number: 0,
            power: true,
            cuts: 0,
            losses: 0,
            heard: Vec::new(),
            flushed: BTreeSet::new(),
            hung: 0,
            woken: 0,
        };
        let shim = Shim(Arc::new(Mutex::new(state)));
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("liar".into())];
        config.n_threads = Some(WORKERS);
        let mounted = Session::new(shim.clone(), image, &config).and_then(Session::spawn);
        match mounted {
            Ok(mounted) => Some(Self { shim, image: image.to_owned(), _mounted: mounted }),
            Err(error) => {
                must_run::skip(format_args!("no FUSE here: {error}"));
                None
            }
        }
    }

    /// Changes what goes wrong.
    pub fn set(&self, lies: Lies) {
        self.shim.state().lies = lies;
    }

    /// How many open files were flushed so far, each once or more.
    #[must_use]
    pub fn files_flushed(&self) -> usize {
        self.shim.state().flushed.len()
    }

    /// How many operations do not end now.
    #[must_use]
    pub fn hung(&self) -> usize {
        self.shim.state().hung
    }

    /// Has what hangs go on.
    pub fn wake(&self) {
        self.shim.state().woken += 1;
    }

    /// Cuts the power: from here on nothing is done and all fails. What may have survived is on the disk when the power
    /// is back.
    pub fn cut_power(&self) {
        let state = &mut *self.shim.state();
        state.power = false;
        state.cuts += 1;
        state.disk = PoweredDisk::new(state.disk.survivor(&mut state.random));
    }

    /// Gives it its power back.
    pub fn give_power(&self) {
        self.shim.state().power = true;
    }
}

impl Drop for Liar {
    /// The kernel may hold the file for some milliseconds more than the process that was killed: it is let go then.
    fn drop(&mut self) {
        self.wake();
        if let Err(error) = umount2(&self.image, MntFlags::MNT_DETACH) {
            eprintln!("{} stays mounted: {error}", self.image.display());
        }
    }
}

impl Shim {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does an operation of an open file, or something else: the bytes it moved.
    fn perform(&self, file: FileHandle, change: &Change) -> Result<usize, Errno> {
        let begun = self.state().begin(file, change)?;
        thread::sleep(begun.pauses[0]);
        self.hang();
        let result = self.state().end(&begun, change);
        thread::sleep(begun.pauses[1]);
        result
    }

    fn hang(&self) {
        let woken = {
            let mut state = self.state();
            if !state.lies.hung {
                return;
            }
            state.hung += 1;
            state.woken
        };
        let began = Instant::now();
        while self.state().woken == woken && began.elapsed() < HANGING {
            thread::sleep(Duration::from_millis(1));
        }
        self.state().hung -= 1;
    }

    fn read(&self, offset: usize, size: usize) -> Result<Vec<u8>, Errno> {
        let (fate, [before, _]) = {
            let mut state = self.state();
            (state.read_fate(size), state.pauses())
        };
        thread::sleep(before);
        self.hang();
        let state = self.state();
        let size = match fate {
            Fate::Fails(errno) => return Err(errno),
            Fate::Short(part) => part,
            Fate::Done | Fate::Pretended | Fate::Lost => size,
        };
        let image = state.disk.current();
        let end = (offset + size).min(image.len());
        if state.power { Ok(image[offset.min(end)..end].to_vec()) } else { Err(Errno::EIO) }
    }
}

impl State {
    fn happens(&mut self, in_256: u8) -> bool {
        self.random.u8(..) < in_256
    }

    fn pauses(&mut self) -> [Duration; 2] {
        [0; 2].map(|_| self.lies.late.mul_f64(self.random.f64()))
    }

    fn read_fate(&mut self, len: usize) -> Fate {
        let Lies { short, again, error, .. } = self.lies;
        match (self.happens(error), self.happens(again), self.happens(short)) {
            (true, ..) => Fate::Fails(Errno::EIO),
            (_, true, _) => Fate::Fails(Errno::EAGAIN),
            (.., true) if len > 512 => Fate::Short(self.random.usize(1..=(len - 1) / 512) * 512),
            _ => Fate::Done,
        }
    }

    fn write_fate(&mut self) -> Fate {
        let Lies { full, again, error, .. } = self.lies;
        match (self.happens(error), self.happens(again), self.happens(full)) {
            (true, ..) => Fate::Fails(Errno::EIO),
            (_, true, _) => Fate::Fails(Errno::EAGAIN),
            (.., true) => Fate::Fails(Errno::ENOSPC),
            _ => Fate::Done,
        }
    }

    fn begin(&mut self, file: FileHandle, change: &Change) -> Result<Begun, Errno> {
        if !self.power {
            return Err(Errno::EIO);
        }
        self.number += 1;
        self.disk.happen(Happening::Began(self.number, change.clone()));
        let fate = match change {
            Change::Write { .. } | Change::Punch { .. } => self.write_fate(),
            Change::Sync => {
                self.flushed.insert(file.0 as usize);
                self.sync_fate()
            }
        };
        let (number, cuts, pauses) = (self.number, self.cuts, self.pauses());
        Ok(Begun { number, file: file.0 as usize, cuts, fate, pauses })
    }

    fn sync_fate(&mut self) -> Fate {
        let Lies { again, loss, no_sync, .. } = self.lies;
        match (self.happens(loss), self.happens(again), self.happens(no_sync)) {
            (true, ..) => {
                self.losses += 1;
                self.disk.happen(Happening::Failed(self.number));
                Fate::Lost
            }
            (_, true, _) => Fate::Fails(Errno::EAGAIN),
            (.., true) => Fate::Pretended,
            _ => Fate::Done,
        }
    }

    fn end(&mut self, begun: &Begun, change: &Change) -> Result<usize, Errno> {
        if begun.cuts != self.cuts {
            return Err(Errno::EIO);
        }
        let number = begun.number;
        let whole = if let Change::Write { bytes, .. } = change { bytes.len() } else { 0 };
        let (happening, result) = match begun.fate {
            Fate::Lost => return if self.hears(begun.file) { Err(Errno::EIO) } else { Ok(0) },
            Fate::Done if *change == Change::Sync && self.hears(begun.file) => {
                (Happening::Again(number), Err(Errno::EIO))
            }
            Fate::Done | Fate::Short(_) => (Happening::Ended(number, whole), Ok(whole)),
            Fate::Pretended => (Happening::Again(number), Ok(whole)),
            Fate::Fails(errno) => (Happening::Again(number), Err(errno)),
        };
        self.disk.happen(happening);
        result
    }

    /// Whether there is a loss that this open file has not heard of. Now it has.
    fn hears(&mut self, file: usize) -> bool {
        std::mem::replace(&mut self.heard[file], self.losses) < self.losses
    }
}

fn tell(reply: ReplyEmpty, result: Result<usize, Errno>) {
    match result {
        Ok(_) => reply.ok(),
        Err(errno) => reply.error(errno),
    }
}

impl Filesystem for Shim {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        let added = config.add_capabilities(InitFlags::FUSE_ASYNC_DIO);
        added.map_err(|_| io::Error::other("a kernel without FUSE_ASYNC_DIO"))
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let size = self.state().disk.current().len() as u64;
        let about = FileAttr {
            ino,
            size,
            blocks: size / 512,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind: FileType::RegularFile,
            perm: 0o600,
            nlink: 1,
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            rdev: 0,
            blksize: 4096,
            flags: 0,
        };
        reply.attr(&Duration::from_secs(60), &about);
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let flags = FopenFlags::FOPEN_DIRECT_IO | FopenFlags::FOPEN_PARALLEL_DIRECT_WRITES;
        let state = &mut *self.state();
        state.heard.push(state.losses);
        reply.opened(FileHandle(state.heard.len() as u64 - 1), flags);
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match Self::read(self, offset as usize, size as usize) {
            Ok(bytes) => reply.data(&bytes),
            Err(errno) => reply.error(errno),
        }
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        file: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        flags: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let durable = flags.0 & libc::O_DSYNC != 0;
        let change = Change::Write { at: offset as usize, bytes: data.to_vec(), durable };
        match self.perform(file, &change) {
            Ok(moved) => reply.written(moved as u32),
            Err(errno) => reply.error(errno),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, _: INodeNo, file: FileHandle, _: bool, reply: ReplyEmpty) {
        tell(reply, self.perform(file, &Change::Sync));
    }

    fn fallocate(
        &self,
        _: &Request,
        _: INodeNo,
        file: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        if mode != PUNCH {
            return reply.error(Errno::EOPNOTSUPP);
        }
        let change = Change::Punch { at: offset as usize, len: length as usize };
        tell(reply, self.perform(file, &change));
    }
}
