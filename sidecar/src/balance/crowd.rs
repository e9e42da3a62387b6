//! Whether many small requests are under way to an endpoint at once: then one HTTP/2 connection, which has one write for all of them, costs
//! less than an HTTP/1 connection for each.

use std::sync::atomic::{AtomicU32, Ordering};

/// Requests under way at once, on average, that are a crowd. With 32 HTTP/2 saves a fifth of a request's CPU time and with 64 a quarter, and the median
/// is shorter; with 16 there is too little for several connections, and on one or two of them the median is a third longer.
const CROWD: u32 = 18;

/// The part of an average that a new value makes: a stall of some milliseconds, in which requests pile up, is no crowd.
const PART: u32 = 32;

/// Averages of requests are kept in so many parts of one.
const FINE: u32 = 1024;

/// Bodies up to this many bytes are small. Large ones fill their writes by themselves, and pay for HTTP/2's frames.
pub(crate) const SMALL: u64 = 8 * 1024;

/// What is known of an endpoint's requests. What another thread adds at the same moment may be lost: these are averages.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    /// Requests under way, [`FINE`].
    in_flight: AtomicU32,
    /// The body of a response, bytes.
    bytes: AtomicU32,
}

impl Crowd {
    /// Takes note of a request that begins beside so many, itself included, and says whether it is one of a crowd.
    pub(super) fn joined(&self, in_flight: u32) -> bool {
        let average = self.in_flight.load(Ordering::Relaxed);
        let average = average - average / PART + in_flight.min(FINE) * FINE / PART;
        self.in_flight.store(average, Ordering::Relaxed);
        average >= CROWD * FINE && u64::from(self.bytes.load(Ordering::Relaxed)) <= SMALL
    }

    /// A response has come whose body is so long; `None`: nobody knows, and it may be long.
    pub(super) fn answered(&self, bytes: Option<u64>) {
        let bytes = u32::try_from(bytes.unwrap_or(4 * SMALL)).unwrap_or(u32::MAX).min(1024 * 1024);
        let average = self.bytes.load(Ordering::Relaxed);
        self.bytes.store(average - average / 8 + bytes / 8, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Has so many requests begin beside so many others each; says what the last one was told.
    fn join(crowd: &Crowd, requests: u32, in_flight: u32) -> bool {
        (0..requests).map(|_| crowd.joined(in_flight)).last().unwrap_or_default()
    }

    #[test]
    fn many_at_once_are_a_crowd_and_a_stall_is_none() {
        let crowd = Crowd::default();

        assert!(!join(&crowd, 1000, 2));
        assert!(!join(&crowd, 1000, 16) && !join(&crowd, 1000, 2));
        assert!(!join(&crowd, 8, 40), "piled up for a moment");
        assert!(join(&crowd, 100, 40));
        assert!(!join(&crowd, 60, 1));
    }

    #[test]
    fn large_responses_make_no_crowd_until_small_ones_have_come() {
        let crowd = Crowd::default();
        (0..3).for_each(|_| crowd.answered(Some(64 * 1024)));
        assert!(!join(&crowd, 200, 40));

        (0..30).for_each(|_| crowd.answered(Some(100)));
        assert!(join(&crowd, 1, 40));

        (0..30).for_each(|_| crowd.answered(None));
        assert!(!join(&crowd, 1, 40));
    }
}
