//! Whether many small requests are under way to an endpoint at once: then one HTTP/2 connection, which has one write for all of them, costs
//! less than an HTTP/1 connection for each.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Requests under way at once that are a crowd. With 16 HTTP/2 saves a fifth of a request's CPU time, with 64 a quarter; with 1 it costs a fifth more.
const CROWD: u32 = 8;

/// How long there is a crowd after it was last seen, milliseconds: requests come and go.
const LASTS: u64 = 1000;

/// Bodies up to this many bytes are small. Large ones fill their writes by themselves, and pay for HTTP/2's frames.
pub(crate) const SMALL: u64 = 8 * 1024;

/// What is known of an endpoint's requests.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    /// Milliseconds of the endpoint's clock.
    until: AtomicU64,
    /// The average body of a response, bytes.
    bytes: AtomicU32,
}

impl Crowd {
    /// Says whether there is a crowd, with so many requests under way.
    pub(super) fn is_one(&self, in_flight: u32, now: u64) -> bool {
        if in_flight >= CROWD {
            self.until.store(now + LASTS, Ordering::Relaxed);
        }
        now < self.until.load(Ordering::Relaxed) && u64::from(self.bytes.load(Ordering::Relaxed)) <= SMALL
    }

    /// A response has come whose body is so long; `None`: nobody knows, and it may be long.
    pub(super) fn answered(&self, bytes: Option<u64>) {
        let bytes = bytes.unwrap_or(4 * SMALL).min(1024 * 1024);
        let before = self.bytes.load(Ordering::Relaxed);
        // An eighth of each new one; what another thread adds meanwhile may be lost, for it is an average.
        let after = u64::from(before) - u64::from(before) / 8 + bytes / 8;
        self.bytes.store(u32::try_from(after).unwrap_or(u32::MAX), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_lasts_a_moment_longer_than_it_is_seen() {
        let crowd = Crowd::default();

        assert!(!crowd.is_one(CROWD - 1, 10));
        assert!(crowd.is_one(CROWD, 10));
        assert!(crowd.is_one(1, 10 + LASTS - 1));
        assert!(!crowd.is_one(1, 10 + LASTS));
    }

    #[test]
    fn large_responses_make_no_crowd_until_small_ones_have_come() {
        let crowd = Crowd::default();
        (0..3).for_each(|_| crowd.answered(Some(64 * 1024)));
        assert!(!crowd.is_one(CROWD, 0));

        (0..30).for_each(|_| crowd.answered(Some(100)));
        assert!(crowd.is_one(CROWD, 0));

        (0..30).for_each(|_| crowd.answered(None));
        assert!(!crowd.is_one(CROWD, 0));
    }
}
