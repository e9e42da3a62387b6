//! How long an endpoint makes one wait: a moving average of latency that jumps up at once and comes down slowly
//! (peak EWMA), times the requests in flight. All of it in atomics: nothing waits for a lock.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// How fast the past is forgotten.
const DECAY_NANOS: f64 = 10e9;

/// What an endpoint is believed to take before the first answer.
const DEFAULT: Duration = Duration::from_millis(30);

/// An endpoint that nobody has measured yet gets one request at a time: enough to learn, too few to hurt.
const UNKNOWN: u64 = 0;

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
            latency: AtomicU64::new(0.0_f64.to_bits()),
            at: AtomicU64::new(UNKNOWN),
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
        let now = self.now();
        let before = self.at.swap(now, Ordering::Relaxed);
        let old = f64::from_bits(self.latency.load(Ordering::Relaxed));
        let seen = latency.as_nanos() as f64;
        let new = if before == UNKNOWN || seen > old {
            seen
        } else {
            let weight = weight(before, now);
            old * weight + seen * (1.0 - weight)
        };
        // A lost update of a concurrent writer costs one sample.
        self.latency.store(new.to_bits(), Ordering::Relaxed);
    }

    /// Returns the expected wait; comparable only with that of other endpoints.
    pub(crate) fn cost(&self) -> f64 {
        let at = self.at.load(Ordering::Relaxed);
        let in_flight = f64::from(self.in_flight());
        if at == UNKNOWN {
            return in_flight * DEFAULT.as_nanos() as f64;
        }
        // What was measured long ago counts less and less, so that a slow endpoint is tried again.
        f64::from_bits(self.latency.load(Ordering::Relaxed)) * weight(at, self.now()) * (in_flight + 1.0)
    }

    /// Nanoseconds since the start; never [`UNKNOWN`].
    fn now(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64 + 1
    }
}

fn weight(then: u64, now: u64) -> f64 {
    (-(now.saturating_sub(then) as f64) / DECAY_NANOS).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn jumps_up_and_comes_down_slowly() {
        let load = Load::new();
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

    #[tokio::test(start_paused = true)]
    async fn an_endpoint_without_a_measurement_is_tried_once_and_then_waited_for() {
        let (known, new) = (Load::new(), Load::new());
        known.observe(Duration::from_millis(1));

        assert!(new.cost() < known.cost());
        new.begin();
        assert!(new.cost() > known.cost());
    }

    #[tokio::test(start_paused = true)]
    async fn an_old_peak_is_forgotten_also_when_nothing_is_sent() {
        let (slow, fast) = (Load::new(), Load::new());
        slow.observe(Duration::from_secs(1));
        tokio::time::advance(Duration::from_secs(100)).await;
        fast.observe(Duration::from_millis(1));

        assert!(slow.cost() < fast.cost());
    }
}
