//! Disks, snapshots and images as people read them.

use keyd_client::{
    Page,
    message::{BREAK_GLASS, DiskState, DiskStatus, Holder, KeyRelease},
};

use crate::{
    amounts::bytes,
    cli::{
        grant, state,
        table::{list, name, table, yes},
    },
    clock,
};

pub(super) fn one(disk: &DiskStatus) -> Page {
    let DiskStatus {
        record,
        key_enabled,
        key_lost,
        holders,
        released,
        last,
        grants,
        grants_more,
        ..
    } = disk;
    let mut rows = vec![
        ("id", record.id.to_string()),
        ("kind", name(&record.kind)),
        ("size", bytes(record.geometry.size)),
        ("sector size", record.geometry.sector_size.to_string()),
        ("data offset", bytes(record.geometry.data_offset)),
        ("holes", name(&record.geometry.holes)),
        ("des", record.des.to_string()),
        ("key", record.key.to_string()),
        ("key version", record.key_version.to_string()),
        ("key enabled", yes(*key_enabled)),
        ("encryption", name(&record.encryption)),
        ("generation", record.generation.to_string()),
        ("confirmed", yes(record.confirmed)),
        ("created", clock::text(record.created)),
    ];
    rows.extend(record.source.map(|source| ("made from", source.to_string())));
    rows.extend(record.platform_version.map(|v| ("platform key version", v.to_string())));
    rows.extend(key_lost.as_ref().map(|why| ("key lost", why.clone())));
    rows.extend(released.as_ref().map(|mark| ("key released", given_out(mark))));
    rows.extend(
        last.as_ref().filter(|_| holders.is_empty()).map(|last| ("last process", ended(last))),
    );
    let mut page = list(&rows);
    if !grants.is_empty() {
        page = page.line("").and(grant::text(grants));
    }
    if *grants_more {
        page = page.line("(there are more: 'keyd grant --list' shows all)");
    }
    if !holders.is_empty() {
        let rows: Vec<_> = holders.iter().map(holder).collect();
        let heading = ["PROCESS", "USER", "STATE", "SINCE", "ATTACHED", "LEASE", "QUEUES", "WHY"];
        page = page.line("").and(table(heading, &rows));
        page = holders.iter().flat_map(remarks).fold(page, Page::line);
    }
    page
}

fn holder(holder: &Holder) -> [String; 8] {
    let state = &holder.state;
    let queues = holder.serving.as_ref().map(|serving| serving.queues).unwrap_or_default();
    [
        holder.pid.to_string(),
        holder.uid.to_string(),
        state::phase(state.phase),
        clock::text(state.since),
        clock::text(holder.attached),
        holder.lease.to_string(),
        queues.to_string(),
        state.why.clone().unwrap_or_default(),
    ]
}

/// What is not as it should be in how a process serves.
fn remarks(holder: &Holder) -> impl Iterator<Item = String> {
    let pid = holder.pid;
    let serving = holder.serving.as_ref();
    let no_ring = serving.and_then(|serving| serving.no_ring.as_ref());
    let no_ring = no_ring.map(|why| format!("process {pid} has threads for want of a ring: {why}"));
    let fault = serving.and_then(|serving| serving.stock_fault.as_ref());
    let fault = fault.map(|fault| format!("process {pid}: {fault}; {BREAK_GLASS}"));
    no_ring.into_iter().chain(fault)
}

/// `2026-11-22 04:18:14.714Z to uid:0: …`.
fn given_out(mark: &KeyRelease) -> String {
    let by = mark.by.map(|by| format!(", as the key of {by}")).unwrap_or_default();
    let (at, to) = (clock::text(mark.at), &mark.to);
    format!(
        "{at} to {to}{by}: whoever has it reads this disk; copy the data to a new disk and erase this one"
    )
}

/// `gone since 2026-11-22 04:18:14.714Z: its lease ran out`.
fn ended(last: &DiskState) -> String {
    let why = last.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    format!("{} since {}{why}", state::phase(last.phase), clock::text(last.since))
}

pub(super) fn all(disks: &[DiskStatus]) -> Page {
    let row = |disk: &DiskStatus| {
        let holders: Vec<String> = disk.holders.iter().map(|h| h.pid.to_string()).collect();
        let states = state::of_disk(disk);
        let does: Vec<String> = states.iter().map(|state| state::phase(state.phase)).collect();
        let since = states.iter().map(|state| state.since).max();
        [
            disk.record.id.to_string(),
            name(&disk.record.kind),
            bytes(disk.record.geometry.size),
            disk.record.des.to_string(),
            disk.record.key.to_string(),
            yes(disk.key_enabled),
            yes(disk.record.confirmed),
            if does.is_empty() { "-".to_owned() } else { does.join(", ") },
            since.map_or_else(|| "-".to_owned(), clock::text),
            holders.join(" "),
        ]
    };
    let rows: Vec<_> = disks.iter().map(row).collect();
    let heading =
        ["ID", "KIND", "SIZE", "SET", "KEY", "ENABLED", "CONFIRMED", "STATE", "SINCE", "PROCESSES"];
    table(heading, &rows)
}
