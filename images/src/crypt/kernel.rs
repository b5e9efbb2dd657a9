//! XTS on wide vectors: one algorithm, generic over how many 16-byte blocks a vector holds.
//!
//! Eight vectors go through the AES rounds side by side: a core starts one or two `vaesenc` a cycle and each takes
//! three to five, so fewer would leave it waiting. Their tweaks are kept apart by powers of x: lane `l` of vector `i`
//! starts at `T_0 * x^(i*LANES + l)`, and after a batch every lane is multiplied by `x^(8*LANES)`, which is whole bytes
//! at every width. No tweak waits for another. The sector numbers of many data units are encrypted under K2 in one
//! such batch too.
//!
//! Round keys are read from their locked page in every batch and never kept: see [`key_after`].

mod lanes;
mod powers;
mod schedule;

use keyd_client::{Dek, dek::page::PageError};

#[cfg(test)]
use lanes::Twin;
use lanes::{Lanes, Xmm, Ymm, Zmm};
use powers::first_masks;
use schedule::{RoundKeys, Schedule};

use super::{CipherPath, Direction};
use crate::layout::SectorSize;

const BLOCK_LEN: usize = 16;

/// Vectors in flight.
const VECTORS: usize = 8;

/// Blocks in flight with the widest vectors; also how many data units' tweaks are encrypted at once.
const BATCH_BLOCKS_MAX: usize = VECTORS * 4;

/// Width of the vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Width {
    /// 128 bits, one block.
    Xmm,
    /// 256 bits, two blocks.
    Ymm,
    /// 512 bits, four blocks.
    Zmm,
    /// Four blocks in two 256-bit vectors: runs the four-lane algorithm on a CPU without AVX-512.
    #[cfg(test)]
    Twin,
}

impl Width {
    /// Whether this CPU has what it takes.
    pub(super) fn is_available(self) -> bool {
        let xmm = is_x86_feature_detected!("aes")
            && is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("pclmulqdq");
        let ymm = xmm && is_x86_feature_detected!("vaes") && is_x86_feature_detected!("vpclmulqdq");
        match self {
            Self::Xmm => xmm,
            Self::Ymm => ymm,
            Self::Zmm => {
                ymm && is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw")
            }
            #[cfg(test)]
            Self::Twin => ymm,
        }
    }
}

/// Round keys, and the proof that this CPU runs the width.
pub(super) struct Cipher {
    width: Width,
    schedule: Schedule,
}

impl Cipher {
    /// The caller has asked [`Width::is_available`].
    pub(super) fn new(dek: &Dek, width: Width) -> Result<Self, PageError> {
        assert!(width.is_available(), "the CPU lacks {width:?}");
        let schedule = Schedule::new(dek)?;
        Ok(Self { width, schedule })
    }

    /// [`keyd_client::Locked::end_process`].
    pub(super) fn end_process(&self, code: i32) -> ! {
        self.schedule.end_process(code)
    }

    pub(super) fn path(&self) -> CipherPath {
        match self.width {
            Width::Xmm => CipherPath::AesNi,
            Width::Ymm => CipherPath::Vaes256,
            Width::Zmm => CipherPath::Vaes512,
            #[cfg(test)]
            Width::Twin => CipherPath::Vaes512,
        }
    }

    /// `src` and `dst` are of one length, whole data units.
    pub(super) fn crypt(
        &self,
        direction: Direction,
        unit: SectorSize,
        tweak: u128,
        src: &[u8],
        dst: &mut [u8],
    ) {
        assert_eq!(src.len(), dst.len());
        // SAFETY: both are valid for `src.len()` bytes, and a shared and an exclusive reference never overlap.
        unsafe {
            self.run(direction, unit, tweak, src.as_ptr(), dst.as_mut_ptr(), src.len());
        }
    }

    /// `data` is whole data units.
    pub(super) fn crypt_in_place(
        &self,
        direction: Direction,
        unit: SectorSize,
        tweak: u128,
        data: &mut [u8],
    ) {
        let place = data.as_mut_ptr();
        // SAFETY: `place` is valid for `data.len()` bytes, and equal pointers are allowed.
        unsafe { self.run(direction, unit, tweak, place, place, data.len()) }
    }

