//! Tweaks by powers of x in GF(2^128), for each lane of a vector its own (IEEE 1619-2018, 5.2).

use super::{BATCH_BLOCKS_MAX, VECTORS, lanes::Lanes};

/// A multiplication by a power of x below 64 in GF(2^128), for each lane its own.
#[derive(Clone, Copy)]
struct Shift<V> {
    left: V,
    right: V,
}

/// 64-bit shift counts of the powers 0 to 31, twice each: a lane is two quadwords.
#[repr(C, align(64))]
struct Counts([[u64; 2]; BATCH_BLOCKS_MAX]);

static LEFT: Counts = counts(false);
static RIGHT: Counts = counts(true);

const fn counts(right: bool) -> Counts {
    let mut counts = [[0; 2]; BATCH_BLOCKS_MAX];
    let mut power = 0;
    while power < BATCH_BLOCKS_MAX {
        // A count of 64 gives zero in a vector shift, which is what the power 0 carries.
        let count = if right { 64 - power } else { power } as u64;
        counts[power] = [count; 2];
        power += 1;
    }
    Counts(counts)
}

impl<V: Lanes> Shift<V> {
    /// Lane `l` by `x^(first + l)`.
    ///
    /// # Safety
    /// The CPU has the lanes' features; `first + LANES` is at most 32.
    #[inline(always)]
    unsafe fn ascending(first: usize) -> Self {
        // SAFETY: the tables hold `LANES` blocks from `first` on, by the caller's promise.
        unsafe {
            Self {
                left: V::load(LEFT.0.as_ptr().add(first).cast()),
                right: V::load(RIGHT.0.as_ptr().add(first).cast()),
            }
        }
    }

    /// The bits that leave a quadword at the top enter the upper one at its bottom, and those that leave the upper
    /// one come back as a multiple of x^7 + x^2 + x + 1 (0x87), without a carry.
    ///
    /// # Safety
    /// The CPU has the lanes' features.
    #[inline(always)]
    unsafe fn multiply(self, value: V) -> V {
        // SAFETY: the caller's promise.
        unsafe {
            let carry = value.shift_right(self.right);
            value.shift_left(self.left).xor(carry.low_to_high()).xor(carry.high_times_0x87())
        }
    }
}

/// The tweaks of a data unit's first batch.
///
/// # Safety
/// The CPU has the lanes' features.
#[inline(always)]
pub(super) unsafe fn first_masks<V: Lanes>(seed: V) -> [V; VECTORS] {
    let mut masks = [seed; VECTORS];
    for (i, mask) in masks.iter_mut().enumerate() {
        // SAFETY: `i * LANES + LANES` is at most VECTORS * 4 = 32.
        *mask = unsafe { Shift::<V>::ascending(i * V::LANES).multiply(seed) };
    }
    masks
}
