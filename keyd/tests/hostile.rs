//! Peers that send anything but what they should. Each loses its own connection; the daemon serves the next.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

use common::{Keyd, attach};
use keyd_client::{
    limits::{FRAME_TIMEOUT, REQUEST_LEN_MAX},
    message::{Answer, Attach, Attached, IfLost, Request},
    wire,
};
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};

fn send(keyd: &Keyd, bytes: &[u8]) -> UnixStream {
    let mut stream = UnixStream::connect(keyd.socket()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    // It may be closed before all was sent.
    let _ = stream.write_all(bytes);
    stream
}

fn closes(mut stream: UnixStream) {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
    }
}

fn frame(body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(body.len()).unwrap().to_le_bytes();
    [&len, &[wire::VERSION, 0, 0, 0], body].concat()
}

#[test]
fn nonsense_closes_its_own_connection_only() {
    let keyd = Keyd::start();
    let disk = keyd.make_disk(None);
    let mut held = attach(&keyd, disk, false).unwrap();
    let attach_request = format!(
        "{{\"on\":\"attach\",\"id\":\"{disk}\",\"read_only\":false,\"if_lost\":\"refuse\",\"x\":1}}"
    );
    for bytes in [
        vec![0xff; 64],
        // In capitals it would be HTTP, which is spoken here too.
        b"get / http/1.1\r\n\r\n".to_vec(),
        [&[0xff, 0xff, 0xff, 0x7f, wire::VERSION, 0, 0, 0], [b' '; 100].as_slice()].concat(),
        frame(b""),
        frame(b"{}"),
        frame(b"{\"on\":\"key\",\"do\":\"list\""),
        frame(b"{\"on\":\"no-such-thing\"}"),
        frame(b"{\"on\":\"key\",\"do\":\"show\",\"name\":\"../../etc/passwd\"}"),
        frame(attach_request.as_bytes()),
        frame("[".repeat(1000).as_bytes()),
        frame(" ".repeat(REQUEST_LEN_MAX + 1).as_bytes()),
        [&[2, 0, 0, 0, wire::VERSION, 1, 0, 0], b"{}".as_slice(), &[7; 64]].concat(),
    ] {
        closes(send(&keyd, &bytes));
    }
    held.lease.renew().unwrap();
    held.expect(&keyd_client::message::Event::Renewed { lease_ms: 60_000 });
    keyd.verify();
}

#[test]
fn random_frames_never_hurt() {
    let keyd = Keyd::start();
    let mut runner = TestRunner::new(Config { cases: 200, ..Config::default() });
    let bytes = proptest::collection::vec(any::<u8>(), 0..300);
    runner
        .run(&(bytes, any::<bool>()), |(bytes, framed)| {
            let stream = send(&keyd, &if framed { frame(&bytes) } else { bytes });
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            closes(stream);
            Ok(())
        })
        .unwrap();
    keyd.verify();
    assert!(!keyd.log().contains("panicked"));
}

#[test]
fn a_peer_that_drips_is_closed() {
    let keyd = Keyd::start();
    let mut stream = send(&keyd, &[100, 0, 0, 0, wire::VERSION, 0, 0, 0]);
    stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let begun = Instant::now();
    loop {
        if stream.write_all(b" ").is_err() {
            break;
        }
        match stream.read(&mut [0]) {
            Ok(0) => break,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break,
            _ => assert!(begun.elapsed() < FRAME_TIMEOUT * 3),
        }
    }
    keyd.verify();
}

/// A holder that speaks nonsense may have its DEK still: its disk stays taken until its lease ends.
#[test]
fn a_holder_that_speaks_nonsense_keeps_its_disk_taken_until_its_lease_ends() {
    let keyd = Keyd::start();
    // Long enough for what is asked before its end, on a machine that is busy.
    keyd.make_key_and_set(10_000);
    let id = keyd.make_disk(Some("s"));
    let mut stream = UnixStream::connect(keyd.socket()).unwrap();
    let request = Request::from(Attach { id, read_only: false, if_lost: IfLost::Refuse });
    wire::send(&mut stream, &request, None).unwrap();
    let (_, dek) = wire::receive::<Answer<Attached>>(&mut stream).unwrap();
    assert!(dek.is_some());
    stream.write_all(&frame(b"{\"say\":\"give-me-more\"}")).unwrap();
    closes(stream.try_clone().unwrap());
    assert!(attach(&keyd, id, false).is_err());
    keyd.audited("lease-end", "ran out");
    assert!(attach(&keyd, id, false).is_ok());
}

#[test]
fn many_idle_connections_do_not_keep_others_out() {
    let keyd = Keyd::start();
    let idle: Vec<_> = (0..300).map(|_| UnixStream::connect(keyd.socket()).unwrap()).collect();
    keyd.verify();
    drop(idle);
}
