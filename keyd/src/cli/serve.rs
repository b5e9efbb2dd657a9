//! `keyd serve`.

use std::path::Path;

use confine::calls::Call;

use super::{
    Error, Exit,
    args::serve::{Serve, SocketMode},
};
use crate::{
    sandbox::Wishes,
    serve::{self, Config},
};

pub(super) fn run(
    socket: &Path,
    options: Serve,
    allowed: impl Fn(bool) -> Vec<Call>,
) -> Result<Exit, Error> {
    let (passphrase, hsm) = options.open.parts(None);
    let backups = options.backups.keep()?;
    let mut sandbox: Wishes = options.confine.into();
    sandbox.writable.extend(backups.iter().map(|keep| keep.to.clone()));
    let config = Config {
        state_dir: options.state_dir,
        socket: socket.to_owned(),
        socket_mode: match options.socket_mode {
            SocketMode::Owner => 0o600,
            SocketMode::Group => 0o660,
        },
        grants: options.grant,
        root: options.root,
        passphrase,
        hsm,
        http: options.http.options(),
        audit: options.audit.into(),
        backups,
        sandbox,
    };
    serve::run(&config, allowed)?;
    Ok(Exit::Done)
}
