//! Vectors of 16-byte lanes: the instructions the kernel needs, at each width.
//!
//! Nearly every operation is one instruction. They carry no `target_feature` of their own: they are inlined into
//! functions that do, and are sound to call only there.

use std::arch::{asm, x86_64::*};

/// Blocks side by side in one vector.
///
/// # Safety
/// Of every operation: the CPU has the features of the type, and the call is inlined into a function compiled
/// for them. `load` and `store`: the pointer is valid for `LANES` * 16 bytes, of any alignment.
pub(super) trait Lanes: Copy {
    /// How many.
    const LANES: usize;
    unsafe fn load(src: *const u8) -> Self;
    unsafe fn store(self, dst: *mut u8);
    /// One block in every lane.
    unsafe fn broadcast(block: &[u8; 16]) -> Self;
    /// Gives both back unchanged, by a step the compiler cannot see through: what is loaded through the pointer is
    /// loaded after the vector was computed. No instruction.
    unsafe fn before(self, block: *const [u8; 16]) -> (Self, *const [u8; 16]);
    unsafe fn xor(self, other: Self) -> Self;
    /// Each quadword by its own count; 64 and more give zero.
    unsafe fn shift_left(self, counts: Self) -> Self;
    unsafe fn shift_right(self, counts: Self) -> Self;
    /// The lower quadword of each lane becomes the upper, the lower zero.
    unsafe fn low_to_high(self) -> Self;
    /// Carry-less product of each lane's upper quadword with 0x87.
    unsafe fn high_times_0x87(self) -> Self;
    /// Each lane times x^(8 * `LANES`) in GF(2^128) (IEEE 1619-2018, 5.2): as many bytes up, and what leaves at the top
    /// comes back as a multiple of 0x87, without a carry.
    unsafe fn times_batch(self) -> Self;
    unsafe fn encrypt_round(self, key: Self) -> Self;
    unsafe fn encrypt_last(self, key: Self) -> Self;
    unsafe fn decrypt_round(self, key: Self) -> Self;
    unsafe fn decrypt_last(self, key: Self) -> Self;
}

/// The reduction polynomial below x^128, as the lower quadword of a lane.
const POLYNOMIAL: i64 = 0x87;

/// Writes an implementation: the same lines at every width, so that a width that cannot run here differs
/// from one that can in the names of its instructions alone.
macro_rules! lanes {
    (
        $name:ident($vector:ty), $lanes:literal, $polynomial:expr,
        $load:ident, $store:ident, $broadcast:path, $before:ident, $xor:ident, $shl:ident, $shr:ident,
        $lift:ident, $clmul:ident, $bytes_up:ident, $bytes_down:ident,
        $enc:ident, $enclast:ident, $dec:ident, $declast:ident
    ) => {
        #[doc = concat!(stringify!($lanes), " blocks in one register.")]
        #[derive(Clone, Copy)]
        pub(super) struct $name($vector);

        // SAFETY (of each block): the trait's promise is what each instruction needs.
        #[allow(clippy::undocumented_unsafe_blocks)] // said once, above, for blocks of a line or two
        impl Lanes for $name {
            const LANES: usize = $lanes;

            #[inline(always)]
            unsafe fn load(src: *const u8) -> Self {
                Self(unsafe { $load(src.cast()) })
            }

            #[inline(always)]
            unsafe fn store(self, dst: *mut u8) {
                unsafe { $store(dst.cast(), self.0) }
            }

            #[inline(always)]
            unsafe fn broadcast(block: &[u8; 16]) -> Self {
                Self(unsafe { $broadcast(_mm_loadu_si128(block.as_ptr().cast())) })
            }

            #[inline(always)]
            unsafe fn before(self, block: *const [u8; 16]) -> (Self, *const [u8; 16]) {
                let (vector, block) = unsafe { $before(self.0, block) };
                (Self(vector), block)
            }

            #[inline(always)]
            unsafe fn xor(self, other: Self) -> Self {
                Self(unsafe { $xor(self.0, other.0) })
            }

            #[inline(always)]
            unsafe fn shift_left(self, counts: Self) -> Self {
                Self(unsafe { $shl(self.0, counts.0) })
            }

            #[inline(always)]
            unsafe fn shift_right(self, counts: Self) -> Self {
                Self(unsafe { $shr(self.0, counts.0) })
            }

            #[inline(always)]
            unsafe fn low_to_high(self) -> Self {
                Self(unsafe { $lift(self.0) })
            }

            #[inline(always)]
            unsafe fn high_times_0x87(self) -> Self {
                Self(unsafe { $clmul::<0x01>(self.0, $polynomial) })
            }

            #[inline(always)]
            unsafe fn times_batch(self) -> Self {
                unsafe {
                    let out = $bytes_down::<{ 16 - $lanes }>(self.0);
                    let back = $clmul::<0x00>(out, $polynomial);
                    Self($xor($bytes_up::<$lanes>(self.0), back))
                }
            }

            #[inline(always)]
            unsafe fn encrypt_round(self, key: Self) -> Self {
                Self(unsafe { $enc(self.0, key.0) })
            }

            #[inline(always)]
            unsafe fn encrypt_last(self, key: Self) -> Self {
                Self(unsafe { $enclast(self.0, key.0) })
            }

            #[inline(always)]
            unsafe fn decrypt_round(self, key: Self) -> Self {
                Self(unsafe { $dec(self.0, key.0) })
            }

            #[inline(always)]
            unsafe fn decrypt_last(self, key: Self) -> Self {
                Self(unsafe { $declast(self.0, key.0) })
            }
        }
    };
}

