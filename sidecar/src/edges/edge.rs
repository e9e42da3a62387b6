//! One edge, and an attempt on it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{HeaderMap, Response};

use super::EdgeName;
use super::class::Class;
use super::tally::Tally;

/// Counters of all that went one way.
#[derive(Debug)]
pub(crate) struct Edge {
    pub(crate) name: EdgeName,
    /// Another one when an edge of this name has come back: its counters have begun anew.
    pub(crate) number: u32,
    is_overflow: bool,
    started: AtomicU64,
    /// What was sent, one by one: before retries.
    pub(crate) attempts: Tally,
    /// What the client saw: after retries.
    pub(crate) requests: Tally,
    pub(crate) connections: Connections,
}

/// Connections for bytes.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    pub(crate) opened: AtomicU64,
    pub(crate) closed: AtomicU64,
    failed: [AtomicU64; Class::ALL.len()],
    /// Bytes that the workload sent.
    pub(crate) sent: AtomicU64,
    /// Bytes that the workload received.
    pub(crate) received: AtomicU64,
}

impl Edge {
    pub(super) fn new(name: EdgeName, number: u32) -> Self {
        Self {
            name,
            number,
            is_overflow: false,
            started: AtomicU64::new(0),
            attempts: Tally::default(),
            requests: Tally::default(),
            connections: Connections::default(),
        }
    }

    pub(super) fn overflow(name: EdgeName, number: u32) -> Self {
        Self { is_overflow: true, ..Self::new(name, number) }
    }

    /// Says whether it stands for all edges for which there was no room.
    pub(crate) fn is_overflow(&self) -> bool {
        self.is_overflow
    }

    /// Attempts that have begun.
    pub(crate) fn started(&self) -> u64 {
        self.started.load(Ordering::Relaxed)
    }

    /// Grows with all that happens; what it was before says whether anything has.
    pub(crate) fn total(&self) -> u64 {
        let Connections { opened, closed, sent, received, .. } = &self.connections;
        let connections: u64 = [opened, closed, sent, received].iter().map(|count| count.load(Ordering::Relaxed)).sum();
        let failed: u64 = self.connections.failed().iter().sum();
        self.started() + self.attempts.total() + self.requests.total() + connections + failed
    }
}

impl Connections {
    /// A connection could not be opened; without a class its client gave it up.
    pub(crate) fn not_opened(&self, class: Option<Class>) {
        if let Some(class) = class {
            self.failed[class as usize].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many could not be opened, by [`Class::ALL`].
    pub(crate) fn failed(&self) -> [u64; Class::ALL.len()] {
        self.failed.each_ref().map(|count| count.load(Ordering::Relaxed))
    }
}

/// One attempt, counted when it goes.
#[derive(Debug)]
pub(crate) struct Attempt {
    edge: Arc<Edge>,
    class: Option<Class>,
    took: Duration,
    is_whole: bool,
}

impl Attempt {
    pub(crate) fn begin(edge: Arc<Edge>) -> Self {
        edge.started.fetch_add(1, Ordering::Relaxed);
        Self { edge, class: None, took: Duration::ZERO, is_whole: false }
    }

    /// The response's head is here, after so long.
    pub(crate) fn answered<B>(&mut self, response: &Response<B>, took: Duration) {
        self.class = Class::of_response(response.status(), response.headers());
        self.took = took;
    }

    /// The response's trailers are here.
    pub(crate) fn trailers(&mut self, trailers: &HeaderMap) {
        if self.class == Some(Class::Ok) {
            self.class = Class::of_trailers(trailers);
        }
    }

    /// It has failed, after so long, or was given up by its client.
    pub(crate) fn failed(&mut self, class: Option<Class>, took: Duration) {
        (self.class, self.took) = (class, took);
    }

    /// The response broke off.
    pub(crate) fn broke_off(&mut self) {
        self.class = Some(Class::Reset);
    }

    /// The response has ended in good order.
    pub(crate) fn complete(&mut self) {
        self.is_whole = true;
    }

    pub(crate) fn has_class(&self) -> bool {
        self.class.is_some()
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        // A good response that nobody reads to its end was not wanted any more. One that fails is one, read or not.
        let class = self.class.filter(|class| self.is_whole || *class != Class::Ok);
        self.edge.attempts.ended(class, self.took);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::direction::Direction;

    #[test]
    fn an_attempt_counts_as_what_it_ended_with() {
        let edge = Arc::new(Edge::new(EdgeName::unknown(Direction::Outbound), 2));
        let status = |status: u16| Response::builder().status(status).body(()).unwrap();
        let answered = |code, is_whole| {
            let mut attempt = Attempt::begin(edge.clone());
            attempt.answered(&status(code), Duration::from_millis(1));
            if is_whole {
                attempt.complete();
            }
        };
        answered(200, true);
        answered(200, false); // its client left
        answered(503, false); // it was repeated
        let mut call = Attempt::begin(edge.clone());
        call.answered(&status(200), Duration::from_secs(2));
        call.trailers(&HeaderMap::from_iter([("grpc-status".parse().unwrap(), "14".parse().unwrap())]));
        call.complete();
        drop(call);
        let mut broken = Attempt::begin(edge.clone());
        broken.answered(&status(200), Duration::ZERO);
        broken.broke_off();
        drop(broken);
        let given_up = Attempt::begin(edge.clone());
        assert_eq!((edge.started(), edge.attempts.total()), (6, 5), "one is in flight");
        drop(given_up);

        assert_eq!(edge.attempts.by_class(), [1, 0, 1, 1, 1, 0, 0, 0]);
        assert_eq!((edge.attempts.abandoned(), edge.attempts.slow()), (2, 1));
        assert_eq!(edge.attempts.latency().buckets().iter().sum::<u64>(), 4, "of what was given up, nothing is learnt");
    }
}
