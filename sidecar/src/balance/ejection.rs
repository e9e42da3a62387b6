//! When an endpoint is left out because it fails, and for how long: never all of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use outrigger_proto::model;

use super::{Endpoint, Outcome};

/// How long an endpoint that refuses is left out, at first and at most.
const REFUSED: Duration = Duration::from_millis(250);
const MAX_REFUSED: Duration = Duration::from_secs(2);

/// The part of its latest exchanges that must have failed, for an endpoint that fails now and then to be left out.
const FAILURE_RATE: f64 = 0.5;

/// The others fail so much less: what fails everywhere is no fault of one endpoint's.
const WORSE: f64 = 2.0;

/// The rules of one backend.
#[derive(Debug)]
pub(crate) struct Ejection {
    consecutive_errors: u32,
    base: Duration,
    max: Duration,
    max_percent: u32,
}

impl Ejection {
    /// What holds where no policy says otherwise.
    pub(super) const DEFAULT: Self =
        Self { consecutive_errors: 5, base: Duration::from_secs(1), max: Duration::from_secs(60), max_percent: 50 };

    pub(super) fn new(asked: model::Ejection) -> Self {
        let model::Ejection { consecutive_errors, base, max, max_percent } = asked;
        Self { consecutive_errors, base, max, max_percent }
    }

    /// Takes note of how an exchange with one of `all` ended.
    pub(super) fn record(&self, endpoint: &Endpoint, outcome: Outcome, is_probe: bool, all: &[Arc<Endpoint>]) {
        let health = &endpoint.health;
        match outcome {
            Outcome::Answered => health.succeeded(),
            Outcome::Failed { retry_after } => {
                self.failed(endpoint, is_probe, retry_after, all);
            }
            Outcome::TimedOut => {
                health.timed_out();
                self.hung(endpoint, is_probe, all);
            }
            Outcome::Late => self.hung(endpoint, is_probe, all),
            // One such answer is enough: pods that end say so a moment before the control plane does. It is found out again at no cost, and others
            // are asked in its place, so all may be left out; but when few are left, each is asked again soon.
            Outcome::Refused => {
                health.failed();
                let has_room = is_probe || self.has_room(all);
                health.open(REFUSED, if has_room { MAX_REFUSED } else { REFUSED });
            }
            // To find this out again takes a request as long as a connection may take.
            Outcome::Unreachable => {
                health.failed();
                if self.max_percent > 0 && (is_probe || self.has_room(all)) {
                    self.eject(endpoint, None);
                    endpoint.close_unused();
                } else {
                    health.open(REFUSED, MAX_REFUSED);
                }
            }
            Outcome::Unknown if is_probe => health.give_probe_back(),
            Outcome::Unknown => {}
        }
    }

    /// It did not answer. When that ejects it, the probe is to find out how it is now, not how an old connection is: TCP may take longer to try
    /// that again than the fault lasted.
    fn hung(&self, endpoint: &Endpoint, is_probe: bool, all: &[Arc<Endpoint>]) {
        if self.failed(endpoint, is_probe, None, all) {
            endpoint.close_unused();
        }
    }

    /// Returns whether the endpoint is ejected for it.
    fn failed(
        &self,
        endpoint: &Endpoint,
        is_probe: bool,
        retry_after: Option<Duration>,
        all: &[Arc<Endpoint>],
    ) -> bool {
        let health = &endpoint.health;
        let failures = health.failed();
        if self.max_percent == 0 {
            if is_probe {
                health.open(REFUSED, MAX_REFUSED);
            }
            return false;
        }
        // What a probe has found out needs no further proof, and has its room already.
        let ejects = is_probe || (!health.is_open() && self.is_enough(endpoint, failures, all) && self.has_room(all));
        if ejects {
            self.eject(endpoint, retry_after);
        }
        ejects
    }

