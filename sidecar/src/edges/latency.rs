//! Durations in buckets of half an octave: fine enough for percentiles, and two atomic additions an observation.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds in microseconds: from a quarter of a millisecond, two to each doubling, to more than eight seconds.
pub(crate) const BOUNDS: [u64; 31] = {
    let mut bounds = [0; 31];
    let mut at = 0;
    while at < bounds.len() {
        let octave = 250_u64 << (at / 2);
        // The square root of two, to what microseconds can say.
        bounds[at] = if at % 2 == 0 { octave } else { octave * 1_414_214 / 1_000_000 };
        at += 1;
    }
    bounds
};

/// A histogram; the last bucket is for what is beyond all bounds.
#[derive(Debug, Default)]
pub(crate) struct Latency {
    buckets: [AtomicU64; BOUNDS.len() + 1],
    micros: AtomicU64,
}

impl Latency {
    pub(super) fn observe(&self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS.partition_point(|bound| *bound < micros);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// How many durations each bucket has.
    pub(crate) fn buckets(&self) -> [u64; BOUNDS.len() + 1] {
        self.buckets.each_ref().map(|count| count.load(Ordering::Relaxed))
    }

    /// All durations together, in microseconds.
    pub(crate) fn micros(&self) -> u64 {
        self.micros.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_counts_in_the_bucket_whose_bound_it_does_not_pass() {
        assert!(BOUNDS.is_sorted() && BOUNDS[30] == 8_192_000);
        for (micros, want) in [(0, 0), (250, 0), (251, 1), (353, 1), (354, 2), (8_192_000, 30), (8_192_001, 31)] {
            let latency = Latency::default();
            latency.observe(Duration::from_micros(micros));
            assert_eq!(latency.buckets().iter().position(|count| *count == 1), Some(want), "{micros}");
            assert_eq!(latency.micros(), micros);
        }
        Latency::default().observe(Duration::MAX);
    }
}
