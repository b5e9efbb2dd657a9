//! Requests on the clock.

use keyd_client::message::{ClockRequest, Reply};

use super::Service;
use crate::{auth::Caller, error::Failure, ops};

impl Service {
    pub(super) fn clock(&self, by: &Caller, request: &ClockRequest) -> Result<Reply, Failure> {
        let core = &self.core;
        match request {
            ClockRequest::Show => self.act(by, None, "clock", |permit| {
                Ok(Reply::Clock(ops::clock_check::show(core, permit)))
            }),
            ClockRequest::Confirm => {
                self.act(by, None, "clock", |permit| ops::clock_check::confirm(core, permit))
            }
        }
    }
}
