use std::io::{ErrorKind, Read, Write};

use keyd_client::{
    limits::SERVING_TEXT_MAX,
    message::{Event, HolderAnswer, Phase, QueueEngines},
    wire,
};

use super::*;
use crate::{auth::Caller, volume_key};

struct Peer {
    lease: LeaseId,
    theirs: UnixStream,
    ours: Arc<UnixStream>,
}

fn claim(disk: DiskId, read_only: bool) -> Claim {
    Claim {
        disk,
        caller: Caller::local(1, 77),
        read_only,
        length: Duration::from_secs(5),
        had: false,
    }
}

fn entered(leases: &Leases, claim: Claim) -> Result<Peer, InUse> {
    let (ours, theirs) = UnixStream::pair().unwrap();
    theirs.set_nonblocking(true).unwrap();
    let ours = Arc::new(ours);
    let lease = leases.register(claim, &ours)?;
    Ok(Peer { lease, theirs, ours })
}

fn held(leases: &Leases, disk: DiskId) -> Peer {
    let mut peer = entered(leases, claim(disk, false)).unwrap();
    let dek = volume_key::generate().unwrap();
    let epoch = leases.epoch(peer.lease);
    assert_eq!(leases.hand_over(peer.lease, epoch, &Event::Reclaimed, &dek), HandOver::Done);
    let (_, got) = heard(&mut peer).unwrap();
    assert_eq!(got.unwrap().expose(), dek.expose());
    peer
}

/// The next event, if one was sent.
fn heard(peer: &mut Peer) -> Option<(Event, Option<Dek>)> {
    match wire::receive(&mut peer.theirs) {
        Ok(event) => Some(event),
        Err(wire::WireError::Io(error)) if error.kind() == ErrorKind::WouldBlock => None,
        Err(error) => panic!("{error}"),
    }
}

fn revoke(leases: &Leases, peer: &Peer) -> u32 {
    let (reason, on_revoke) = ("why".to_owned(), Reaction::Park);
    leases.revoke(&[Loss { lease: peer.lease, reason, on_revoke }]).count()
}

const REPORT: FenceReport = FenceReport {
    ordered: 1,
    last_io: Some(2),
    wiped: 3,
    took_us: 4,
    held: 5,
    reaction: Reaction::Park,
};

#[test]
fn what_a_holder_says_of_how_it_serves_is_told_cut_and_with_its_lease_forgotten() {
    let (leases, disk) = (Leases::default(), DiskId::random());
    let peer = held(&leases, disk);
    assert_eq!(leases.holders(disk)[0].serving, None);
    let queues = QueueEngines { threads: 3, ..QueueEngines::default() };
    let no_ring = Some("x".repeat(60_000).into());
    let serving = Serving { queues, no_ring, stock_fault: None };
    leases.set_serving(peer.lease, serving);
    let told = leases.holders(disk)[0].serving.clone().unwrap();
    assert_eq!((told.queues, told.stock_fault), (queues, None));
    assert!(told.no_ring.unwrap().len() <= SERVING_TEXT_MAX);
    leases.set_serving(peer.lease, Serving::default());
    assert_eq!(leases.holders(disk)[0].serving, Some(Serving::default()), "the last counts");
    leases.end(peer.lease, LeaseOver::HungUp);
    let next = held(&leases, disk);
    assert_eq!(leases.holders(disk)[0].serving, None, "{:?}", next.lease);
}

#[test]
fn one_writer_or_many_readers() {
    let (leases, disk) = (Leases::default(), DiskId::random());
    let writer = entered(&leases, claim(disk, false)).unwrap();
    assert_eq!(entered(&leases, claim(disk, false)).err(), Some(InUse { pid: 77 }));
    assert_eq!(entered(&leases, claim(disk, true)).err(), Some(InUse { pid: 77 }));
    assert!(entered(&leases, claim(DiskId::random(), false)).is_ok());
    leases.end(writer.lease, LeaseOver::HungUp);
    let _reader = entered(&leases, claim(disk, true)).unwrap();
    let _second = entered(&leases, claim(disk, true)).unwrap();
    assert!(entered(&leases, claim(disk, false)).is_err());
}

#[test]
fn a_hang_up_frees_the_disk_before_anyone_read_it() {
    let (leases, disk) = (Leases::default(), DiskId::random());
    let mut peer = held(&leases, disk);
    // With unread bytes in the socket, as a dying holder may leave them.
    peer.theirs.write_all(b"xyz").unwrap();
    drop(peer.theirs);
    assert!(entered(&leases, claim(disk, false)).is_ok());
}