lanes! {
    Xmm(__m128i), 1, _mm_set1_epi64x(POLYNOMIAL),
    _mm_loadu_si128, _mm_storeu_si128, std::convert::identity, xmm_before, _mm_xor_si128,
    _mm_sllv_epi64, _mm_srlv_epi64, xmm_low_to_high, _mm_clmulepi64_si128, _mm_bslli_si128, _mm_bsrli_si128,
    _mm_aesenc_si128, _mm_aesenclast_si128, _mm_aesdec_si128, _mm_aesdeclast_si128
}

lanes! {
    Ymm(__m256i), 2, _mm256_set1_epi64x(POLYNOMIAL),
    _mm256_loadu_si256, _mm256_storeu_si256, _mm256_broadcastsi128_si256, ymm_before, _mm256_xor_si256,
    _mm256_sllv_epi64, _mm256_srlv_epi64, ymm_low_to_high, _mm256_clmulepi64_epi128,
    _mm256_bslli_epi128, _mm256_bsrli_epi128,
    _mm256_aesenc_epi128, _mm256_aesenclast_epi128, _mm256_aesdec_epi128, _mm256_aesdeclast_epi128
}

lanes! {
    Zmm(__m512i), 4, _mm512_set1_epi64(POLYNOMIAL),
    _mm512_loadu_si512, _mm512_storeu_si512, _mm512_broadcast_i32x4, zmm_before, _mm512_xor_si512,
    _mm512_sllv_epi64, _mm512_srlv_epi64, zmm_low_to_high, _mm512_clmulepi64_epi128,
    _mm512_bslli_epi128, _mm512_bsrli_epi128,
    _mm512_aesenc_epi128, _mm512_aesenclast_epi128, _mm512_aesdec_epi128, _mm512_aesdeclast_epi128
}

#[target_feature(enable = "avx2")]
#[inline]
fn xmm_low_to_high(value: __m128i) -> __m128i {
    _mm_bslli_si128::<8>(value)
}

#[target_feature(enable = "avx2")]
#[inline]
fn ymm_low_to_high(value: __m256i) -> __m256i {
    _mm256_bslli_epi128::<8>(value)
}

#[target_feature(enable = "avx512bw")]
#[inline]
fn zmm_low_to_high(value: __m512i) -> __m512i {
    _mm512_bslli_epi128::<8>(value)
}

macro_rules! before {
    ($name:ident, $features:literal, $vector:ty, $class:ident) => {
        #[target_feature(enable = $features)]
        #[inline]
        #[allow(clippy::pointers_in_nomem_asm_block)] // nothing is read through it in there
        fn $name(mut vector: $vector, mut block: *const [u8; 16]) -> ($vector, *const [u8; 16]) {
            // SAFETY: a comment, no instruction: both operands come out as they went in.
            unsafe {
                asm!("/* {0} {1} */", inout(reg) block, inout($class) vector,
                    options(nomem, nostack, preserves_flags));
            }
            (vector, block)
        }
    };
}

before!(xmm_before, "avx2", __m128i, xmm_reg);
before!(ymm_before, "avx2", __m256i, ymm_reg);
before!(zmm_before, "avx512f", __m512i, zmm_reg);

#[cfg(test)]
pub(super) use twin::Twin;

/// Four lanes in two registers, for CPUs without AVX-512: same algorithm, same constants, other instructions.
#[cfg(test)]
#[allow(clippy::undocumented_unsafe_blocks)] // the trait's promise, passed on to both halves
mod twin {
    use super::{Lanes, Ymm};

    #[derive(Clone, Copy)]
    pub(in super::super) struct Twin(Ymm, Ymm);

    macro_rules! both {
        ($($operation:ident($($other:ident)?)),*) => {
            $(#[inline(always)]
            unsafe fn $operation(self $(, $other: Self)?) -> Self {
                unsafe {
                    Self(self.0.$operation($($other.0)?), self.1.$operation($($other.1)?))
                }
            })*
        };
    }

    impl Lanes for Twin {
        const LANES: usize = 4;

        #[inline(always)]
        unsafe fn load(src: *const u8) -> Self {
            unsafe { Self(Ymm::load(src), Ymm::load(src.add(32))) }
        }

        #[inline(always)]
        unsafe fn store(self, dst: *mut u8) {
            unsafe {
                self.0.store(dst);
                self.1.store(dst.add(32));
            }
        }

        #[inline(always)]
        unsafe fn broadcast(block: &[u8; 16]) -> Self {
            unsafe { Self(Ymm::broadcast(block), Ymm::broadcast(block)) }
        }

        #[inline(always)]
        unsafe fn before(self, block: *const [u8; 16]) -> (Self, *const [u8; 16]) {
            let (second, block) = unsafe { self.1.before(block) };
            (Self(self.0, second), block)
        }

        /// Twice the power of its halves' two lanes.
        #[inline(always)]
        unsafe fn times_batch(self) -> Self {
            unsafe {
                let by_16 = Self(self.0.times_batch(), self.1.times_batch());
                Self(by_16.0.times_batch(), by_16.1.times_batch())
            }
        }

        both! {
            xor(other), shift_left(counts), shift_right(counts), low_to_high(), high_times_0x87(),
            encrypt_round(key), encrypt_last(key), decrypt_round(key), decrypt_last(key)
        }
    }
}
