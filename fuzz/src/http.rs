//! The key daemon's HTTP: requests of Key Vault's API judged part by part, and whole connections of a stranger's. What
//! is answered is HTTP, once for each request at most, and no success.

use std::str;

use keyd::{
    kek::{ImportedKey, PrivateJwk},
    keyvault::{Octets, Query, Request, Target, base64url},
};

use crate::daemon::Daemon;

/// What a run does with its bytes, by the first of them.
const PARTS: [fn(&[u8]); 4] = [judge, octets, ask, numbers];

/// Runs the target.
///
/// # Panics
/// If an oracle is broken.
pub fn run(bytes: &[u8]) {
    let Some((&which, rest)) = bytes.split_first() else { return };
    PARTS[usize::from(which) % PARTS.len()](rest);
}

/// Method, path, query and body, one a line.
fn judge(bytes: &[u8]) {
    let mut parts = bytes.splitn(4, |&byte| byte == b'\n');
    let mut text = || str::from_utf8(parts.next().unwrap_or_default());
    let (Ok(method), Ok(path), Ok(query)) = (text(), text(), text()) else { return };
    let body = parts.next().unwrap_or_default();
    let query = Query::parse(query);
    if let Ok(query) = &query {
        assert!((1..=25).contains(&query.limit), "a page of {}", query.limit);
    }
    let (Ok(target), Ok(query)) = (Target::parse(method, path), query) else { return };
    assert!(path.starts_with("/keys") || path.starts_with("/deletedkeys"), "{path}");
    match Request::parse(target, &query, body) {
        Ok(Request::Import { key, .. }) => {
            let _ = ImportedKey::new(key.key);
        }
        Ok(_) => {}
        Err(problem) => assert!((400..500).contains(&problem.kind.status()), "{problem:?}"),
    }
}

/// Base64url without padding is read one way only.
fn octets(bytes: &[u8]) {
    let encoded = base64url::encode(bytes);
    assert_eq!(Octets::parse(&encoded).expect("what was written").as_bytes(), bytes);
    if let Ok(text) = str::from_utf8(bytes)
        && let Ok(read) = Octets::parse(text)
    {
        assert_eq!(base64url::encode(read.as_bytes()), text, "two texts for the same bytes");
    }
}

/// Numbers that are said to be a private key, each with its length before it.
fn numbers(bytes: &[u8]) {
    let mut rest = bytes;
    let mut number = || {
        let (&len, after) = rest.split_first().unwrap_or((&0, &[]));
        let (now, later) = after.split_at(after.len().min(2 * usize::from(len)));
        rest = later;
        now.to_vec()
    };
    let key = PrivateJwk {
        n: number(),
        e: number(),
        d: number().into(),
        p: number().into(),
        q: number().into(),
        dp: number().into(),
        dq: number().into(),
        qi: number().into(),
    };
    let _ = ImportedKey::new(key);
}

/// A whole connection, after which the next is served.
fn ask(bytes: &[u8]) {
    // Shorter than a frame's prefix: it is none of HTTP's.
    let request = [b"GET /key", bytes].concat();
    let bytes = if bytes.starts_with(b"P") || bytes.starts_with(b"D") { bytes } else { &request };
    let daemon = Daemon::get();
    let said = daemon.says_to(bytes);
    let mut heads = 0;
    for (at, _) in said.windows(9).enumerate().filter(|(_, window)| *window == b"HTTP/1.1 ") {
        let status = str::from_utf8(&said[at + 9..at + 12]).ok().and_then(|text| text.parse().ok());
        let status: u16 = status.expect("a status");
        assert!((400..600).contains(&status), "a stranger is told {status}");
        assert_ne!(status, 500, "the daemon did not know what to do");
        heads += 1;
    }
    let ends = bytes.windows(2).filter(|window| window.ends_with(b"\n")).count();
    assert!(heads <= ends + 1, "{heads} answers to {} bytes", bytes.len());
    let whole =
        b"GET /keys?api-version=7.4 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    // A busy machine may take longer than the moment that a connection is given.
    let next = (0..100).map(|_| daemon.says_to(whole)).find(|next| !next.is_empty());
    let next = next.unwrap_or_default();
    assert!(next.starts_with(b"HTTP/1.1 40"), "the next is told {}", next.escape_ascii());
}