#[test]
fn a_revocation_reaches_who_it_names_and_once() {
    let leases = Leases::default();
    let mut peer = held(&leases, DiskId::random());
    let mut other = held(&leases, DiskId::random());
    assert_eq!(revoke(&leases, &peer), 1);
    assert!(heard(&mut other).is_none());
    let (event, dek) = heard(&mut peer).unwrap();
    let on_revoke = Reaction::Park;
    assert_eq!(event, Event::Revoked { reason: "why".into(), on_revoke });
    assert_eq!(revoke(&leases, &peer), 0);
    assert!(dek.is_none());
    assert_eq!(leases.stage(peer.lease), Some(Stage::Revoking));
}

#[test]
fn a_key_that_went_between_look_and_hand_over_is_withheld() {
    let leases = Leases::default();
    let mut peer = entered(&leases, claim(DiskId::random(), false)).unwrap();
    let epoch = leases.epoch(peer.lease);
    assert_eq!(revoke(&leases, &peer), 0, "it has nothing to let go");
    // Even if it came back at once: what was seen is no longer what is.
    leases.grant(&[peer.lease]);
    let dek = volume_key::generate().unwrap();
    let handed = leases.hand_over(peer.lease, epoch, &Event::Reclaimed, &dek);
    assert_eq!(handed, HandOver::Withheld);
    assert!(heard(&mut peer).is_none());
}

#[test]
fn renewals_prolong_what_is_held_and_not_what_is_revoked() {
    let leases = Leases::default();
    let mut peer = held(&leases, DiskId::random());
    let first = leases.patience(peer.lease);
    std::thread::sleep(Duration::from_millis(5));
    leases.renew(peer.lease);
    assert_eq!(heard(&mut peer).unwrap().0, Event::Renewed { lease_ms: 5000 });
    let (Patience::Until(first), Patience::Until(second)) = (first, leases.patience(peer.lease))
    else {
        panic!("a held lease ends");
    };
    assert!(second > first);
    revoke(&leases, &peer);
    heard(&mut peer).unwrap();
    leases.renew(peer.lease);
    assert!(heard(&mut peer).is_none());
    assert_eq!(leases.patience(peer.lease), Patience::Until(second));
}

#[test]
fn a_parked_holder_hears_once_that_its_key_is_back() {
    let leases = Leases::default();
    let mut peer = held(&leases, DiskId::random());
    revoke(&leases, &peer);
    heard(&mut peer).unwrap();
    assert_eq!(leases.grant(&[peer.lease]), 0, "it still has to confirm");
    leases.fenced(peer.lease, &REPORT);
    assert_eq!(leases.patience(peer.lease), Patience::Endless);
    assert_eq!(leases.grant(&[peer.lease]), 1);
    assert_eq!(leases.grant(&[peer.lease]), 0, "it was told already");
    assert_eq!(heard(&mut peer).unwrap().0, Event::Granted);
    assert!(heard(&mut peer).is_none());
}

/// A holder that does not read: told without waiting, cut off, and believed to hold its DEK until its lease ends.
#[test]
fn a_full_socket_does_not_hold_up_a_revocation() {
    let (leases, disk) = (Leases::default(), DiskId::random());
    let peer = held(&leases, disk);
    peer.ours.set_nonblocking(true).unwrap();
    while (&*peer.ours).write(&[0; 4096]).is_ok() {}
    let begun = std::time::Instant::now();
    assert_eq!(revoke(&leases, &peer), 1);
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert!(matches!(leases.patience(peer.lease), Patience::Deaf(_)));
    assert!(entered(&leases, claim(disk, false)).is_err(), "its lease is not over");
    let mut rest = Vec::new();
    let mut theirs = &peer.theirs;
    assert!(theirs.read_to_end(&mut rest).is_ok(), "the connection was shut");
}

