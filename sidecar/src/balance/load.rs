//! How long an endpoint makes one wait: a moving average of latency that jumps up at once and comes down slowly
//! (peak EWMA), or the age of what waits there unanswered if that is more, times the requests in flight. All of it in
//! atomics: nothing waits for a lock.

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

/// As long as no answer comes, the next try waits twice as long each time, so often at most.
const MAX_DOUBLINGS: u32 = 4;

/// Shorter than this, nobody who waits or gives up says anything about the endpoint.
const LATE: Duration = Duration::from_secs(1);

/// Nor before so many times the usual latency, which is near the highest of late.
const LATE_FACTOR: u32 = 4;

/// No answer yet; nothing waits.
const NEVER: u64 = 0;

#[derive(Debug)]
pub(crate) struct Load {
    in_flight: AtomicU32,
    /// Tries since the last answer.
    tries: AtomicU32,
    /// Nanoseconds, as the bits of an `f64`.
    latency: AtomicU64,
    /// The same of answers alone: what nobody waited for any longer is no sign of what is usual. Zero: no answer yet.
    answers: AtomicU64,
    /// When `latency` was set: nanoseconds since `start`, as all that follows.
    at: AtomicU64,
    /// When a request was sent to find out anew.
    tried: AtomicU64,
    /// When the oldest request began that waits and was sent after the last answer had come. What is older may be meant to take long, like a
    /// watch: others that came later were answered.
    waiting: AtomicU64,
    start: Instant,
}

impl Load {
    pub(crate) fn new() -> Self {
        Self {
            in_flight: AtomicU32::new(0),
            tries: AtomicU32::new(0),
            latency: AtomicU64::new((DEFAULT.as_nanos() as f64).to_bits()),
            answers: AtomicU64::new(0),
            at: AtomicU64::new(NEVER),
            tried: AtomicU64::new(NEVER),
            waiting: AtomicU64::new(NEVER),
            start: Instant::now(),
        }
    }

    pub(crate) fn begin(&self, now: Instant) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        let now = self.nanos(now);
        if self.waiting.load(Ordering::Relaxed) == NEVER {
            self.waiting.store(now, Ordering::Relaxed);
        }
        if self.is_due(self.at.load(Ordering::Relaxed), now) {
            self.tried.store(now, Ordering::Relaxed);
            self.tries.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A request is over, answered or not.
    pub(crate) fn end(&self) {
        if self.in_flight.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.waiting.store(NEVER, Ordering::Relaxed);
        }
    }

    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Takes the latency of an answer into the average.
    pub(crate) fn observe(&self, latency: Duration) {
        let now = self.nanos(Instant::now());
        let before = self.at.swap(now, Ordering::Relaxed);
        let old = f64::from_bits(self.latency.load(Ordering::Relaxed));
        let seen = latency.as_nanos() as f64;
        let tries = self.tries.load(Ordering::Relaxed);
        let new = if is_stale(before, now) || tries != 0 || seen > old {
            seen
        } else {
            let weight = weight(before, now);
            old * weight + seen * (1.0 - weight)
        };
        // A lost update of a concurrent writer costs one sample.
        self.latency.store(new.to_bits(), Ordering::Relaxed);
        self.answers.store(new.to_bits(), Ordering::Relaxed);
        self.waiting.store(NEVER, Ordering::Relaxed);
        if tries != 0 {
            self.tries.store(0, Ordering::Relaxed);
        }
    }

    /// A request had no answer for so long, and nobody waits for it any more.
    pub(crate) fn unanswered(&self, waited: Duration) {
        let old = f64::from_bits(self.latency.load(Ordering::Relaxed));
        self.latency.store(old.max(waited.as_nanos() as f64).to_bits(), Ordering::Relaxed);
        self.at.store(self.nanos(Instant::now()), Ordering::Relaxed);
        self.tries.fetch_max(1, Ordering::Relaxed);
    }

    /// Returns the latency that is usual for answers; zero before the first one.
    pub(crate) fn usual(&self) -> Duration {
        Duration::from_nanos(f64::from_bits(self.answers.load(Ordering::Relaxed)) as u64)
    }

    /// Says whether nothing has been answered for so long that no more is to be sent there, but for what finds out whether that is over.
    pub(crate) fn is_stuck(&self) -> bool {
        let since = self.waiting.load(Ordering::Relaxed);
        if since == NEVER {
            return false;
        }
        let now = self.nanos(Instant::now());
        let age = Duration::from_nanos(now.saturating_sub(since));
        age >= late(self.usual()) && !self.is_due(self.at.load(Ordering::Relaxed), now)
    }

    /// Says whether an answer has come since then.
    pub(crate) fn has_answered_since(&self, then: Instant) -> bool {
        self.tries.load(Ordering::Relaxed) == 0 && self.at.load(Ordering::Relaxed) >= self.nanos(then)
    }

    /// Returns the expected wait; comparable only with that of other endpoints.
    pub(crate) fn cost(&self, now: Instant) -> f64 {
        self.latency(now).map_or(0.0, |latency| latency * (f64::from(self.in_flight()) + 1.0))
    }

