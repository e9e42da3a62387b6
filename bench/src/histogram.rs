//! Durations in buckets of about 1.5 %: constant memory, however long the run.

use std::time::Duration;

/// Buckets per power of two.
const FINE: u64 = 64;
const FINE_BITS: u32 = FINE.trailing_zeros();

/// How often each duration was seen.
#[derive(Debug, Clone)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        let powers = u64::from(u64::BITS - FINE_BITS) + 1;
        Self { counts: vec![0; usize::try_from(powers * FINE).unwrap_or(usize::MAX)], total: 0 }
    }
}

impl Histogram {
    /// Counts one duration.
    pub(crate) fn record(&mut self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.counts[bucket(nanos)] += 1;
        self.total += 1;
    }

    /// How many durations were counted.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// The duration, in microseconds, that the given share of all durations (0 to 1) does not exceed.
    pub(crate) fn micros_at(&self, share: f64) -> f64 {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rank"
        )]
        let rank = ((self.total as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return middle(index) / 1000.0;
            }
        }
        0.0
    }
}

/// Values below `FINE` have a bucket each; above, each power of two is cut into `FINE` buckets.
fn bucket(nanos: u64) -> usize {
    let shift = (u64::BITS - nanos.leading_zeros()).saturating_sub(FINE_BITS + 1);
    let index = u64::from(shift) * FINE + (nanos >> shift);
    usize::try_from(index).unwrap_or(usize::MAX)
}

fn middle(index: usize) -> f64 {
    let index = index as u64;
    let shift = (index / FINE).saturating_sub(1);
    let low = (index - shift * FINE) << shift;
    #[expect(clippy::cast_precision_loss, reason = "within the bucket's own width")]
    let middle = low as f64 + (1u64 << shift) as f64 / 2.0;
    middle
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_percentiles_within_two_percent() {
        let mut histogram = Histogram::default();

        for micros in 1..=10_000 {
            histogram.record(Duration::from_micros(micros));
        }

        for (share, expected) in [(0.5, 5_000.0), (0.99, 9_900.0), (1.0, 10_000.0)] {
            let found = histogram.micros_at(share);
            assert!((found / expected - 1.0f64).abs() < 0.02, "{share}: {found} instead of {expected}");
        }
        assert_eq!(histogram.total(), 10_000);
    }

    #[test]
    fn has_a_bucket_for_every_duration() {
        let mut histogram = Histogram::default();

        histogram.record(Duration::ZERO);
        histogram.record(Duration::from_secs(u64::MAX));

        assert_eq!(histogram.total(), 2);
    }
}
