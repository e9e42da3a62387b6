//! What is told about requests and connections: metrics, the access log, traces.

mod access_log;
mod facts;
mod metrics;
mod trace;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::Request;
use outrigger_daemon::Metrics;

use crate::balance::{Backend, Endpoint};
use crate::config::RunArgs;
use crate::error::ProxyError;
use crate::http::{Body, Direction, Flow, Outcome};
use crate::inbound::Caller;
use crate::sync::Store;
use crate::tcp::Way;
use crate::tls::TlsState;

pub(crate) struct TelemetryConfig {}

impl From<&RunArgs> for TelemetryConfig {
    fn from(_args: &RunArgs) -> Self {
        Self {}
    }
}

pub(crate) struct Telemetry {
    in_flight: Arc<AtomicUsize>,
}

pub(crate) struct RequestRecord;

impl Telemetry {
    pub(crate) fn new(
        _config: &TelemetryConfig,
        _metrics: &Metrics,
        _store: Arc<Store>,
        _tls: Arc<TlsState>,
    ) -> anyhow::Result<Self> {
        Ok(Self { in_flight: Arc::default() })
    }

    pub(crate) fn begin(&self, _request: &mut Request<Body>, _flow: &Flow) -> RequestRecord {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        RequestRecord
    }

    pub(crate) fn end(&self, _record: RequestRecord, _flow: &Flow, _outcome: Outcome) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn tcp_outbound(&self, _via: Option<(Arc<Backend>, Arc<Endpoint>)>) -> TcpRecord {
        TcpRecord::new(self.in_flight.clone())
    }

    pub(crate) fn tcp_inbound(&self, _caller: &Arc<Caller>, _port: u16) -> TcpRecord {
        TcpRecord::new(self.in_flight.clone())
    }

    pub(crate) fn connection_limit(&self, direction: Direction, peer: SocketAddr) {
        tracing::warn!(direction = direction.as_str(), %peer, code = "E010", "connection limit reached");
    }

    pub(crate) fn connection_failed(&self, direction: Direction, peer: SocketAddr, error: &ProxyError) {
        tracing::debug!(direction = direction.as_str(), %peer, code = error.code.code(), %error, "connection failed");
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    pub(crate) async fn flush(&self) {}
}

pub(crate) struct TcpRecord {
    in_flight: Arc<AtomicUsize>,
}

impl TcpRecord {
    fn new(in_flight: Arc<AtomicUsize>) -> Self {
        in_flight.fetch_add(1, Ordering::Relaxed);
        Self { in_flight }
    }

    pub(crate) fn copied(&self, _way: Way, _bytes: usize) {}

    pub(crate) fn end(self, _error: Option<&std::io::Error>) {}
}

impl Drop for TcpRecord {
    fn drop(&mut self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
