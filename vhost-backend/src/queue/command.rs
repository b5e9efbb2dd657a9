//! What a queue can be told by the control and lease threads.

use std::{
    os::fd::OwnedFd,
    sync::{Arc, mpsc},
    time::{Instant, SystemTime},
};

use images::XtsCipher;
use keyd_client::message::Reaction;
use vm_memory::GuestMemoryMmap;

use crate::{dirty::Log, vring::Vring};

/// A ring to serve.
#[derive(Debug)]
pub struct RingSetup {
    /// The guest's memory.
    pub memory: Arc<GuestMemoryMmap>,
    /// The ring in it.
    pub vring: Vring,
    /// Descriptor the guest kicks by.
    pub kick: OwnedFd,
    /// Descriptor that interrupts the guest; `None`: it polls.
    pub call: Option<OwnedFd>,
}

/// What a queue can be told.
#[derive(Debug)]
pub enum Command {
    /// Serve this ring.
    Start(Box<RingSetup>),
    /// Stop serving: answer what was taken from the ring and can be answered now, put back the rest, then say where
    /// the ring stands.
    Stop(mpsc::Sender<u16>),
    /// Serve the ring, or leave it alone for now.
    Enable(bool),
    /// Interrupt the guest by another descriptor.
    SetCall(Option<OwnedFd>),
    /// Guest memory has changed; the answer says that the old map is not used any more.
    SetMemory(Arc<GuestMemoryMmap>, mpsc::Sender<()>),
    /// Mark what is written to guest memory here from now on; the answer says that it is so.
    SetLog(Option<Log>, mpsc::Sender<()>),
    /// The disk has so many bytes now; the answer says that requests for all of them are taken, and no others.
    SetCapacity(u64, mpsc::Sender<()>),
    /// The key is gone: fence.
    Fence(Reaction, FenceReply),
    /// Here is the key: go on.
    Resume(Arc<XtsCipher>),
    /// The process ends.
    Exit,
}

/// Where a queue confirms a fence.
pub type FenceReply = mpsc::Sender<Fenced>;

/// How a queue's fence went.
#[derive(Debug, Clone, Copy)]
pub struct Fenced {
    /// When the last request before the fence was answered.
    pub last_io: Option<SystemTime>,
    /// When the queue had let go of the key.
    pub key_dropped: Instant,
    /// Requests held: waiting in the ring, or taken and unanswered.
    pub held: u64,
    /// Whether nothing of the queue's is at the disk any more: a fence waits for that only so long.
    pub disk_is_idle: bool,
}
