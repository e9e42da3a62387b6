//! How many have ended, how, and how long they took.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::class::Class;
use super::latency::Latency;

/// What took longer counts as slow, whatever it ended with: a second is long for every caller that waits.
const SLOW: Duration = Duration::from_secs(1);

/// Requests, or attempts.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    ended: [AtomicU64; Class::ALL.len()],
    abandoned: AtomicU64,
    slow: AtomicU64,
    /// Of those that have a class.
    latency: Latency,
}

impl Tally {
    /// One has ended; without a class its client gave it up, and how long it took says nothing.
    pub(crate) fn ended(&self, class: Option<Class>, took: Duration) {
        let Some(class) = class else {
            self.abandoned.fetch_add(1, Ordering::Relaxed);
            return;
        };
        self.ended[class as usize].fetch_add(1, Ordering::Relaxed);
        self.latency.observe(took);
        if took > SLOW {
            self.slow.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many have ended, by [`Class::ALL`].
    pub(crate) fn by_class(&self) -> [u64; Class::ALL.len()] {
        self.ended.each_ref().map(|count| count.load(Ordering::Relaxed))
    }

    pub(crate) fn abandoned(&self) -> u64 {
        self.abandoned.load(Ordering::Relaxed)
    }

    pub(crate) fn slow(&self) -> u64 {
        self.slow.load(Ordering::Relaxed)
    }

    pub(crate) fn latency(&self) -> &Latency {
        &self.latency
    }

    /// All that have ended in whatever way.
    pub(crate) fn total(&self) -> u64 {
        self.by_class().iter().sum::<u64>() + self.abandoned()
    }
}
