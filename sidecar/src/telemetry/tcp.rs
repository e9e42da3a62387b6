//! What is told about connections whose bytes are copied.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::SystemTime;

use outrigger_identity::Identity;
use outrigger_proto::ErrorCode;
use tokio::time::Instant;

use super::Telemetry;
use super::access_log::{AccessLog, CopiedEntry};
use super::metrics::{Copied, Labels, PeerLabel};
use super::trace::Kind;
use crate::balance::Backend;
use crate::caller::Caller;
use crate::destination::{Rule, Via};
use crate::direction::Direction;
use crate::edges::{Class, Edge};
use crate::error::ProxyError;
use crate::tcp::Way;

impl Telemetry {
    /// A connection of the workload is copied; `via` is where it leads.
    pub(crate) fn tcp_outbound(&self, via: Via) -> TcpRecord {
        let rule = via.rule.as_ref();
        let labels = Labels {
            kind: Kind::Client,
            grpc: false,
            route: rule.map(|rule| (&*rule.route, rule.index, &*rule.name)),
            peer: PeerLabel::backend(&via.backend.name),
            mutual: via.endpoint.identity.is_some(),
        };
        let series = self.connections.opened(&labels);
        let edge = via.backend.edge(&self.edges, rule, via.endpoint.identity.as_ref());
        self.tcp((series, edge), Ends::Outbound(via))
    }

    /// A connection of the workload could not be opened to any endpoint; `peer` is the identity of the last one.
    pub(crate) fn tcp_not_opened(
        &self,
        (backend, rule, peer): (&Backend, Option<&Arc<Rule>>, Option<&Identity>),
        error: &ProxyError,
    ) {
        backend.edge(&self.edges, rule, peer).connections.not_opened(Class::of_error(error));
    }

    /// A peer's connection was not taken by the app.
    pub(crate) fn tcp_not_taken(&self, caller: &Caller, error: &ProxyError) {
        caller.edge(&self.edges).connections.not_opened(Class::of_error(error));
    }

    /// A peer's connection is copied to the app.
    pub(crate) fn tcp_inbound(&self, caller: Arc<Caller>, app: SocketAddr) -> TcpRecord {
        let peer = PeerLabel::caller(&caller);
        let labels = Labels { kind: Kind::Server, grpc: false, route: None, peer, mutual: caller.peer.is_some() };
        let series = self.connections.opened(&labels);
        let edge = caller.edge(&self.edges).clone();
        self.tcp((series, edge), Ends::Inbound(caller, app))
    }

    fn tcp(&self, (series, edge): (Arc<Copied>, Arc<Edge>), ends: Ends) -> TcpRecord {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        edge.connections.opened.fetch_add(1, Ordering::Relaxed);
        TcpRecord {
            in_flight: self.in_flight.clone(),
            series,
            edge,
            access_log: self.access_log.clone(),
            ends,
            start: Instant::now(),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            error: None,
        }
    }
}

/// Who is joined.
enum Ends {
    Outbound(Via),
    Inbound(Arc<Caller>, SocketAddr),
}

/// A connection that is being copied; told when it is dropped.
pub(crate) struct TcpRecord {
    in_flight: Arc<AtomicUsize>,
    series: Arc<Copied>,
    edge: Arc<Edge>,
    access_log: Arc<AccessLog>,
    ends: Ends,
    start: Instant,
    sent: AtomicU64,
    received: AtomicU64,
    error: Option<io::Error>,
}

impl TcpRecord {
    /// Counts copied bytes; [`Way::There`] is from the side that dialled to the side that was dialled.
    pub(crate) fn copied(&self, way: Way, bytes: usize) {
        // Seen from the workload: outbound it dialled, inbound it was dialled.
        let all = &self.edge.connections;
        let counters = match (&self.ends, way) {
            (Ends::Outbound(_), Way::There) | (Ends::Inbound(..), Way::Back) => {
                [&self.sent, &self.series.sent, &all.sent]
            }
            (Ends::Outbound(_), Way::Back) | (Ends::Inbound(..), Way::There) => {
                [&self.received, &self.series.received, &all.received]
            }
        };
        for counter in counters {
            counter.fetch_add(bytes as u64, Ordering::Relaxed);
        }
    }

    /// The connection has ended. One on which nobody said a word has not failed, however it ended: somebody looked
    /// whether the port is open, or a peer dialled for bytes when HTTP was still to come.
    pub(crate) fn end(mut self, result: io::Result<()>) {
        let said = *self.sent.get_mut() > 0 || *self.received.get_mut() > 0;
        self.error = result.err().filter(|_| said);
    }

    fn log(&self) {
        let failed = self.error.is_some();
        if !self.access_log.wants(failed) {
            return;
        }
        let error = self.error.as_ref().map(|error| (ErrorCode::ConnectionTerminated, error));
        let entry = CopiedEntry {
            time: SystemTime::now(),
            direction: Direction::Outbound,
            duration: self.start.elapsed(),
            sent: self.sent.load(Ordering::Relaxed),
            received: self.received.load(Ordering::Relaxed),
            route: None,
            backend: None,
            server: None,
            client: None,
            peer_identity: None,
            error,
        };
        self.access_log.write(&match &self.ends {
            Ends::Outbound(via) => CopiedEntry {
                route: via.rule.as_deref().map(|rule| rule as _),
                backend: Some(&via.backend.name),
                server: Some(via.endpoint.address),
                peer_identity: via.endpoint.identity.as_ref().map(Identity::as_str),
                ..entry
            },
            Ends::Inbound(caller, app) => CopiedEntry {
                direction: Direction::Inbound,
                server: Some(*app),
                client: Some(caller.address),
                peer_identity: caller.peer.as_ref().map(|peer| peer.identity.as_str()),
                ..entry
            },
        });
    }
}

impl Drop for TcpRecord {
    fn drop(&mut self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.series.open.fetch_sub(1, Ordering::Relaxed);
        self.edge.connections.closed.fetch_add(1, Ordering::Relaxed);
        self.log();
    }
}

impl fmt::Debug for TcpRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpRecord").field("series", &self.series).finish_non_exhaustive()
    }
}
