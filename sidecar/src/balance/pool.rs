//! Open connections to one endpoint, of one worker. HTTP/1 connections wait here between requests, and tunnels between connections of bytes; HTTP/2
//! connections stay and carry many requests at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use outrigger_proto::ErrorCode;
use outrigger_wire::{http1, http2};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::balance::keep_alive::KeepAlive;
use crate::body::Body;
use crate::error::ProxyError;
use crate::grants;
use crate::headers::Leaving;
use crate::stream::{Connection, Io};

/// HTTP/1 connections kept idle at most, and as many tunnels; more are closed when their request is done.
const MAX_IDLE: usize = 512;

/// How long an HTTP/2 connection without requests stays that was not made for those of HTTP/1: its app may hold it against us that we come and
/// go, and its client may be gone for good.
const IDLE_HTTP2: Duration = Duration::from_secs(3600);

/// How long a tunnel waits for the next connection of bytes. A handshake once in so long is nothing, and a burst leaves as many as were open at once.
const IDLE_TUNNEL: Duration = Duration::from_secs(15);

/// How much HTTP/2 connections carry before another is opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    /// Requests at once on one, if its peer takes as many.
    streams: u32,
    /// Connections; then requests go to the one with the fewest.
    connections: usize,
    /// Requests at once on one, however many connections there are.
    most: u32,
}

impl Room {
    /// For connections that many clients share.
    pub(crate) const SHARED: Self =
        Self { streams: grants::SHARED_STREAMS, connections: usize::MAX, most: grants::SHARED_STREAMS };
    /// For connections that carry many requests of HTTP/1. On one, all that comes together goes on together: both sidecars take turns where they could
    /// work at the same time.
    pub(crate) const CROWD: Self = Self { streams: 8, connections: 16, most: grants::SHARED_STREAMS };
    /// For connections to the app that serve one client's connection: as many requests as the app takes.
    pub(crate) const OWN: Self =
        Self { streams: grants::MAX_STREAMS, connections: grants::APP_CONNECTIONS, most: u32::MAX };
}

#[derive(Default)]
pub(crate) struct Pool {
    http1: Mutex<Vec<Idle>>,
    http2: Mutex<Vec<Kept>>,
    tunnels: Mutex<Vec<IdleTunnel>>,
    /// Held while an HTTP/2 connection is opened, so that a burst of requests opens one and not a hundred. It has the last failure: those that
    /// waited for that connection share it. Else each in turn would wait for an endpoint that does not answer.
    pub(crate) opening: tokio::sync::Mutex<Option<NotOpened>>,
    leaving: Arc<Leaving>,
    keep_alive: Arc<KeepAlive>,
}

/// Why a connection could not be opened, and when.
pub(crate) struct NotOpened {
    at: Instant,
    code: ErrorCode,
    detail: String,
}

impl NotOpened {
    /// Remembers that nobody answered: that does not depend on what the connection was to carry.
    pub(crate) fn new(error: &ProxyError) -> Option<Self> {
        let share = matches!(error.code, ErrorCode::ConnectionRefused | ErrorCode::ConnectionTimeout);
        share.then(|| Self { at: Instant::now(), code: error.code, detail: error.detail.clone() })
    }

    /// The error for a request that has waited since then.
    pub(crate) fn for_who_waited(&self, since: Instant) -> Option<ProxyError> {
        (self.at >= since).then(|| ProxyError::new(self.code, self.detail.clone()))
    }
}

struct Idle {
    connection: Http1,
    since: Instant,
}

struct IdleTunnel {
    io: Io,
    since: Instant,
}

/// An HTTP/2 connection in its pool.
struct Kept {
    shared: Arc<Shared>,
    /// Requests that it had been given when it was last looked at.
    used: u32,
    /// Since when it has been given none.
    since: Instant,
}

/// An HTTP/1 connection.
pub(crate) struct Http1 {
    pub(crate) connection: http1::Connection<Io>,
    _counted: Connection,
    /// Requests before the present one.
    pub(super) used: u32,
}

