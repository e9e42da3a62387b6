//! The connections to one endpoint, counted: a policy may limit them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// The open connections to one endpoint, and who waits for one.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    open: AtomicU32,
    waiting: AtomicU32,
    freed: Notify,
}

impl Connections {
    /// Counts a connection that is about to be opened; `None` when there are `max` already.
    pub(crate) fn open(self: &Arc<Self>, max: Option<u32>) -> Option<Connection> {
        enter(&self.open, max.unwrap_or(u32::MAX)).then(|| Connection(self.clone()))
    }

    /// Starts to wait for a connection that is free or gone. Who looks for one after this call misses none.
    pub(crate) fn wait(&self) -> Waiting<'_> {
        // Before the caller looks into a pool, whose lock orders this before `free` of what is put there later.
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Waiting(self)
    }

    /// A connection has become free for the next request.
    pub(crate) fn free(&self) {
        if self.waiting.load(Ordering::Relaxed) > 0 {
            self.freed.notify_one();
        }
    }
}

/// Somebody who waits for a connection.
pub(crate) struct Waiting<'c>(&'c Connections);

impl<'c> Waiting<'c> {
    pub(crate) fn freed(&self) -> Notified<'c> {
        self.0.freed.notified()
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
        // Who gives up may have been the one that was woken.
        self.0.free();
    }
}

/// An open connection, counted until it goes.
#[derive(Debug)]
pub(crate) struct Connection(Arc<Connections>);

impl Connection {
    /// It can serve the next request.
    pub(crate) fn free(&self) {
        self.0.free();
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
        self.0.free();
    }
}

/// Counts one more, unless there are `max`.
pub(crate) fn enter(count: &AtomicU32, max: u32) -> bool {
    let next = |count: u32| (count < max).then_some(count + 1);
    count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_waits_is_woken_by_each_end_and_an_unlimited_count_goes_on() {
        let connections = Arc::new(Connections::default());
        let first = connections.open(Some(1)).unwrap();
        assert!(connections.open(Some(1)).is_none());
        let _more: Vec<_> = (0..9).map(|_| connections.open(None).unwrap()).collect();
        let waiting = connections.wait();
        let freed = waiting.freed();

        drop(first);

        freed.await;
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_passes_the_turn_on() {
        let connections = Arc::new(Connections::default());
        let one = connections.open(Some(1)).unwrap();
        let (gives_up, stays) = (connections.wait(), connections.wait());
        let (mut first, mut second) = (Box::pin(gives_up.freed()), Box::pin(stays.freed()));
        first.as_mut().enable();
        second.as_mut().enable();

        one.free();
        drop(first);
        drop(gives_up);

        second.await;
    }
}
