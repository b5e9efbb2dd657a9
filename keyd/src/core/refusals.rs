//! Refusals in the audit log: the first of a kind has a row, the others of its minute one together, with their number.
//! Whoever may nothing must not fill the disk with it.

use std::{fmt, net::IpAddr, sync::Mutex, time::Instant};

use keyd_client::{Printable, tally::Tally};

use crate::{
    audit::Entry,
    limits::{AUDIT_DETAIL_MAX, REFUSAL_KINDS_EACH_MAX, REFUSAL_KINDS_MAX},
    lock::lock,
};

/// What the rows of somebody who has too many kinds, and of too many at once, are about.
const SEVERAL: &str = "several";

/// From where somebody asks, beside who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Address and port, or the process of this host: for the row.
    pub at: Printable,
    /// What counts as one place: without the port, and of IPv6 the network that one site has.
    pub place: Printable,
}

impl Origin {
    /// A client elsewhere.
    #[must_use]
    pub fn remote(at: impl fmt::Display, address: IpAddr) -> Self {
        let place = match address.to_canonical() {
            IpAddr::V4(address) => Printable::new(address),
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Printable::new(format_args!("{a:x}:{b:x}:{c:x}:{d:x}::/64"))
            }
        };
        Self { at: Printable::new(at), place }
    }

    /// A process of this host.
    #[must_use]
    pub fn local(who: impl fmt::Display) -> Self {
        let place = Printable::new(who);
        Self { at: place.clone(), place }
    }
}

/// Refusals of one kind: by all of it they are the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    who: Printable,
    place: Printable,
    operation: &'static str,
    subject: Printable,
    outcome: Printable,
    /// What was wrong with it, where that is not told by the rest.
    what: Printable,
}

/// What was refused lately.
#[derive(Debug)]
pub struct Refusals(Mutex<Tally<Kind>>);

impl Default for Refusals {
    fn default() -> Self {
        Self(Mutex::new(Tally::new(1, REFUSAL_KINDS_MAX)))
    }
}

impl Refusals {
    /// Whether this one has a row of its own. If not, it was counted.
    #[must_use]
    pub fn admits(&self, entry: &Entry, from: Option<&Origin>, what: &str) -> bool {
        let mut tally = lock(&self.0);
        let kind = Kind {
            who: entry.who.clone(),
            place: from.map_or_else(Printable::default, |from| from.place.clone()),
            operation: entry.operation,
            subject: entry.subject.clone(),
            outcome: entry.outcome.clone(),
            what: Printable::cut(what, AUDIT_DETAIL_MAX / 2),
        };
        let kind = confined(&tally, kind);
        tally.admits(kind, Instant::now())
    }

    /// A row for each kind whose minute is over, with the number of those that had none.
    pub fn due(&self, now: Instant) -> Vec<(Entry, PutBack)> {
        lock(&self.0).due(now).into_iter().map(|(kind, count)| told(kind, count)).collect()
    }

    /// The same for all, at the end.
    pub fn rest(&self) -> Vec<Entry> {
        lock(&self.0).rest().into_iter().map(|(kind, count)| told(kind, count).0).collect()
    }

    /// Counts again what could not be written down.
    pub fn put_back(&self, row: &PutBack) {
        lock(&self.0).put_back(&row.kind, row.count);
    }
}

/// A row that is still to be written.
#[derive(Debug)]
pub struct PutBack {
    kind: Option<Kind>,
    count: u64,
}

/// One principal, or one address, takes so many places and no more: it cannot hide others by filling the table.
fn confined(tally: &Tally<Kind>, kind: Kind) -> Kind {
    let is_same = |other: &&Kind| (&other.who, &other.place) == (&kind.who, &kind.place);
    let others: Vec<&Kind> = tally.kinds().filter(is_same).collect();
    if others.contains(&&kind) || others.len() < REFUSAL_KINDS_EACH_MAX {
        return kind;
    }
    let (subject, outcome, what) = (SEVERAL.into(), "refused".into(), Printable::default());
    Kind { operation: "refusals", subject, outcome, what, ..kind }
}

