//! Clients of HTTPS that send anything but what they should, or nothing, or too much, or a thousand at once. Each loses
//! its own request or connection; the daemon serves the next, in bounded memory and time.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use std::{
    fs,
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    os::unix::net::UnixStream,
    path::PathBuf,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use common::{
    front::Front,
    https::{Response, Stream, connect, connect_local, exchange, receive, request, trusting},
    vaults::Vaults,
};
use keyd::front::http::patience::Patience;
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustls::ClientConfig;

/// The daemon's time-outs for a client that does nothing, where they are what a test is about. Its own are ten times
/// as long; a machine that does other things besides must still shake hands in time.
const HASTE: Patience = Patience {
    handshake: Duration::from_secs(3),
    head: Duration::from_secs(4),
    body: Duration::from_secs(2),
    stall: Duration::from_secs(2),
};

/// Longer than any of these, for a machine that is slow.
const SLACK: Duration = Duration::from_secs(5);

/// A thousand clients need a thousand descriptors here too.
fn many_descriptors() {
    let now = getrlimit(Resource::Nofile);
    let wanted = now.maximum.map_or(8192, |maximum| maximum.min(8192));
    if now.current.is_some_and(|current| current < wanted) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), ..now }).unwrap();
    }
}

/// What serves vaults over HTTPS: the real daemon, or its front in this process.
trait Server {
    fn port(&self) -> u16;
    /// The CA's certificate in a file.
    fn ca(&self) -> PathBuf;
    /// Of an application that may everything.
    fn token(&self) -> &str;
}

impl Server for Vaults {
    fn port(&self) -> u16 {
        self.port
    }

    fn ca(&self) -> PathBuf {
        self.ca()
    }

    fn token(&self) -> &str {
        &self.tokens["full"]
    }
}

impl Server for Front {
    fn port(&self) -> u16 {
        self.port
    }

    fn ca(&self) -> PathBuf {
        self.ca()
    }

    fn token(&self) -> &str {
        &self.token
    }
}

fn tls(server: &impl Server) -> Arc<ClientConfig> {
    trusting(&server.ca(), None)
}

fn host(server: &impl Server) -> String {
    format!("prod.localhost:{}", server.port())
}

/// Sends a request as an application that may everything.
fn ask(server: &impl Server, method: &str, target: &str, body: &[u8]) -> Response {
    let mut stream = connect(&tls(server), "prod.localhost", server.port()).unwrap();
    let bearer = format!("Bearer {}", server.token());
    let bytes = request(method, target, &host(server), &[("Authorization", &bearer)], body);
    exchange(&mut *stream, &bytes).unwrap()
}

fn alive(server: &impl Server) {
    assert_eq!(ask(server, "GET", "/keys?api-version=7.4", b"").status, 200);
}

/// Resident memory of the daemon, bytes.
fn memory(vaults: &Vaults) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", vaults.keyd.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib * 1024
}

