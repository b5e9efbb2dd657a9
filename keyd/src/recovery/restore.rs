//! Brings a backup back, in a directory beside the one it is for, which takes its place when all is judged.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use keyd_client::{Principal, dek::page::scrub_stack};
use serde::de::DeserializeOwned;

use super::{
    AUDIT, Entry, FORM, MANIFEST, Manifest, OTHERS, ROOT, RecoveryError, STATE, STORE,
    age::{Identity, Opener},
    archive::Hashed,
    file_error,
    manifest::{Form, VERSION},
};
use crate::{
    audit::{self, Class, segments},
    auth::Auth,
    core::Core,
    error::Fault,
    files::{Dir, SystemDir},
    keyring::Keyring,
    limits::{BACKUP_JSON_LEN_MAX, ROW_LEN_MAX},
    ops::first_start,
    root::{Means, RootKey, RootKind},
    seal::Seal,
    state_dir::StateDir,
    store::{self, Row},
};

/// What is asked.
#[derive(Debug)]
pub struct Restore<'a> {
    /// The backup.
    pub from: &'a Path,
    /// What opens it.
    pub identities: &'a [Identity],
    /// The state directory, not there or empty.
    pub to: &'a Path,
    /// Where its root key is to lie.
    pub root: RootKind,
    /// What that takes.
    pub means: &'a Means,
}

/// What was restored.
#[derive(Debug)]
pub struct Restored {
    /// As the backup says.
    pub manifest: Manifest,
}

/// Restores a backup.
///
/// # Errors
/// [`RecoveryError`]; the directory is as it was then.
pub fn restore(ask: &Restore<'_>) -> Result<Restored, RecoveryError> {
    check_target(ask.to)?;
    let file = File::open(ask.from).map_err(file_error(ask.from))?;
    let opener = Opener::new(BufReader::new(file), ask.identities)?;
    let staging = Staging::begin(ask.to)?;
    let mut unpack = Unpack::new(&staging.dir);
    let manifest = unpack.all(opener)?;
    let root = unpack.root.ok_or_else(|| missing(ROOT))?;
    staging.dir.root().keep(&root, ask.root, ask.means)?;
    try_out(&staging.dir, root, ask.means, &manifest)?;
    staging.place(ask.to)?;
    Ok(Restored { manifest })
}

fn check_target(to: &Path) -> Result<(), RecoveryError> {
    let about = match fs::metadata(to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        about => about.map_err(file_error(to))?,
    };
    let path = to.to_owned();
    if fs::read_dir(to).map_err(file_error(to))?.next().is_some() {
        return Err(RecoveryError::NotEmpty(path));
    }
    let (owner, user) = (about.uid(), rustix::process::geteuid().as_raw());
    if owner == user { Ok(()) } else { Err(RecoveryError::Owner { path, owner }) }
}

/// A state directory in the making. What is left of one that was given up is removed.
struct Staging {
    path: PathBuf,
    dir: StateDir,
    placed: bool,
}

impl Staging {
    fn begin(to: &Path) -> Result<Self, RecoveryError> {
        let name = to.file_name().ok_or_else(|| RecoveryError::NotEmpty(to.to_owned()))?;
        let path = to.with_file_name(format!("{}.restoring", name.display()));
        let dir = StateDir::open(&path)?;
        // Locked now: nobody else is restoring. What a crash left goes.
        for entry in fs::read_dir(&path).map_err(file_error(&path))? {
            let left = entry.map_err(file_error(&path))?.path();
            if left.file_name().is_some_and(|name| name != "lock") {
                fs::remove_file(&left).map_err(file_error(&left))?;
            }
        }
        Ok(Self { path, dir, placed: false })
    }