    /// Each byte of `src` is loaded once, into a register, and what is stored is the result: both may be memory that
    /// others see.
    ///
    /// # Safety
    /// `src` is readable and `dst` writable for `len` bytes; they are equal or do not overlap.
    pub(super) unsafe fn run(
        &self,
        direction: Direction,
        unit: SectorSize,
        tweak: u128,
        src: *const u8,
        dst: *mut u8,
        len: usize,
    ) {
        assert!(len.is_multiple_of(unit.bytes() as usize));
        let keys = self.schedule.of(direction);
        let job = Job { unit, tweak, src, dst, len };
        // SAFETY: `new` asked the CPU for this width; the rest is the caller's promise.
        unsafe {
            match (self.width, direction) {
                (Width::Xmm, Direction::Encrypt) => xmm_encrypt(keys, &job),
                (Width::Xmm, Direction::Decrypt) => xmm_decrypt(keys, &job),
                (Width::Ymm, Direction::Encrypt) => ymm_encrypt(keys, &job),
                (Width::Ymm, Direction::Decrypt) => ymm_decrypt(keys, &job),
                (Width::Zmm, Direction::Encrypt) => zmm_encrypt(keys, &job),
                (Width::Zmm, Direction::Decrypt) => zmm_decrypt(keys, &job),
                #[cfg(test)]
                (Width::Twin, Direction::Encrypt) => twin_encrypt(keys, &job),
                #[cfg(test)]
                (Width::Twin, Direction::Decrypt) => twin_decrypt(keys, &job),
            }
        }
    }
}

/// What to do: `len` bytes, whole data units, the first with this tweak.
struct Job {
    unit: SectorSize,
    tweak: u128,
    src: *const u8,
    dst: *mut u8,
    len: usize,
}

/// The two schedules a direction needs.
#[derive(Clone, Copy)]
struct Keys<'a> {
    data: &'a RoundKeys,
    tweak: &'a RoundKeys,
}

/// The points where the compiler is told which instructions it may use; all below is inlined into them.
macro_rules! entries {
    ($features:literal, $lanes:ty, $encrypt:ident, $decrypt:ident) => {
        /// # Safety
        /// The CPU has the features; the pointers are as [`Cipher::run`] wants them.
        #[target_feature(enable = $features)]
        unsafe fn $encrypt(keys: Keys<'_>, job: &Job) {
            // SAFETY: the caller's promise.
            unsafe { crypt::<$lanes, true>(keys, job) }
        }

        /// # Safety
        /// As its sibling.
        #[target_feature(enable = $features)]
        unsafe fn $decrypt(keys: Keys<'_>, job: &Job) {
            // SAFETY: the caller's promise.
            unsafe { crypt::<$lanes, false>(keys, job) }
        }
    };
}

entries!("aes,avx2,pclmulqdq", Xmm, xmm_encrypt, xmm_decrypt);
entries!("aes,avx2,vaes,vpclmulqdq", Ymm, ymm_encrypt, ymm_decrypt);
entries!("aes,avx2,avx512f,avx512bw,vaes,vpclmulqdq", Zmm, zmm_encrypt, zmm_decrypt);
#[cfg(test)]
entries!("aes,avx2,vaes,vpclmulqdq", Twin, twin_encrypt, twin_decrypt);

/// # Safety
/// The CPU has the lanes' features; the pointers are as [`Cipher::run`] wants them.
#[inline(always)]
unsafe fn crypt<V: Lanes, const ENCRYPT: bool>(keys: Keys<'_>, job: &Job) {
    let unit_len = job.unit.bytes() as usize;
    let group_len = unit_len * VECTORS * V::LANES;
    let mut tweak = job.tweak;
    let mut done = 0;
    while done < job.len {
        let group_end = job.len.min(done + group_len);
        // SAFETY: the CPU has the features.
        let seeds = unsafe { seeds::<V>(keys.tweak, tweak, job.unit) };
        for seed in &seeds.0 {
            if done == group_end {
                break;
            }
            // SAFETY: `done` + a unit is within `len`, for which both pointers are valid.
            unsafe {
                let (src, dst) = (job.src.add(done), job.dst.add(done));
                crypt_unit::<V, ENCRYPT>(keys.data, seed, src, dst, unit_len);
            }
            done += unit_len;
        }
        let units = (VECTORS * V::LANES) as u64;
        tweak = tweak.wrapping_add(u128::from(units * job.unit.sectors()));
    }
}

/// Blocks that a vector can be loaded from.
#[repr(C, align(64))]
struct Seeds([[u8; BLOCK_LEN]; BATCH_BLOCKS_MAX]);

