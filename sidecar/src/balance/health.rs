//! Whether an endpoint gets requests: a circuit breaker for each.
//!
//! ```text
//! closed ──▶ open ──▶ half-open: one request at a time probes it ──▶ ramp: more and more requests ──▶ closed
//!             ▲─────────────────────────┘ it fails again
//! ```
//!
//! All of it in atomics: nothing waits for a lock. Two threads that meet in a transition may count one failure more or less.

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::random::random;

/// How long an endpoint that is back gets fewer requests than its share.
const RAMP: Duration = Duration::from_secs(5);

/// How long a probe keeps others from being sent: nobody may give up waiting for its answer.
const PROBE: Duration = Duration::from_secs(10);

/// The part of its share that an endpoint gets at the start of a ramp: one in so many.
const RAMP_START: u64 = 10;

/// Failures are averaged over about so many exchanges.
const RATE_WINDOW: u32 = 32;

/// All exchanges failed.
const RATE_ALL: u32 = 1 << 20;

const CLOSED: u8 = 0;
const OPEN: u8 = 1;
/// Half-open, with a probe under way.
const PROBED: u8 = 2;
const RAMPING: u8 = 3;

#[derive(Debug)]
pub(super) struct Health {
    state: AtomicU8,
    /// In a row.
    failures: AtomicU32,
    /// Exchanges in a row that had no answer within the time that a route gives them.
    timeouts: AtomicU32,
    /// Failed exchanges out of [`RATE_ALL`].
    rate: AtomicU32,
    /// How often in a row it was opened.
    opened: AtomicU32,
    /// Since when it has been open. This and the following: milliseconds since `created`.
    since: AtomicU64,
    /// When a probe may go (open), or when the ramp ends.
    until: AtomicU64,
    created: Instant,
}

/// What `/config` shows of an endpoint that is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OpenCircuit {
    /// For how long it has been.
    pub(crate) age: Duration,
    /// When a request will probe it; zero when the next one does, or one is under way.
    pub(crate) next_probe: Duration,
}

impl Health {
    pub(super) fn new() -> Self {
        Self {
            state: AtomicU8::new(CLOSED),
            failures: AtomicU32::new(0),
            timeouts: AtomicU32::new(0),
            rate: AtomicU32::new(0),
            opened: AtomicU32::new(0),
            since: AtomicU64::new(0),
            until: AtomicU64::new(0),
            created: Instant::now(),
        }
    }

    /// Says whether the next request may go there; in a ramp that is left to the draw.
    pub(super) fn is_available(&self) -> bool {
        match self.state.load(Ordering::Relaxed) {
            CLOSED => true,
            RAMPING => self.is_within_ramp(),
            _ => self.millis() >= self.until.load(Ordering::Relaxed),
        }
    }

    /// Says whether it is left out: open, or waiting for its probe's answer.
    pub(super) fn is_open(&self) -> bool {
        match self.state.load(Ordering::Relaxed) {
            OPEN | PROBED => self.millis() < self.until.load(Ordering::Relaxed),
            _ => false,
        }
    }

    /// Says whether it waits for a request that probes it.
    pub(super) fn wants_probe(&self) -> bool {
        let state = self.state.load(Ordering::Relaxed);
        matches!(state, OPEN | PROBED) && self.millis() >= self.until.load(Ordering::Relaxed)
    }

