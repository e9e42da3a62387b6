//! Bytes to and from endpoints by where they are: what leaves a zone has its price, and takes longer.

use std::sync::atomic::{AtomicU64, Ordering};

/// Where an endpoint is, seen from the own workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Zone {
    Same,
    Other,
    /// Its zone or the own one is not known: outside of the mesh, or nobody says.
    Unknown,
}

impl Zone {
    pub(crate) const ALL: [Self; 3] = [Self::Same, Self::Other, Self::Unknown];

    /// Compares two zones' names; an empty one is not known.
    pub(crate) fn of(endpoint: &str, own: &str) -> Self {
        match (endpoint, own) {
            ("", _) | (_, "") => Self::Unknown,
            _ if endpoint == own => Self::Same,
            _ => Self::Other,
        }
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Other => "other",
            Self::Unknown => "unknown",
        }
    }

    /// Returns what is counted for all endpoints that are there.
    pub(crate) fn traffic(self) -> &'static Traffic {
        &TRAFFIC[self as usize]
    }
}

/// Bytes on connections, as TCP carries them. On lines of the cache of their own: every worker adds to them.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Traffic {
    sent: AtomicU64,
    received: AtomicU64,
}

impl Traffic {
    pub(crate) const fn new() -> Self {
        Self { sent: AtomicU64::new(0), received: AtomicU64::new(0) }
    }

    pub(crate) fn sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Returns what was sent and received so far.
    pub(crate) fn counts(&self) -> [u64; 2] {
        [self.sent.load(Ordering::Relaxed), self.received.load(Ordering::Relaxed)]
    }
}

/// Of all endpoints since the start; endpoints come and go.
static TRAFFIC: [Traffic; 3] = [Traffic::new(), Traffic::new(), Traffic::new()];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_is_the_same_or_another_when_both_are_known() {
        for (endpoint, own, expected) in [
            ("east", "east", Zone::Same),
            ("east", "west", Zone::Other),
            ("", "west", Zone::Unknown),
            ("east", "", Zone::Unknown),
            ("", "", Zone::Unknown),
        ] {
            assert_eq!(Zone::of(endpoint, own), expected, "{endpoint} from {own}");
        }
    }
}
