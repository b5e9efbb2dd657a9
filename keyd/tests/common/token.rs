//! A token of SoftHSM for each test, in a directory that vanishes. The module reads its environment once and is global
//! to a process, so each test runs in a process of its own: this test binary, started again for that one test.
#![allow(dead_code, reason = "each test file uses its part")]

use std::{
    env, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use keyd::hsm::HsmConfig;
use keyd_client::DiskId;

use crate::common::Keyd;

/// Debian's `softhsm2`.
pub(crate) const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";
pub(crate) const LABEL: &str = "keyd-test";
pub(crate) const PIN: &str = "87654321";

const CONF: &str = "SOFTHSM2_CONF";

/// Runs `test`, named as the test is, with a token of its own.
pub(crate) fn with_token(name: &str, test: impl FnOnce(&Token)) {
    assert!(Path::new(MODULE).exists(), "{MODULE} is missing: install the package softhsm2");
    if let Some(conf) = env::var_os(CONF) {
        return test(&Token { dir: Path::new(&conf).parent().unwrap().to_owned() });
    }
    let dir = tempfile::tempdir().unwrap();
    let token = Token::make(dir.path());
    let output = Command::new(env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(CONF, token.conf())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    let failed = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}\n{failed}");
    assert!(told.contains("1 passed"), "no test is called '{name}': {told}");
}

pub(crate) struct Token {
    dir: PathBuf,
}

impl Token {
    /// An initialised token with its configuration and PIN file.
    pub(crate) fn make(dir: &Path) -> Self {
        let token = Self { dir: dir.to_owned() };
        fs::create_dir(token.objects()).unwrap();
        let conf =
            format!("directories.tokendir = {}\nlog.level = ERROR\n", token.objects().display());
        fs::write(token.conf(), conf).unwrap();
        token.write_pin(PIN, 0o600);
        token.util(&[
            "--init-token",
            "--free",
            "--label",
            LABEL,
            "--pin",
            PIN,
            "--so-pin",
            "12345678",
        ]);
        token
    }

    pub(crate) fn conf(&self) -> PathBuf {
        self.dir.join("softhsm2.conf")
    }

    pub(crate) fn objects(&self) -> PathBuf {
        self.dir.join("tokens")
    }

    pub(crate) fn pin_file(&self) -> PathBuf {
        self.dir.join("pin")
    }

    pub(crate) fn write_pin(&self, pin: &str, mode: u32) {
        fs::write(self.pin_file(), format!("{pin}\n")).unwrap();
        fs::set_permissions(self.pin_file(), fs::Permissions::from_mode(mode)).unwrap();
    }

    pub(crate) fn config(&self) -> HsmConfig {
        HsmConfig { module: MODULE.into(), token: LABEL.to_owned(), pin_file: self.pin_file() }
    }

    pub(crate) fn util(&self, args: &[&str]) -> Output {
        run(Command::new("softhsm2-util").args(args).env(CONF, self.conf()))
    }

    /// OpenSC's program, as a judge of what is in the token.
    pub(crate) fn pkcs11_tool(&self, args: &[&str]) -> Output {
        let login = ["--module", MODULE, "--token-label", LABEL, "--login", "--pin", PIN];
        run(Command::new("pkcs11-tool").args(login).args(args).env(CONF, self.conf()))
    }
}

/// The real daemon, with keys in the token.
pub(crate) fn daemon(token: &Token) -> Keyd {
    let pin_file = token.pin_file().display().to_string();
    let objects = token.objects().display().to_string();
    let hsm = ["--hsm-module", MODULE, "--hsm-token", LABEL, "--hsm-pin-file", &pin_file];
    Keyd::start_with(&[&hsm[..], &["--writable", &objects]].concat())
}

/// Key `k` in the token, set `s` on it, a disk in that.
pub(crate) fn disk_under_hsm(keyd: &Keyd) -> DiskId {
    let made = keyd.run(&["key", "create", "k", "--bits", "2048", "--hsm"]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    keyd.make_set(60_000);
    keyd.make_disk(Some("s"))
}

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}
