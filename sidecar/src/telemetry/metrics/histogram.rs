//! Durations in buckets: two atomic additions an observation.

use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::MetricEncoder;

/// A histogram of durations.
#[derive(Debug, Default)]
pub(super) struct Histogram {
    buckets: [AtomicU64; BOUNDS.len() + 1],
    nanos: AtomicU64,
    /// Seconds since the metrics' start.
    last_used: AtomicU32,
}

impl Histogram {
    pub(super) fn observe(&self, duration: Duration, now: u32) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let bucket = BOUNDS.partition_point(|bound| *bound < nanos);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
        // A store that changes nothing would still take the cache line from other workers.
        if self.last_used.load(Ordering::Relaxed) != now {
            self.last_used.store(now, Ordering::Relaxed);
        }
    }

    pub(super) fn last_used(&self) -> u32 {
        self.last_used.load(Ordering::Relaxed)
    }

    pub(super) fn count(&self) -> u64 {
        self.buckets.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    pub(super) fn encode(&self, encoder: &mut MetricEncoder<'_>) -> fmt::Result {
        let counts = self.buckets.each_ref().map(|count| count.load(Ordering::Relaxed));
        let bounds = BOUNDS.iter().map(|bound| *bound as f64 / 1e9).chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
        let sum = self.nanos.load(Ordering::Relaxed) as f64 / 1e9;
        encoder.encode_histogram::<[(&str, &str); 0]>(sum, counts.iter().sum(), &buckets, None)
    }
}

/// Upper bounds in nanoseconds: those of OpenTelemetry's conventions, and three below, where a mesh hop lies.
const BOUNDS: [u64; 17] = {
    let micros = [
        500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 75_000, 100_000, 250_000, 500_000, 750_000, 1_000_000,
        2_500_000, 5_000_000, 7_500_000, 10_000_000,
    ];
    let mut nanos = [0; 17];
    let mut at = 0;
    while at < micros.len() {
        nanos[at] = micros[at] * 1_000;
        at += 1;
    }
    nanos
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_counts_in_the_bucket_whose_bound_it_does_not_pass() {
        for (micros, want) in [(0, 0), (500, 0), (501, 1), (1_000, 1), (10_000_000, 16), (10_000_001, 17)] {
            let histogram = Histogram::default();
            histogram.observe(Duration::from_micros(micros), 0);
            let bucket = histogram.buckets.iter().position(|count| count.load(Ordering::Relaxed) == 1);
            assert_eq!(bucket, Some(want), "{micros}");
        }
        Histogram::default().observe(Duration::MAX, 0);
    }
}