impl Http1 {
    pub(crate) fn new(connection: http1::Connection<Io>, counted: Connection) -> Self {
        Self { connection, _counted: counted, used: 0 }
    }
}

/// An HTTP/2 connection.
pub(crate) struct Shared {
    sender: http2::Sender<Body>,
    streams: AtomicU32,
    /// Requests that it was given.
    used: AtomicU32,
    connection: Connection,
    /// HTTP/1 inside: a separate connection, because its ALPN differs.
    wrapped: bool,
}

/// What sends a request.
pub(crate) enum Sender {
    Http1(Http1),
    Http2 {
        sender: http2::Sender<Body>,
        /// Given back with the sender.
        _place: Stream,
    },
}

/// One request's place on an HTTP/2 connection.
pub(crate) struct Stream(Arc<Shared>);

impl Pool {
    /// Makes an empty one. What is said unasked on its connections goes to `leaving`, and when they are closed to `keep_alive`.
    pub(super) fn new(leaving: &Arc<Leaving>, keep_alive: &Arc<KeepAlive>) -> Self {
        Self { leaving: leaving.clone(), keep_alive: keep_alive.clone(), ..Self::default() }
    }

    /// Says whether an idle connection can be used. What its peer has said unasked, 408 for instance (RFC 9110 section 15.5.9), has it closed.
    fn is_open(&self, Idle { connection, since }: &Idle) -> bool {
        if connection.connection.is_open() {
            return true;
        }
        match connection.connection.unasked() {
            Some(unasked) => self.leaving.heard_in(unasked.headers()),
            None => self.keep_alive.closed_after(since.elapsed()),
        }
        false
    }

    /// Takes an idle HTTP/1 connection, the one used last: the others may age and be closed. One that has been idle for `limit` is not used again.
    pub(crate) fn take_http1(&self, limit: Duration) -> Option<Sender> {
        let mut idle = self.http1.lock();
        while let Some(kept) = idle.pop() {
            if self.is_open(&kept) && kept.since.elapsed() < limit {
                let Idle { connection, .. } = kept;
                return Some(Sender::Http1(connection));
            }
        }
        None
    }

    /// Takes an idle tunnel, the one used last.
    pub(crate) fn take_tunnel(&self) -> Option<Io> {
        let mut idle = self.tunnels.lock();
        while let Some(IdleTunnel { mut io, since }) = idle.pop() {
            if io.is_open_tunnel() && since.elapsed() < IDLE_TUNNEL {
                return Some(io);
            }
        }
        None
    }

    /// Keeps a connection for the next one of bytes, if it can carry one.
    pub(super) fn put_tunnel(&self, io: Io) {
        let mut idle = self.tunnels.lock();
        if idle.len() < MAX_IDLE && io.is_free_tunnel() {
            idle.push(IdleTunnel { io, since: Instant::now() });
        }
    }

    /// Joins an HTTP/2 connection that has room, and has not carried `most` requests.
    pub(crate) fn join_http2(&self, wrapped: bool, most: Option<u32>, room: Room) -> Option<Sender> {
        let mut all = self.http2.lock();
        let spent = |c: &Shared| most.is_some_and(|most| c.used.load(Ordering::Relaxed) >= most);
        let mut free = None;
        all.retain(|Kept { shared, .. }| {
            let takes = shared.sender.max_streams();
            if takes == 0 && shared.sender.is_closed() || spent(shared) {
                return false;
            }
            let takes = takes.min(room.streams as usize);
            if free.is_none() && shared.wrapped == wrapped && (shared.streams.load(Ordering::Relaxed) as usize) < takes
            {
                free = Some(shared.join());
            }
            true
        });
        if free.is_none() && all.len() >= room.connections {
            let fewest = all.iter().filter(|kept| kept.shared.wrapped == wrapped);
            let fewest = fewest.map(|kept| &kept.shared).min_by_key(|c| c.streams.load(Ordering::Relaxed));
            free = fewest.filter(|c| c.streams.load(Ordering::Relaxed) < room.most).map(Shared::join);
        }
        free
    }

