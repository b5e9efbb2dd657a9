//! `keyd clock`.

use keyd_client::{Page, message::ClockStatus};

use super::{Error, Exit, args::ClockVerb, console::Console, table::list};
use crate::clock;

pub(super) fn run(console: &Console, verb: ClockVerb) -> Result<Exit, Error> {
    match verb {
        ClockVerb::Show(ask) => console.show(ask, text),
        ClockVerb::Confirm(ask) => console.show(ask, text),
    }
}

fn text(status: &ClockStatus) -> Page {
    list(&[
        ("clock", clock::text(status.clock)),
        ("keyd's time", clock::text(status.now)),
        ("come for sure", clock::text(status.proven)),
        ("wrong", status.wrong.clone().unwrap_or_else(|| "nothing".to_owned())),
    ])
}