    /// Makes the request that begins the probe, if one is wanted.
    pub(super) fn take_probe(&self) -> bool {
        let until = self.until.load(Ordering::Relaxed);
        // Asked first: most requests meet a closed circuit, and need no clock.
        if !self.wants_probe() {
            return false;
        }
        let next = self.millis() + PROBE.as_millis() as u64;
        let is_first = self.until.compare_exchange(until, next, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if is_first {
            // Somebody else's answer may have closed it meanwhile.
            let _ = self.state.compare_exchange(OPEN, PROBED, Ordering::Relaxed, Ordering::Relaxed);
        }
        is_first
    }

    /// The probe has ended without a verdict: another one may go.
    pub(super) fn give_probe_back(&self) {
        // Unless somebody else's answer has closed it meanwhile.
        if self.state.compare_exchange(PROBED, OPEN, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            self.until.store(0, Ordering::Relaxed);
        }
    }

    /// It has said something: it does not hang, whatever it said.
    pub(super) fn is_alive(&self) {
        if self.timeouts.load(Ordering::Relaxed) != 0 {
            self.timeouts.store(0, Ordering::Relaxed);
        }
    }

    /// An exchange ended well.
    pub(super) fn succeeded(&self) {
        let rate = self.rate.load(Ordering::Relaxed);
        if rate != 0 {
            self.rate.store(rate - (rate / RATE_WINDOW).max(1), Ordering::Relaxed);
        }
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
        self.is_alive();
        if matches!(self.state.load(Ordering::Relaxed), OPEN | PROBED) {
            self.opened.store(0, Ordering::Relaxed);
            self.rate.store(0, Ordering::Relaxed);
            self.until.store(self.millis() + RAMP.as_millis() as u64, Ordering::Relaxed);
            self.state.store(RAMPING, Ordering::Relaxed);
        }
    }

    /// Counts a failure; returns how many there are in a row.
    pub(super) fn failed(&self) -> u32 {
        let rate = self.rate.load(Ordering::Relaxed);
        self.rate.store(rate + (RATE_ALL - rate) / RATE_WINDOW, Ordering::Relaxed);
        self.failures.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Counts an exchange that was not answered in time.
    pub(super) fn timed_out(&self) {
        self.timeouts.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns how many exchanges in a row were not answered in time.
    pub(super) fn timeouts(&self) -> u32 {
        self.timeouts.load(Ordering::Relaxed)
    }

    /// Returns the part of the latest exchanges that failed.
    pub(super) fn failure_rate(&self) -> f64 {
        f64::from(self.rate.load(Ordering::Relaxed)) / f64::from(RATE_ALL)
    }

    /// Leaves the endpoint out: for `base` the first time, then twice as long each time in a row, up to `max`.
    pub(super) fn open(&self, base: Duration, max: Duration) {
        let before = self.opened.fetch_add(1, Ordering::Relaxed);
        self.open_for(base.saturating_mul(1 << before.min(20)).min(max));
    }

    /// Leaves it out for as long as it asked for.
    pub(super) fn open_for(&self, time: Duration) {
        let now = self.millis();
        if matches!(self.state.load(Ordering::Relaxed), CLOSED | RAMPING) {
            self.since.store(now, Ordering::Relaxed);
        }
        self.until.store(now + time.as_millis() as u64, Ordering::Relaxed);
        self.state.store(OPEN, Ordering::Relaxed);
    }

    /// Lets a probe go at once, if it is open.
    pub(super) fn probe_now(&self) {
        if self.state.load(Ordering::Relaxed) == OPEN {
            self.opened.store(0, Ordering::Relaxed);
            self.until.store(0, Ordering::Relaxed);
        }
    }

    /// Describes an endpoint that is open or half-open.
    pub(super) fn circuit(&self) -> Option<OpenCircuit> {
        let state = self.state.load(Ordering::Relaxed);
        let now = self.millis();
        let left = if state == OPEN { self.until.load(Ordering::Relaxed).saturating_sub(now) } else { 0 };
        matches!(state, OPEN | PROBED).then(|| OpenCircuit {
            age: Duration::from_millis(now.saturating_sub(self.since.load(Ordering::Relaxed))),
            next_probe: Duration::from_millis(left),
        })
    }

    fn is_within_ramp(&self) -> bool {
        let (now, until) = (self.millis(), self.until.load(Ordering::Relaxed));
        if now >= until {
            // Unless somebody has opened it since.
            let _ = self.state.compare_exchange(RAMPING, CLOSED, Ordering::Relaxed, Ordering::Relaxed);
            return true;
        }
        let length = RAMP.as_millis() as u64;
        let gone = (now + length).saturating_sub(until);
        random() % length < gone.max(length / RAMP_START)
    }

    fn millis(&self) -> u64 {
        self.created.elapsed().as_millis() as u64 + 1
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const MINUTE: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn one_probe_at_a_time_finds_out_whether_it_is_back() {
        let health = Health::new();
        health.open(SECOND, MINUTE);
        assert!(!health.is_available() && !health.take_probe());
        advance(SECOND).await;

        assert!(health.is_available());
        assert!(health.take_probe());
        assert!(!health.is_available() && !health.take_probe(), "a second one");

        health.give_probe_back();
        assert!(health.take_probe(), "the first one said nothing");
        health.open(SECOND, MINUTE);
        advance(SECOND).await;
        assert!(!health.is_available(), "left out for twice as long");
        advance(SECOND).await;
        assert!(health.take_probe());
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_whose_answer_never_comes_is_followed_by_another() {
        let health = Health::new();
        health.open(SECOND, MINUTE);
        advance(SECOND).await;
        assert!(health.take_probe());
        advance(PROBE - SECOND).await;
        assert!(!health.is_available() && health.is_open() && !health.take_probe());
        advance(SECOND).await;
        assert!(health.is_available() && health.take_probe());
        health.succeeded();
        assert!(!health.is_open());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_back_gets_its_share_step_by_step() {
        let health = Health::new();
        health.open(SECOND, MINUTE);
        advance(SECOND).await;
        assert!(health.take_probe());
        health.succeeded();

        let mut before = 0;
        for _ in 0..5 {
            let share = (0..2000).filter(|_| health.is_available()).count();
            assert!(share > before && share < 1900, "{share} after {before}");
            before = share;
            advance(RAMP / 5).await;
        }
        assert_eq!((0..2000).filter(|_| health.is_available()).count(), 2000);
    }

    #[tokio::test(start_paused = true)]
    async fn the_failure_rate_follows_what_happens() {
        let health = Health::new();
        for n in 0..1000 {
            if n % 5 < 3 {
                health.failed();
            } else {
                health.succeeded();
            }
        }
        assert!((0.5..0.7).contains(&health.failure_rate()), "{}", health.failure_rate());
        for _ in 0..1000 {
            health.succeeded();
        }
        assert!(health.failure_rate() < 0.01, "{}", health.failure_rate());
    }

    #[tokio::test(start_paused = true)]
    async fn says_since_when_it_is_left_out_and_when_the_next_probe_goes() {
        let health = Health::new();
        assert_eq!(health.circuit(), None);
        advance(MINUTE).await;
        health.open(SECOND, MINUTE);
        advance(SECOND).await;
        health.open(SECOND, MINUTE);
        advance(SECOND / 2).await;

        let open = OpenCircuit { age: SECOND * 3 / 2, next_probe: SECOND * 3 / 2 };
        assert_eq!(health.circuit(), Some(open));
    }
}