#[test]
fn requests_that_are_none_are_refused_in_the_services_shape_and_written_down() {
    let vaults = Vaults::start();
    ask(&vaults, "POST", "/keys/k/create?api-version=7.4", br#"{"kty":"RSA"}"#);
    let deep = "[".repeat(60_000);
    let long_name = format!("/keys/{}?api-version=7.4", "k".repeat(128));
    let version = "?api-version=7.4";
    let unwrap = format!("/keys/k/unwrapkey{version}");
    let with = |path: &str| format!("{path}{version}");
    let create = with("/keys/x/create");
    let cases: Vec<(&str, String, &[u8])> = vec![
        ("POST", create.clone(), b"{"),
        ("POST", create.clone(), b""),
        ("POST", create.clone(), b"[]"),
        ("POST", create.clone(), b"\xff\xfe\x00"),
        ("POST", create.clone(), deep.as_bytes()),
        ("POST", create.clone(), br#"{"kty":"RSA","kty":"RSA"}"#),
        ("POST", create.clone(), br#"{"kty":"EC","crv":"P-256"}"#),
        ("POST", create.clone(), br#"{"kty":"RSA","key_size":1e9}"#),
        ("POST", create, br#"{"kty":"RSA","tags":{"a":{}}}"#),
        ("POST", unwrap.clone(), br#"{"alg":"A256KW","value":"AAAA"}"#),
        ("POST", unwrap.clone(), br#"{"alg":"RSA-OAEP","value":"AA=="}"#),
        ("POST", unwrap.clone(), br#"{"alg":"RSA-OAEP","value":"+/+/"}"#),
        ("POST", unwrap.clone(), br#"{"alg":"RSA-OAEP"}"#),
        ("POST", unwrap, br#"{"alg":"RSA-OAEP","value":"AAAA"}"#),
        ("PUT", with("/keys/x"), br#"{"key":{"kty":"RSA","n":"AQAB"}}"#),
        ("POST", with("/keys/restore"), br#"{"value":"AAAA"}"#),
        ("GET", "/keys".to_owned(), b""),
        ("GET", "/keys?api-version=1.0".to_owned(), b""),
        ("GET", "/keys?api-version=7.4&api-version=7.4".to_owned(), b""),
        ("GET", "/keys?api-version=7.4&maxresults=26".to_owned(), b""),
        ("GET", "/keys?api-version=7.4&$skiptoken=Li4vLi4".to_owned(), b""),
        ("GET", with("/keys/../deletedkeys"), b""),
        ("GET", with("/keys/%2e%2e/secrets"), b""),
        ("GET", with("/keys/k%00"), b""),
        ("GET", with("/keys/k/%2f"), b""),
        ("GET", long_name, b""),
        ("GET", with("/keys/k/current"), b""),
        ("POST", with("/keys/k/sign"), br#"{"alg":"RS256","value":"AA"}"#),
        ("POST", with("/rng"), br#"{"count":0}"#),
        ("PURGE", with("/keys"), b""),
        ("OPTIONS", "*".to_owned(), b""),
    ];
    for (method, target, body) in &cases {
        let answer = ask(&vaults, method, target, body);
        let what =
            format!("{method} {target} {}", String::from_utf8_lossy(&body[..body.len().min(60)]));
        assert_eq!(answer.problem(), (400, "BadParameter".into(), String::new()), "{what}");
        let message = answer.json()["error"]["message"].as_str().unwrap().to_owned();
        assert!(!message.contains('\n') && message.len() > 10, "{what}: {message}");
    }
    // One row for each thing that was wrong.
    let rows = vaults.keyd.audit();
    let rows = rows.iter().filter(|one| one.outcome == "refused: bad request").count();
    assert!(rows >= 10 && rows <= cases.len(), "{rows} of {}", cases.len());
    vaults.keyd.verify();
}

#[test]
fn bodies_that_are_too_long_are_refused_whether_announced_or_not() {
    let vaults = Vaults::start();
    let bearer = format!("Bearer {}", vaults.tokens["full"]);
    let long = vec![b' '; 140_000];
    let answer = ask(&vaults, "POST", "/keys/k/create?api-version=7.4", &long);
    assert_eq!(answer.problem(), (413, "BadParameter".into(), String::new()));
    // Announced as endless: refused before it is sent.
    let mut stream = connect(&tls(&vaults), "prod.localhost", vaults.port).unwrap();
    let head = format!(
        "POST /keys/k/create?api-version=7.4 HTTP/1.1\r\nHost: {}\r\nAuthorization: {bearer}\r\nContent-Length: 99999999999\r\n\r\n",
        host(&vaults)
    );
    assert_eq!(exchange(&mut *stream, head.as_bytes()).unwrap().status, 413);
    // In chunks, of which nobody says how many come.
    let mut stream = connect(&tls(&vaults), "prod.localhost", vaults.port).unwrap();
    let head = head.replace("Content-Length: 99999999999", "Transfer-Encoding: chunked");
    stream.write_all(head.as_bytes()).unwrap();
    let chunk = [b"1000\r\n".as_slice(), &[b' '; 0x1000], b"\r\n"].concat();
    for _ in 0..1000 {
        // The daemon may have closed the connection already.
        if stream.write_all(&chunk).and_then(|()| stream.flush()).is_err() {
            break;
        }
    }
    if let Ok(answer) = receive(&mut *stream) {
        assert_eq!(answer.status, 413);
    }
    alive(&vaults);
}

#[test]
fn heads_that_are_no_http_end_their_connection_only() {
    let vaults = Vaults::start();
    let config = tls(&vaults);
    let host = host(&vaults);
    let many: String = (0..200).map(|n| format!("x-{n}: y\r\n")).collect();
    let heads = [
        "GET /keys HTTP/9.9\r\n\r\n".to_owned(),
        "GET\r\n\r\n".to_owned(),
        format!("GET /keys\0 HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        format!("GET /keys HTTP/1.1\r\nHost: {host}\r\n{many}\r\n"),
        format!("GET /{} HTTP/1.1\r\nHost: {host}\r\n\r\n", "k".repeat(20_000)),
        format!("GET /keys HTTP/1.1\r\nHost: {host}\r\nx: {}\r\n\r\n", "y".repeat(20_000)),
        format!("POST /keys HTTP/1.1\r\nHost: {host}\r\nContent-Length: -1\r\n\r\n"),
        format!(
            "POST /keys HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx"
        ),
        format!("POST /keys HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: gzip\r\n\r\n"),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
    ];
    for head in heads {
        let mut stream = connect(&config, "prod.localhost", vaults.port).unwrap();
        match exchange(&mut *stream, head.as_bytes()) {
            Ok(answer) => assert!((400..600).contains(&answer.status), "{head:.80}: {answer:?}"),
            Err(error) => assert_ne!(error.kind(), ErrorKind::WouldBlock, "{head:.80}"),
        }
    }
    alive(&vaults);
}

#[test]
fn hosts_that_are_not_served_are_refused_before_anything_is_told() {
    let vaults = Vaults::start();
    let config = tls(&vaults);
    for host in [
        "",
        "evil.example",
        "localhost.evil.example",
        "a.b.localhost",
        "prod.localhost@evil",
        "prod.localhost:x",
    ] {
        let mut stream = connect(&config, "prod.localhost", vaults.port).unwrap();
        let answer =
            exchange(&mut *stream, &request("GET", "/keys?api-version=7.4", host, &[], b""));
        let answer = answer.unwrap();
        assert_eq!(answer.status, 400, "{host}");
        assert_eq!(answer.header("www-authenticate"), None, "{host}");
    }
    let mut stream = connect(&config, "prod.localhost", vaults.port).unwrap();
    let absolute = format!("https://many.localhost:{}/keys?api-version=7.4", vaults.port);
    let bytes = request("GET", &absolute, &host(&vaults), &[], b"");
    assert_eq!(exchange(&mut *stream, &bytes).unwrap().status, 400);
    let two = format!("GET /keys HTTP/1.1\r\nHost: {0}\r\nHost: {0}\r\n\r\n", host(&vaults));
    assert_eq!(exchange(&mut *stream, two.as_bytes()).unwrap().status, 400);
}

#[test]
fn random_bytes_never_hurt() {
    let vaults = Vaults::start();
    let config = tls(&vaults);
    let mut runner = TestRunner::new(Config { cases: 60, ..Config::default() });
    let bytes = proptest::collection::vec(any::<u8>(), 0..400);
    runner
        .run(&(bytes, 0..4), |(bytes, way)| {
            let mut stream: Box<dyn Stream> = match way {
                // Below TLS, inside it, behind a method, and on the Unix socket.
                0 => Box::new(TcpStream::connect(("127.0.0.1", vaults.port)).unwrap()),
                3 => Box::new(UnixStream::connect(vaults.keyd.socket()).unwrap()),
                _ => connect(&config, "prod.localhost", vaults.port).unwrap(),
            };
            let begin: &[u8] = if way == 0 || way == 1 { b"" } else { b"GET " };
            let _ = stream.write_all(&[begin, &bytes, b"\r\n\r\n"].concat());
            Ok(())
        })
        .unwrap();
    alive(&vaults);
    vaults.keyd.verify();
}

/// A client that takes its time.
struct Dawdler {
    name: &'static str,
    stream: Box<dyn Stream>,
    first: Vec<u8>,
    /// Sent again and again.
    drip: Option<u8>,
    /// What the daemon waits for, one after another; it may end with the first.
    waits: Vec<Duration>,
}

impl Dawdler {
    /// Returns when the daemon has closed the connection.
    fn dawdle(mut self, until: Instant) {
        let mut sent = self.stream.write_all(&self.first).and_then(|()| self.stream.flush());
        let mut answer = [0; 4096];
        while Instant::now() < until {
            if let Some(byte) = self.drip {
                let stream = &mut self.stream;
                sent = sent.and_then(|()| stream.write_all(&[byte])).and_then(|()| stream.flush());
                if sent.is_err() {
                    return;
                }
                thread::sleep(Duration::from_millis(50));
                continue;
            }
            match self.stream.read(&mut answer) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
        panic!("the connection is open");
    }
}

#[test]
fn clients_that_dawdle_are_cut_off() {
    let front = Front::start(HASTE);
    let config = tls(&front);
    let bearer = format!("Bearer {}", front.token);
    let target = "/keys/k/create?api-version=7.4";
    let head = format!("POST {target} HTTP/1.1\r\nHost: {}\r\n", host(&front)).into_bytes();
    let rest = format!("Authorization: {bearer}\r\nContent-Length: 1000\r\n\r\n{{");
    let body = [&head, rest.as_bytes()].concat();
    let begun = Instant::now();
    let inside = || connect(&config, "prod.localhost", front.port).unwrap();
    let tcp =
        || -> Box<dyn Stream> { Box::new(TcpStream::connect(("127.0.0.1", front.port)).unwrap()) };
    let local = || connect_local(&front.socket()).unwrap();
    let dawdler = |name, stream, first: &[u8], drip, waits: &[Duration]| {
        let (first, waits) = (first.to_vec(), waits.to_vec());
        Dawdler { name, stream, first, drip, waits }
    };
    let hello = [22, 3, 1, 2, 0];
    let of_handshake = [HASTE.handshake].as_slice();
    let of_head = [HASTE.head].as_slice();
    let of_body = [HASTE.body, HASTE.head].as_slice();
    let cases = [
        dawdler("a silent handshake", tcp(), &[], None, of_handshake),
        dawdler("a dripping handshake", tcp(), &hello, Some(1), of_handshake),
        dawdler("no request", inside(), &[], None, of_head),
        dawdler("blank lines", inside(), b"\r\n\r\n\r\n", None, of_head),
        dawdler("a dripping head", inside(), &head, Some(b'x'), of_head),
        dawdler("a dripping head on the socket", local(), &head, Some(b'x'), of_head),
        dawdler("a silent body", inside(), &body, None, of_body),
        dawdler("a dripping body", inside(), &body, Some(b' '), of_body),
    ];
    let running = cases.map(|dawdler| {
        let (name, soonest) = (dawdler.name, dawdler.waits[0]);
        let last = dawdler.waits.iter().sum::<Duration>() + SLACK;
        let running = thread::spawn(move || {
            dawdler.dawdle(begun + last);
            begun.elapsed()
        });
        (name, soonest..last, running)
    });
    alive(&front);
    let mut wrong = Vec::new();
    for (name, time, running) in running {
        let took = running.join().ok();
        println!("{name}: cut off after {took:.1?}");
        if !took.is_some_and(|took| time.contains(&took)) {
            wrong.push((name, took, time));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    alive(&front);
}

#[test]
fn a_client_that_does_not_read_its_answers_is_cut_off() {
    let front = Front::start(HASTE);
    let bearer = format!("Bearer {}", front.token);
    let mut stream = UnixStream::connect(front.socket()).unwrap();
    let last = HASTE.stall + SLACK;
    stream.set_write_timeout(Some(last)).unwrap();
    let ask = request(
        "GET",
        "/keys?api-version=7.4",
        "prod.localhost",
        &[("Authorization", &bearer)],
        b"",
    );
    let begun = Instant::now();
    // Answers fill the socket, then requests do; then nothing moves.
    let error = loop {
        if let Err(error) = stream.write_all(&ask) {
            break error;
        }
        assert!(begun.elapsed() < 3 * last, "it is served for ever");
    };
    println!("cut off after {:.1?}", begun.elapsed());
    assert_ne!(error.kind(), ErrorKind::WouldBlock, "the connection is open");
    assert!(begun.elapsed() >= HASTE.stall, "it has no time");
    alive(&front);
}

#[test]
fn a_thousand_connections_are_held_in_bounded_memory_while_others_are_served() {
    many_descriptors();
    let vaults = Vaults::start();
    let config = tls(&vaults);
    alive(&vaults);
    let before = memory(&vaults);
    let begun = Instant::now();
    let mut held = Vec::new();
    for _ in 0..1000 {
        let mut stream = connect(&config, "prod.localhost", vaults.port).unwrap();
        // The beginning of a head, so that buffers are there.
        stream.write_all(b"GET /keys HTTP/1.1\r\nx: ").unwrap();
        stream.write_all(&[b'y'; 4000]).unwrap();
        stream.flush().unwrap();
        held.push(stream);
        if held.len().is_multiple_of(250) {
            alive(&vaults);
        }
    }
    let grown = memory(&vaults).saturating_sub(before);
    println!("1,000 connections: {} KiB each, in {:.1?}", grown / 1000 / 1024, begun.elapsed());
    assert!(grown < 150 << 20, "{grown} bytes");
    drop(held);
    // Every one is let go: as many again find their place.
    let again: Vec<_> =
        (0..1000).map(|_| connect(&config, "prod.localhost", vaults.port).unwrap()).collect();
    alive(&vaults);
    drop(again);
    alive(&vaults);
    vaults.keyd.verify();
}

#[test]
fn a_flood_beyond_all_places_leaves_the_daemon_and_its_own_socket_alive() {
    many_descriptors();
    let vaults = Vaults::start();
    let before = memory(&vaults);
    let begun = Instant::now();
    let mut held = Vec::new();
    for n in 0..1600_u32 {
        held.push(TcpStream::connect(("127.0.0.1", vaults.port)).unwrap());
        // The administrator's way in does not pass here.
        if n.is_multiple_of(400) {
            vaults.keyd.audit();
        }
    }
    let grown = memory(&vaults).saturating_sub(before);
    assert!(grown < 150 << 20, "{grown} bytes");
    // None of them says a word: their time is over soon, and others come in. This time is the daemon's own.
    alive(&vaults);
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    drop(held);
    alive(&vaults);
}

#[test]
fn many_clients_at_once_are_all_answered() {
    let vaults = Arc::new(Vaults::start());
    ask(&*vaults, "POST", "/keys/k/create?api-version=7.4", br#"{"kty":"RSA"}"#);
    let config = tls(&*vaults);
    let begun = Instant::now();
    let clients: Vec<_> = (0..100)
        .map(|_| {
            let (vaults, config) = (vaults.clone(), config.clone());
            thread::spawn(move || {
                let mut stream = connect(&config, "prod.localhost", vaults.port).unwrap();
                let bearer = format!("Bearer {}", vaults.tokens["full"]);
                let body = br#"{"alg":"RSA-OAEP-256","value":"c2VjcmV0"}"#;
                for _ in 0..5 {
                    let bytes = request(
                        "POST",
                        "/keys/k/wrapkey?api-version=7.4",
                        &host(&*vaults),
                        &[("Authorization", &bearer)],
                        body,
                    );
                    assert_eq!(exchange(&mut *stream, &bytes).unwrap().status, 200);
                }
            })
        })
        .collect();
    clients.into_iter().for_each(|client| client.join().unwrap());
    println!("500 recorded wraps by 100 clients in {:.1?}", begun.elapsed());
    vaults.keyd.verify();
}
