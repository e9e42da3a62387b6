//! For how long a connection to an app may lie idle before it is used again: whoever closes last loses a request, so it has to be less than the
//! app's own limit. That is announced (`Keep-Alive`), seen when the app closes, or taken to be what few servers are below.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use http::header::{HeaderMap, HeaderName};
use tokio::time::Instant;

/// Where nothing is known: below the idle limits of common servers.
const USUAL: Duration = Duration::from_secs(3);

/// The least and the most, whatever the app says.
const LEAST: Duration = Duration::from_millis(500);
const MOST: Duration = Duration::from_secs(60);

/// By how much less than the app's limit: what is under way has to arrive before it.
const MARGIN: Duration = Duration::from_secs(1);

/// How long it counts that the app has closed a connection: it may have done so because it ended.
const SEEN: Duration = Duration::from_secs(600);

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

/// What is known of one app.
#[derive(Debug)]
pub(super) struct KeepAlive {
    /// Milliseconds that it lets lie idle, by its own word; 0: it has not said.
    announced: AtomicU32,
    /// Milliseconds after which it has closed a connection, and until when that counts, in milliseconds since `created`.
    closed_at: AtomicU32,
    counts_until: AtomicU64,
    created: Instant,
}

impl Default for KeepAlive {
    fn default() -> Self {
        Self {
            announced: AtomicU32::new(0),
            closed_at: AtomicU32::new(0),
            counts_until: AtomicU64::new(0),
            created: Instant::now(),
        }
    }
}

impl KeepAlive {
    /// How long a connection may lie idle.
    pub(super) fn limit(&self) -> Duration {
        let known = |millis: u32| Duration::from_millis(millis.into()).saturating_sub(MARGIN).clamp(LEAST, MOST);
        let announced = match self.announced.load(Ordering::Relaxed) {
            0 => USUAL,
            millis => known(millis),
        };
        let until = self.counts_until.load(Ordering::Relaxed);
        if until == 0 || self.millis() >= until {
            return announced;
        }
        announced.min(known(self.closed_at.load(Ordering::Relaxed)))
    }

    /// Reads what an answer says: `Keep-Alive: timeout=5, max=100`.
    pub(super) fn heard_in(&self, headers: &HeaderMap) {
        let Some(value) = headers.get(KEEP_ALIVE).and_then(|value| value.to_str().ok()) else { return };
        let timeout = value.split(',').find_map(|parameter| {
            let (name, value) = parameter.split_once('=')?;
            name.trim().eq_ignore_ascii_case("timeout").then(|| value.trim().trim_matches('"').parse::<u32>().ok())?
        });
        if let Some(seconds) = timeout.filter(|seconds| *seconds > 0) {
            self.announced.store(seconds.saturating_mul(1000), Ordering::Relaxed);
        }
    }

    /// The app has closed a connection that had lain idle for so long.
    pub(super) fn closed_after(&self, idle: Duration) {
        // What is closed earlier is no idle limit but an end, and nothing can be below it.
        if idle < LEAST {
            return;
        }
        let millis = idle.as_millis().min(u128::from(u32::MAX)) as u32;
        let (now, until) = (self.millis(), self.counts_until.load(Ordering::Relaxed));
        if now >= until || millis < self.closed_at.load(Ordering::Relaxed) {
            self.closed_at.store(millis, Ordering::Relaxed);
            self.counts_until.store(now + SEEN.as_millis() as u64, Ordering::Relaxed);
        }
    }

    fn millis(&self) -> u64 {
        self.created.elapsed().as_millis() as u64 + 1
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn after(said: &'static str) -> Duration {
        let keep_alive = KeepAlive::default();
        let mut headers = HeaderMap::new();
        headers.insert(KEEP_ALIVE, HeaderValue::from_static(said));
        keep_alive.heard_in(&headers);
        keep_alive.limit()
    }

    #[tokio::test(start_paused = true)]
    async fn an_app_is_taken_at_its_word_less_a_second() {
        for (said, millis) in [
            ("timeout=5", 4_000),
            ("timeout=5, max=100", 4_000),
            ("max=100,Timeout = \"20\"", 19_000),
            ("timeout=1", 500),
            ("timeout=4294967295", 60_000),
            ("timeout=0", 3_000),
            ("timeout=-1", 3_000),
            ("timeout=99999999999", 3_000),
            ("max=5", 3_000),
            ("", 3_000),
        ] {
            assert_eq!(after(said), Duration::from_millis(millis), "{said}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_app_that_closes_is_met_earlier_for_a_while() {
        let keep_alive = KeepAlive::default();
        keep_alive.closed_after(Duration::from_millis(10));
        assert_eq!(keep_alive.limit(), USUAL, "that is an end, and no limit");

        keep_alive.closed_after(Duration::from_millis(2_500));
        assert_eq!(keep_alive.limit(), Duration::from_millis(1_500));
        keep_alive.closed_after(Duration::from_millis(2_900));
        assert_eq!(keep_alive.limit(), Duration::from_millis(1_500), "the least that was seen");
        keep_alive.closed_after(Duration::from_millis(900));
        assert_eq!(keep_alive.limit(), LEAST);
        tokio::time::advance(SEEN).await;
        assert_eq!(keep_alive.limit(), USUAL);
    }
}
