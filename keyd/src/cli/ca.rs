//! `keyd ca`.

use keyd_client::{
    Page,
    message::{Reply, Request},
};

use super::{
    Error, Exit,
    args::http::CaVerb,
    ask::{Ask, unexpected},
};
use crate::tls::ca;

pub(super) fn run(ask: &Ask, verb: CaVerb) -> Result<Exit, Error> {
    let CaVerb::Show { state_dir } = verb;
    let certificate = match state_dir {
        Some(dir) => ca::show(&dir)?,
        None => match ask.call(Request::CaCertificate)? {
            Reply::CaCertificate(certificate) => certificate,
            _ => return Err(unexpected()),
        },
    };
    ask.print(&serde_json::json!({ "certificate": certificate }), |_| Page::of_lines(&certificate))
}