#[test]
fn states_are_told_as_they_are() {
    let (leases, disk) = (Leases::default(), DiskId::random());
    let peer = held(&leases, disk);
    let state = || leases.holders(disk)[0].state.clone();
    assert_eq!((state().phase, state().why), (Phase::Running, None));
    leases.set_space(peer.lease, true);
    assert_eq!(state().phase, Phase::WaitingForSpace);
    leases.set_space(peer.lease, false);
    assert_eq!(state().phase, Phase::Running);
    revoke(&leases, &peer);
    let now = crate::clock::now();
    assert!(matches!(state().phase, Phase::Halting { lease_ends } if lease_ends > now));
    assert_eq!(state().why.as_deref(), Some("why"));
    leases.fenced(peer.lease, &REPORT);
    // Since when it has no key, as it says itself; not since when it attached.
    assert_eq!((state().phase, state().since), (Phase::Parked, REPORT.wiped));
    assert_eq!(state().why.as_deref(), Some("why"));
    let ended = leases.end(peer.lease, LeaseOver::HungUp).unwrap();
    assert_eq!((ended.stage, ended.disk), (Stage::Parked, disk));
    assert!(leases.holders(disk).is_empty());
}

#[test]
fn a_holder_does_what_it_says_and_not_what_its_set_would_have_it_do() {
    let leases = Leases::default();
    let peer = held(&leases, DiskId::random());
    let loss = |on_revoke| Loss { lease: peer.lease, reason: "why".to_owned(), on_revoke };
    let phase = || leases.every_holder()[0].1.state.phase;
    let _ = leases.revoke(&[loss(Reaction::Fail)]);
    leases.fenced(peer.lease, &FenceReport { reaction: Reaction::Fail, ..REPORT });
    assert_eq!(phase(), Phase::Failing);
    let _ = leases.revoke(&[loss(Reaction::Park)]);
    assert_eq!(phase(), Phase::Failing, "it has not said so yet");
    leases.fenced(peer.lease, &REPORT);
    assert_eq!(phase(), Phase::Parked);
}

/// Its key is gone already: whoever has changed what its guest gets need not wait for the next loss.
#[test]
fn a_halted_holder_hears_once_of_another_reaction() {
    let leases = Leases::default();
    let mut peer = held(&leases, DiskId::random());
    revoke(&leases, &peer);
    heard(&mut peer).unwrap();
    leases.fenced(peer.lease, &REPORT);
    let loss = Loss { lease: peer.lease, reason: "erased".to_owned(), on_revoke: Reaction::Fail };
    for _ in 0..3 {
        assert_eq!(leases.revoke(std::slice::from_ref(&loss)).count(), 0, "it holds nothing");
    }
    let (event, _) = heard(&mut peer).unwrap();
    let on_revoke = Reaction::Fail;
    assert_eq!(event, Event::Revoked { reason: "erased".into(), on_revoke });
    assert!(heard(&mut peer).is_none());
    assert!(leases.is_awaited(peer.lease));
    leases.fenced(peer.lease, &FenceReport { reaction: on_revoke, ..REPORT });
    let holder = &leases.every_holder()[0].1;
    assert_eq!((holder.state.phase, leases.is_awaited(peer.lease)), (Phase::Failing, false));
    assert_eq!(holder.state.why.as_deref(), Some("erased"));
}

#[test]
fn how_a_disks_last_holder_ended_is_told_until_the_next_one_comes() {
    let (leases, disk) = (Leases::default(), DiskId::random());
    assert_eq!(leases.last_of(disk), None);
    let phase = || leases.last_of(disk).map(|last| last.phase);
    for (says_so, over, told) in [
        (true, LeaseOver::HungUp, Phase::Released),
        (false, LeaseOver::HungUp, Phase::Gone),
        (false, LeaseOver::RanOut, Phase::Gone),
    ] {
        let peer = held(&leases, disk);
        assert_eq!(phase(), None);
        if says_so {
            leases.released(peer.lease);
        }
        assert_eq!(leases.end(peer.lease, over).unwrap().released, says_so);
        assert_eq!(phase(), Some(told));
    }
    // One that was refused got nothing, and has let go of nothing.
    let peer = entered(&leases, claim(disk, false)).unwrap();
    assert_eq!(phase(), Some(Phase::Gone));
    leases.end(peer.lease, LeaseOver::HungUp);
    assert_eq!(phase(), Some(Phase::Gone));
}

