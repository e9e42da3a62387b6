//! An orderly end: everyone who must know hears about it, and everyone who is at work is waited for.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::AbortHandle;
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// One drain of one process (or of one side of it). Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Drain(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// The same as `started` says, for those who ask with each request.
    is_started: AtomicBool,
    started: CancellationToken,
    tracker: TaskTracker,
}

impl Drain {
    /// Makes a drain that has not started.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts it. Nothing is cut: tasks learn of it through [`Drain::started`].
    pub fn start(&self) {
        self.0.is_started.store(true, Ordering::Release);
        self.0.started.cancel();
        self.0.tracker.close();
    }

    /// Completes when the drain has started.
    pub fn started(&self) -> WaitForCancellationFuture<'_> {
        self.0.started.cancelled()
    }

    /// Says whether the drain has started.
    #[must_use]
    pub fn is_started(&self) -> bool {
        self.0.is_started.load(Ordering::Acquire)
    }

    /// Runs a task that the drain waits for.
    pub fn spawn<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.0.tracker.spawn(task);
    }

    /// As [`Drain::spawn`]; the answer can end the task before it is done.
    pub fn spawn_abortable<F>(&self, task: F) -> AbortHandle
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.0.tracker.spawn(task).abort_handle()
    }

    /// Returns a guard that the drain waits for; drop it when the work is done.
    pub fn guard(&self) -> TaskTrackerToken {
        self.0.tracker.token()
    }

    /// Returns how many tasks and guards there are.
    #[must_use]
    pub fn active(&self) -> usize {
        self.0.tracker.len()
    }

    /// Waits until all work is done; `false` when `limit` came first.
    pub async fn finished(&self, limit: Duration) -> bool {
        self.0.tracker.close();
        tokio::time::timeout(limit, self.0.tracker.wait()).await.is_ok()
    }
}

/// Completes on SIGTERM or SIGINT and returns the signal's name.
///
/// # Errors
/// When the process cannot listen for signals.
pub async fn shutdown_signal() -> std::io::Result<&'static str> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn waits_for_work_and_no_longer_than_the_limit() {
        let drain = Drain::new();
        let guard = drain.guard();
        drain.start();

        assert!(drain.is_started());
        assert!(!drain.finished(Duration::from_secs(1)).await);
        drop(guard);
        assert!(drain.finished(Duration::from_secs(1)).await);
    }
}
