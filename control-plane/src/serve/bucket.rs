//! How much work somebody may have done for him: some at once, and so much a second.

use std::time::Duration;

use tokio::time::Instant;

/// A budget that refills. Work is paid for when it is done, so it may fall below nothing; the next work waits until that is made up.
#[derive(Debug)]
pub(super) struct Bucket {
    /// What is left, at `at`.
    level: f64,
    at: Instant,
    budget: Budget,
}

/// What a bucket holds when it is full, and what it gains in a second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    pub(super) at_once: u32,
    pub(super) per_second: u32,
}

impl Bucket {
    pub(super) fn new(budget: Budget) -> Self {
        Self { level: f64::from(budget.at_once), at: Instant::now(), budget }
    }

    /// Pays for work.
    pub(super) fn pay(&mut self, work: usize) {
        self.refill();
        self.level -= f64::from(u32::try_from(work).unwrap_or(u32::MAX));
    }

    /// Returns when the next work may begin: now, unless more was done than there was for it.
    pub(super) fn ready_at(&mut self) -> Instant {
        self.refill();
        self.at + Duration::from_secs_f64((-self.level).max(0.0) / f64::from(self.budget.per_second))
    }

    /// Says whether nothing is missing.
    pub(super) fn is_full(&mut self) -> bool {
        self.refill();
        self.level >= f64::from(self.budget.at_once)
    }

    fn refill(&mut self) {
        let now = Instant::now();
        let gained = (now - self.at).as_secs_f64() * f64::from(self.budget.per_second);
        self.level = (self.level + gained).min(f64::from(self.budget.at_once));
        self.at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_free_and_what_goes_beyond_is_waited_for() {
        let mut bucket = Bucket::new(Budget { at_once: 100, per_second: 10 });
        bucket.pay(100);
        assert_eq!(bucket.ready_at(), Instant::now());

        bucket.pay(50);
        assert_eq!(bucket.ready_at(), Instant::now() + Duration::from_secs(5));

        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(bucket.ready_at(), Instant::now());
        tokio::time::advance(Duration::from_secs(1000)).await;
        bucket.pay(110);
        assert_eq!(bucket.ready_at(), Instant::now() + Duration::from_secs(1), "it holds no more than a burst");
    }
}
