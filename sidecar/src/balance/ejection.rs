//! When an endpoint is left out because it fails, and for how long: never all of them, and the first request after an
//! ejection is the probe.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{Response, StatusCode};
use outrigger_proto::model;

use super::Endpoint;

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

    /// An endpoint of `all` has failed.
    pub(super) fn failed(&self, endpoint: &Endpoint, all: &[Arc<Endpoint>]) {
        // After an ejection the next failure ejects again.
        if endpoint.failed() >= self.consecutive_errors && !endpoint.ejected() && self.has_room(all) {
            EJECTIONS.fetch_add(1, Ordering::Relaxed);
            endpoint.eject(self.base, self.max);
        }
    }

    fn has_room(&self, all: &[Arc<Endpoint>]) -> bool {
        all.iter().filter(|endpoint| endpoint.ejected()).count() < self.most(all.len())
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

/// Says whether an answer means that the endpoint cannot serve: what counts without a policy.
pub(super) fn cannot_serve<B>(response: &Response<B>) -> bool {
    let status = response.status();
    matches!(status, StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT)
}

/// Says whether an answer is an error of the endpoint's: what counts under a policy. A gRPC call that fails without a
/// message says so in the headers.
pub(super) fn is_error<B>(response: &Response<B>) -> bool {
    // UNKNOWN, DEADLINE_EXCEEDED, INTERNAL, UNAVAILABLE, DATA_LOSS.
    let grpc = || {
        matches!(response.headers().get("grpc-status").map(AsRef::as_ref), Some(b"2" | b"4" | b"13" | b"14" | b"15"))
    };
    response.status().is_server_error() || grpc()
}

/// Of all endpoints since the start, for the metric; endpoints come and go.
static EJECTIONS: AtomicU64 = AtomicU64::new(0);

#[cfg(test)]
mod tests {
    use super::super::random;
    use super::super::tests::endpoint;
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn never_takes_all_whatever_fails() {
        for (count, max_percent) in (1..9).flat_map(|n| [0, 1, 50, 99, 100].map(|percent| (n, percent))) {
            let all: Vec<_> = (1..=count).map(endpoint).collect();
            let rules = Ejection { consecutive_errors: 2, max_percent, ..Ejection::DEFAULT };
            let most = (usize::from(count) * max_percent as usize / 100).max(usize::from(max_percent > 0));
            for _ in 0..2000 {
                let one = &all[random() as usize % all.len()];
                match random() % 3 {
                    0 => one.succeeded(),
                    _ => rules.failed(one, &all),
                }
                tokio::time::advance(Duration::from_millis(random() % 200)).await;
                let ejected = all.iter().filter(|endpoint| endpoint.ejected()).count();
                assert!(ejected < all.len() && ejected <= most, "{ejected} of {count} at {max_percent} %");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_ejection_ends_and_comes_back_longer_when_the_probe_fails() {
        let all = [endpoint(1), endpoint(2)];
        let (bad, rules) = (&all[0], Ejection::DEFAULT);
        (0..4).for_each(|_| rules.failed(bad, &all));
        assert!(!bad.ejected());

        rules.failed(bad, &all);
        assert!(bad.ejected());
        tokio::time::advance(Duration::from_millis(1100)).await;
        assert!(!bad.ejected());
        rules.failed(bad, &all);
        tokio::time::advance(Duration::from_millis(1100)).await;
        assert!(bad.ejected());
        tokio::time::advance(Duration::from_millis(1000)).await;
        bad.succeeded();
        rules.failed(bad, &all);
        assert!(!bad.ejected());
    }

    #[tokio::test(start_paused = true)]
    async fn an_ejection_is_never_longer_than_the_longest() {
        let all = [endpoint(1), endpoint(2)];
        let (base, max) = (Duration::from_secs(7), Duration::from_secs(20));
        let rules = Ejection { consecutive_errors: 1, base, max, max_percent: 50 };
        for expected in [7, 14, 20, 20] {
            rules.failed(&all[0], &all);
            tokio::time::advance(Duration::from_millis(expected * 1000 - 10)).await;
            assert!(all[0].ejected(), "{expected}");
            tokio::time::advance(Duration::from_millis(20)).await;
            assert!(!all[0].ejected(), "{expected}");
        }
    }

    #[test]
    fn which_answers_count() {
        let response = |status: u16, grpc: &'static str| {
            Response::builder().status(status).header("grpc-status", grpc).body(()).unwrap()
        };
        for (status, grpc, serves, error) in [
            (200, "0", false, false),
            (404, "0", false, false),
            (500, "0", false, true),
            (503, "0", true, true),
            (200, "14", false, true),
            (200, "5", false, false),
        ] {
            let response = response(status, grpc);
            assert_eq!((cannot_serve(&response), is_error(&response)), (serves, error), "{status} {grpc}");
        }
    }
}