/// One confirms, one hangs up, one says nothing: each is told as it is, and waiting ends when nobody is left to wait
/// for, or when time is over.
#[test]
fn a_revocation_tells_what_each_holder_answered() {
    let leases = Leases::default();
    let peers = [(); 3].map(|()| held(&leases, DiskId::random()));
    let [confirms, hangs_up, silent] = &peers;
    let losses = peers.each_ref().map(|peer| Loss {
        lease: peer.lease,
        reason: "why".to_owned(),
        on_revoke: Reaction::Fail,
    });
    let told = leases.revoke(&losses);
    assert_eq!(told.count(), 3);
    leases.fenced(confirms.lease, &REPORT);
    leases.end(hangs_up.lease, LeaseOver::HungUp);
    let revocation = told.wait(Duration::from_millis(50));
    assert!(!revocation.confirmed());
    let answer = |peer: &Peer| {
        let row = revocation.holders.iter().find(|row| row.lease == peer.lease).unwrap();
        row.clone()
    };
    let HolderAnswer { state, report, .. } = answer(confirms);
    assert_eq!((state.phase, report), (Phase::Parked, Some(REPORT)));
    let HolderAnswer { state, report, .. } = answer(hangs_up);
    assert_eq!((state.phase, report), (Phase::Gone, None));
    let Phase::Halting { lease_ends } = answer(silent).state.phase else {
        panic!("it said nothing")
    };
    let now = crate::clock::now();
    assert!(lease_ends > now && lease_ends <= now + 5000);
}

#[test]
fn waiting_ends_with_the_last_confirmation() {
    let leases = Leases::default();
    let peer = held(&leases, DiskId::random());
    let losses = [Loss { lease: peer.lease, reason: String::new(), on_revoke: Reaction::Park }];
    let told = leases.revoke(&losses);
    let revocation = std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(30));
            leases.fenced(peer.lease, &REPORT);
        });
        told.wait(Duration::from_secs(3600))
    });
    assert!(revocation.confirmed());
    assert!(leases.lock().answers.is_empty(), "nobody wants to know any more");
}

#[test]
fn a_lease_that_runs_out_ends_the_waiting_and_does_not_count_as_a_hang_up() {
    let leases = Leases::default();
    let peer = held(&leases, DiskId::random());
    let losses = [Loss { lease: peer.lease, reason: String::new(), on_revoke: Reaction::Park }];
    let told = leases.revoke(&losses);
    leases.end(peer.lease, LeaseOver::RanOut);
    let revocation = told.wait(Duration::from_secs(3600));
    assert!(!revocation.confirmed());
    assert!(matches!(revocation.holders[0].state.phase, Phase::Halting { .. }));
}

#[test]
fn holders_of_a_disk_hear_that_it_has_grown() {
    let leases = Leases::default();
    let (disk, dek) = (DiskId::random(), volume_key::generate().unwrap());
    let mut other = held(&leases, DiskId::random());
    let mut holder = held(&leases, disk);
    leases.grown(disk, 7);
    assert_eq!(heard(&mut holder).unwrap().0, Event::Grown { size: 7 });
    // Also without its key: the guest is to see its disk as it is.
    revoke(&leases, &holder);
    heard(&mut holder).unwrap();
    leases.fenced(holder.lease, &REPORT);
    leases.grown(disk, 8);
    assert_eq!(heard(&mut holder).unwrap().0, Event::Grown { size: 8 });
    assert!(heard(&mut holder).is_none() && heard(&mut other).is_none());

    // Before its attach is answered a holder could not make sense of it.
    leases.end(holder.lease, LeaseOver::HungUp);
    let mut peer = entered(&leases, claim(disk, false)).unwrap();
    leases.grown(disk, 9);
    assert!(heard(&mut peer).is_none());
    let epoch = leases.epoch(peer.lease);
    assert_eq!(leases.hand_over(peer.lease, epoch, &Event::Reclaimed, &dek), HandOver::Done);
    assert_eq!(heard(&mut peer).unwrap().0, Event::Reclaimed);
    assert_eq!(heard(&mut peer).unwrap().0, Event::Grown { size: 9 });

    leases.end(peer.lease, LeaseOver::HungUp);
    let mut parked = entered(&leases, claim(disk, false)).unwrap();
    // Announcements come after their commits, in any order.
    leases.grown(disk, 10);
    leases.grown(disk, 9);
    let (reason, on_revoke) = ("why".to_owned(), Reaction::Fail);
    let loss = Loss { lease: parked.lease, reason, on_revoke };
    assert_eq!(leases.park(&loss, &Event::Granted), HandOver::Done);
    assert_eq!(leases.holders(disk)[0].state.phase, Phase::Failing);
    assert_eq!(heard(&mut parked).unwrap().0, Event::Granted);
    assert_eq!(heard(&mut parked).unwrap().0, Event::Grown { size: 10 });
    assert!(heard(&mut parked).is_none(), "once");
}
