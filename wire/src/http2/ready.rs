//! What of a connection's task has something to do: a bit for each of its parts, so that a wake-up polls that part and no other, and the
//! task is woken only when it sleeps.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::task::{Wake, Waker};

use parking_lot::Mutex;

/// The bits, and the task they belong to.
#[derive(Debug)]
pub(super) struct Ready {
    task: AtomicU8,
    waker: Mutex<Option<Waker>>,
    words: Box<[AtomicU64]>,
    /// How many of the words have a bit that somebody may set.
    used: AtomicUsize,
    /// Some bit may be set.
    any: AtomicBool,
}

impl Ready {
    /// For `streams` streams and what every connection has.
    pub(super) fn new(streams: usize) -> Self {
        let words = (streams + FIRST_STREAM).div_ceil(64);
        Self {
            task: AtomicU8::new(AWAKE),
            waker: Mutex::new(None),
            used: AtomicUsize::new(1),
            words: (0..words).map(|_| AtomicU64::new(0)).collect(),
            any: AtomicBool::new(false),
        }
    }

    /// The task begins to work.
    pub(super) fn begin(&self, waker: &Waker) {
        {
            let mut held = self.waker.lock();
            if !held.as_ref().is_some_and(|held| held.will_wake(waker)) {
                *held = Some(waker.clone());
            }
        }
        self.task.swap(AWAKE, Ordering::AcqRel);
    }

    /// The task means to sleep; `false` if there is something to do after all.
    pub(super) fn sleep(&self) -> bool {
        self.task.compare_exchange(AWAKE, ASLEEP, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// The task looks once more before it sleeps.
    pub(super) fn look_again(&self) {
        self.task.swap(AWAKE, Ordering::AcqRel);
    }

    /// There is something to do: wakes the task if it sleeps.
    pub(super) fn notify(&self) {
        if self.task.swap(NOTIFIED, Ordering::AcqRel) == ASLEEP
            && let Some(waker) = &*self.waker.lock()
        {
            waker.wake_by_ref();
        }
    }

    /// The task is over; nothing of it is kept.
    pub(super) fn end(&self) {
        self.task.swap(AWAKE, Ordering::AcqRel);
        *self.waker.lock() = None;
    }

    /// Sets a bit, for the task itself.
    pub(super) fn mark(&self, bit: usize) {
        if let Some(word) = self.words.get(bit / 64) {
            word.fetch_or(1 << (bit % 64), Ordering::AcqRel);
            self.any.store(true, Ordering::Release);
        }
    }

    /// Whether bits were set since this was last asked.
    pub(super) fn take_any(&self) -> bool {
        self.any.load(Ordering::Acquire) && self.any.swap(false, Ordering::AcqRel)
    }

    /// Takes the bits of one word; `None` behind the last.
    pub(super) fn take(&self, word: usize) -> Option<u64> {
        let word = self.words.get(word).filter(|_| word < self.used.load(Ordering::Acquire))?;
        Some(if word.load(Ordering::Acquire) == 0 { 0 } else { word.swap(0, Ordering::AcqRel) })
    }

    fn set(&self, bit: usize) {
        let Some(word) = self.words.get(bit / 64) else { return };
        let mask = 1 << (bit % 64);
        if word.fetch_or(mask, Ordering::AcqRel) & mask == 0 {
            self.any.store(true, Ordering::Release);
            self.notify();
        }
    }
}

/// A waker that sets `bit`.
pub(super) fn waker(ready: &Arc<Ready>, bit: usize) -> Waker {
    ready.used.fetch_max(bit / 64 + 1, Ordering::AcqRel);
    Waker::from(Arc::new(Bit { ready: ready.clone(), bit }))
}

#[derive(Debug)]
struct Bit {
    ready: Arc<Ready>,
    bit: usize,
}

impl Wake for Bit {
    fn wake(self: Arc<Self>) {
        self.ready.set(self.bit);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ready.set(self.bit);
    }
}

const ASLEEP: u8 = 0;
const AWAKE: u8 = 1;
const NOTIFIED: u8 = 2;

/// The parts that every connection has.
pub(super) const READ: usize = 0;
pub(super) const WRITE: usize = 1;
pub(super) const TIMER: usize = 2;
pub(super) const DRAIN: usize = 3;
/// The bit of the first stream's slot.
pub(super) const FIRST_STREAM: usize = 4;
