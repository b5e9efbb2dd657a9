//! The command line, and the configuration it becomes once everything in it has been checked.
//!
//! Follows QEMU's conventions for vhost-user back-end programs (docs/interop/vhost-user.rst, "Backend program
//! conventions"): `--socket-path`, `--fd`, `--print-capabilities`; no daemonizing; an error ends the start at once.

use std::{path::PathBuf, str::FromStr};

use clap::{ArgGroup, Parser, ValueEnum};
use confine::user::Account;
use keyd_client::{DiskId, number};
use thiserror::Error;

use crate::limits::{QUEUE_SIZE_DEFAULT, QUEUE_SIZE_MAX, QUEUES_MAX};

/// What `--print-capabilities` prints (docs/interop/vhost-user.json).
pub const CAPABILITIES: &str = r#"{"type":"block","features":["read-only","blk-file"]}"#;

/// Serves one encrypted disk to one virtual machine over vhost-user-blk.
///
/// The disk's key comes from keyd under a lease; when it is revoked, I/O halts within milliseconds and goes on when
/// the key comes back.
#[derive(Debug, Parser)]
#[command(
    version,
    group = ArgGroup::new("front end").args(["socket_path", "fd"]),
    after_help = "Examples:
  vhost-backend --socket-path /run/vm1/disk.sock --blk-file vm1.img --keyd /run/keyd/keyd.sock
  qemu-system-x86_64 -object memory-backend-memfd,id=m,size=2G,share=on -machine q35,memory-backend=m \\
    -chardev socket,id=d,path=/run/vm1/disk.sock -device vhost-user-blk-pci,chardev=d

Exit codes: 0 ended by SIGTERM or by the front end of --fd; 1 refused or failed, with the reason on stderr; 2 usage.
Ended by SIGSYS: it made a system call that the sandbox forbids; the kernel's log has its number."
)]
pub struct Args {
    /// Listen for the front end on this Unix socket.
    #[arg(long, value_name = "PATH")]
    socket_path: Option<PathBuf>,

    /// Serve this open socket, listening or connected.
    #[arg(long, alias = "socket-fd", value_name = "FDNUM", value_parser = number::<i32>(0..=i32::MAX as u64, 3))]
    fd: Option<i32>,

    /// The image: a file or block device made by 'image create'.
    #[arg(long, value_name = "PATH", required_unless_present = "print_capabilities")]
    blk_file: Option<PathBuf>,

    /// The key daemon's socket.
    ///
    /// If the daemon is away at the start, the front end is served and its requests wait. So do they if the disk's key
    /// is away and its set is one that parks; in any other set the start is refused then.
    #[arg(
        long,
        value_name = "PATH",
        env = "KEYD_SOCKET",
        hide_env_values = true,
        default_value = "/run/keyd/keyd.sock"
    )]
    keyd: PathBuf,

    /// Most virtqueues that the front end may use: as many as it likes, up to 64, unless this says fewer.
    ///
    /// A queue costs nothing before the front end starts it, and a thread from then on. QEMU asks for one for each
    /// processor of its VM.
    #[arg(long, value_name = "N",
          value_parser = number::<u16>(1..=u64::from(QUEUES_MAX), 4))]
    num_queues: Option<u16>,

    /// Longest virtqueue the front end may ask for; a power of two.
    #[arg(long, value_name = "N", default_value_t = QUEUE_SIZE_DEFAULT,
          value_parser = number::<u16>(2..=u64::from(QUEUE_SIZE_MAX), u64::from(QUEUE_SIZE_DEFAULT)))]
    queue_size: u16,

    /// The disk's id, as 'image info' tells it: an image of any other disk is refused. Without it the file itself says
    /// which disk it is, and who can put another file in its place chooses among the disks that this user may attach.
    #[arg(long, value_name = "ID")]
    disk_id: Option<DiskId>,

    /// The disk's serial number, as its guest sees it (/dev/disk/by-id/virtio-SERIAL): up to 20 printable characters.
    /// Without it the one that 'image info' tells.
    #[arg(long, value_name = "TEXT")]
    serial: Option<Serial>,

    /// Whether data goes through the host's page cache. Unless this says so, past it where that can be done; the start
    /// says if it cannot, and why.
    #[arg(long, value_enum)]
    cache: Option<Cache>,

    /// What waits for the disk while the virtual machine goes on.
    ///
    /// Container runtimes forbid io_uring unless told otherwise, as their profiles do not see what goes through it.
    /// (Here every ring is held to what a disk needs.) Threads do the same by plain system calls, and more slowly. The
    /// start says which it is, and why.
    #[arg(long, value_enum, default_value = "auto")]
    engine: EngineWish,

    /// Refuse writes.
    #[arg(long)]
    read_only: bool,

    /// The VM comes from elsewhere (QEMU -incoming): open the image, which another process still serves, and take its
    /// locks and its key when the VM begins to run here. Its requests wait until then. The process that it comes from
    /// lets go when the VM has stopped there.
    #[arg(long)]
    incoming: bool,

    /// Never give space back: which sectors were in use and are no longer stays hidden from who can see the image.
    /// (What was never written shows in any but a dense image: image create --dense.)
    #[arg(long)]
    no_discard: bool,

    /// Become this user once the image and the socket are open; takes root.
    ///
    /// keyd knows the backend by this user: 'keyd grant USER attach --des SET' is for it, and keyd's socket must let it
    /// in. The socket becomes this user's; it is removed at the end if the user may write to its directory.
    #[arg(long, value_name = "NAME|UID[:GID]")]
    user: Option<Account>,

    /// Do not start if the kernel lacks a part of the sandbox.
    ///
    /// The sandbox itself is always on. Without this the start says what is missing, and goes on.
    #[arg(long)]
    require_sandbox: bool,

    /// Print what this program can do, as JSON, and exit.
    #[arg(long)]
    print_capabilities: bool,
}

