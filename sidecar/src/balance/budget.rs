//! How many retries a backend's requests have earned (GEP-3388): a share of the requests of the last interval, and some in
//! any case, so that rare requests can be repeated too.
//!
//! Requests and retries are counted in slots of a tenth of the interval, all in atomics: nothing waits for a lock.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use outrigger_proto::model::RetryBudget;
use tokio::time::Instant;

/// The budget of one backend, shared by all its requests.
pub(crate) struct Budget {
    percent: AtomicU32,
    min_retries: AtomicU32,
    slot_millis: AtomicU64,
    /// Whether a policy sets it: who is over it then is told so.
    set: AtomicBool,
    requests: Window,
    retries: Window,
    start: Instant,
}

impl Default for Budget {
    fn default() -> Self {
        let budget = Self {
            percent: AtomicU32::new(0),
            min_retries: AtomicU32::new(0),
            slot_millis: AtomicU64::new(1),
            set: AtomicBool::new(false),
            requests: Window::default(),
            retries: Window::default(),
            start: Instant::now(),
        };
        budget.set(None);
        budget
    }
}

impl Budget {
    /// Takes other numbers; `None` takes the default ones. What was counted counts on.
    pub(crate) fn set(&self, budget: Option<&RetryBudget>) {
        let RetryBudget { percent, interval, min_retries } = budget.unwrap_or(&DEFAULT);
        self.percent.store(*percent, Ordering::Relaxed);
        self.min_retries.store(*min_retries, Ordering::Relaxed);
        let slot = (interval.as_millis() as u64 / SLOTS as u64).max(1);
        self.slot_millis.store(slot, Ordering::Relaxed);
        self.set.store(budget.is_some(), Ordering::Relaxed);
    }

    /// Says whether a policy sets it.
    pub(crate) fn is_set(&self) -> bool {
        self.set.load(Ordering::Relaxed)
    }

    /// Counts a request.
    pub(crate) fn deposit(&self) {
        self.requests.add(self.epoch());
    }

    /// Takes one retry out, if there is one.
    pub(crate) fn withdraw(&self) -> bool {
        let epoch = self.epoch();
        let earned = self.requests.sum(epoch) * u64::from(self.percent.load(Ordering::Relaxed)) / 100;
        let allowed = earned.max(u64::from(self.min_retries.load(Ordering::Relaxed)));
        // Two workers at once may overdraw by one.
        let spare = self.retries.sum(epoch) < allowed;
        if spare {
            self.retries.add(epoch);
        }
        spare
    }

    /// The number of the present slot, from 1; it may wrap after years.
    fn epoch(&self) -> u32 {
        let millis = self.start.elapsed().as_millis() as u64;
        (millis / self.slot_millis.load(Ordering::Relaxed)) as u32 + 1
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Budget")
    }
}

/// Counts over the last [`SLOTS`] slots.
#[derive(Default)]
struct Window([AtomicU64; SLOTS]);

impl Window {
    /// A slot holds the number of the epoch that it counts, and the count.
    fn add(&self, epoch: u32) {
        let slot = &self.0[epoch as usize % SLOTS];
        let next = |old: u64| {
            let count = if (old >> 32) as u32 == epoch { old as u32 } else { 0 };
            Some(u64::from(epoch) << 32 | u64::from(count.saturating_add(1)))
        };
        // `next` always says something.
        let _ = slot.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    }

    fn sum(&self, epoch: u32) -> u64 {
        let slots = self.0.iter().map(|slot| slot.load(Ordering::Relaxed));
        let recent = slots.filter(|slot| epoch.wrapping_sub((slot >> 32) as u32) < SLOTS as u32);
        recent.map(|slot| slot & u64::from(u32::MAX)).sum()
    }
}

const SLOTS: usize = 10;

/// The defaults of GEP-3388: a fifth of the requests of ten seconds, and ten a second.
const DEFAULT: RetryBudget = RetryBudget { percent: 20, interval: Duration::from_secs(10), min_retries: 100 };

#[cfg(test)]
mod tests {
    use super::*;

    fn spend(budget: &Budget) -> usize {
        (0..10_000).filter(|_| budget.withdraw()).count()
    }

    #[tokio::test(start_paused = true)]
    async fn allows_a_fifth_of_the_requests_or_ten_a_second() {
        let budget = Budget::default();
        assert_eq!(spend(&budget), 100);

        (0..1000).for_each(|_| budget.deposit());

        assert_eq!(spend(&budget), 100, "200 of 1000, of which 100 are spent");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_older_than_the_interval_does_not_count() {
        let budget = Budget::default();
        budget.set(Some(&RetryBudget { percent: 50, interval: Duration::from_secs(2), min_retries: 0 }));
        (0..10).for_each(|_| budget.deposit());
        tokio::time::advance(Duration::from_secs(1)).await;
        (0..20).for_each(|_| budget.deposit());

        tokio::time::advance(Duration::from_millis(1100)).await;
        assert_eq!(spend(&budget), 10, "half of the 20 that are left");
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(spend(&budget), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn retries_never_exceed_the_share_however_requests_come() {
        let budget = Budget::default();
        budget.set(Some(&RetryBudget { percent: 20, interval: Duration::from_secs(1), min_retries: 3 }));
        for _ in 0..500 {
            let requests = crate::random::random() % 50;
            (0..requests).for_each(|_| budget.deposit());
            let _spent = (0..crate::random::random() % 40).filter(|_| budget.withdraw()).count();
            let epoch = budget.epoch();
            let allowed = (budget.requests.sum(epoch) / 5).max(3);
            // Requests leave the window before the retries that they have earned.
            let earned_before = budget.retries.sum(epoch);
            if spend(&budget) > 0 {
                assert!(earned_before < allowed && budget.retries.sum(epoch) == allowed);
            }
            tokio::time::advance(Duration::from_millis(crate::random::random() % 300)).await;
        }
    }
}
