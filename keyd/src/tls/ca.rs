//! The certification authority (CA) that keyd makes itself. Clients trust its certificate (`keyd ca show`); it can sign
//! for the daemon's own names only (RFC 5280, section 4.2.1.10), so whoever takes its key gains no other host. The key
//! lies beside the store, sealed under the root key.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use aws_lc_rs::{
    digest::{SHA256, digest},
    rand,
};
use keyd_client::message::UnixMillis;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CidrSubnet, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints, SanType, SerialNumber,
};
use rustls::{
    RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
    pki_types::{CertificateDer, IpAddr, ServerName, UnixTime, pem::PemObject},
};
use thiserror::Error;
use time::OffsetDateTime;

use super::names::{Host, Names};
use crate::{
    clock,
    error::Fault,
    keyring::Keyring,
    limits::{CA_LIFE, CERTIFICATE_LIFE, CLOCK_EARLIEST_MS, CLOCK_SKEW},
};

/// Why there is no CA.
#[derive(Debug, Error)]
pub enum CaError {
    /// A file of it cannot be read or written.
    #[error("the certification authority: {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is none, and this is not the daemon to make it.
    #[error("there is no {0}: 'keyd serve --listen ADDRESS' makes it at its first start")]
    Missing(PathBuf),
    /// One of its two files is gone.
    #[error(
        "{} is there and {} is not: put it back from its copy or a backup; without it keyd must make another authority, for clients to trust anew, and does so when both are removed", .there.display(), .gone.display()
    )]
    Half {
        /// The certificate.
        there: PathBuf,
        /// The key.
        gone: PathBuf,
    },
    /// It would be good at no time.
    #[error(
        "the clock says {0}: no certification authority is made by such a clock; set it right, then start keyd"
    )]
    Clock(String),
    /// Its key cannot be opened.
    #[error(
        "{0} is damaged, or was sealed under another root key: put it back from its copy, or remove it and ca.pem, and keyd makes another authority, for clients to trust anew"
    )]
    Sealed(PathBuf),
    /// The root key's.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// It does not sign for a name: expired, made for other names, or not a pair.
    #[error(
        "the certification authority {path} cannot sign for {host} ({why}): put it back from its copy, or remove it and ca.key, and keyd makes another, for clients to trust anew"
    )]
    Unfit {
        /// The certificate.
        path: PathBuf,
        /// The name.
        host: Host,
        /// What is wrong with what it signs.
        why: String,
    },
    /// The library's.
    #[error("a certificate could not be made: {0}")]
    Make(#[from] rcgen::Error),
}

/// The CA.
pub struct Ca {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

impl std::fmt::Debug for Ca {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ca(secret)")
    }
}

/// For what its key is sealed under the root key.
const PURPOSE: &str = "keyd/ca/v1";

/// Where its certificate lies in the state directory.
#[must_use]
pub fn certificate_path(dir: &Path) -> PathBuf {
    dir.join("ca.pem")
}

/// The certificate, as clients take it.
///
/// # Errors
/// [`CaError::Missing`], [`CaError::File`].
pub fn show(dir: &Path) -> Result<String, CaError> {
    let path = certificate_path(dir);
    match fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(CaError::Missing(path)),
        read => read.map_err(file_error(&path)),
    }
}

impl Ca {
    /// Opens the CA of a state directory, makes it at the first start, and sees whether it can sign for these names.
    ///
    /// # Errors
    /// [`CaError`].
    pub fn open(dir: &Path, keyring: &Keyring, names: &Names) -> Result<Self, CaError> {
        let path = dir.join("ca.key");
        let key = match fs::read(&path) {
            Ok(sealed) => open_key(&path, keyring, &sealed)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                may_be_made(dir, &path)?;
                make_key(&path, keyring)?
            }
            Err(error) => return Err(file_error(&path)(error)),
        };
        let params = params(&key, names);
        let certificate = match show(dir) {
            Err(CaError::Missing(path)) => {
                let made = params.self_signed(&key)?.pem();
                write(&path, made.as_bytes(), 0o644)?;
                made
            }
            read => read?,
        };
        let ca = Self { issuer: Issuer::new(params, key), certificate };
        ca.try_out(dir, names)?;
        Ok(ca)
    }

    /// Its certificate, PEM.
    #[must_use]
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// A certificate for these hosts, from now on for [`CERTIFICATE_LIFE`].
    ///
    /// # Errors
    /// [`CaError::Make`].
    pub fn issue(&self, hosts: &[SanType], key: &KeyPair) -> Result<Certificate, CaError> {
        let mut params = CertificateParams::default();
        (params.not_before, params.not_after) = life(CERTIFICATE_LIFE);
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "keyd");
        params.subject_alt_names = hosts.to_vec();
        params.serial_number = Some(serial()?);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        Ok(params.signed_by(key, &self.issuer)?)
    }

    /// What a client would say: to a certificate for each name, by the CA's certificate as it lies there.
    fn try_out(&self, dir: &Path, names: &Names) -> Result<(), CaError> {
        let path = certificate_path(dir);
        let verifier = verifier(&self.certificate);
        let bases = names.bases().iter().cloned().map(Host::Dns);
        for host in bases.chain(names.others().iter().cloned()) {
            let certificate = self.issue(&[alt_name(&host)?], self.issuer.key())?;
            let judged = verifier.as_ref().map_err(Clone::clone).and_then(|verifier| {
                verifier
                    .verify_server_cert(
                        certificate.der(),
                        &[],
                        &server_name(&host)?,
                        &[],
                        UnixTime::since_unix_epoch(Duration::from_millis(now())),
                    )
                    .map_err(|error| error.to_string())
            });
            if let Err(why) = judged {
                return Err(CaError::Unfit { path, host, why });
            }
        }
        Ok(())
    }
}

