//! The in-flight region as somebody else left it, then a ring's life on it with kills: what is found there is no
//! descriptor that there is not, none twice, and what vhost-user's "Inflight I/O tracking" says of those bytes.

use std::{collections::BTreeSet, fs::File, os::unix::fs::FileExt};

use arbitrary::{Arbitrary, Unstructured};
use vhost_backend::inflight::{Geometry, Left, Region, Track};

/// Descriptors of a ring.
const SIZE: u16 = 8;

/// Bytes of one ring's part: a header of 16 and 16 for each descriptor, in multiples of 64.
const PART: usize = 192;

#[derive(Debug, Arbitrary)]
struct Input {
    used: u16,
    ring_size: u8,
    offset: u16,
    len: u16,
    /// A header that is nearly right, so that what follows is looked at.
    mended: bool,
    bytes: [u8; PART],
    life: Vec<Step>,
}

#[derive(Debug, Arbitrary)]
enum Step {
    Take(u8),
    Answer(u8),
    Show,
    Kill,
}

/// Runs the target.
///
/// # Panics
/// If an oracle is broken.
pub fn run(bytes: &[u8]) {
    let Ok(mut input) = Input::arbitrary_take_rest(Unstructured::new(bytes)) else { return };
    let geometry = Geometry::new((2, SIZE), (2, SIZE)).expect("a geometry");
    assert_eq!(geometry.region_len(), 2 * PART);
    let file = Region::file(geometry).expect("a region");
    if input.mended {
        input.bytes[8..12].copy_from_slice(&[1, 0, SIZE as u8, 0]);
        let behind = input.used.wrapping_sub(u16::from(input.bytes[14] % (SIZE as u8 + 1)));
        input.bytes[14..16].copy_from_slice(&behind.to_le_bytes());
    }
    file.write_all_at(&input.bytes, PART as u64).expect("written");
    elsewhere(&file, geometry, &input);
    let Some(track) = resumed(&file, geometry, &input) else { return };
    live(track, &file, geometry, &input);
    let mut before = [0; PART];
    file.read_exact_at(&mut before, 0).expect("read");
    assert_eq!(before, [0; PART], "another ring's part was touched");
}

/// A region that lies anywhere in its file is refused, or fits.
fn elsewhere(file: &File, geometry: Geometry, input: &Input) {
    let place = (u64::from(input.offset), u64::from(input.len));
    let mapped = Region::map(file.try_clone().expect("a file"), place, geometry);
    assert!(mapped.is_err() || (place.0 == 0 && place.1 >= 2 * PART as u64));
}

fn track(file: &File, geometry: Geometry) -> Track {
    let place = (0, geometry.region_len() as u64);
    let region = Region::map(file.try_clone().expect("a file"), place, geometry).expect("mapped");
    assert!(region.track(2).is_none(), "it is for two rings");
    region.track(1).expect("its second ring")
}

/// Resumes, and compares what is found with what the bytes say.
fn resumed(file: &File, geometry: Geometry, input: &Input) -> Option<Track> {
    let ring_size = [2, 4, 8, 16][usize::from(input.ring_size % 4)];
    let mut track = track(file, geometry);
    match (track.resume(ring_size, input.used), expected(&input.bytes, ring_size, input.used)) {
        (Ok(Left::Requests(found)), Some(expected)) => {
            assert_eq!(found.len(), expected.len(), "{found:?}");
            assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), expected);
        }
        (Ok(Left::Nothing), Some(expected)) => assert!(expected.is_empty()),
        (Err(_), None) => return None,
        (got, expected) => panic!("{got:?}, where the bytes say {expected:?}"),
    }
    (ring_size == SIZE).then_some(track)
}

/// What is in flight by the bytes of a part; `None` if no device leaves such.
fn expected(part: &[u8], ring_size: u16, used: u16) -> Option<BTreeSet<u16>> {
    let word = |at: usize| u16::from_le_bytes([part[at], part[at + 1]]);
    if ring_size > SIZE {
        return None;
    }
    if word(8) == 0 {
        return Some(BTreeSet::new());
    }
    if (word(8), word(10)) != (1, SIZE) {
        return None;
    }
    let mut taken: Vec<u8> = (0..usize::from(SIZE)).map(|head| part[16 + 16 * head]).collect();
    let unnoted = used.wrapping_sub(word(14));
    let mut head = word(12);
    for _ in 0..unnoted {
        if unnoted > ring_size || head >= ring_size {
            return None;
        }
        taken[usize::from(head)] = 0;
        head = word(16 + 16 * usize::from(head) + 6);
    }
    let is_taken = |head: &u16| taken[usize::from(*head)] != 0;
    let heads: BTreeSet<u16> = (0..SIZE).filter(is_taken).collect();
    let fine = heads.iter().all(|&head| head < ring_size && taken[usize::from(head)] == 1);
    fine.then_some(heads)
}

/// A ring's life, and what a successor finds after each kill: what was taken and not shown, the oldest first.
fn live(mut track: Track, file: &File, geometry: Geometry, input: &Input) {
    let mut used = input.used;
    // What somebody else left has ended.
    let mut left = match self::track(file, geometry).resume(SIZE, used) {
        Ok(Left::Requests(left)) => left,
        other => panic!("a region that was resumed is whole: {other:?}"),
    };
    let mut answered: Vec<u16> = Vec::new();
    // Their order was made up.
    let inherited = left.clone();
    for step in &input.life {
        match *step {
            Step::Take(head) => {
                let head = u16::from(head) % SIZE;
                if !left.contains(&head) {
                    track.taken(head);
                    left.push(head);
                }
            }
            Step::Answer(which) => {
                let open: Vec<u16> =
                    left.iter().copied().filter(|head| !answered.contains(head)).collect();
                if !open.is_empty() {
                    let head = open[usize::from(which) % open.len()];
                    track.answered(head);
                    answered.push(head);
                }
            }
            Step::Show => {
                used = used.wrapping_add(answered.len() as u16);
                track.shown(used);
                left.retain(|head| !answered.contains(head));
                answered.clear();
            }
            Step::Kill => {
                track = self::track(file, geometry);
                answered.clear();
                let Ok(Left::Requests(found)) = track.resume(SIZE, used) else {
                    panic!("what this device left is refused");
                };
                if left.iter().any(|head| inherited.contains(head)) {
                    let sorted = |list: &[u16]| list.iter().copied().collect::<BTreeSet<_>>();
                    assert_eq!(sorted(&found), sorted(&left));
                    left = found;
                } else {
                    assert_eq!(found, left, "taken and not answered, the oldest first");
                }
            }
        }
    }
}
