//! At most so many requests per second and caller, in a table that cannot grow without bound; and a line in the log about a caller
//! now and then, however often it is refused.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Counts requests by caller: its address, or the workload that it has proved to be.
#[derive(Debug)]
pub(super) struct Limit<Who> {
    windows: Mutex<HashMap<Who, Window>>,
    length: Duration,
}

#[derive(Debug)]
struct Window {
    since: Instant,
    requests: u32,
}

impl<Who: Hash + Eq> Limit<Who> {
    /// Counts in windows of this length.
    pub(super) fn new(length: Duration) -> Self {
        Self { windows: Mutex::default(), length }
    }

    /// Counts a request; returns how many there were of this caller in its window. `None` when there is no room for one more caller.
    pub(super) fn count(&self, who: Who) -> Option<u32> {
        let now = Instant::now();
        let mut windows = self.windows.lock();
        if windows.len() >= MAX_CALLERS && !windows.contains_key(&who) {
            windows.retain(|_, window| now - window.since < self.length);
            if windows.len() >= MAX_CALLERS {
                return None;
            }
        }
        let window = windows.entry(who).or_insert(Window { since: now, requests: 0 });
        if now - window.since >= self.length {
            *window = Window { since: now, requests: 0 };
        }
        window.requests = window.requests.saturating_add(1);
        Some(window.requests)
    }
}

const MAX_CALLERS: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn one_address_does_not_starve_another() {
        let limit = Limit::new(WINDOW);

        assert!((1..=10).all(|number| limit.count("loud") == Some(number)));
        assert_eq!(limit.count("quiet"), Some(1));

        tokio::time::advance(WINDOW).await;
        assert_eq!(limit.count("loud"), Some(1));
    }

    #[tokio::test(start_paused = true)]
    async fn the_table_is_bounded_and_recovers() {
        let limit = Limit::new(WINDOW);
        assert!((0..MAX_CALLERS).all(|number| limit.count(number).is_some()));

        assert_eq!(limit.count(MAX_CALLERS), None);
        assert_eq!(limit.count(0), Some(2), "whoever is known stays");
        tokio::time::advance(WINDOW).await;
        assert_eq!(limit.count(MAX_CALLERS), Some(1));
        assert_eq!(limit.windows.lock().len(), 1);
    }
}