fn verifier(certificate: &str) -> Result<Arc<WebPkiServerVerifier>, String> {
    let der = CertificateDer::from_pem_slice(certificate.as_bytes()).map_err(|e| e.to_string())?;
    let mut roots = RootCertStore::empty();
    roots.add(der).map_err(|error| error.to_string())?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
    builder.build().map_err(|error| error.to_string())
}

fn server_name(host: &Host) -> Result<ServerName<'static>, String> {
    match host {
        Host::Ip(ip) => Ok(ServerName::IpAddress(IpAddr::from(*ip))),
        Host::Dns(name) => name.to_string().try_into().map_err(|_| format!("{name}: no DNS name")),
    }
}

/// A host as a certificate names it.
///
/// # Errors
/// [`CaError::Make`].
pub(super) fn alt_name(host: &Host) -> Result<SanType, CaError> {
    Ok(match host {
        Host::Ip(ip) => SanType::IpAddress(*ip),
        Host::Dns(name) => SanType::DnsName(name.as_str().try_into()?),
    })
}

/// The subject follows from the key: it is the same at every start, and another daemon's is another.
fn params(key: &KeyPair, names: &Names) -> CertificateParams {
    let mut params = CertificateParams::default();
    (params.not_before, params.not_after) = life(CA_LIFE);
    let id = digest(&SHA256, key.public_key_raw());
    let id: String = id.as_ref().iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, format!("keyd CA {id}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let bases = names.bases().iter().cloned().map(Host::Dns);
    let permitted_subtrees = bases.chain(names.others().iter().cloned()).map(subtree).collect();
    params.name_constraints =
        Some(NameConstraints { permitted_subtrees, excluded_subtrees: Vec::new() });
    params
}

/// A name permits the names below it.
fn subtree(host: Host) -> GeneralSubtree {
    match host {
        Host::Dns(name) => GeneralSubtree::DnsName(name.to_string()),
        Host::Ip(ip) => {
            let whole = if ip.is_ipv4() { 32 } else { 128 };
            GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(ip, whole))
        }
    }
}

/// Whether this is a first start, at a time that can be right.
fn may_be_made(dir: &Path, key: &Path) -> Result<(), CaError> {
    let certificate = certificate_path(dir);
    if certificate.try_exists().map_err(file_error(&certificate))? {
        return Err(CaError::Half { there: certificate, gone: key.to_owned() });
    }
    match clock::now() {
        now if now < CLOCK_EARLIEST_MS => Err(CaError::Clock(clock::text(now))),
        _ => Ok(()),
    }
}

/// A host that starts in 1970 is told the time later: it is no reason to give up an authority that clients trust.
fn now() -> UnixMillis {
    clock::now().max(CLOCK_EARLIEST_MS)
}

fn life(length: Duration) -> (OffsetDateTime, OffsetDateTime) {
    let seconds = i64::try_from(now() / 1000).unwrap_or_default();
    // A clock at the end of time: what it signs is expired, and found to be.
    let now = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    (now - CLOCK_SKEW, now + length)
}

/// 16 random bytes: a positive number, and no two alike (RFC 5280, section 4.1.2.2).
fn serial() -> Result<SerialNumber, CaError> {
    let mut bytes = [0; 16];
    rand::fill(&mut bytes).map_err(|_| rcgen::Error::RingUnspecified)?;
    bytes[0] &= 0x7f;
    Ok(SerialNumber::from_slice(&bytes))
}

fn open_key(path: &Path, keyring: &Keyring, sealed: &[u8]) -> Result<KeyPair, CaError> {
    let der =
        keyring.open_blob(PURPOSE, sealed)?.ok_or_else(|| CaError::Sealed(path.to_owned()))?;
    Ok(KeyPair::try_from(der.as_slice())?)
}

fn make_key(path: &Path, keyring: &Keyring) -> Result<KeyPair, CaError> {
    let key = KeyPair::generate()?;
    let sealed = keyring.seal_blob(PURPOSE, key.serialized_der())?;
    write(path, &sealed, 0o600)?;
    Ok(key)
}

/// Whole and durable under its name, or not there at all.
fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), CaError> {
    let unfinished = path.with_extension("new");
    let written = || {
        // Left by a start that crashed, with a mode of its own.
        match fs::remove_file(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(mode).open(&unfinished)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&unfinished, path)?;
        File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
    };
    written().map_err(file_error(path))
}

fn file_error(path: &Path) -> impl FnOnce(io::Error) -> CaError {
    move |source| CaError::File { path: path.to_owned(), source }
}
