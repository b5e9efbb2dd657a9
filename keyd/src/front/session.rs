//! A connection that has become a lease: the holder's messages in, until it hangs up or its lease runs out. What is said
//! to the holder is said by [`crate::leases`].

use std::{os::unix::net::UnixStream, thread};

use keyd_client::{LeaseId, lease::BootTime, limits::FRAME_TIMEOUT, wire};

use super::timed::{Timed, Waited, wait_readable};
use crate::{
    auth::Caller,
    leases::Patience,
    log,
    service::{LeaseOver, Service},
};

/// Serves a holder to the end of its lease.
pub fn hold(service: &Service, caller: &Caller, lease: LeaseId, stream: &UnixStream) {
    let over = loop {
        let patience = service.core().leases.patience(lease);
        match patience {
            Patience::Deaf(ends) => {
                outlast(ends);
                break LeaseOver::RanOut;
            }
            Patience::Endless => {
                if !listen(service, caller, lease, stream, None) {
                    break LeaseOver::HungUp;
                }
            }
            Patience::Until(ends) if ends.remaining().is_zero() => break LeaseOver::RanOut,
            Patience::Until(ends) => {
                if !listen(service, caller, lease, stream, Some(ends))
                    && !matches!(service.core().leases.patience(lease), Patience::Deaf(_))
                {
                    break LeaseOver::HungUp;
                }
            }
        }
    };
    service.lease_over(lease, over);
}

/// Waits for one message and has it done. Whether the holder is still there.
fn listen(
    service: &Service,
    caller: &Caller,
    lease: LeaseId,
    stream: &UnixStream,
    until: Option<BootTime>,
) -> bool {
    match wait_readable(stream, until) {
        Ok(Waited::TimedOut) => true,
        Err(_) => false,
        Ok(Waited::Readable) => {
            let received = wire::receive(&mut Timed::new(stream, FRAME_TIMEOUT));
            let done = received.map_err(|error| log::chain(&error)).and_then(|(message, _)| {
                service.holder_says(caller, lease, message).map_err(|failure| log::chain(&failure))
            });
            if let Err(why) = &done {
                log::line(format_args!("lease {lease}: {why}"));
            }
            done.is_ok()
        }
    }
}

/// A holder that was cut off may use its DEK until its lease ends, and no longer.
fn outlast(ends: BootTime) {
    while !ends.remaining().is_zero() {
        thread::sleep(ends.remaining());
    }
}
