//! What edges have added of late, in slots of two seconds: as long as the longest window.

use std::collections::VecDeque;
use std::time::Duration;

use super::counts::{Counts, Sparse};

/// The shortest time between two reports.
pub(crate) const SLOT: Duration = Duration::from_secs(2);

/// Slots that are kept, with the one that is being filled.
const SLOTS: u64 = LONGEST.as_secs() / SLOT.as_secs() + 1;

/// The longest window.
pub(crate) const LONGEST: Duration = Duration::from_secs(60);

/// One edge of one workload, all its pods together.
#[derive(Debug, Default)]
pub(crate) struct History(VecDeque<(u64, Sparse)>);

impl History {
    /// Adds what was counted now; `now` is since some moment that stays the same.
    pub(crate) fn add(&mut self, counts: &Counts, now: Duration) {
        let slot = slot(now);
        self.forget(now);
        match self.0.back_mut().filter(|(last, _)| *last == slot) {
            None => self.0.push_back((slot, counts.into())),
            Some((_, kept)) => {
                let mut sum = Counts::from(&*kept);
                sum.add(counts);
                *kept = Sparse::from(&sum);
            }
        }
    }

    /// Adds up what was counted within the window that ends now.
    pub(crate) fn within(&self, window: Duration, now: Duration) -> Counts {
        let first = slot(now.saturating_sub(window));
        let mut sum = Counts::default();
        self.0.iter().filter(|(slot, _)| *slot >= first).for_each(|(_, kept)| sum.add(&Counts::from(kept)));
        sum
    }

    /// Lets go of what no window holds any more; says whether nothing is left.
    pub(crate) fn forget(&mut self, now: Duration) -> bool {
        let first = slot(now).saturating_sub(SLOTS);
        while self.0.front().is_some_and(|(slot, _)| *slot < first) {
            self.0.pop_front();
        }
        self.0.is_empty()
    }
}

/// Returns how long the window is that ends now: it begins where a slot begins.
pub(crate) fn length(window: Duration, now: Duration) -> Duration {
    now.saturating_sub(SLOT * u32::try_from(slot(now.saturating_sub(window))).unwrap_or(u32::MAX))
}

fn slot(at: Duration) -> u64 {
    at.as_secs() / SLOT.as_secs()
}

#[cfg(test)]
mod tests {
    use outrigger_proto::wire;

    use super::*;

    fn counts(started: u64) -> Counts {
        Counts::of(&wire::Counters { started, ..Default::default() })
    }

    #[test]
    fn a_window_has_what_was_counted_in_it_and_what_is_older_goes() {
        let mut history = History::default();
        let at = Duration::from_secs;
        for second in 0..100 {
            history.add(&counts(1), at(second));
        }
        assert_eq!(history.within(at(10), at(99)).started(), 12, "slots that the window touches");
        assert_eq!(history.within(LONGEST, at(99)).started(), 62);
        assert_eq!([length(at(10), at(99)), length(at(10), at(98)), length(at(10), at(3))], [11, 10, 3].map(at));
        assert!(history.0.len() <= SLOTS as usize + 1);
        assert_eq!(history.within(at(10), at(120)).started(), 0);
        assert!(!history.forget(at(120)) && history.forget(at(170)));
    }
}
