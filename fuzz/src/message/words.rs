//! What may be said: messages of vhost-user by their layout, with numbers that are right, nearly right, or any.

use std::{fs::File, os::unix::fs::FileExt};

use arbitrary::Arbitrary;
use system_tests::hostile::message;

/// A descriptor that goes with a message.
#[derive(Debug, Clone, Copy, Arbitrary)]
pub(super) enum Fd {
    None,
    File(u8),
    Event,
    Pipe(bool),
    Null,
    Zero,
}

#[derive(Debug, Arbitrary)]
pub(super) struct Place {
    guest: Number,
    len: Number,
    user: Number,
    offset: Number,
}

/// A number of 64 bits that tends to mean something.
#[derive(Debug, Clone, Copy, Arbitrary)]
pub(super) enum Number {
    Pages(u8),
    User(u16),
    Small(u8),
    FromTop(u8),
    Any(u64),
}

/// One message.
#[derive(Debug, Arbitrary)]
pub(super) enum Words {
    /// Memory, features and a ring that runs.
    Setup(u8),
    Features(Option<u64>),
    ProtocolFeatures(Option<u64>),
    Table(Vec<Place>, Vec<Fd>),
    Add(Place, Fd),
    Remove(Place, Fd),
    Num(u8, Number),
    Addresses(u8, [Number; 4]),
    Base(u8, Number),
    Kick(u8, bool, Fd),
    Call(u8, bool, Fd),
    Enable(u8, u8),
    GetBase(u8),
    GetConfig(Number, u8),
    SetConfig(Number, Vec<u8>),
    GetInflight(u8, u8),
    SetInflight(Number, Number, u8, u8, Fd),
    /// One without a body.
    Bare(u8),
    Raw {
        request: u8,
        flags: u8,
        told: Option<u32>,
        body: Vec<u8>,
        fds: Vec<Fd>,
    },
}

/// Where the front end has the guest's memory.
const USER: u64 = 0x7f00_0000_0000;

/// Bytes of memory of the good setup: the file of that size.
const LEN: u64 = 0x4_0000;

impl Number {
    fn value(self) -> u64 {
        match self {
            Self::Pages(pages) => u64::from(pages) * 4096,
            Self::User(offset) => USER + 16 * u64::from(offset),
            Self::Small(n) => u64::from(n),
            Self::FromTop(n) => u64::MAX - u64::from(n),
            Self::Any(n) => n,
        }
    }
}

impl Place {
    fn words(&self) -> [u64; 4] {
        [self.guest, self.len, self.user, self.offset].map(Number::value)
    }
}

