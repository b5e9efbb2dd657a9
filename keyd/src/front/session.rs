//! A connection that has become a lease: the holder's messages in, until it hangs up or its lease runs out. What
//! is said to the holder is said by [`crate::leases`].

use std::{os::unix::net::UnixStream, thread};

use keyd_client::{
    LeaseId,
    lease::BootTime,
    limits::{FRAME_TIMEOUT, REQUEST_LEN_MAX},
    timed::{Timed, Waited, wait_readable},
    wire,
};

use crate::{
    auth::Caller,
    leases::{LeaseOver, Patience},
    log,
    service::Service,
};

/// Serves a holder to the end of its lease.
pub fn hold(service: &Service, caller: &Caller, lease: LeaseId, stream: &UnixStream) {
    let over = until_over(service, caller, lease, stream);
    service.lease_over(lease, over);
}

fn until_over(
    service: &Service,
    caller: &Caller,
    lease: LeaseId,
    stream: &UnixStream,
) -> LeaseOver {
    let leases = &service.core().leases;
    loop {
        let until = match leases.patience(lease) {
            Patience::Deaf(ends) => {
                outlast(ends);
                return LeaseOver::RanOut;
            }
            Patience::Until(ends) if ends.remaining().is_zero() => return LeaseOver::RanOut,
            Patience::Until(ends) => Some(ends),
            Patience::Endless => None,
        };
        let there = listen(service, caller, lease, stream, until);
        // A connection that was shut from here looks like one that was hung up.
        if !there && !matches!(leases.patience(lease), Patience::Deaf(_)) {
            return LeaseOver::HungUp;
        }
    }
}

/// Waits for one message and has it done. Whether the holder may say more. One that speaks nonsense is cut off: it may
/// have the DEK still, so its lease is not over.
fn listen(
    service: &Service,
    caller: &Caller,
    lease: LeaseId,
    stream: &UnixStream,
    until: Option<BootTime>,
) -> bool {
    match wait_readable(stream, until) {
        Ok(Waited::TimedOut) => return true,
        Ok(Waited::Readable) => {}
        Err(_) => return false,
    }
    let done = wire::receive_up_to(&mut Timed::new(stream, FRAME_TIMEOUT), REQUEST_LEN_MAX)
        .map_err(|error| log::chain(&error))
        .and_then(|(message, _)| {
            let done = service.holder_says(caller, lease, &message);
            done.map_err(|failure| log::chain(&failure))
        });
    if let Err(why) = &done {
        log::provoked(caller, "lease cut off", format_args!("lease {lease}: {why}"));
        service.core().leases.cut_off(lease);
    }
    done.is_ok()
}

/// A holder that was cut off may use its DEK until its lease ends, and no longer.
fn outlast(ends: BootTime) {
    while !ends.remaining().is_zero() {
        thread::sleep(ends.remaining());
    }
}