    fn eject(&self, endpoint: &Endpoint, retry_after: Option<Duration>) {
        EJECTIONS.fetch_add(1, Ordering::Relaxed);
        match retry_after {
            Some(time) => endpoint.health.open_for(time.min(self.max)),
            None => endpoint.health.open(self.base, self.max),
        }
    }

    /// Whether so many failures in a row, or the part of all that failed, are enough.
    fn is_enough(&self, endpoint: &Endpoint, failures: u32, all: &[Arc<Endpoint>]) -> bool {
        if failures >= self.consecutive_errors {
            return true;
        }
        let rate = endpoint.health.failure_rate();
        let others: f64 = all.iter().map(|endpoint| endpoint.health.failure_rate()).sum::<f64>() - rate;
        rate >= FAILURE_RATE && rate > others / (all.len() as f64 - 1.0).max(1.0) * WORSE
    }

    /// Says whether none of `all` answers in time any more.
    pub(super) fn all_hang(&self, all: &[Arc<Endpoint>]) -> bool {
        self.max_percent > 0 && all.iter().all(|endpoint| endpoint.health.timeouts() >= self.consecutive_errors)
    }

    fn has_room(&self, all: &[Arc<Endpoint>]) -> bool {
        // Those that wait for their probe keep their place: it may fail.
        all.iter().filter(|endpoint| endpoint.circuit().is_some()).count() < self.most(all.len())
    }

    /// How many of `count` may be left out.
    fn most(&self, count: usize) -> usize {
        if self.max_percent == 0 {
            return 0;
        }
        (count * self.max_percent as usize / 100).max(1).min(count.saturating_sub(1))
    }
}

/// Returns how often an endpoint was left out since the start.
pub(crate) fn ejections() -> u64 {
    EJECTIONS.load(Ordering::Relaxed)
}

