//! `qemu-storage-daemon` on a raw file: the device that ours is compared with.

use std::{fs::File, path::Path, process::Command};

use crate::process::{Process, tool};

/// Serves a new raw file of zeros, `name.raw`, on `name.qsd` below `dir`. Discards punch holes, as ours do.
///
/// # Panics
/// If it does not start.
#[must_use]
pub fn serve_raw(dir: &Path, name: &str, len: u64, queues: usize, block: usize) -> Process {
    let at = |suffix: &str| dir.join(format!("{name}.{suffix}"));
    let (raw, socket) = (at("raw"), at("qsd"));
    File::create_new(&raw).and_then(|file| file.set_len(len)).expect("a raw file");
    let mut command = Command::new(tool("qemu-storage-daemon", "qemu-system-common"));
    command
        .arg("--blockdev")
        .arg(format!("driver=file,node-name=file,filename={},discard=unmap", raw.display()));
    command.arg("--blockdev").arg("driver=raw,node-name=disk,file=file,discard=unmap");
    command.arg("--export").arg(format!(
        "type=vhost-user-blk,id=disk,node-name=disk,addr.type=unix,addr.path={},writable=on,num-queues={queues},logical-block-size={block}",
        socket.display()
    ));
    let mut daemon = Process::start("qemu-storage-daemon", &mut command, &at("qsd-log"));
    daemon.wait_until("a listening socket", |_| listens(&socket));
    daemon
}

/// Whether somebody listens at a socket. Not tried by connecting: it serves one front end, and the first would be
/// this.
fn listens(socket: &Path) -> bool {
    const ACCEPTS_CONNECTIONS: &str = "00010000";
    let sockets = std::fs::read_to_string("/proc/net/unix").unwrap_or_default();
    let path = socket.to_string_lossy();
    sockets.lines().any(|line| {
        line.ends_with(&*path) && line.split_whitespace().nth(3) == Some(ACCEPTS_CONNECTIONS)
    })
}
