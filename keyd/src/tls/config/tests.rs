//! Both ends of a handshake in one process; what the client's end judges is the `webpki` crate's judgement.

use std::{fs, os::unix::net::UnixStream, thread};

use rustls::{
    ClientConfig, ClientConnection, ProtocolVersion, ServerConnection,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};

use super::*;
use crate::{
    root::RootKey,
    tls::{Host, ca},
};

fn names(public: &[&str], others: &[&str]) -> Names {
    let public: Vec<_> = public.iter().map(|name| name.parse().unwrap()).collect();
    let others: Vec<Host> = others.iter().map(|name| name.parse().unwrap()).collect();
    Names::new(&public, &others)
}

fn options(names: Names) -> TlsOptions {
    TlsOptions { names, certificate: None, client_ca: None }
}

fn keyring() -> Keyring {
    Keyring::new(RootKey::generate().unwrap(), None)
}

fn serving(options: &TlsOptions, dir: &Path) -> Arc<ServerConfig> {
    server(options, dir, &keyring()).unwrap().0
}

fn client(ca: &str, version: &'static rustls::SupportedProtocolVersion) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

/// The protocol that a client of `name` ends up with.
fn handshake(
    server: &Arc<ServerConfig>,
    client: Arc<ClientConfig>,
    name: &str,
) -> Result<ProtocolVersion, String> {
    let (mut near, mut far) = UnixStream::pair().unwrap();
    let mut serving = ServerConnection::new(server.clone()).unwrap();
    let server = thread::spawn(move || {
        // A client that goes away is the test's own.
        let _ = serving.complete_io(&mut far);
    });
    let name: ServerName<'static> = name.to_owned().try_into().unwrap();
    let mut connection = ClientConnection::new(client, name).unwrap();
    let done = connection.complete_io(&mut near).map_err(|error| error.to_string());
    drop(near);
    server.join().unwrap();
    done.map(|_| connection.protocol_version().unwrap())
}

#[test]
fn clients_that_trust_the_ca_reach_every_name_by_both_versions() {
    let dir = tempfile::tempdir().unwrap();
    let served = names(&["keys.example.org"], &["kv", "10.0.0.1"]);
    let server = serving(&options(served), dir.path());
    let pem = ca::show(dir.path()).unwrap();
    for (version, expected) in
        [(&TLS12, ProtocolVersion::TLSv1_2), (&TLS13, ProtocolVersion::TLSv1_3)]
    {
        for name in [
            "prod.localhost",
            "localhost",
            "127.0.0.1",
            "::1",
            "a.keys.example.org",
            "kv",
            "10.0.0.1",
        ] {
            let agreed = handshake(&server, client(&pem, version), name);
            // An address is asked for without a name, and the certificate for that has all addresses.
            assert_eq!(agreed, Ok(expected), "{name}");
        }
        for foreign in ["example.org", "a.b.localhost", "x.kv"] {
            assert!(handshake(&server, client(&pem, version), foreign).is_err(), "{foreign}");
        }
    }
}

#[test]
fn a_client_that_trusts_another_ca_is_not_deceived() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let server = serving(&options(names(&[], &[])), dir.path());
    Ca::open(other.path(), &keyring(), &names(&[], &[])).unwrap();
    let stranger = client(&ca::show(other.path()).unwrap(), &TLS13);
    let refusal = handshake(&server, stranger, "prod.localhost").unwrap_err();
    assert!(refusal.contains("UnknownIssuer"), "{refusal}");
}

#[test]
fn the_ca_stays_the_same_over_starts_and_signs_for_its_own_names_only() {
    let (dir, keyring) = (tempfile::tempdir().unwrap(), keyring());
    let open = |names: &Names| Ca::open(dir.path(), &keyring, names);
    open(&names(&[], &[])).unwrap();
    let first = ca::show(dir.path()).unwrap();
    open(&names(&[], &[])).unwrap();
    assert_eq!(ca::show(dir.path()).unwrap(), first);
    for wider in [names(&["keys.example.org"], &[]), names(&[], &["10.0.0.1"])] {
        let opened = open(&wider);
        assert!(matches!(opened, Err(CaError::Unfit { .. })), "{opened:?}");
    }
}

