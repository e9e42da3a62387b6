//! Something that may happen a thousand times a second, and deserves a line in the log now and then.

use std::time::Duration;

use tokio::time::Instant;

/// Between two lines about one thing.
const QUIET: Duration = Duration::from_secs(10);

/// Counts what happens, and says when to log it: the first time, and then at most each ten seconds.
#[derive(Debug, Default)]
pub struct Occasions {
    logged: Option<Instant>,
    last: Option<Instant>,
    /// Since it began, the last one included.
    count: u64,
}

impl Occasions {
    /// It has happened. When it is to be logged, returns how often it did since it began.
    pub fn happened(&mut self) -> Option<u64> {
        let now = Instant::now();
        self.count += 1;
        self.last = Some(now);
        if self.logged.is_some_and(|logged| now.duration_since(logged) < QUIET) {
            return None;
        }
        self.logged = Some(now);
        Some(self.count)
    }

    /// Whether it has happened before and not for `quiet`, so that it is over: then returns how often it did, and begins anew.
    pub fn over(&mut self, quiet: Duration) -> Option<u64> {
        let last = self.last?;
        if last.elapsed() < quiet {
            return None;
        }
        self.last = None;
        // When it was logged last is kept: what comes and goes all the time is no more worth than what stays.
        Some(std::mem::take(&mut self.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_logged_when_it_begins_and_then_now_and_then_with_its_number() {
        let mut occasions = Occasions::default();
        let mut logged = Vec::new();
        for _ in 0..2500 {
            logged.extend(occasions.happened());
            tokio::time::advance(Duration::from_millis(10)).await;
        }
        assert_eq!(logged, [1, 1001, 2001]);
        assert_eq!(occasions.over(Duration::from_secs(5)), None, "the last was a moment ago");

        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(occasions.over(Duration::from_secs(5)), Some(2500));
        assert_eq!(occasions.over(Duration::ZERO), None, "told once");
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_and_goes_is_not_logged_more_often_than_what_stays() {
        let mut occasions = Occasions::default();
        let mut lines = 0;
        for _ in 0..100 {
            lines += usize::from(occasions.happened().is_some());
            tokio::time::advance(Duration::from_secs(1)).await;
            occasions.over(Duration::from_millis(500));
        }
        assert_eq!(lines, 10);
    }
}
