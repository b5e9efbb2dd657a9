//! `keyd ca`.

use keyd_client::{Page, message::CaShow};

use super::{Error, Exit, args::http::CaVerb, console::Console};
use crate::tls::ca;

pub(super) fn run(console: &Console, verb: CaVerb) -> Result<Exit, Error> {
    let CaVerb::Show { state_dir } = verb;
    let certificate = match state_dir {
        Some(dir) => ca::show(&dir)?,
        None => console.ask(CaShow {})?,
    };
    console
        .print(&serde_json::json!({ "certificate": certificate }), |_| Page::of_lines(&certificate))
}
