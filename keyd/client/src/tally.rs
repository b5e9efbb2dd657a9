//! What others can cause without end is told once, then counted, and the number told each minute: nobody fills a log.
//! Pure: who has it says what time it is.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

const MINUTE: Duration = Duration::from_secs(60);

/// Counts of what came lately, by kind. The table is bounded: kinds for which it has no place are counted as one, the
/// kind `None`.
#[derive(Debug)]
pub struct Tally<K> {
    /// How many of a kind are told one by one before they are counted.
    told_max: u32,
    kinds_max: usize,
    kinds: BTreeMap<Option<K>, Count>,
}

#[derive(Debug)]
struct Count {
    began: Instant,
    told: u32,
    counted: u64,
}

impl<K: Ord + Clone> Tally<K> {
    /// An empty one.
    #[must_use]
    pub const fn new(told_max: u32, kinds_max: usize) -> Self {
        Self { told_max, kinds_max, kinds: BTreeMap::new() }
    }

    /// Another one came. Whether it is to be told by itself; if not, it was counted.
    #[must_use]
    pub fn admits(&mut self, kind: K, now: Instant) -> bool {
        let kind = Some(kind);
        let has_place = self.kinds.len() < self.kinds_max || self.kinds.contains_key(&kind);
        let new = Count { began: now, told: 0, counted: 0 };
        let count = self.kinds.entry(kind.filter(|_| has_place)).or_insert(new);
        let admitted = count.told < self.told_max;
        match admitted {
            true => count.told += 1,
            false => count.counted += 1,
        }
        admitted
    }

    /// Kinds of which some came.
    pub fn kinds(&self) -> impl Iterator<Item = &K> {
        self.kinds.keys().flatten()
    }

    /// Each kind whose minute is over, and how many were counted in it. A kind that goes on is only counted in its next
    /// minute; of one that has stopped nothing is kept.
    pub fn due(&mut self, now: Instant) -> Vec<(Option<K>, u64)> {
        let is_over = |count: &Count| now.saturating_duration_since(count.began) >= MINUTE;
        self.kinds.retain(|_, count| !is_over(count) || count.counted > 0);
        let over = self.kinds.iter_mut().filter(|(_, count)| is_over(count));
        over.map(|(kind, count)| {
            count.began = now;
            (kind.clone(), std::mem::take(&mut count.counted))
        })
        .collect()
    }

    /// Counts again what was due and could not be told.
    pub fn put_back(&mut self, kind: &Option<K>, counted: u64) {
        if let Some(count) = self.kinds.get_mut(kind) {
            count.counted += counted;
        }
    }

    /// Each kind of which some were counted, at the end.
    pub fn rest(&mut self) -> Vec<(Option<K>, u64)> {
        let all = std::mem::take(&mut self.kinds).into_iter();
        all.map(|(kind, count)| (kind, count.counted)).filter(|(_, counted)| *counted > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_told_once_and_then_once_a_minute_with_its_number() {
        let (mut tally, begin) = (Tally::new(1, 8), Instant::now());
        let told = (0..1000).filter(|_| tally.admits("a", begin)).count();
        assert_eq!((told, tally.due(begin + MINUTE / 2)), (1, vec![]));
        // Another kind is told meanwhile.
        assert!(tally.admits("b", begin + MINUTE / 2));
        assert_eq!(tally.due(begin + MINUTE), [(Some("a"), 999)]);
        // It goes on: no more is told of it than the number.
        assert!(!tally.admits("a", begin + MINUTE));
        assert_eq!(tally.due(begin + 2 * MINUTE), [(Some("a"), 1)]);
        // It has stopped for a minute: the next one is a first.
        assert_eq!(tally.due(begin + 3 * MINUTE), []);
        assert!(tally.admits("a", begin + 3 * MINUTE));
    }

    #[test]
    fn many_kinds_take_bounded_memory_and_none_is_lost() {
        let (mut tally, begin) = (Tally::new(1, 8), Instant::now());
        let told = (0..1000).filter(|kind| tally.admits(*kind, begin)).count();
        assert_eq!((told, tally.kinds().count()), (9, 8));
        assert_eq!(tally.due(begin + MINUTE), [(None, 991)]);
        assert!((0..1000).filter(|kind| tally.admits(*kind, begin + MINUTE)).count() <= 9);
    }

    #[test]
    fn what_was_counted_is_told_at_the_end() {
        let (mut tally, now) = (Tally::new(2, 8), Instant::now());
        let told = (0..5).filter(|_| tally.admits("a", now)).count();
        assert!(tally.admits("b", now));
        assert_eq!((told, tally.rest(), tally.rest()), (2, vec![(Some("a"), 3)], vec![]));
    }
}
