//! `keyd disk`.

use keyd_client::message::{DiskRequest, DiskStatus, Reply};

use super::{
    Error, args,
    ask::{Ask, unexpected},
    release,
    table::{bytes, list, name, table, yes},
};
use crate::clock;

pub(super) fn run(ask: &Ask, verb: args::Disk) -> Result<(), Error> {
    match verb {
        args::Disk::List => ask.print(&every(ask)?, |disks| all(disks)),
        args::Disk::ReleaseKey { id, to } => release::run(ask, id, &to),
        args::Disk::Show { id } => match ask.call(DiskRequest::Show { id })? {
            Reply::Disk(disk) => ask.print(&*disk, one),
            _ => Err(unexpected()),
        },
    }
}

/// Page after page.
fn every(ask: &Ask) -> Result<Vec<DiskStatus>, Error> {
    let mut every: Vec<DiskStatus> = Vec::new();
    loop {
        let after = every.last().map(|disk| disk.record.id);
        match ask.call(DiskRequest::List { after })? {
            Reply::Disks { disks, more } => {
                let end = !more || disks.is_empty();
                every.extend(disks);
                if end {
                    return Ok(every);
                }
            }
            _ => return Err(unexpected()),
        }
    }
}

fn one(disk: &DiskStatus) -> String {
    let DiskStatus { record, key_enabled, key_lost, holders } = disk;
    let about = list(&[
        ("id", record.id.to_string()),
        ("size", bytes(record.geometry.size)),
        ("sector size", record.geometry.sector_size.to_string()),
        ("data offset", bytes(record.geometry.data_offset)),
        ("holes", name(&record.geometry.holes)),
        ("des", record.des.to_string()),
        ("key", record.key.to_string()),
        ("key version", record.key_version.to_string()),
        ("key enabled", yes(*key_enabled)),
        ("key lost", key_lost.clone().unwrap_or_default()),
        ("encryption", name(&record.encryption)),
        ("generation", record.generation.to_string()),
        ("confirmed", yes(record.confirmed)),
        ("created", clock::text(record.created)),
    ]);
    let rows: Vec<_> = holders
        .iter()
        .map(|holder| {
            [
                holder.pid.to_string(),
                holder.uid.to_string(),
                name(&holder.state),
                clock::text(holder.since),
                holder.lease.to_string(),
            ]
        })
        .collect();
    if rows.is_empty() {
        return about;
    }
    let holders = table(["PROCESS", "USER", "STATE", "SINCE", "LEASE"], &rows);
    format!("{about}\n{holders}")
}

fn all(disks: &[DiskStatus]) -> String {
    let rows: Vec<_> = disks
        .iter()
        .map(|disk| {
            let holders: Vec<String> = disk.holders.iter().map(|h| h.pid.to_string()).collect();
            [
                disk.record.id.to_string(),
                bytes(disk.record.geometry.size),
                disk.record.des.to_string(),
                disk.record.key.to_string(),
                yes(disk.key_enabled),
                yes(disk.record.confirmed),
                holders.join(" "),
            ]
        })
        .collect();
    table(["ID", "SIZE", "SET", "KEY", "ENABLED", "CONFIRMED", "PROCESSES"], &rows)
}
