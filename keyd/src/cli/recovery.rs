//! `keyd backup`, `keyd restore`, `keyd check` and `keyd upgrade`.

use std::{fs::File, io::Read, path::Path, path::absolute, sync::Arc};

use keyd_client::{
    Page, Principal,
    message::{BackedUp, StateAccept, StateBackup, StateCheck, StateCheckDeep, StateChecked},
};

use super::{
    Error, Exit,
    args::{
        recovery::{Backup, Check, Restore, Upgrade},
        root::OpenRoot,
    },
    console::Console,
};
use crate::{
    audit::{Class, Entry},
    auth::Op,
    clock,
    files::SystemDir,
    harden,
    limits::{IDENTITY_LEN_MAX, LONG_WORK_TIMEOUT},
    opened::Opened,
    recovery::{
        self, Manifest,
        age::{AgeError, Identity, Recipient},
    },
    root::Means,
    seal::Seal,
    state_dir::StateDir,
    store,
};

pub(super) fn backup(console: &Console, options: Backup) -> Result<Exit, Error> {
    // The daemon has another working directory.
    let to = absolute(&options.to)?;
    let done = match options.state_dir {
        Some(dir) => offline(&dir, &to, &options.recipient, options.open)?,
        None => {
            let recipients = options.recipient;
            console.ask(StateBackup { to, recipients })?
        }
    };
    console.print(&done, told)
}

fn told(done: &BackedUp) -> Page {
    let BackedUp { file, audit_seq, audit_hash, keys, disks, in_tokens, .. } = done;
    let page = Page::default().line(format_args!(
        "{}: {keys} keys, {disks} disks; the audit log to row {audit_seq}, {audit_hash}",
        file.display()
    ));
    in_tokens.iter().fold(page, |page, (token, versions)| {
        page.line(format_args!(
            "not in it: {versions} key versions that are in the token '{token}'"
        ))
    })
}

fn offline(
    dir: &Path,
    to: &Path,
    recipients: &[String],
    open: OpenRoot,
) -> Result<BackedUp, Error> {
    harden::process();
    let recipients: Vec<Recipient> =
        recipients.iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
    let dir = StateDir::open_existing(dir)?;
    let root = dir.root().open(None, true, &means(open)?)?;
    let keeping = store::AuditKeeping::default();
    let store = store::open(&SystemDir::new(dir.path()), Seal::new(&root)?, &keeping)?;
    recovery::outside(to, store.identity()?)?;
    let who = Principal::User(rustix::process::getuid().as_raw());
    let detail = format!("to={}", recovery::names(&recipients));
    store.commit(|txn| {
        txn.put_backed_up(clock::now())?;
        Ok(((), Entry::new(who, StateBackup::NAME, to.display()).detail(detail)))
    })?;
    let manifest = recovery::write(&store.whole()?, &root, &recipients, to)?;
    Ok(manifest.told(to))
}

pub(super) fn check(console: &Console, options: &Check) -> Result<Exit, Error> {
    let checked = match *options {
        Check { accept_damage: true, .. } => console.ask_within(StateAccept {}, LONG_WORK_TIMEOUT),
        Check { deep: true, .. } => console.ask_within(StateCheckDeep {}, LONG_WORK_TIMEOUT),
        Check { .. } => console.ask_within(StateCheck {}, LONG_WORK_TIMEOUT),
    }?;
    console.print(&checked, found)?;
    Ok(if checked.damaged.is_empty() { Exit::Done } else { Exit::Warned })
}

fn found(checked: &StateChecked) -> Page {
    let lines = |page: Page, what: &str, names: &[String]| {
        names.iter().fold(page, |page, name| page.line(format_args!("{what}: {name}")))
    };
    let page = lines(Page::default(), "given up", &checked.given_up);
    let mut page = lines(page, "damaged", &checked.damaged);
    if checked.more > 0 {
        page = page.line(format_args!("damaged: {} more", checked.more));
    }
    let mut text = format!("{} records were checked", checked.rows);
    if let (Some(opened), Some(left_out)) = (checked.deks_opened, checked.deks_left_out) {
        text += &format!(
            ", {opened} disks' keys opened; {left_out} were left out, as their key cannot be used now"
        );
    }
    text += match checked.damaged.is_empty() {
        true => ": all is as it was written",
        false => "; 'keyd restore' brings back from a backup what is damaged",
    };
    page.line(text)
}

pub(super) fn upgrade(console: &Console, options: Upgrade) -> Result<Exit, Error> {
    harden::process();
    let dir = StateDir::open_existing(&options.state_dir)?;
    let root = dir.root().open(None, true, &means(options.open)?)?;
    let who = Principal::User(rustix::process::getuid().as_raw());
    let entry = Entry::new(who, "store-upgrade", "store").class(Class::Administration);
    let files = Arc::new(SystemDir::new(dir.path()));
    let records = store::upgrade(files, Seal::new(&root)?, entry)?;
    console.print(&serde_json::json!({ "records": records }), |_| {
        format!("{records} records are authenticated from now on, as they are")
    })
}

pub(super) fn restore(console: &Console, options: Restore) -> Result<Exit, Error> {
    harden::process();
    let identities = identities(&options.identity)?;
    let means = means(options.open)?;
    let restored = recovery::restore(&recovery::Restore {
        from: &options.from,
        identities: &identities,
        to: &absolute(&options.state_dir)?,
        root: options.root,
        means: &means,
    })?;
    console.print(&restored.manifest, |manifest| {
        let Manifest { created, audit_seq, audit_hash, keys, disks, in_tokens, .. } = manifest;
        let page = Page::default()
            .line(format_args!(
                "{}: {keys} keys, {disks} disks, as of {}",
                options.state_dir.display(),
                clock::text(*created)
            ))
            .line(format_args!(
                "the audit log to row {audit_seq}, {audit_hash}: compare with what 'keyd backup' told"
            ));
        in_tokens.iter().fold(page, |page, (token, versions)| {
            page.line(format_args!("{versions} key versions need the token '{token}'"))
        })
    })
}

/// Straight into a page: it opens every key.
fn identities(path: &Path) -> Result<Vec<Identity>, Error> {
    let failed = |error: std::io::Error| format!("the identity {}: {error}", path.display());
    let mut file = File::open(path).map_err(failed)?;
    let text = Opened::<IDENTITY_LEN_MAX>::fill_with(|page| {
        let mut len = 0;
        while len < page.len() {
            match file.read(&mut page[len..])? {
                0 => break,
                read => len += read,
            }
        }
        Ok::<_, AgeError>(len)
    })?;
    Ok(Identity::parse(text.expose())?)
}

fn means(open: OpenRoot) -> Result<Means, Error> {
    let (passphrase, hsm) = open.parts(None);
    Ok(Means::new(passphrase, hsm)?)
}