    /// Adds an HTTP/2 connection and joins it.
    pub(crate) fn add_http2(&self, sender: http2::Sender<Body>, connection: Connection, wrapped: bool) -> Sender {
        let (streams, used) = (AtomicU32::new(0), AtomicU32::new(0));
        let shared = Arc::new(Shared { sender, streams, used, connection, wrapped });
        let joined = shared.join();
        self.http2.lock().push(Kept { shared, used: 0, since: Instant::now() });
        joined
    }

    /// Closes what has been idle for `limit`, and tunnels that have been for [`IDLE_TUNNEL`].
    pub(crate) fn reap(&self, limit: Duration) {
        let mut idle = self.http1.lock();
        idle.retain(|idle| self.is_open(idle) && idle.since.elapsed() < limit);
        if idle.is_empty() {
            idle.shrink_to_fit();
        }
        drop(idle);
        let mut tunnels = self.tunnels.lock();
        tunnels.retain_mut(|idle| idle.io.is_open_tunnel() && idle.since.elapsed() < IDLE_TUNNEL);
        if tunnels.is_empty() {
            tunnels.shrink_to_fit();
        }
        drop(tunnels);
        let spare = |kept: &mut Kept| kept.idle() >= if kept.shared.wrapped { limit } else { IDLE_HTTP2 };
        self.http2.lock().retain_mut(|kept| !kept.shared.sender.is_closed() && !spare(kept));
    }

    /// Closes one connection that is not in use; says whether there was one.
    pub(crate) fn close_one(&self) -> bool {
        let mut idle = self.http1.lock();
        if !idle.is_empty() {
            idle.remove(0);
            return true;
        }
        drop(idle);
        let mut tunnels = self.tunnels.lock();
        if !tunnels.is_empty() {
            tunnels.remove(0);
            return true;
        }
        drop(tunnels);
        let mut shared = self.http2.lock();
        let unused = shared.iter().position(|kept| kept.shared.streams.load(Ordering::Relaxed) == 0);
        unused.map(|place| shared.remove(place)).is_some()
    }

    /// Closes what is not in use. A shared connection takes no more requests; one of HTTP/1 that is lent out comes back if its exchange ends well.
    pub(crate) fn clear(&self) {
        self.http1.lock().clear();
        self.http2.lock().clear();
        self.tunnels.lock().clear();
    }

    pub(super) fn put_http1(&self, connection: Http1) {
        let mut idle = self.http1.lock();
        if idle.len() < MAX_IDLE && connection.connection.is_reusable() {
            idle.push(Idle { connection, since: Instant::now() });
        }
    }
}

impl Kept {
    /// Returns for how long it has had nothing to do, as far as looks at it tell.
    fn idle(&mut self) -> Duration {
        let used = self.shared.used.load(Ordering::Relaxed);
        if used != self.used || self.shared.streams.load(Ordering::Relaxed) > 0 {
            self.used = used;
            self.since = Instant::now();
        }
        self.since.elapsed()
    }
}

impl Shared {
    fn join(self: &Arc<Self>) -> Sender {
        self.streams.fetch_add(1, Ordering::Relaxed);
        self.used.fetch_add(1, Ordering::Relaxed);
        Sender::Http2 { sender: self.sender.clone(), _place: Stream(self.clone()) }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Ordering::Relaxed);
        self.0.connection.free();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    /// Opens an HTTP/2 connection to nobody and adds it; what is returned keeps it open.
    fn add(pool: &Pool, wrapped: bool) -> (Sender, impl Sized) {
        let (io, peer) = tokio::io::duplex(1024);
        let (sender, driver) = http2::connect(io, &http2::Settings::default());
        let counted = Arc::<crate::stream::Connections>::default().open(None).unwrap();
        (pool.add_http2(sender, counted, wrapped), (driver, peer))
    }

