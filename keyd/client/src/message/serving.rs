//! How a process serves its disk, by its own account: the daemon shows it, and decides nothing by it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{limits::SERVING_TEXT_MAX, printable::Printable};

/// How a process serves its disk. Members that a reader does not know are left out.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Serving {
    /// What waits for the disk, queue by queue.
    #[serde(default)]
    pub queues: QueueEngines,
    /// Why queues that were to have a ring of io_uring have threads, and what to do; none where nobody has to do
    /// anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_ring: Option<Printable>,
    /// Why stock `cryptsetup` refuses the image's header, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stock_fault: Option<Printable>,
}

impl Serving {
    /// The same with texts of no more than [`SERVING_TEXT_MAX`]: whoever has a lease may say anything.
    #[must_use]
    pub fn bounded(self) -> Self {
        let cut = |text: Option<Printable>| text.map(|text| Printable::cut(text, SERVING_TEXT_MAX));
        Self { queues: self.queues, no_ring: cut(self.no_ring), stock_fault: cut(self.stock_fault) }
    }
}

/// Queues that have been started, by what waits for the disk there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct QueueEngines {
    /// A ring of io_uring, with buffers that the kernel has registered.
    pub io_uring: u16,
    /// A ring of io_uring with buffers that are not registered: a little slower.
    pub io_uring_unregistered: u16,
    /// Threads: slower.
    pub threads: u16,
    /// Plain calls: the file is in memory, and there is nothing to wait for.
    pub calls: u16,
}

impl fmt::Display for QueueEngines {
    /// `3 on io_uring, 1 on threads`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = [
            (self.io_uring, "on io_uring"),
            (self.io_uring_unregistered, "on io_uring (buffers not registered)"),
            (self.threads, "on threads"),
            (self.calls, "by plain calls"),
        ];
        let told = counts.iter().filter(|(count, _)| *count > 0);
        let told: Vec<String> = told.map(|(count, what)| format!("{count} {what}")).collect();
        f.pad(&if told.is_empty() { "-".to_owned() } else { told.join(", ") })
    }
}

/// What a header that stock tools refuse means for whoever has the disk.
pub const BREAK_GLASS: &str = "the disk is served, but a released volume key does not open it with cryptsetup; restore \
    the header from a backup, or copy the data into a new image";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::HolderMessage;

    #[test]
    fn what_a_later_release_adds_is_left_out_and_what_it_leaves_out_is_nothing() {
        let text =
            r#"{"say":"serving","queues":{"io_uring":3,"kernel_bypass":4},"weather":"fine"}"#;
        let queues = QueueEngines { io_uring: 3, ..QueueEngines::default() };
        let serving = Serving { queues, ..Serving::default() };
        assert_eq!(
            serde_json::from_str::<HolderMessage>(text).unwrap(),
            HolderMessage::Serving(serving)
        );
        let nothing = HolderMessage::Serving(Serving::default());
        assert_eq!(serde_json::from_str::<HolderMessage>(r#"{"say":"serving"}"#).unwrap(), nothing);
    }

    #[test]
    fn texts_are_one_line_of_a_bounded_length() {
        let text = format!(r#"{{"no_ring":"a\nb\u001b{}","stock_fault":"c"}}"#, "x".repeat(60_000));
        let serving = serde_json::from_str::<Serving>(&text).unwrap().bounded();
        let no_ring = serving.no_ring.unwrap();
        assert!(no_ring.starts_with("a\\nb\\u{1b}xxx"), "{no_ring}");
        assert!(no_ring.len() <= SERVING_TEXT_MAX && no_ring.ends_with('…'), "{no_ring}");
        assert_eq!(serving.stock_fault.unwrap(), "c");
    }

    #[test]
    fn queues_are_told_by_what_they_have() {
        let mut queues = QueueEngines::default();
        assert_eq!(queues.to_string(), "-");
        queues.io_uring_unregistered = 2;
        assert_eq!(queues.to_string(), "2 on io_uring (buffers not registered)");
        (queues.io_uring, queues.threads, queues.calls) = (1, 3, 4);
        let told =
            "1 on io_uring, 2 on io_uring (buffers not registered), 3 on threads, 4 by plain calls";
        assert_eq!(queues.to_string(), told);
    }
}
