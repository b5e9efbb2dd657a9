//! `keyd clock`.

use keyd_client::{
    Page,
    message::{ClockRequest, ClockStatus, Reply},
};

use super::{
    Error, Exit,
    args::ClockVerb,
    ask::{Ask, unexpected},
    table::list,
};
use crate::clock;

pub(super) fn run(ask: &Ask, verb: ClockVerb) -> Result<Exit, Error> {
    let request = match verb {
        ClockVerb::Show => ClockRequest::Show,
        ClockVerb::Confirm => ClockRequest::Confirm,
    };
    match ask.call(request)? {
        Reply::Clock(status) => ask.print(&status, text),
        _ => Err(unexpected()),
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