    /// Returns the nanoseconds that an answer takes; `None` when the next request is to find out.
    pub(crate) fn latency(&self, now: Instant) -> Option<f64> {
        let (at, now) = (self.at.load(Ordering::Relaxed), self.nanos(now));
        if self.is_due(at, now) {
            return None;
        }
        let latency = f64::from_bits(self.latency.load(Ordering::Relaxed));
        Some(match self.waiting.load(Ordering::Relaxed) {
            NEVER => latency * weight(at, now),
            // What waits says nothing of a past that is better forgotten.
            since => latency.max(now.saturating_sub(since) as f64),
        })
    }

    /// Whether the next request is to find out what the endpoint takes now.
    fn is_due(&self, at: u64, now: u64) -> bool {
        let last = at.max(self.tried.load(Ordering::Relaxed));
        let doublings = self.tries.load(Ordering::Relaxed).min(MAX_DOUBLINGS);
        last == NEVER || now.saturating_sub(last) > STALE_NANOS << doublings
    }

    /// Nanoseconds since the start; never [`NEVER`].
    fn nanos(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.start).as_nanos() as u64 + 1
    }
}

/// How long an answer may take that usually takes so long; what has taken longer may never come.
pub(super) fn late(usual: Duration) -> Duration {
    LATE.max(usual.saturating_mul(LATE_FACTOR))
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
        let fast = load.cost(Instant::now());
        load.observe(Duration::from_millis(100));
        assert!(load.cost(Instant::now()) >= fast * 99.0);

        tokio::time::advance(Duration::from_secs(5)).await;
        load.observe(Duration::from_millis(1));
        let half = load.cost(Instant::now());
        assert!(half > fast * 30.0 && half < fast * 90.0, "{half} {fast}");
        for _ in 0..15 {
            tokio::time::advance(Duration::from_secs(4)).await;
            load.observe(Duration::from_millis(1));
        }
        assert!(load.cost(Instant::now()) < fast * 2.0);
    }

    #[tokio::test(start_paused = true)]
    async fn an_endpoint_without_a_measurement_is_tried_once_and_then_waited_for() {
        let (known, new) = (Load::new(), Load::new());
        known.observe(Duration::from_millis(1));

        assert!(new.cost(Instant::now()) < known.cost(Instant::now()));
        new.begin(Instant::now());
        assert!(new.cost(Instant::now()) > known.cost(Instant::now()));
    }

    #[tokio::test(start_paused = true)]
    async fn an_endpoint_that_was_slow_once_is_tried_again_by_one_request_which_says_how_it_is_now() {
        let (once_slow, fast) = (Load::new(), Load::new());
        once_slow.observe(Duration::from_secs(2));
        tokio::time::advance(Duration::from_secs(6)).await;
        fast.observe(Duration::from_millis(1));

        assert!(once_slow.cost(Instant::now()) < fast.cost(Instant::now()), "tried");
        once_slow.begin(Instant::now());
        assert!(once_slow.cost(Instant::now()) > fast.cost(Instant::now()), "by one");
        once_slow.observe(Duration::from_millis(1));
        once_slow.end();
        assert!(once_slow.cost(Instant::now()) < fast.cost(Instant::now()) * 1.1, "as fast as the other");
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_unanswered_costs_its_age_and_the_past_is_not_forgotten() {
        let (hangs, busy) = (Load::new(), Load::new());
        hangs.observe(Duration::from_millis(1));
        hangs.begin(Instant::now());
        for _ in 0..60 {
            tokio::time::advance(Duration::from_millis(50)).await;
            busy.observe(Duration::from_millis(20));
            assert!(hangs.cost(Instant::now()) > busy.cost(Instant::now()), "the age of the oldest");
        }
        hangs.observe(Duration::from_millis(1));
        hangs.end();
        assert!(hangs.cost(Instant::now()) < busy.cost(Instant::now()), "it answers");
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_takes_long_while_later_ones_are_answered_costs_one_place_and_not_its_age() {
        let (watched, other) = (Load::new(), Load::new());
        watched.begin(Instant::now());
        for load in [&watched, &other] {
            load.observe(Duration::from_millis(1));
        }
        tokio::time::advance(Duration::from_secs(3)).await;
        watched.begin(Instant::now());
        watched.observe(Duration::from_millis(1));
        watched.end();
        other.observe(Duration::from_millis(1));

        assert!(watched.cost(Instant::now()) < other.cost(Instant::now()) * 2.5);
    }

    #[tokio::test(start_paused = true)]
    async fn what_hangs_is_tried_ever_less_often_and_never_given_up() {
        let (hangs, fast) = (Load::new(), Load::new());
        let mut tries = Vec::new();
        for second in 0..600 {
            fast.observe(Duration::from_millis(1));
            if hangs.cost(Instant::now()) < fast.cost(Instant::now()) {
                tries.push(second);
                hangs.begin(Instant::now());
            }
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert!(tries[..4] == [0, 11, 32, 73] && (9..12).contains(&tries.len()), "{tries:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_endpoint_that_is_still_slow_is_left_alone_until_the_next_try() {
        let (slow, fast) = (Load::new(), Load::new());
        let mut tries = 0;
        for _ in 0..200 {
            fast.observe(Duration::from_millis(1));
            if slow.cost(Instant::now()) < fast.cost(Instant::now()) {
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