    /// An empty directory of that name is replaced, as rename(2) does.
    fn place(mut self, to: &Path) -> Result<(), RecoveryError> {
        fs::rename(&self.path, to).map_err(file_error(to))?;
        self.placed = true;
        let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        File::open(parent).and_then(|dir| dir.sync_all()).map_err(file_error(parent))
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.placed {
            // What is left is sealed, and said to be in the way the next time.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// Puts the files of an archive in their places.
struct Unpack {
    files: SystemDir,
    root: Option<RootKey>,
    seen: Vec<Entry>,
}

impl Unpack {
    fn new(dir: &StateDir) -> Self {
        Self { files: SystemDir::new(dir.path()), root: None, seen: Vec::new() }
    }

    /// All of them; what the last one, the manifest, says is compared with what was read.
    fn all(&mut self, opener: Opener<impl BufRead>) -> Result<Manifest, RecoveryError> {
        let mut archive = tar::Archive::new(opener);
        let mut manifest = None;
        for file in archive.entries().map_err(read_error)? {
            let mut file = file.map_err(read_error)?;
            let name = name_of(&file)?;
            if manifest.is_some() || self.seen.iter().any(|entry| entry.name == name) {
                return Err(RecoveryError::Form(format!("'{name}' is out of place")));
            }
            if self.seen.is_empty() != (name == FORM) {
                return Err(missing(FORM));
            }
            if name == MANIFEST {
                manifest = Some(json::<Manifest>(&mut file)?);
                continue;
            }
            let mut hashed = Hashed::new(&mut file);
            self.one(&name, &mut hashed)?;
            self.seen.push(hashed.entry(&name));
        }
        // To the very end: only there is it known that nothing was cut off.
        io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(read_error)?;
        let manifest = manifest.ok_or_else(|| missing(MANIFEST))?;
        self.compare(&manifest)?;
        Ok(manifest)
    }

    fn one(&mut self, name: &str, from: &mut impl Read) -> Result<(), RecoveryError> {
        match name.split_once('/') {
            None if name == FORM => check_form(from),
            None if name == ROOT => {
                self.root = Some(read_root(from)?);
                Ok(())
            }
            None if name == STORE => store::rebuild(&self.files, rows(from)),
            Some((_, file)) if name.starts_with(AUDIT) && is_segment(file) => self.copy(file, from),
            Some((_, file)) if name.starts_with(STATE) && OTHERS.contains(&file) => {
                self.copy(file, from)
            }
            _ => Err(RecoveryError::Form(format!("it holds '{name}'"))),
        }
    }

    fn copy(&self, name: &str, from: &mut impl Read) -> Result<(), RecoveryError> {
        let file = self.files.create(name).map_err(Fault::StateFile)?;
        let (mut bytes, mut offset) = (vec![0; 256 << 10], 0);
        loop {
            match from.read(&mut bytes).map_err(read_error)? {
                0 => break,
                read => {
                    file.write_at(offset, &bytes[..read]).map_err(Fault::StateFile)?;
                    offset += read as u64;
                }
            }
        }
        Ok(file.sync().map_err(Fault::StateFile)?)
    }

    fn compare(&self, manifest: &Manifest) -> Result<(), RecoveryError> {
        for wanted in [FORM, ROOT, STORE] {
            if !self.seen.iter().any(|entry| entry.name == wanted) {
                return Err(missing(wanted));
            }
        }
        let pairs = self.seen.iter().zip(&manifest.files);
        let differing = pairs.filter(|(seen, said)| seen != said).map(|(seen, _)| seen).next();
        match differing {
            Some(seen) => Err(RecoveryError::Differs(seen.name.clone())),
            None if self.seen.len() != manifest.files.len() => Err(missing("a file")),
            None => Ok(()),
        }
    }
}

fn name_of<R: Read>(file: &tar::Entry<'_, R>) -> Result<String, RecoveryError> {
    let plain = file.header().entry_type().is_file();
    let name = String::from_utf8(file.path_bytes().into_owned()).ok().filter(|_| plain);
    name.ok_or_else(|| RecoveryError::Form("it holds something that is no plain file".to_owned()))
}

fn is_segment(name: &str) -> bool {
    name == segments::CURRENT || segments::first_of(name).is_some()
}

fn check_form(from: &mut impl Read) -> Result<(), RecoveryError> {
    match json::<Form>(from)?.version {
        VERSION => Ok(()),
        other => Err(RecoveryError::Version(other)),
    }
}

fn read_root(from: &mut impl Read) -> Result<RootKey, RecoveryError> {
    let root = RootKey::fill_with(|bytes| from.read_exact(bytes).map_err(read_error));
    scrub_stack();
    let mut more = [0; 1];
    match from.read(&mut more).map_err(read_error)? {
        0 => root,
        _ => Err(RecoveryError::Form("its root key is too long".to_owned())),
    }
}

fn rows(from: &mut impl Read) -> impl Iterator<Item = Result<Row, RecoveryError>> {
    let mut lines = BufReader::new(from);
    std::iter::from_fn(move || {
        let mut line = Vec::new();
        let read = lines.by_ref().take(ROW_LEN_MAX).read_until(b'\n', &mut line);
        match read.map_err(read_error) {
            Ok(0) => None,
            Ok(_) => Some(parsed(&line)),
            Err(error) => Some(Err(error)),
        }
    })
}

fn json<T: DeserializeOwned>(from: &mut impl Read) -> Result<T, RecoveryError> {
    let mut text = Vec::new();
    from.take(BACKUP_JSON_LEN_MAX).read_to_end(&mut text).map_err(read_error)?;
    parsed(&text)
}

/// Opens what was restored as a daemon would, and writes down where it comes from.
fn try_out(
    dir: &StateDir,
    root: RootKey,
    means: &Means,
    manifest: &Manifest,
) -> Result<(), RecoveryError> {
    let keeping = store::AuditKeeping::default();
    let store = store::open(&SystemDir::new(dir.path()), Seal::new(&root)?, &keeping)?;
    let head = store.verify_audit()?.head;
    if (head.seq, &head.hash) != (manifest.audit_seq, &manifest.audit_hash) {
        return Err(RecoveryError::Head);
    }
    let auth = Auth::new(dir.owner(), Vec::new());
    let core = Core::new(store, Keyring::new(root, means.hsm.clone()), auth);
    first_start::check_root_key(&core)?;
    let who = Principal::User(rustix::process::getuid().as_raw());
    let detail = format!("backup of {}: row {} {}", manifest.created, head.seq, head.hash);
    let entry = audit::Entry::new(who, "restore", "store").class(Class::Administration);
    Ok(core.store.record(entry.detail(detail))?)
}

fn missing(name: &str) -> RecoveryError {
    RecoveryError::Form(format!("{name} is not in its place"))
}

fn parsed<T: DeserializeOwned>(text: &[u8]) -> Result<T, RecoveryError> {
    serde_json::from_slice(text).map_err(|error| RecoveryError::Form(error.to_string()))
}

fn read_error(error: io::Error) -> RecoveryError {
    match error.downcast() {
        Ok(age) => RecoveryError::Age(age),
        Err(error) => RecoveryError::Form(error.to_string()),
    }
}