/// Of all endpoints since the start, for the metric; endpoints come and go.
static EJECTIONS: AtomicU64 = AtomicU64::new(0);

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::super::tests::endpoint;
    use super::*;
    use crate::random::random;

    const FAILED: Outcome = Outcome::Failed { retry_after: None };

    fn endpoints(n: u8) -> Vec<Arc<Endpoint>> {
        (1..=n).map(endpoint).collect()
    }

    /// Sends a request, as a probe if one is wanted, which ends like this.
    fn send(rules: &Ejection, to: &Endpoint, outcome: Outcome, all: &[Arc<Endpoint>]) {
        rules.record(to, outcome, to.health.take_probe(), all);
    }

    fn ejected(all: &[Arc<Endpoint>]) -> usize {
        all.iter().filter(|endpoint| endpoint.ejected()).count()
    }

    #[tokio::test(start_paused = true)]
    async fn never_takes_all_whatever_fails() {
        for (count, max_percent) in (1..9).flat_map(|n| [0, 1, 50, 99, 100].map(|percent| (n, percent))) {
            let all = endpoints(count);
            let rules = Ejection { consecutive_errors: 2, max_percent, ..Ejection::DEFAULT };
            let most = (usize::from(count) * max_percent as usize / 100).max(usize::from(max_percent > 0));
            for _ in 0..2000 {
                let one = &all[random() as usize % all.len()];
                let outcome = match random() % 5 {
                    0 | 1 => Outcome::Answered,
                    2 => Outcome::TimedOut,
                    3 => Outcome::Late,
                    _ => FAILED,
                };
                send(&rules, one, outcome, &all);
                advance(Duration::from_millis(random() % 200)).await;
                let ejected = ejected(&all);
                assert!(ejected < all.len() && ejected <= most, "{ejected} of {count} at {max_percent} %");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_fails_leaves_it_out_for_longer_and_one_that_is_answered_ends_it() {
        let all = endpoints(2);
        let (bad, rules) = (&all[0], Ejection::DEFAULT);
        (0..4).for_each(|_| send(&rules, bad, FAILED, &all));
        assert!(!bad.ejected());

        send(&rules, bad, FAILED, &all);
        assert!(bad.ejected());
        advance(Duration::from_millis(1100)).await;
        assert!(!bad.ejected());
        send(&rules, bad, FAILED, &all);
        advance(Duration::from_millis(1100)).await;
        assert!(bad.ejected());
        advance(Duration::from_millis(1000)).await;
        send(&rules, bad, Outcome::Answered, &all);
        send(&rules, bad, FAILED, &all);
        assert!(!bad.ejected());
    }

    #[tokio::test(start_paused = true)]
    async fn an_ejection_is_never_longer_than_the_longest() {
        let all = endpoints(2);
        let (base, max) = (Duration::from_secs(7), Duration::from_secs(20));
        let rules = Ejection { consecutive_errors: 1, base, max, max_percent: 50 };
        for expected in [7, 14, 20, 20] {
            send(&rules, &all[0], FAILED, &all);
            advance(Duration::from_millis(expected * 1000 - 10)).await;
            assert!(all[0].ejected(), "{expected}");
            advance(Duration::from_millis(20)).await;
            assert!(!all[0].ejected(), "{expected}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_fails_now_and_then_is_left_out_unless_all_fail_as_often() {
        let rules = Ejection::DEFAULT;
        // Of four exchanges each, three fail; never five in a row.
        let run = |all: &[Arc<Endpoint>], bad: &[Arc<Endpoint>]| {
            for n in 0..200 {
                for endpoint in all {
                    let fails = n % 4 != 0 && bad.iter().any(|bad| Arc::ptr_eq(bad, endpoint));
                    send(&rules, endpoint, if fails { FAILED } else { Outcome::Answered }, all);
                    if endpoint.ejected() {
                        return Some(endpoint.address);
                    }
                }
            }
            None
        };
        let all = endpoints(4);
        assert_eq!(run(&all, &all[..1]), Some(all[0].address));
        let all = endpoints(4);
        assert_eq!(run(&all, &all), None, "what fails everywhere is no fault of one");
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_left_alone_for_as_long_as_it_asks() {
        let all = endpoints(2);
        let later = Outcome::Failed { retry_after: Some(Duration::from_secs(9)) };
        (0..5).for_each(|_| send(&Ejection::DEFAULT, &all[0], later, &all));

        advance(Duration::from_millis(8900)).await;
        assert!(all[0].ejected());
        advance(Duration::from_millis(200)).await;
        assert!(!all[0].ejected());
    }

    #[tokio::test(start_paused = true)]
    async fn where_nobody_listens_is_asked_again_soon_and_what_cannot_be_reached_later() {
        let all = endpoints(4);
        for expected in [250, 500, 1000, 2000, 2000] {
            send(&Ejection::DEFAULT, &all[0], Outcome::Refused, &all);
            advance(Duration::from_millis(expected - 5)).await;
            assert!(all[0].ejected(), "{expected}");
            advance(Duration::from_millis(10)).await;
            assert!(!all[0].ejected(), "{expected}");
        }
        for expected in [1000, 2000, 4000] {
            send(&Ejection::DEFAULT, &all[1], Outcome::Unreachable, &all);
            advance(Duration::from_millis(expected - 5)).await;
            assert!(all[1].ejected(), "{expected}");
            advance(Duration::from_millis(10)).await;
            assert!(!all[1].ejected(), "{expected}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn without_ejection_a_probe_that_fails_is_followed_by_another() {
        let all = endpoints(2);
        let rules = Ejection { max_percent: 0, ..Ejection::DEFAULT };
        send(&rules, &all[0], Outcome::Refused, &all);
        for outcome in [FAILED, Outcome::Unreachable, Outcome::TimedOut, Outcome::Unknown] {
            advance(MAX_REFUSED).await;
            assert!(all[0].health.wants_probe(), "before {outcome:?}");
            send(&rules, &all[0], outcome, &all);
        }
        advance(MAX_REFUSED).await;
        assert!(all[0].health.wants_probe());
    }
}
