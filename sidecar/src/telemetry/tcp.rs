//! What is told about connections whose bytes are copied.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::Telemetry;
use super::metrics::Counters;
use crate::http::Direction;
use crate::inbound::Caller;
use crate::outbound::Via;
use crate::tcp::Way;

impl Telemetry {
    /// A connection of the workload is copied; `via` is where it leads.
    pub(crate) fn tcp_outbound(&self, via: Option<&Via>) -> TcpRecord {
        let mutual = via.is_some_and(|via| via.endpoint.identity.is_some());
        self.tcp(Direction::Outbound, mutual)
    }

    /// A peer's connection is copied to the app.
    pub(crate) fn tcp_inbound(&self, caller: &Arc<Caller>, _port: u16) -> TcpRecord {
        self.tcp(Direction::Inbound, caller.peer.is_some())
    }

    fn tcp(&self, direction: Direction, mutual: bool) -> TcpRecord {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        self.counters.tcp_opened(direction, mutual);
        TcpRecord { in_flight: self.in_flight.clone(), counters: self.counters.clone(), direction, mutual }
    }
}

/// A connection that is being copied.
pub(crate) struct TcpRecord {
    in_flight: Arc<AtomicUsize>,
    counters: Arc<Counters>,
    direction: Direction,
    mutual: bool,
}

impl TcpRecord {
    pub(crate) fn copied(&self, way: Way, bytes: usize) {
        self.counters.tcp_copied(self.direction, self.mutual, way, bytes);
    }

    /// The connection has ended; without this call it was cut.
    pub(crate) fn end(self, error: Option<&io::Error>) {
        if let Some(error) = error {
            tracing::debug!(direction = self.direction.as_str(), %error, "copied connection broke off");
        }
    }
}

impl Drop for TcpRecord {
    fn drop(&mut self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.counters.tcp_closed(self.direction, self.mutual);
    }
}

impl fmt::Debug for TcpRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpRecord").field("direction", &self.direction).finish_non_exhaustive()
    }
}