#[test]
fn a_ca_that_is_not_whole_is_told_not_replaced() {
    let (dir, keyring) = (tempfile::tempdir().unwrap(), keyring());
    let open = || Ca::open(dir.path(), &keyring, &names(&[], &[]));
    open().unwrap();
    let (key, certificate) = (dir.path().join("ca.key"), dir.path().join("ca.pem"));
    let (sealed, kept) = (fs::read(&key).unwrap(), fs::read(&certificate).unwrap());
    let other = Keyring::new(RootKey::generate().unwrap(), None);
    let foreign = Ca::open(dir.path(), &other, &names(&[], &[]));
    assert!(matches!(foreign, Err(CaError::Sealed(_))), "{foreign:?}");
    fs::remove_file(&key).unwrap();
    assert!(matches!(open(), Err(CaError::Half { .. })), "no other key than the certificate's");
    assert!(!key.exists());
    fs::write(&key, &sealed).unwrap();
    assert_eq!(fs::read(&certificate).unwrap(), kept);
    open().unwrap();
    fs::write(&certificate, "nonsense").unwrap();
    assert!(matches!(open(), Err(CaError::Unfit { .. })));
}

#[test]
fn the_cas_key_is_not_on_disk_in_the_clear() {
    let dir = tempfile::tempdir().unwrap();
    Ca::open(dir.path(), &keyring(), &names(&[], &[])).unwrap();
    let stored = fs::read(dir.path().join("ca.key")).unwrap();
    // An ECDSA key in PKCS#8 names its curve, prime256v1 (RFC 5480, section 2.1.1.1).
    let curve = [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
    assert!(!stored.windows(curve.len()).any(|window| window == curve));
}

/// A certificate and key of another authority, as an operator has them.
fn operators(dir: &Path, host: &str) -> (PathBuf, PathBuf) {
    let made = rcgen::generate_simple_self_signed(vec![host.to_owned()]).unwrap();
    let (chain, key) = (dir.join("chain.pem"), dir.join("key.pem"));
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    fs::write(&chain, made.cert.pem()).unwrap();
    (chain, key)
}

#[test]
fn the_operators_certificate_is_served_in_place_of_the_ca() {
    let dir = tempfile::tempdir().unwrap();
    let (chain, key) = operators(dir.path(), "prod.localhost");
    let own = TlsOptions { certificate: Some((chain.clone(), key)), ..options(names(&[], &[])) };
    let server = serving(&own, dir.path());
    let trusting = client(&fs::read_to_string(chain).unwrap(), &TLS13);
    assert_eq!(handshake(&server, trusting, "prod.localhost"), Ok(ProtocolVersion::TLSv1_3));
    assert!(!dir.path().join("ca.pem").exists());
}

#[test]
fn files_that_are_no_pair_are_named() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (chain, key) = operators(dir.path(), "a.localhost");
    let (foreign, _) = operators(other.path(), "a.localhost");
    assert!(matches!(Operator::open(&foreign, &key), Err(TlsError::Pair { .. })));
    assert!(matches!(Operator::open(&key, &key), Err(TlsError::Pem { .. })));
    assert!(matches!(Operator::open(&chain, Path::new("/nowhere")), Err(TlsError::Pem { .. })));
}

#[test]
fn files_that_are_gone_or_are_no_pair_any_more_are_warned_of_until_they_are_back() {
    let dir = tempfile::tempdir().unwrap();
    let (chain, key) = operators(dir.path(), "a.localhost");
    let authority = dir.path().join("clients.pem");
    fs::copy(&chain, &authority).unwrap();
    let own = TlsOptions {
        certificate: Some((chain.clone(), key.clone())),
        client_ca: Some(authority.clone()),
        ..options(names(&[], &[]))
    };
    assert_eq!(own.warnings(), Vec::<String>::new());
    for path in [&chain, &key, &authority] {
        let kept = fs::read(path).unwrap();
        fs::remove_file(path).unwrap();
        let told = own.warnings().join("\n");
        assert!(told.contains(path.to_str().unwrap()) && told.lines().count() == 1, "{told}");
        fs::write(path, kept).unwrap();
        assert_eq!(own.warnings(), Vec::<String>::new());
    }
    let other = tempfile::tempdir().unwrap();
    fs::copy(operators(other.path(), "a.localhost").0, &chain).unwrap();
    let told = own.warnings().join("\n");
    assert!(told.contains("are no certificate and its private key"), "{told}");
}
