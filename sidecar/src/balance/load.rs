//! How long an endpoint makes one wait: a moving average of latency that jumps up at once and comes down slowly
//! (peak EWMA), times the requests in flight. All of it in atomics: nothing waits for a lock.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// How fast the past is forgotten.
const DECAY_NANOS: f64 = 10e9;

/// What an endpoint is believed to take before the first answer.
const DEFAULT: Duration = Duration::from_millis(30);

/// After this time without an answer, nothing is known: one request may find out what an endpoint takes now. Without it,
/// one slow answer, a first one for instance, would keep a fast endpoint without requests for longer than a minute.
const STALE_NANOS: u64 = 5_000_000_000;

/// No answer yet.
const NEVER: u64 = 0;

#[derive(Debug)]
pub(crate) struct Load {
    in_flight: AtomicU32,
    /// Nanoseconds, as the bits of an `f64`.
    latency: AtomicU64,
    /// When `latency` was set: nanoseconds since `start`.
    at: AtomicU64,
    /// For which `at`, gone stale, a request has been sent to find out anew.
    tried: AtomicU64,
    start: Instant,
}

impl Load {
    pub(crate) fn new() -> Self {
        Self {
            in_flight: AtomicU32::new(0),
            latency: AtomicU64::new((DEFAULT.as_nanos() as f64).to_bits()),
            at: AtomicU64::new(NEVER),
            tried: AtomicU64::new(u64::MAX),
            start: Instant::now(),
        }
    }

    pub(crate) fn begin(&self, now: Instant) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        let at = self.at.load(Ordering::Relaxed);
        if is_stale(at, self.nanos(now)) {
            self.tried.store(at, Ordering::Relaxed);
        }
    }

    pub(crate) fn end(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Takes a measured latency into the average.
    pub(crate) fn observe(&self, latency: Duration) {
        let now = self.nanos(Instant::now());
        let before = self.at.swap(now, Ordering::Relaxed);
        let old = f64::from_bits(self.latency.load(Ordering::Relaxed));
        let seen = latency.as_nanos() as f64;
        let new = if is_stale(before, now) || seen > old {
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
        let (at, now) = (self.at.load(Ordering::Relaxed), self.nanos(Instant::now()));
        if is_stale(at, now) && self.tried.load(Ordering::Relaxed) != at {
            return 0.0;
        }
        let latency = f64::from_bits(self.latency.load(Ordering::Relaxed));
        latency * weight(at, now) * (f64::from(self.in_flight()) + 1.0)
    }

    /// Nanoseconds since the start; never [`NEVER`].
    fn nanos(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.start).as_nanos() as u64 + 1
    }
}

fn is_stale(at: u64, now: u64) -> bool {
    at == NEVER || now.saturating_sub(at) > STALE_NANOS
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
        for _ in 0..15 {
            tokio::time::advance(Duration::from_secs(4)).await;
            load.observe(Duration::from_millis(1));
        }
        assert!(load.cost() < fast * 2.0);
    }

    #[tokio::test(start_paused = true)]
    async fn an_endpoint_without_a_measurement_is_tried_once_and_then_waited_for() {
        let (known, new) = (Load::new(), Load::new());
        known.observe(Duration::from_millis(1));

        assert!(new.cost() < known.cost());
        new.begin(Instant::now());
        assert!(new.cost() > known.cost());
    }

    #[tokio::test(start_paused = true)]
    async fn an_endpoint_that_was_slow_once_is_tried_again_by_one_request_which_says_how_it_is_now() {
        let (once_slow, fast) = (Load::new(), Load::new());
        once_slow.observe(Duration::from_secs(2));
        tokio::time::advance(Duration::from_secs(6)).await;
        fast.observe(Duration::from_millis(1));

        assert!(once_slow.cost() < fast.cost(), "tried");
        once_slow.begin(Instant::now());
        assert!(once_slow.cost() > fast.cost(), "by one");
        once_slow.observe(Duration::from_millis(1));
        once_slow.end();
        assert!(once_slow.cost() < fast.cost() * 1.1, "as fast as the other");
    }

    #[tokio::test(start_paused = true)]
    async fn an_endpoint_that_is_still_slow_is_left_alone_until_the_next_try() {
        let (slow, fast) = (Load::new(), Load::new());
        let mut tries = 0;
        for _ in 0..200 {
            fast.observe(Duration::from_millis(1));
            if slow.cost() < fast.cost() {
                tries += 1;
                slow.begin(Instant::now());
                slow.observe(Duration::from_secs(1));
                slow.end();
            }
            tokio::time::advance(Duration::from_millis(100)).await;
        }
        // Twenty seconds.
        assert_eq!(tries, 4);
    }
}
