//! AES-256 round keys, expanded straight into a locked page (FIPS 197, 5.2 and 5.3.5).

use std::arch::x86_64::*;

use keyd_client::{
    Dek, Locked,
    dek::{
        DEK_LEN,
        page::{PageError, scrub_stack},
    },
};

use super::{BLOCK_LEN, Direction, Keys};

/// Fourteen rounds and the whitening.
const ROUND_KEYS: usize = 15;
const HALF: usize = DEK_LEN / 2;

pub(super) type RoundKeys = [[u8; BLOCK_LEN]; ROUND_KEYS];

/// The three schedules of XTS: K1 both ways, K2 forwards.
pub(super) struct Schedule(Locked<Schedules>);

#[repr(C, align(64))]
struct Schedules {
    encrypt: RoundKeys,
    decrypt: RoundKeys,
    tweak: RoundKeys,
}

impl Schedule {
    /// The CPU has AES instructions: the caller asked for more than those.
    pub(super) fn new(dek: &Dek) -> Result<Self, PageError> {
        let mut page = Locked::new(|| Schedules {
            encrypt: [[0; BLOCK_LEN]; ROUND_KEYS],
            decrypt: [[0; BLOCK_LEN]; ROUND_KEYS],
            tweak: [[0; BLOCK_LEN]; ROUND_KEYS],
        })?;
        let schedules = &mut *page;
        let (data, tweak) = dek.expose().split_at(HALF);
        // SAFETY: the CPU has AES instructions, and both halves are 32 bytes.
        unsafe {
            expand(data, &mut schedules.encrypt);
            invert(&schedules.encrypt, &mut schedules.decrypt);
            expand(tweak, &mut schedules.tweak);
        }
        // Registers with round keys may have been spilled.
        scrub_stack();
        Ok(Self(page))
    }

    /// [`Locked::end_process`].
    pub(super) fn end_process(&self, code: i32) -> ! {
        self.0.end_process(code)
    }

    pub(super) fn of(&self, direction: Direction) -> Keys<'_> {
        let data = match direction {
            Direction::Encrypt => &self.0.encrypt,
            Direction::Decrypt => &self.0.decrypt,
        };
        Keys { data, tweak: &self.0.tweak }
    }
}

/// Key expansion. The S-box is the CPU's: a table would leak the key through the cache.
///
/// # Safety
/// The CPU has AES instructions; `key` is 32 bytes.
#[target_feature(enable = "aes,sse2")]
#[inline(never)] // its frame lies where the caller scrubs
unsafe fn expand(key: &[u8], round_keys: &mut RoundKeys) {
    assert_eq!(key.len(), HALF);
    // SAFETY: two blocks, checked above.
    let (mut even, mut odd) = unsafe {
        (_mm_loadu_si128(key.as_ptr().cast()), _mm_loadu_si128(key.as_ptr().add(BLOCK_LEN).cast()))
    };
    store(&mut round_keys[0], even);
    store(&mut round_keys[1], odd);
    macro_rules! even {
        ($round:literal, $constant:literal) => {
            let word = _mm_aeskeygenassist_si128::<$constant>(odd);
            even = next(even, _mm_shuffle_epi32::<0xff>(word));
            store(&mut round_keys[$round], even);
        };
    }
    macro_rules! odd {
        ($round:literal) => {
            let word = _mm_aeskeygenassist_si128::<0>(even);
            odd = next(odd, _mm_shuffle_epi32::<0xaa>(word));
            store(&mut round_keys[$round], odd);
        };
    }
    even!(2, 0x01);
    odd!(3);
    even!(4, 0x02);
    odd!(5);
    even!(6, 0x04);
    odd!(7);
    even!(8, 0x08);
    odd!(9);
    even!(10, 0x10);
    odd!(11);
    even!(12, 0x20);
    odd!(13);
    even!(14, 0x40);
}

/// `w[i] = w[i-8] ^ w[i-1]` for four words at once, after the first got its transformed word.
#[target_feature(enable = "sse2")]
#[inline]
fn next(words: __m128i, transformed: __m128i) -> __m128i {
    let words = _mm_xor_si128(words, _mm_slli_si128::<4>(words));
    let words = _mm_xor_si128(words, _mm_slli_si128::<8>(words));
    _mm_xor_si128(words, transformed)
}

/// Round keys of the equivalent inverse cipher: reversed, the inner ones through InvMixColumns.
///
/// # Safety
/// The CPU has AES instructions.
#[target_feature(enable = "aes,sse2")]
#[inline(never)] // its frame lies where the caller scrubs
unsafe fn invert(encrypt: &RoundKeys, decrypt: &mut RoundKeys) {
    for (round, key) in encrypt.iter().rev().enumerate() {
        // SAFETY: one block.
        let key = unsafe { _mm_loadu_si128(key.as_ptr().cast()) };
        let outer = round == 0 || round == ROUND_KEYS - 1;
        let key = if outer { key } else { _mm_aesimc_si128(key) };
        store(&mut decrypt[round], key);
    }
}

#[target_feature(enable = "sse2")]
#[inline]
fn store(place: &mut [u8; BLOCK_LEN], key: __m128i) {
    // SAFETY: one block.
    unsafe { _mm_storeu_si128(place.as_mut_ptr().cast(), key) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FIPS 197, appendix A.3: the key, and words 8 to 11 and 56 to 59 of its expansion.
    #[test]
    fn the_standard_s_own_expansion() {
        if !is_x86_feature_detected!("aes") {
            return must_run::skip("this CPU has no AES instructions");
        }
        let words = |words: &[u32]| -> Vec<u8> {
            words.iter().flat_map(|word| word.to_be_bytes()).collect()
        };
        let key = words(&[
            0x603d_eb10,
            0x15ca_71be,
            0x2b73_aef0,
            0x857d_7781,
            0x1f35_2c07,
            0x3b61_08d7,
            0x2d98_10a3,
            0x0914_dff4,
        ]);
        let mut round_keys = [[0; BLOCK_LEN]; ROUND_KEYS];
        // SAFETY: asked above; the key is 32 bytes.
        unsafe { expand(&key, &mut round_keys) };
        let third = words(&[0x9ba3_5411, 0x8e69_25af, 0xa51a_8b5f, 0x2067_fcde]);
        let last = words(&[0xfe48_90d1, 0xe618_8d0b, 0x046d_f344, 0x706c_631e]);
        assert_eq!(round_keys[2].as_slice(), third);
        assert_eq!(round_keys[14].as_slice(), last);
    }
}