    /// Lets time pass as the sidecar does, which looks at its pools now and then.
    async fn pass(pool: &Pool, time: Duration) {
        for _ in 0..time.as_secs() {
            tokio::time::advance(Duration::from_secs(1)).await;
            pool.reap(LIMIT);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_http2_connection_for_http1_requests_closes_once_it_has_been_idle() {
        let pool = Pool::default();
        let (request, _open) = add(&pool, true);
        pass(&pool, 3 * LIMIT).await;
        drop(request);

        pass(&pool, LIMIT / 2).await;
        assert!(pool.join_http2(true, None, Room::SHARED).is_some(), "it had a request until a moment ago");
        pass(&pool, LIMIT / 2).await;
        assert!(pool.join_http2(true, None, Room::SHARED).is_some(), "a request came meanwhile");
        pass(&pool, LIMIT + Duration::from_secs(1)).await;
        assert!(pool.join_http2(true, None, Room::SHARED).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn an_http2_connection_of_an_app_stays_for_an_hour() {
        let pool = Pool::default();
        let (request, _open) = add(&pool, false);
        drop(request);

        pass(&pool, 3 * LIMIT).await;
        assert!(pool.join_http2(false, None, Room::SHARED).is_some());
        assert!(pool.join_http2(true, None, Room::SHARED).is_none(), "its ALPN is another");
        pass(&pool, IDLE_HTTP2 + Duration::from_secs(1)).await;
        assert!(pool.join_http2(false, None, Room::SHARED).is_none(), "it is not left behind");
    }

    #[tokio::test(start_paused = true)]
    async fn an_http2_connection_takes_a_hundred_requests_at_once_and_as_many_in_all_as_a_policy_says() {
        let pool = Pool::default();
        let (first, _open) = add(&pool, true);
        let rest: Vec<_> = (1..100).map(|_| pool.join_http2(true, None, Room::SHARED).expect("has room")).collect();
        assert!(pool.join_http2(true, None, Room::SHARED).is_none(), "is full");

        drop((first, rest));
        assert!(pool.join_http2(true, Some(101), Room::SHARED).is_some());
        assert!(pool.join_http2(true, Some(101), Room::SHARED).is_none(), "is spent");
    }

    #[tokio::test(start_paused = true)]
    async fn a_crowd_has_eight_requests_on_a_connection_until_there_are_sixteen_and_no_more_than_a_hundred_then() {
        let pool = Pool::default();
        let mut requests = Vec::new();
        let mut open = Vec::new();
        for connections in 1..=16 {
            assert!(pool.join_http2(true, None, Room::CROWD).is_none(), "all {} are full", connections - 1);
            let (first, peer) = add(&pool, true);
            requests.push(first);
            open.push(peer);
            requests.extend((1..8).map(|_| pool.join_http2(true, None, Room::CROWD).expect("has room")));
        }

        requests.extend((8 * 16..100 * 16).map(|_| pool.join_http2(true, None, Room::CROWD).expect("has room")));
        let streams: Vec<_> =
            pool.http2.lock().iter().map(|kept| kept.shared.streams.load(Ordering::Relaxed)).collect();
        assert_eq!(streams, [100; 16], "evenly");
        assert!(pool.join_http2(true, None, Room::CROWD).is_none(), "slow readers would hold up the others");
    }

    #[tokio::test(start_paused = true)]
    async fn who_waited_for_a_connection_that_nobody_accepted_does_not_dial_again() {
        let (early, wait) = (Instant::now(), Duration::from_secs(5));
        tokio::time::advance(wait).await;
        let failed = NotOpened::new(&ProxyError::new(ErrorCode::ConnectionTimeout, "nobody answers")).unwrap();
        tokio::time::advance(wait).await;
        let shared = failed.for_who_waited(early).unwrap();
        assert_eq!((shared.code, shared.fate), (ErrorCode::ConnectionTimeout, crate::error::Fate::NotProcessed));
        assert!(failed.for_who_waited(Instant::now()).is_none(), "a later request tries anew");
        let tls = ProxyError::new(ErrorCode::TlsProtocol, "did not agree to carry Http2");
        assert!(NotOpened::new(&tls).is_none(), "another protocol may be agreed to");
    }
}
