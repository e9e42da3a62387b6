//! Endpoints whose sidecar has said that they end. Nothing has failed: they serve what they are sent, and are sent no more while there are others.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::Instant;

/// How long an endpoint's word counts. One that is still named then is asked again: its pod may have longer to end, or its sidecar was started anew.
const COUNTS: Duration = Duration::from_secs(30);

/// In the answers of a sidecar whose workload ends, to other sidecars. No application sees it.
pub(crate) const LEAVING: HeaderName = HeaderName::from_static("outrigger-leaving");

/// The same in the debug data of GOAWAY.
pub(crate) const FAREWELL: &[u8] = b"leaving";

/// What an endpoint has said of its end.
#[derive(Debug)]
pub(crate) struct Leaving {
    /// Milliseconds since `created`; 0: it has not said so.
    until: AtomicU64,
    created: Instant,
}

impl Default for Leaving {
    fn default() -> Self {
        Self { until: AtomicU64::new(0), created: Instant::now() }
    }
}

impl Leaving {
    /// Says whether the endpoint has told, not long ago, that it ends.
    pub(crate) fn is_told(&self) -> bool {
        let until = self.until.load(Ordering::Relaxed);
        until != 0 && self.millis() < until
    }

    /// The endpoint has told that it ends.
    pub(crate) fn told(&self) {
        self.until.store(self.millis() + COUNTS.as_millis() as u64, Ordering::Relaxed);
    }

    /// Looks whether an answer tells so.
    pub(crate) fn heard_in(&self, headers: &HeaderMap) {
        if headers.contains_key(LEAVING) {
            self.told();
        }
    }

    fn millis(&self) -> u64 {
        self.created.elapsed().as_millis() as u64 + 1
    }
}

/// Has an answer tell that the workload ends.
pub(crate) fn tell(headers: &mut HeaderMap) {
    headers.insert(LEAVING, HeaderValue::from_static("1"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_word_counts_for_a_while() {
        let leaving = Leaving::default();
        leaving.heard_in(&HeaderMap::new());
        assert!(!leaving.is_told());
        let mut headers = HeaderMap::new();
        tell(&mut headers);
        leaving.heard_in(&headers);

        assert!(leaving.is_told());
        tokio::time::advance(COUNTS).await;
        assert!(!leaving.is_told());
    }
}