fn body(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// Two words of 32 bits: a ring, and something of it.
fn ring(index: u8, value: u64) -> Vec<u8> {
    let index = if index < 250 { u32::from(index % 3) } else { u32::MAX - u32::from(index) };
    [index.to_le_bytes(), (value as u32).to_le_bytes()].concat()
}

fn say(request: u32, body: &[u8]) -> Vec<u8> {
    // Every one asks for an answer.
    message(request, 1 | 1 << 3, body.len() as u32, body)
}

impl Words {
    /// As bytes, and what goes with them. Numbers of requests: vhost-user, "Front-end message types".
    pub(super) fn message(&self) -> (Vec<u8>, Vec<Fd>) {
        let none = Vec::new();
        match self {
            Self::Setup(step) => setup(*step),
            Self::Features(bits) => (say(2, &body(&[bits.unwrap_or(0x1_5000_2a44)])), none),
            Self::ProtocolFeatures(bits) => (say(16, &body(&[bits.unwrap_or(0x9209)])), none),
            Self::Table(places, fds) => {
                let mut bytes = body(&[places.len() as u64]);
                places.iter().for_each(|place| bytes.extend(body(&place.words())));
                (say(5, &bytes), fds.iter().copied().take(34).collect())
            }
            Self::Add(place, fd) => {
                (say(37, &[body(&[0]), body(&place.words())].concat()), vec![*fd])
            }
            Self::Remove(place, fd) => {
                (say(38, &[body(&[0]), body(&place.words())].concat()), vec![*fd])
            }
            Self::Num(index, size) => (say(8, &ring(*index, size.value())), none),
            Self::Addresses(index, places) => {
                let [descriptors, used, avail, log] = places.map(Number::value);
                let rest = body(&[descriptors, used, avail, log]);
                (say(9, &[ring(*index, 0), rest].concat()), none)
            }
            Self::Base(index, base) => (say(10, &ring(*index, base.value())), none),
            Self::GetBase(index) => (say(11, &ring(*index, 0)), none),
            Self::Kick(index, polled, fd) => bell(12, *index, *polled, *fd),
            Self::Call(index, polled, fd) => bell(13, *index, *polled, *fd),
            Self::Enable(index, on) => (say(18, &ring(*index, u64::from(*on))), none),
            Self::GetConfig(offset, size) => {
                let (offset, size) = (offset.value() as u32, u32::from(*size));
                let head = [offset, size, 0].map(u32::to_le_bytes).concat();
                (say(24, &[head, vec![0; size as usize]].concat()), none)
            }
            Self::SetConfig(offset, bytes) => {
                let (offset, size) = (offset.value() as u32, bytes.len() as u32);
                let head = [offset, size, 0].map(u32::to_le_bytes).concat();
                (say(25, &[&head[..], bytes].concat()), none)
            }
            Self::GetInflight(queues, size) => (say(31, &inflight(0, 0, *queues, *size)), none),
            Self::SetInflight(len, offset, queues, size, fd) => {
                (say(32, &inflight(len.value(), offset.value(), *queues, *size)), vec![*fd])
            }
            Self::Bare(request) => (say(u32::from(*request % 45), &[]), none),
            Self::Raw { request, flags, told, body, fds } => {
                let told = told.unwrap_or(body.len() as u32);
                let bytes = message(u32::from(*request), u32::from(*flags), told, body);
                (bytes, fds.iter().copied().take(34).collect())
            }
        }
    }
}

fn bell(request: u32, index: u8, polled: bool, fd: Fd) -> (Vec<u8>, Vec<Fd>) {
    let value = u64::from(index % 4) | u64::from(polled) << 8;
    (say(request, &body(&[value])), vec![fd])
}

fn inflight(len: u64, offset: u64, queues: u8, size: u8) -> Vec<u8> {
    let counts = [u16::from(queues).to_le_bytes(), u16::from(size).to_le_bytes()].concat();
    [body(&[len, offset]), counts].concat()
}

/// A good ring, message by message.
fn setup(step: u8) -> (Vec<u8>, Vec<Fd>) {
    let none = Vec::new();
    match step % 8 {
        0 => (say(2, &body(&[0x1_5000_2a44])), none),
        1 => (say(16, &body(&[0x9209])), none),
        2 => (say(5, &body(&[1, 0, LEN, USER, 0])), vec![Fd::File(2)]),
        3 => (say(8, &ring(0, 16)), none),
        4 => {
            let places = body(&[USER, USER + 0x800, USER + 0x400, 0]);
            (say(9, &[ring(0, 0), places].concat()), none)
        }
        5 => (say(13, &body(&[0])), vec![Fd::Event]),
        6 => (say(12, &body(&[0])), vec![Fd::Event]),
        _ => (say(18, &ring(0, 1)), none),
    }
}

/// Writes a ring of 16 with one read of eight sectors where the good setup has it.
pub(super) fn write_ring(file: &File) {
    let descriptor = |address: u64, len: u32, flags: u16, next: u16| {
        [&address.to_le_bytes()[..], &len.to_le_bytes(), &flags.to_le_bytes(), &next.to_le_bytes()]
            .concat()
    };
    let chain =
        [descriptor(0xc00, 16, 1, 1), descriptor(0xd00, 512, 3, 2), descriptor(0xc10, 1, 2, 0)];
    let _ = file.write_at(&chain.concat(), 0);
    let _ = file.write_at(&[0, 0, 1, 0, 0, 0], 0x400);
}
