//! How long an endpoint makes one wait: a moving average of latency that jumps up at once and comes down slowly
//! (peak EWMA), times the requests in flight. All of it in atomics: nothing waits for a lock.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// How fast the past is forgotten.
const DECAY_NANOS: f64 = 10e9;

/// What an endpoint is believed to take before the first answer.
const DEFAULT: Duration = Duration::from_millis(30);

#[derive(Debug)]
pub(crate) struct Load {
    in_flight: AtomicU32,
    /// Nanoseconds, as the bits of an `f64`.
    latency: AtomicU64,
    /// When `latency` was set: nanoseconds since `start`.
    at: AtomicU64,
    start: Instant,
}

impl Load {
    pub(crate) fn new() -> Self {
        Self {
            in_flight: AtomicU32::new(0),
            latency: AtomicU64::new((DEFAULT.as_nanos() as f64).to_bits()),
            at: AtomicU64::new(0),
            start: Instant::now(),
        }
    }

    pub(crate) fn begin(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn end(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Takes a measured latency into the average.
    pub(crate) fn observe(&self, latency: Duration) {
        let now = self.start.elapsed().as_nanos() as u64;
        let before = self.at.swap(now, Ordering::Relaxed);
        let old = f64::from_bits(self.latency.load(Ordering::Relaxed));
        let seen = latency.as_nanos() as f64;
        let new = if before == 0 || seen > old {
            seen
        } else {
            let weight = (-(now.saturating_sub(before) as f64) / DECAY_NANOS).exp();
            old * weight + seen * (1.0 - weight)
        };
        // A lost update of a concurrent writer costs one sample.
        self.latency.store(new.to_bits(), Ordering::Relaxed);
    }

    /// Returns the expected wait; comparable only with that of other endpoints.
    pub(crate) fn cost(&self) -> f64 {
        f64::from_bits(self.latency.load(Ordering::Relaxed)) * f64::from(self.in_flight() + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn jumps_up_and_comes_down_slowly() {
        let load = Load::new();
        tokio::time::advance(Duration::from_millis(1)).await;
        load.observe(Duration::from_millis(1));
        let fast = load.cost();
        load.observe(Duration::from_millis(100));
        assert!(load.cost() >= fast * 99.0);

        tokio::time::advance(Duration::from_secs(5)).await;
        load.observe(Duration::from_millis(1));
        let half = load.cost();
        assert!(half > fast * 30.0 && half < fast * 90.0, "{half} {fast}");
        tokio::time::advance(Duration::from_secs(60)).await;
        load.observe(Duration::from_millis(1));
        assert!(load.cost() < fast * 2.0);
    }
}
