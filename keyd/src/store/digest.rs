//! The digest of a whole state: for each table the number of its rows, and the sum of a secret function of each.

use std::collections::BTreeMap;

/// A number modulo 2^256: what one row adds, or a sum of such.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Term([u64; 4]);

impl From<[u8; 32]> for Term {
    /// Little-endian.
    fn from(bytes: [u8; 32]) -> Self {
        let mut words = [0; 4];
        for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(8)) {
            let mut le = [0; 8];
            le.copy_from_slice(bytes);
            *word = u64::from_le_bytes(le);
        }
        Self(words)
    }
}

impl Term {
    pub(super) fn plus(self, other: Self) -> Self {
        let (mut sum, mut carry) = (self, false);
        for (word, other) in sum.0.iter_mut().zip(other.0) {
            (*word, carry) = carrying(*word, other, carry);
        }
        sum
    }

    pub(super) fn minus(self, other: Self) -> Self {
        let not = Self(other.0.map(|word| !word));
        self.plus(not).plus(Self([1, 0, 0, 0]))
    }

    fn to_bytes(self) -> Vec<u8> {
        self.0.iter().flat_map(|word| word.to_le_bytes()).collect()
    }
}

fn carrying(one: u64, other: u64, carry: bool) -> (u64, bool) {
    let (sum, over) = one.overflowing_add(other);
    let (sum, more) = sum.overflowing_add(u64::from(carry));
    (sum, over || more)
}

/// One table's part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Tally {
    pub(super) rows: u64,
    pub(super) sum: Term,
}

/// Of a state, or what a commit changes in one: both modulo their range. A table without rows has no part.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Digest(BTreeMap<String, Tally>);

/// Bytes of a table's part behind its name.
const TALLY_LEN: usize = 8 + 32;

impl Digest {
    pub(super) fn of(&self, table: &str) -> Tally {
        self.0.get(table).copied().unwrap_or_default()
    }

    pub(super) fn tables(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    pub(super) fn add(&mut self, table: &str, term: impl Into<Term>) {
        let term = term.into();
        self.change(table, |tally| Tally {
            rows: tally.rows.wrapping_add(1),
            sum: tally.sum.plus(term),
        });
    }

    pub(super) fn take(&mut self, table: &str, term: impl Into<Term>) {
        let term = term.into();
        self.change(table, |tally| Tally {
            rows: tally.rows.wrapping_sub(1),
            sum: tally.sum.minus(term),
        });
    }

    /// The state after a commit that changes so much.
    pub(super) fn after(&self, change: &Self) -> Self {
        let mut after = self.clone();
        for (table, by) in &change.0 {
            after.change(table, |tally| Tally {
                rows: tally.rows.wrapping_add(by.rows),
                sum: tally.sum.plus(by.sum),
            });
        }
        after
    }

    /// Gives one table another part.
    pub(super) fn set(&mut self, table: &str, tally: Tally) {
        self.change(table, |_| tally);
    }

    fn change(&mut self, table: &str, change: impl FnOnce(Tally) -> Tally) {
        match change(self.of(table)) {
            tally if tally == Tally::default() => drop(self.0.remove(table)),
            tally => drop(self.0.insert(table.to_owned(), tally)),
        }
    }

    /// Length of a name, the name, rows, sum; for each table in order of name. Numbers are little-endian.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (table, tally) in &self.0 {
            bytes.extend((table.len() as u16).to_le_bytes());
            bytes.extend(table.as_bytes());
            bytes.extend(tally.rows.to_le_bytes());
            bytes.extend(tally.sum.to_bytes());
        }
        bytes
    }

    /// The other way round.
    pub(super) fn from_bytes(mut bytes: &[u8]) -> Option<Self> {
        let mut digest = Self::default();
        while !bytes.is_empty() {
            let (len, rest) = bytes.split_first_chunk::<2>()?;
            let (name, rest) = rest.split_at_checked(u16::from_le_bytes(*len).into())?;
            let (tally, rest) = rest.split_at_checked(TALLY_LEN)?;
            let (rows, sum) = tally.split_first_chunk::<8>()?;
            let sum = Term::from(<[u8; 32]>::try_from(sum).ok()?);
            let tally = Tally { rows: u64::from_le_bytes(*rows), sum };
            digest.0.insert(std::str::from_utf8(name).ok()?.to_owned(), tally);
            bytes = rest;
        }
        Some(digest)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Arithmetic of another crate's big numbers.
    fn big(term: Term) -> rsa::BigUint {
        rsa::BigUint::from_bytes_le(&term.to_bytes())
    }

    proptest! {
        #[test]
        fn sums_are_those_of_big_numbers_modulo_2_to_256(a: [u8; 32], b: [u8; 32]) {
            let (a, b) = (Term::from(a), Term::from(b));
            let modulus = rsa::BigUint::from(1u8) << 256;
            prop_assert_eq!(big(a.plus(b)), (big(a) + big(b)) % &modulus);
            prop_assert_eq!(big(a.minus(b)), (big(a) + &modulus - big(b)) % &modulus);
        }

        #[test]
        fn what_is_added_and_taken_in_any_order_is_what_is_there(
            rows in proptest::collection::vec((0..3usize, any::<[u8; 32]>()), 0..20),
            kept in proptest::collection::vec(any::<bool>(), 20),
        ) {
            let tables = ["disks", "keys", "sets"];
            let mut whole = Digest::default();
            let mut rest = Digest::default();
            for (table, term) in &rows {
                whole.add(tables[*table], Term::from(*term));
            }
            for ((table, term), kept) in rows.iter().zip(&kept).rev() {
                match kept {
                    true => rest.add(tables[*table], Term::from(*term)),
                    false => whole.take(tables[*table], Term::from(*term)),
                }
            }
            prop_assert_eq!(&whole, &rest);
            prop_assert_eq!(Digest::from_bytes(&whole.to_bytes()), Some(whole));
        }
    }

    #[test]
    fn cut_bytes_are_no_digest() {
        let mut digest = Digest::default();
        digest.add("keys", Term::from([9; 32]));
        let bytes = digest.to_bytes();
        for len in 1..bytes.len() {
            assert_eq!(Digest::from_bytes(&bytes[..len]), None);
        }
    }
}
