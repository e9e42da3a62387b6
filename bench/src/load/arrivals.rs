//! Requests that fall due at a fixed rate, whoever is free to send them.
//!
//! A thread of its own keeps the beat with the kernel's timer: tokio's has a grain of 1 ms, which at 2,000 requests/s would
//! send them in pairs.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use anyhow::Result;
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};
use tokio::sync::Semaphore;

/// The queue of due requests; its thread ends when the last handle is gone.
#[derive(Debug, Clone)]
pub(crate) struct Arrivals(Arc<Queue>);

#[derive(Debug)]
struct Queue {
    due: Mutex<VecDeque<Instant>>,
    waiting: Semaphore,
}

impl Arrivals {
    /// Starts the beat.
    pub(crate) fn start(rate: u32) -> Result<Self> {
        anyhow::ensure!(rate > 0, "a rate of 0 sends nothing");
        let period = Duration::from_secs(1) / rate;
        let timer = rustix::time::timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC)?;
        let every = Timespec { tv_sec: i64::try_from(period.as_secs())?, tv_nsec: i64::from(period.subsec_nanos()) };
        let start = Instant::now();
        let beat = Itimerspec { it_interval: every, it_value: every };
        rustix::time::timerfd_settime(&timer, TimerfdTimerFlags::empty(), &beat)?;
        let queue = Arc::new(Queue { due: Mutex::default(), waiting: Semaphore::new(0) });
        let handle = Arc::downgrade(&queue);
        std::thread::Builder::new().name("arrivals".into()).spawn(move || keep_beat(&handle, &timer, start, period))?;
        Ok(Self(queue))
    }

    /// Waits for the next due request; says when it was due, which may be a while ago.
    pub(crate) async fn next(&self) -> Instant {
        if let Ok(permit) = self.0.waiting.acquire().await {
            permit.forget();
        }
        let due = self.0.due.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        due.unwrap_or_else(Instant::now)
    }
}

fn keep_beat(queue: &Weak<Queue>, timer: &OwnedFd, start: Instant, period: Duration) {
    let mut beats = 0u32;
    let mut expired = [0u8; 8];
    while let Ok(8) = rustix::io::read(timer, &mut expired) {
        let Some(queue) = queue.upgrade() else { return };
        for _ in 0..u64::from_ne_bytes(expired) {
            beats = beats.saturating_add(1);
            queue.due.lock().unwrap_or_else(PoisonError::into_inner).push_back(start + period * beats);
            queue.waiting.add_permits(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn spaces_due_times_by_the_period_however_late_they_are_taken() {
        let arrivals = Arrivals::start(1000).unwrap();

        let first = arrivals.next().await;
        let mut last = first;
        for _ in 0..50 {
            last = arrivals.next().await;
        }

        assert_eq!(last - first, Duration::from_millis(50));
    }
}
