//! A backend none of whose endpoints answers within the time that routes give them: to wait for them all the same would only take longer to
//! fail. One request at a time finds out whether that is over.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// Between two requests that are let through.
pub(super) const PROBE: Duration = Duration::from_secs(1);

/// It does not hang.
const NEVER: u64 = 0;

#[derive(Debug)]
pub(super) struct Stall {
    created: Instant,
    /// Milliseconds since `created`, or [`NEVER`].
    since: AtomicU64,
    /// When the next request is let through.
    next: AtomicU64,
}

impl Stall {
    pub(super) fn new() -> Self {
        Self { created: Instant::now(), since: AtomicU64::new(NEVER), next: AtomicU64::new(NEVER) }
    }

    pub(super) fn is_on(&self) -> bool {
        self.since.load(Ordering::Relaxed) != NEVER
    }

    /// All endpoints hang.
    pub(super) fn begin(&self) {
        let now = self.millis();
        if self.since.compare_exchange(NEVER, now, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            self.next.store(now + PROBE.as_millis() as u64, Ordering::Relaxed);
        }
    }

    pub(super) fn end(&self) {
        self.since.store(NEVER, Ordering::Relaxed);
    }

    /// Lets a request through, or says since when all hang and when the next one is let through.
    pub(super) fn admit(&self) -> Result<(), (Duration, Duration)> {
        let since = self.since.load(Ordering::Relaxed);
        let (now, next) = (self.millis(), self.next.load(Ordering::Relaxed));
        let after = now + PROBE.as_millis() as u64;
        let is_due = since == NEVER || now >= next;
        if is_due && self.next.compare_exchange(next, after, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            return Ok(());
        }
        let millis = |to: u64, from: u64| Duration::from_millis(to.saturating_sub(from));
        Err((millis(now, since), millis(next, now)))
    }

    fn millis(&self) -> u64 {
        self.created.elapsed().as_millis() as u64 + 1
    }
}