/// `T_0 = E(K2, sector)` of as many data units as fit a batch.
///
/// # Safety
/// The CPU has the lanes' features.
#[inline(always)]
unsafe fn seeds<V: Lanes>(keys: &RoundKeys, first: u128, unit: SectorSize) -> Seeds {
    let mut seeds = Seeds([[0; BLOCK_LEN]; BATCH_BLOCKS_MAX]);
    let mut sector = first;
    for seed in &mut seeds.0[..VECTORS * V::LANES] {
        *seed = sector.to_le_bytes();
        sector = sector.wrapping_add(u128::from(unit.sectors()));
    }
    // SAFETY: the batch covers VECTORS * LANES blocks, and there are as many.
    unsafe {
        let place = seeds.0.as_mut_ptr().cast::<u8>();
        let mut batch = load::<V>(place);
        rounds::<V, true>(keys, &mut batch);
        store::<V>(&batch, place);
    }
    seeds
}

/// One data unit: a multiple of 512 bytes, so whole batches at every width.
///
/// # Safety
/// The CPU has the lanes' features; `src` is readable and `dst` writable for `len` bytes, equal or apart.
#[inline(always)]
unsafe fn crypt_unit<V: Lanes, const ENCRYPT: bool>(
    keys: &RoundKeys,
    seed: &[u8; BLOCK_LEN],
    src: *const u8,
    dst: *mut u8,
    len: usize,
) {
    let batch_len = VECTORS * V::LANES * BLOCK_LEN;
    // SAFETY: `done` + a batch is within `len`; the seed is one block; the CPU has the features.
    unsafe {
        let mut masks = first_masks(V::broadcast(seed));
        let mut done = 0;
        loop {
            let mut batch = load::<V>(src.add(done));
            mix(&mut batch, &masks);
            rounds::<V, ENCRYPT>(keys, &mut batch);
            mix(&mut batch, &masks);
            store::<V>(&batch, dst.add(done));
            done += batch_len;
            if done >= len {
                break;
            }
            for mask in &mut masks {
                *mask = mask.times_batch();
            }
        }
    }
}

/// # Safety
/// The CPU has the lanes' features; `src` is readable for a batch.
#[inline(always)]
unsafe fn load<V: Lanes>(src: *const u8) -> [V; VECTORS] {
    // SAFETY: vector `i` lies within the batch.
    std::array::from_fn(|i| unsafe { V::load(src.add(i * V::LANES * BLOCK_LEN)) })
}

/// # Safety
/// The CPU has the lanes' features; `dst` is writable for a batch.
#[inline(always)]
unsafe fn store<V: Lanes>(batch: &[V; VECTORS], dst: *mut u8) {
    for (i, vector) in batch.iter().enumerate() {
        // SAFETY: vector `i` lies within the batch.
        unsafe { vector.store(dst.add(i * V::LANES * BLOCK_LEN)) }
    }
}

/// # Safety
/// The CPU has the lanes' features.
#[inline(always)]
unsafe fn mix<V: Lanes>(batch: &mut [V; VECTORS], masks: &[V; VECTORS]) {
    for (vector, mask) in batch.iter_mut().zip(masks) {
        // SAFETY: the caller's promise.
        *vector = unsafe { vector.xor(*mask) };
    }
}

/// AES-256 on a batch (FIPS 197, 5.1; decryption as its equivalent inverse, 5.3.5).
///
/// # Safety
/// The CPU has the lanes' features.
#[inline(always)]
unsafe fn rounds<V: Lanes, const ENCRYPT: bool>(keys: &RoundKeys, batch: &mut [V; VECTORS]) {
    let [whitening, middle @ .., last] = keys;
    // SAFETY: the caller's promise.
    unsafe {
        let key = key_after(whitening, batch);
        for vector in batch.iter_mut() {
            *vector = vector.xor(key);
        }
        for key in middle {
            let key = key_after(key, batch);
            for vector in batch.iter_mut() {
                *vector =
                    if ENCRYPT { vector.encrypt_round(key) } else { vector.decrypt_round(key) };
            }
        }
        let key = key_after(last, batch);
        for vector in batch {
            *vector = if ENCRYPT { vector.encrypt_last(key) } else { vector.decrypt_last(key) };
        }
    }
}

/// A round key, loaded no earlier than the round before it is computed. Left alone, the compiler loads keys ahead,
/// runs out of registers and spills them to the stack, where nobody wipes them (`tests/memory.rs` found them there).
/// The order binds the compiler only; the CPU loads ahead as it likes.
///
/// # Safety
/// The CPU has the lanes' features.
#[inline(always)]
unsafe fn key_after<V: Lanes>(key: &[u8; BLOCK_LEN], batch: &mut [V; VECTORS]) -> V {
    let newest = &mut batch[VECTORS - 1];
    // SAFETY: the caller's promise; the pointer comes back as it was, to a block that outlives the call.
    unsafe {
        let (vector, key) = newest.before(key);
        *newest = vector;
        V::broadcast(&*key)
    }
}
