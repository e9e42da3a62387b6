//! Open connections to one endpoint, of one worker. HTTP/1 connections wait here between requests; HTTP/2
//! connections stay and carry many requests at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use hyper::client::conn::{http1, http2};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::balance::endpoint::InFlight;
use crate::http::Body;

/// HTTP/1 connections kept idle at most; more are closed when their request is done.
const MAX_IDLE: usize = 512;

/// Requests that one HTTP/2 connection carries at once before another is opened.
const STREAMS: u32 = 100;

#[derive(Default)]
pub(crate) struct Pool {
    http1: Mutex<Vec<Idle>>,
    http2: Mutex<Vec<Arc<Shared>>>,
    /// Held while an HTTP/2 connection is opened, so that a burst of requests opens one and not a hundred.
    pub(crate) opening: tokio::sync::Mutex<()>,
}

struct Idle {
    sender: http1::SendRequest<Body>,
    since: Instant,
}

/// An HTTP/2 connection.
pub(crate) struct Shared {
    sender: http2::SendRequest<Body>,
    streams: AtomicU32,
    /// HTTP/1 inside: a separate connection, because its ALPN differs.
    wrapped: bool,
}

/// What sends a request.
pub(crate) enum Sender {
    Http1(http1::SendRequest<Body>),
    Http2 {
        sender: http2::SendRequest<Body>,
        /// Given back with the sender.
        _place: Stream,
    },
}

/// One request's place on an HTTP/2 connection.
pub(crate) struct Stream(Arc<Shared>);

impl Pool {
    /// Takes an idle HTTP/1 connection, the one used last: the others may age and be closed.
    pub(crate) fn take_http1(&self) -> Option<Sender> {
        let mut idle = self.http1.lock();
        while let Some(Idle { sender, .. }) = idle.pop() {
            if !sender.is_closed() {
                return Some(Sender::Http1(sender));
            }
        }
        None
    }

    /// Joins an HTTP/2 connection that has room.
    pub(crate) fn join_http2(&self, wrapped: bool) -> Option<Sender> {
        let mut shared = self.http2.lock();
        shared.retain(|connection| !connection.sender.is_closed());
        let free = shared.iter().find(|c| c.wrapped == wrapped && c.streams.load(Ordering::Relaxed) < STREAMS);
        free.map(Shared::join)
    }

    /// Adds an HTTP/2 connection and joins it.
    pub(crate) fn add_http2(&self, sender: http2::SendRequest<Body>, wrapped: bool) -> Sender {
        let shared = Arc::new(Shared { sender, streams: AtomicU32::new(0), wrapped });
        let joined = shared.join();
        self.http2.lock().push(shared);
        joined
    }

    /// Closes what has been idle for `limit`.
    pub(crate) fn reap(&self, limit: Duration) {
        let mut idle = self.http1.lock();
        idle.retain(|connection| !connection.sender.is_closed() && connection.since.elapsed() < limit);
        if idle.is_empty() {
            idle.shrink_to_fit();
        }
        drop(idle);
        self.http2.lock().retain(|connection| !connection.sender.is_closed());
    }

    /// Closes everything that is not in use: the endpoint is gone.
    pub(crate) fn clear(&self) {
        self.http1.lock().clear();
        self.http2.lock().clear();
    }

    fn put_http1(&self, sender: http1::SendRequest<Body>) {
        let mut idle = self.http1.lock();
        if idle.len() < MAX_IDLE && !sender.is_closed() {
            idle.push(Idle { sender, since: Instant::now() });
        }
    }
}

impl Shared {
    fn join(self: &Arc<Self>) -> Sender {
        self.streams.fetch_add(1, Ordering::Relaxed);
        Sender::Http2 { sender: self.sender.clone(), _place: Stream(self.clone()) }
    }
}

/// A connection's use by one request, from its choice until its response has been read to the end.
pub(crate) struct Lease {
    in_flight: InFlight,
    worker: usize,
    sender: Option<Sender>,
}

impl Lease {
    pub(crate) fn new(in_flight: InFlight, worker: usize, sender: Sender) -> Self {
        Self { in_flight, worker, sender: Some(sender) }
    }

    pub(crate) fn sender(&mut self) -> Option<&mut Sender> {
        self.sender.as_mut()
    }

    pub(crate) fn answered(&self) {
        self.in_flight.answered();
    }

    /// The response has ended in good order: an HTTP/1 connection can serve the next request.
    pub(crate) fn give_back(mut self) {
        if let Some(Sender::Http1(sender)) = self.sender.take() {
            self.in_flight.endpoint().pool(self.worker).put_http1(sender);
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Ordering::Relaxed);
    }
}