/// Where the front end is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FrontEnd {
    /// It will connect to this path.
    Path(PathBuf),
    /// It is at this descriptor.
    Fd(i32),
}

/// Whether data goes through the host's page cache. A flush is a flush either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Cache {
    /// Past it (O_DIRECT), or no start
    Direct,
    /// Through it: fast when the image fits; a fence can take as long as the host throttles writers
    Buffered,
}

/// A serial number of a disk: the answer to GET_ID, which has zeros behind a shorter one (virtio 1.2, 5.2.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Serial([u8; Self::LEN]);

impl Serial {
    /// Bytes that virtio has for one.
    pub const LEN: usize = 20;

    /// The disk's own.
    #[must_use]
    pub fn of(disk: DiskId) -> Self {
        Self::padded(images::info::serial(disk).as_bytes())
    }

    /// As a guest gets it.
    #[must_use]
    pub fn bytes(self) -> [u8; Self::LEN] {
        self.0
    }

    fn padded(text: &[u8]) -> Self {
        let mut bytes = [0; Self::LEN];
        bytes.iter_mut().zip(text).for_each(|(byte, of)| *byte = *of);
        Self(bytes)
    }
}

impl FromStr for Serial {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_printable = text.bytes().all(|byte| byte.is_ascii_graphic());
        match text.len() {
            1..=Self::LEN if is_printable => Ok(Self::padded(text.as_bytes())),
            _ => Err("a serial number has 1 to 20 printable ASCII characters, and no spaces"),
        }
    }
}

/// What is to wait for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum EngineWish {
    /// io_uring if it is permitted, else threads
    Auto,
    /// io_uring, or no start
    #[value(name = "io_uring")]
    IoUring,
    /// A few threads for each virtqueue
    Threads,
}

/// A checked configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where the front end is.
    pub front_end: FrontEnd,
    /// The image.
    pub blk_file: PathBuf,
    /// The disk that the image must be; none: any.
    pub disk_id: Option<DiskId>,
    /// The key daemon's socket.
    pub keyd: PathBuf,
    /// Most virtqueues; none: as many as front ends ask for.
    pub queues: Option<u16>,
    /// Longest virtqueue.
    pub queue_size: u16,
    /// What the guest sees as serial number; none: the disk's own.
    pub serial: Option<Serial>,
    /// Whether data goes through the page cache; none: past it where that can be done.
    pub cache: Option<Cache>,
    /// What waits for the disk.
    pub engine: EngineWish,
    /// Writes are refused.
    pub read_only: bool,
    /// The disk is another process's until its VM runs here.
    pub incoming: bool,
    /// Space may be given back.
    pub discard: bool,
    /// Whom root is to become.
    pub user: Option<Account>,
    /// No part of the sandbox may be missing.
    pub require_sandbox: bool,
}

