//! Makes a backup of one moment, while the daemon runs or while it does not.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use super::{
    AUDIT, Entry, FORM, MANIFEST, Manifest, OTHERS, ROOT, RecoveryError, STATE, STORE,
    age::{Recipient, Sealer},
    archive::{Hashed, Writer},
    file_error,
    manifest::{Form, VERSION},
};
use crate::{
    clock,
    error::Fault,
    files::{FileAt, Stream},
    model::key::Key,
    root::{ROOT_LEN, RootKey},
    store::{Part, Row, View, Whole},
};

/// Writes a backup into a new file, durably, and reads it again. A file that is there is not touched; one that was not
/// finished is removed. A state that is damaged is not backed up: its backup would take the place of a better one.
///
/// # Errors
/// [`RecoveryError`].
pub fn write(
    whole: &Whole<'_>,
    root: &RootKey,
    recipients: &[Recipient],
    path: &Path,
) -> Result<Manifest, RecoveryError> {
    let damage = whole.damage()?;
    if !damage.is_empty() {
        return Err(RecoveryError::Damaged(damage.join(", ")));
    }
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let file = file.map_err(|source| RecoveryError::Target { path: path.to_owned(), source })?;
    let written = seal(whole, root, recipients, &file).and_then(|(manifest, sealed)| {
        sync(&file, path).map_err(file_error(path))?;
        if read_again(path).map_err(file_error(path))? != sealed {
            return Err(RecoveryError::Unwritten(path.to_owned()));
        }
        Ok(manifest)
    });
    if written.is_err() {
        // Of no use, and its own error would hide the cause.
        let _ = fs::remove_file(path);
    }
    written
}

fn sync(file: &File, path: &Path) -> io::Result<()> {
    file.sync_all()?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

/// Length and hash of what lies there, from the disk as far as the system does it.
fn read_again(path: &Path) -> io::Result<Entry> {
    let file = File::open(path)?;
    file.forget_cached()?;
    let mut hashed = Hashed::new(file);
    io::copy(&mut hashed, &mut io::sink())?;
    Ok(hashed.entry(""))
}

/// What is in it; length and hash of the sealed file.
fn seal(
    whole: &Whole<'_>,
    root: &RootKey,
    recipients: &[Recipient],
    file: &File,
) -> Result<(Manifest, Entry), RecoveryError> {
    let created = clock::now();
    // Only ciphertext is buffered.
    let sealer = Sealer::new(Hashed::new(BufWriter::new(file)), recipients)?;
    let mut archive = Writer::new(sealer, created / 1000);
    add_json(&mut archive, FORM, &Form { version: VERSION })?;
    archive.add(ROOT, ROOT_LEN as u64, |to| {
        to.write_all(root.expose()).map_err(RecoveryError::Write)
    })?;
    add_store(&mut archive, whole)?;
    for part in whole.log() {
        add_part(&mut archive, AUDIT, part)?;
    }
    for name in OTHERS {
        if let Some(part) = whole.other(name)? {
            add_part(&mut archive, STATE, &part)?;
        }
    }
    let manifest = describe(whole, created, &archive)?;
    add_json(&mut archive, MANIFEST, &manifest)?;
    let sealer = archive.finish().map_err(RecoveryError::Write)?;
    let mut sealed = sealer.finish().map_err(RecoveryError::Write)?;
    sealed.flush().map_err(RecoveryError::Write)?;
    Ok((manifest, sealed.entry("")))
}

/// Twice through the same rows: an archive says a file's length before it.
fn add_store<W: Write>(archive: &mut Writer<W>, whole: &Whole<'_>) -> Result<(), RecoveryError> {
    let mut len = 0;
    whole.rows(|row| {
        len += line(&row)?.len() as u64;
        Ok::<_, RecoveryError>(())
    })?;
    archive.add(STORE, len, |to| {
        whole.rows(|row| to.write_all(&line(&row)?).map_err(RecoveryError::Write))
    })
}

fn line(row: &Row) -> Result<Vec<u8>, RecoveryError> {
    let mut line = serde_json::to_vec(row).map_err(Fault::from)?;
    line.push(b'\n');
    Ok(line)
}

fn add_part<W: Write>(
    archive: &mut Writer<W>,
    folder: &str,
    part: &Part,
) -> Result<(), RecoveryError> {
    let mut from = Stream::new(part.file.clone(), 0).take(part.len);
    archive.add(&format!("{folder}{}", part.name), part.len, |to| {
        io::copy(&mut from, to).map(drop).map_err(RecoveryError::Write)
    })
}

fn add_json<W: Write>(
    archive: &mut Writer<W>,
    name: &str,
    content: &impl serde::Serialize,
) -> Result<(), RecoveryError> {
    let text = serde_json::to_vec_pretty(content).map_err(Fault::from)?;
    archive.add(name, text.len() as u64, |to| to.write_all(&text).map_err(RecoveryError::Write))
}

fn describe<W: Write>(
    whole: &Whole<'_>,
    created: u64,
    archive: &Writer<W>,
) -> Result<Manifest, RecoveryError> {
    let keys = whole.view().keys(None, usize::MAX)?;
    let mut in_tokens = BTreeMap::new();
    for version in keys.iter().flat_map(Key::versions) {
        if let Some(object) = version.material.hsm() {
            *in_tokens.entry(object.token.clone()).or_insert(0) += 1;
        }
    }
    Ok(Manifest {
        keyd: env!("CARGO_PKG_VERSION").to_owned(),
        created,
        audit_seq: whole.head().seq,
        audit_hash: whole.head().hash.clone(),
        keys: keys.len() as u64,
        disks: whole.view().count_disks()?,
        in_tokens,
        files: archive.files().to_vec(),
    })
}