fn told(kind: Option<Kind>, count: u64) -> (Entry, PutBack) {
    let entry = match &kind {
        Some(kind) => {
            let from = match kind.place.is_empty() || kind.place == kind.who {
                true => String::new(),
                false => format!(" from={}", kind.place),
            };
            let what = if kind.what.is_empty() { "" } else { " " };
            Entry::new(&kind.who, kind.operation, &kind.subject)
                .outcome(&kind.outcome)
                .detail(format_args!("repeated={count}{from}{what}{}", kind.what))
        }
        None => Entry::new(SEVERAL, "refusals", SEVERAL)
            .outcome("refused")
            .detail(format!("repeated={count}")),
    };
    (entry, PutBack { kind, count })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn entry(who: &str, subject: &str) -> Entry {
        Entry::new(who, "key-show", subject).outcome("refused: forbidden")
    }

    #[test]
    fn a_flood_has_two_rows_a_minute_and_the_second_tells_its_number() {
        let (refusals, begin) = (Refusals::default(), Instant::now());
        let rows = (0..5000).filter(|_| refusals.admits(&entry("app:x", "k"), None, "")).count();
        assert_eq!(rows, 1);
        assert!(refusals.admits(&entry("app:y", "k"), None, ""), "another's has its own");
        let due = refusals.due(begin + 2 * MINUTE);
        let [(row, _)] = &due[..] else { panic!("{due:?}") };
        assert_eq!(
            (row.who.as_str(), row.operation, row.subject.as_str()),
            ("app:x", "key-show", "k")
        );
        assert_eq!(
            (row.outcome.as_str(), row.detail.as_str()),
            ("refused: forbidden", "repeated=4999")
        );
    }

    #[test]
    fn who_varies_what_he_asks_has_bounded_rows_too_and_hides_nobody() {
        let refusals = Refusals::default();
        let of = |n: usize| entry("app:x", &format!("k{n}"));
        let rows = (0..5000).filter(|n| refusals.admits(&of(*n), None, "")).count();
        assert_eq!(rows, REFUSAL_KINDS_EACH_MAX + 1);
        assert!(refusals.admits(&entry("app:y", "k"), None, ""));
        let told: Vec<Entry> = refusals.rest();
        let [row] = &told[..] else { panic!("{told:?}") };
        assert_eq!((row.operation, row.subject.as_str()), ("refusals", "several"));
        assert_eq!(row.detail, format!("repeated={}", 5000 - rows));
    }

    #[test]
    fn addresses_are_counted_by_their_network() {
        let refusals = Refusals::default();
        let ask = |address: &str, port: u16| {
            let address: IpAddr = address.parse().unwrap();
            let from = Origin::remote(format_args!("{address}:{port}"), address);
            refusals.admits(&entry("unknown", "keyd"), Some(&from), "")
        };
        assert!(ask("192.0.2.7", 1) && !ask("192.0.2.7", 2) && !ask("::ffff:192.0.2.7", 3));
        assert!(ask("192.0.2.8", 1));
        assert!(ask("2001:db8:1:2::1", 1) && !ask("2001:db8:1:2:ffff::2", 1));
        assert!(ask("2001:db8:1:3::1", 1));
        let told: Vec<String> = refusals.rest().iter().map(|row| row.detail.to_string()).collect();
        assert_eq!(told, ["repeated=2 from=192.0.2.7", "repeated=1 from=2001:db8:1:2::/64"]);
    }

    #[test]
    fn what_could_not_be_written_down_is_counted_still() {
        let (refusals, begin) = (Refusals::default(), Instant::now());
        let told = (0..5).filter(|_| refusals.admits(&entry("app:x", "k"), None, "")).count();
        assert_eq!(told, 1);
        for (_, row) in refusals.due(begin + 2 * MINUTE) {
            refusals.put_back(&row);
        }
        assert_eq!(refusals.rest()[0].detail, "repeated=4");
    }
}