/// What the program is to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Task {
    /// Print [`CAPABILITIES`].
    PrintCapabilities,
    /// Serve.
    Serve(Config),
}

/// Why a command line is refused.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ConfigError {
    /// Neither socket nor descriptor.
    #[error("say where the front end is: --socket-path PATH or --fd FDNUM")]
    NoFrontEnd,
    /// No image.
    #[error("say what to serve: --blk-file PATH")]
    NoImage,
    /// Not a power of two.
    #[error("--queue-size {0} is not a power of two: use 64, 128, 256, 512 or 1024")]
    QueueSize(u16),
}

impl TryFrom<Args> for Task {
    type Error = ConfigError;

    fn try_from(args: Args) -> Result<Self, ConfigError> {
        if args.print_capabilities {
            return Ok(Self::PrintCapabilities);
        }
        if !args.queue_size.is_power_of_two() {
            return Err(ConfigError::QueueSize(args.queue_size));
        }
        let front_end = match (args.socket_path, args.fd) {
            (Some(path), _) => FrontEnd::Path(path),
            (None, Some(fd)) => FrontEnd::Fd(fd),
            (None, None) => return Err(ConfigError::NoFrontEnd),
        };
        Ok(Self::Serve(Config {
            front_end,
            blk_file: args.blk_file.ok_or(ConfigError::NoImage)?,
            disk_id: args.disk_id,
            keyd: args.keyd,
            queues: args.num_queues,
            queue_size: args.queue_size,
            serial: args.serial,
            cache: args.cache,
            engine: args.engine,
            read_only: args.read_only,
            incoming: args.incoming,
            discard: !args.no_discard,
            user: args.user,
            require_sandbox: args.require_sandbox,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(line: &str) -> Result<Task, ConfigError> {
        let args = Args::try_parse_from(line.split(' ')).map_err(|_| ConfigError::NoImage)?;
        args.try_into()
    }

    #[test]
    fn capabilities_need_nothing_else() {
        assert_eq!(task("b --print-capabilities"), Ok(Task::PrintCapabilities));
        let parsed: serde_json::Value = serde_json::from_str(CAPABILITIES).unwrap();
        assert_eq!(parsed["type"], "block");
    }

    #[test]
    fn a_full_line_becomes_a_configuration() {
        let line = "b --fd 5 --blk-file d.img --keyd k --num-queues 4 --queue-size 64 --read-only --no-discard --incoming \
            --user 4711:42 --require-sandbox --engine io_uring";
        let Ok(Task::Serve(config)) = task(line) else { panic!("refused") };
        assert_eq!(config.front_end, FrontEnd::Fd(5));
        assert_eq!((config.queues, config.queue_size), (Some(4), 64));
        assert_eq!(config.engine, EngineWish::IoUring);
        assert!(config.read_only && !config.discard && config.require_sandbox && config.incoming);
        assert_eq!(config.user, "4711:42".parse().ok());
    }

    #[test]
    fn a_serial_number_is_what_virtio_has_room_for() {
        let serial = |text: &str| text.parse::<Serial>().map(Serial::bytes);
        assert_eq!(serial("boot"), Ok(*b"boot\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"));
        assert_eq!(serial("12345678901234567890"), Ok(*b"12345678901234567890"));
        for wrong in ["", "123456789012345678901", "a b", "\u{e4}", "a\nb"] {
            assert!(serial(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_line_without_its_parts_is_refused() {
        assert_eq!(task("b --blk-file d.img"), Err(ConfigError::NoFrontEnd));
        assert!(task("b --socket-path s").is_err());
        assert!(task("b --socket-path s --fd 4 --blk-file d.img").is_err());
        assert_eq!(
            task("b --fd 4 --blk-file d --queue-size 100"),
            Err(ConfigError::QueueSize(100))
        );
        assert!(task("b --fd 4 --blk-file d --num-queues 65").is_err());
        assert!(task("b --fd 4 --blk-file d --num-queues 0").is_err());
    }
}
