//! Who may nothing cannot fill a disk with it: of what is refused again and again the first is told, then a number.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use std::{
    fs,
    io::{Read, Write},
    os::unix::net::UnixStream,
};

use common::{
    Keyd,
    https::{connect, exchange, request, trusting},
    vaults::Vaults,
};
use keyd_client::{
    Client, ClientError,
    message::{AuditRecord, KeyShow, RefusalCode},
};

/// How many rows like these tell of, those that were only counted included.
fn told_of(rows: &[&AuditRecord]) -> usize {
    let counted = |row: &&AuditRecord| -> usize {
        let count = row.detail.split("repeated=").nth(1).and_then(|rest| rest.split(' ').next());
        count.map_or(1, |count| count.parse().unwrap())
    };
    rows.iter().map(counted).sum()
}

/// After an orderly end and another start: what was counted is written down by then.
fn rows_at_the_end(keyd: &mut Keyd, outcome: &str) -> Vec<AuditRecord> {
    assert_eq!(keyd.end(), Some(0));
    keyd.resume();
    keyd.verify();
    keyd.audit().into_iter().filter(|row| row.outcome == outcome).collect()
}

#[test]
fn refusals_of_a_user_have_a_row_and_then_a_number() {
    let mut keyd = Keyd::start();
    let before = keyd.audit().len();
    let mut client = Client::connect(&keyd.socket()).unwrap();
    for _ in 0..2000 {
        let refused = client.ask(KeyShow { name: "missing".parse().unwrap() });
        let Err(ClientError::Refused(refusal)) = refused else { panic!("{refused:?}") };
        assert_eq!(refusal.code, RefusalCode::NotFound, "each is answered in full");
        assert!(refusal.message.contains("'keyd key list' shows the keys"));
    }
    // Two, if a minute has passed meanwhile.
    assert!(keyd.audit().len() <= before + 2);
    let lines = keyd.log().matches("no key 'missing'").count();
    assert_eq!(lines, 1, "{}", keyd.log());
    // Who tries everything has some rows, and no more.
    for n in 0..500 {
        let name = format!("missing-{n}").parse().unwrap();
        client.ask(KeyShow { name }).unwrap_err();
    }
    assert!(keyd.audit().len() < before + 100, "{}", keyd.audit().len());
    drop(client);
    let rows = rows_at_the_end(&mut keyd, "refused: not found");
    let missing: Vec<_> = rows.iter().filter(|row| row.subject == "missing").collect();
    assert!(missing.len() < 5 && told_of(&missing) == 2000, "{missing:?}");
    let several: Vec<_> = keyd.audit();
    let several: Vec<_> = several
        .iter()
        .filter(|row| row.subject.starts_with("missing-") || row.subject == "several")
        .collect();
    assert_eq!(told_of(&several), 500, "{several:?}");
}

#[test]
fn a_token_without_a_permission_has_a_row_and_then_a_number() {
    let mut vaults = Vaults::start();
    let before = vaults.keyd.audit().len();
    let bearer = format!("Bearer {}", vaults.tokens["nobody"]);
    let mut stream = connect(&trusting(&vaults.ca(), None), "prod.localhost", vaults.port).unwrap();
    let host = format!("prod.localhost:{}", vaults.port);
    for _ in 0..1000 {
        let headers = [("Authorization", bearer.as_str())];
        let bytes = request("GET", "/keys/k?api-version=7.4", &host, &headers, b"");
        assert_eq!(exchange(&mut *stream, &bytes).unwrap().status, 403);
    }
    assert!(vaults.keyd.audit().len() <= before + 2);
    assert_eq!(vaults.keyd.log().matches(" 403 ").count(), 1);
    drop(stream);
    let rows = rows_at_the_end(&mut vaults.keyd, "refused: forbidden");
    let rows: Vec<_> = rows.iter().filter(|row| row.who == "app:nobody").collect();
    assert!(rows.len() < 5 && told_of(&rows) == 1000, "{rows:?}");
}

#[test]
fn without_a_token_nothing_grows_however_long_the_paths_are() {
    let mut vaults = Vaults::start();
    let before = (vaults.keyd.log().len(), vaults.keyd.audit().len());
    let config = trusting(&vaults.ca(), None);
    let host = format!("prod.localhost:{}", vaults.port);
    let path = format!("/keys/{}?api-version=7.4", "k".repeat(8000));
    for connection in 0..4 {
        let mut stream = connect(&config, "prod.localhost", vaults.port).unwrap();
        let strange = format!("Bearer keyd_{connection}");
        for n in 0..250 {
            let headers = [("Authorization", strange.as_str())];
            let headers = if n % 2 == 0 { &headers[..0] } else { &headers };
            let bytes = request("GET", &path, &host, headers, b"");
            assert_eq!(exchange(&mut *stream, &bytes).unwrap().status, 401);
        }
    }
    let (log, rows) = (vaults.keyd.log(), vaults.keyd.audit().len());
    assert!(log.len() - before.0 < 4000, "{}", &log[before.0..]);
    assert!(log.contains(&format!("{}… 401", "k".repeat(100))), "{}", &log[before.0..]);
    assert!(rows <= before.1 + 2);
    let log = vaults.keyd.dir.path().join("log");
    assert_eq!(vaults.keyd.end(), Some(0));
    let said = fs::read_to_string(log).unwrap();
    let counts = said.split("127.0.0.1: HTTP status 401: ").skip(1);
    let count = |rest: &str| rest.split(' ').next().unwrap().parse::<u64>().unwrap();
    assert_eq!(counts.map(count).sum::<u64>(), 999, "{said}");
    vaults.keyd.resume();
    let rows = vaults.keyd.audit();
    let rows: Vec<_> = rows.iter().filter(|row| row.operation == "authenticate").collect();
    assert!(rows.len() < 5 && told_of(&rows) == 500, "{rows:?}");
    assert!(rows[1].detail.contains("from=127.0.0.1"), "{rows:?}");
}

#[test]
fn what_is_no_frame_is_told_once() {
    let keyd = Keyd::start();
    let before = keyd.log().len();
    for _ in 0..500 {
        let mut stream = UnixStream::connect(keyd.socket()).unwrap();
        stream.write_all(&[0xff; 64]).unwrap();
        // Closed by the daemon, orderly or not.
        let _ = stream.read(&mut [0; 64]);
    }
    let log = keyd.log();
    assert_eq!(log[before..].lines().count(), 1, "{}", &log[before..]);
}
