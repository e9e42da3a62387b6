//! Requests to the app whose caller waits for so long only, or that are themselves repetitions: what the app's own requests for them are to know.

use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::random::random;

/// So many are remembered; an older one is as good as unknown, which costs nobody a request.
const REMEMBERED: usize = 4096;

/// One request to the app.
#[derive(Debug)]
pub(crate) struct Hop {
    /// Which attempt it is, from 1.
    pub(super) attempt: u32,
    /// When its caller stops waiting.
    pub(super) until: Option<Instant>,
    /// The caller may go on waiting after all: the time is that of a request before its own, which may have been answered meanwhile.
    pub(super) is_lent: bool,
    state: AtomicU8,
}

/// The app is at it.
const OPEN: u8 = 0;
/// It has an answer: what the app does now it does on its own account.
const ANSWERED: u8 = 1;
/// It has none, and nobody waits for one.
const LEFT: u8 = 2;

impl Hop {
    pub(super) fn new(attempt: u32, until: Option<Instant>, is_lent: bool) -> Arc<Self> {
        Arc::new(Self { attempt, until, is_lent, state: AtomicU8::new(OPEN) })
    }

    /// The app's answer has begun, or the mesh's own.
    pub(super) fn answered(&self) {
        self.state.store(ANSWERED, Ordering::Relaxed);
    }

    /// Its caller has gone, or its time is up.
    pub(super) fn left(&self) {
        // An answer stays one.
        let _ = self.state.compare_exchange(OPEN, LEFT, Ordering::Relaxed, Ordering::Relaxed);
    }

    pub(super) fn is_answered(&self) -> bool {
        self.state.load(Ordering::Relaxed) == ANSWERED
    }

    /// Says whether its time is up and nobody has had an answer: what is done for it is done for nobody.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        let is_left = match self.state.load(Ordering::Relaxed) {
            ANSWERED => false,
            LEFT => true,
            _ => !self.is_lent,
        };
        is_left && self.until.is_some_and(|until| now >= until)
    }
}

/// Remembers a request; returns the number that stands for it in this process.
pub(super) fn remember(hop: &Arc<Hop>) -> u64 {
    let number = HOPS.next.fetch_add(1, Ordering::Relaxed);
    *HOPS.slot(number).lock() = Some((number, hop.clone()));
    u64::from(HOPS.process) << 32 | u64::from(number)
}

/// Finds a request by its number, unless it has been answered or is forgotten.
pub(super) fn find(number: u64) -> Option<Arc<Hop>> {
    let (process, number) = ((number >> 32) as u32, number as u32);
    if process != HOPS.process {
        return None;
    }
    let slot = HOPS.slot(number).lock();
    slot.as_ref().filter(|(own, hop)| *own == number && !hop.is_answered()).map(|(_, hop)| hop.clone())
}

struct Hops {
    /// Tells this process's numbers from another's, drawn at its start.
    process: u32,
    next: AtomicU32,
    slots: Box<[Slot]>,
}

/// A request and its number.
type Slot = Mutex<Option<(u32, Arc<Hop>)>>;

/// Of the whole process: a request comes to one worker, and what the app sends for it to any.
static HOPS: LazyLock<Hops> = LazyLock::new(|| Hops {
    process: (random() >> 32) as u32,
    next: AtomicU32::new(0),
    slots: (0..REMEMBERED).map(|_| Mutex::new(None)).collect(),
});

impl Hops {
    fn slot(&self, number: u32) -> &Slot {
        &self.slots[number as usize % self.slots.len()]
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_request_is_over_when_its_time_is_up_and_nobody_has_an_answer() {
        let soon = Instant::now() + Duration::from_millis(100);
        let (own, lent, without) =
            (Hop::new(1, Some(soon), false), Hop::new(1, Some(soon), true), Hop::new(2, None, false));
        let over = || [&own, &lent, &without].map(|hop| hop.is_over(Instant::now()));
        assert_eq!(over(), [false; 3]);

        tokio::time::advance(Duration::from_millis(100)).await;
        assert_eq!(over(), [true, false, false], "whoever lent the time may have been answered");

        [&own, &lent, &without].iter().for_each(|hop| hop.left());
        assert_eq!(over(), [true, true, false]);

        [&own, &lent, &without].iter().for_each(|hop| hop.answered());
        assert_eq!(over(), [false; 3]);
        own.left();
        assert!(own.is_answered() && !own.is_over(Instant::now()), "it stays answered");
    }

    #[test]
    fn a_number_finds_its_request_until_there_is_an_answer() {
        let hop = Hop::new(2, None, false);
        let number = remember(&hop);
        assert!(find(number).is_some_and(|found| Arc::ptr_eq(&found, &hop)));
        assert!(find(number ^ 1 << 40).is_none(), "another process's");

        hop.answered();
        assert!(find(number).is_none());
    }

    #[test]
    fn of_too_many_the_oldest_is_forgotten() {
        let hop = Hop::new(2, None, false);
        let number = remember(&hop);
        for _ in 0..REMEMBERED {
            remember(&hop);
        }
        assert!(find(number).is_none());
    }
}
