//! What is told about requests and connections: metrics, the access log, traces.
//!
//! [`Telemetry`] is called at the edges of the request path; what it hears about a request between them is in its
//! [`Flow`](crate::flow::Flow). Nothing here waits: what cannot be told at once is dropped and counted.

mod access_log;
mod facts;
mod metrics;
mod request;
mod tcp;
mod trace;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::Context;
use outrigger_daemon::{Metrics, Occasions};
use outrigger_proto::ErrorCode;
use parking_lot::Mutex;
use tokio::time::Instant;

pub(crate) use access_log::{Format as LineFormat, Which};
pub(crate) use metrics::MirrorOutcome;
pub use metrics::sample_metrics;
pub(crate) use request::RequestRecord;
pub(crate) use trace::endpoint;

use access_log::{AccessLog, ConnectionEntry};
use metrics::{ConnectionMetrics, ControlFacts, Counters, EdgeMetrics, RequestMetrics, Target};
use trace::{Resource, Tracer, TracerConfig};

use crate::admission::{Admission, Refused};
use crate::direction::Direction;
use crate::edges::Edges;
use crate::error::ProxyError;
use crate::sync::Store;
use crate::tls::TlsState;
use crate::zone::Zone;

/// Settings as they were typed.
pub(crate) struct TelemetryConfig {
    pub(crate) access_log: Which,
    pub(crate) access_log_format: LineFormat,
    pub(crate) otlp: Option<String>,
    pub(crate) trace_ratio: f64,
    pub(crate) mark: Option<u32>,
}

/// All telemetry of a sidecar.
pub(crate) struct Telemetry {
    in_flight: Arc<AtomicUsize>,
    edges: Arc<Edges>,
    requests: Arc<RequestMetrics>,
    connections: Arc<ConnectionMetrics>,
    counters: Arc<Counters>,
    access_log: Arc<AccessLog>,
    tracer: Option<Arc<Tracer>>,
    refused: Mutex<Occasions>,
}

impl Telemetry {
    /// Starts telemetry on the present runtime, which is not to carry traffic.
    ///
    /// # Errors
    /// When a setting means nothing.
    pub(crate) fn new(
        config: &TelemetryConfig,
        (metrics, edges): (&Metrics, &Arc<Edges>),
        (store, tls, admission): (Arc<Store>, Arc<TlsState>, Arc<Admission>),
    ) -> anyhow::Result<Self> {
        let access_log = AccessLog::new(config.access_log, config.access_log_format).context("start the access log")?;
        let access_log = Arc::new(access_log);
        let tracer = match &config.otlp {
            None => None,
            Some(endpoint) => Some(Arc::new(start_tracer(config, endpoint, store.clone())?)),
        };
        let requests = Arc::new(RequestMetrics::new(MAX_SERIES));
        let connections = Arc::new(ConnectionMetrics::new(MAX_CONNECTION_SERIES));
        let target = {
            let store = store.clone();
            Target::new(move || resource(&store))
        };
        let facts = control_facts((store, tls, admission), tracer.clone(), access_log.clone());
        let counters = Arc::new(Counters::new(facts));
        metrics.register(|registry| {
            registry.register_collector(Box::new(target));
            registry.register_collector(Box::new(requests.clone()));
            registry.register_collector(Box::new(connections.clone()));
            registry.register_collector(Box::new(counters.clone()));
            registry.register_collector(Box::new(EdgeMetrics(edges.clone())));
        });
        Ok(Self {
            in_flight: Arc::default(),
            edges: edges.clone(),
            requests,
            connections,
            counters,
            access_log,
            tracer,
            refused: Mutex::default(),
        })
    }

    /// A connection was closed at once because there is no room for it.
    pub(crate) fn connection_refused(&self, direction: Direction, peer: SocketAddr, why: Refused) {
        self.counters.connection_refused(direction, why);
        let Some(refused) = self.refused.lock().happened() else { return };
        let code = ErrorCode::ConnectionLimit.code();
        let limit = why.as_str();
        tracing::warn!(direction = direction.as_str(), %peer, code, limit, refused, "connection limit reached");
    }

    /// A connection ended with an error that no request's answer tells.
    pub(crate) fn connection_failed(&self, direction: Direction, peer: SocketAddr, error: &ProxyError) {
        if matches!(error.code, ErrorCode::TlsCertificate | ErrorCode::TlsProtocol) {
            self.counters.handshake_failed(direction, error.code);
        }
        // Clients that go are everyday life.
        if self.access_log.wants(error.code != ErrorCode::ClientClosed) {
            let time = SystemTime::now();
            self.access_log.write(&ConnectionEntry { time, direction, peer, code: error.code, detail: &error.detail });
        }
        tracing::debug!(direction = direction.as_str(), %peer, code = error.code.code(), %error, "connection failed");
    }

    /// A request's head was not complete in time.
    pub(crate) fn head_timed_out(&self, direction: Direction) {
        self.counters.head_timed_out(direction);
    }

    /// A copy of a request has come to its end.
    pub(crate) fn mirrored(&self, outcome: MirrorOutcome) {
        self.counters.mirrored(outcome);
    }

    /// A connection has left HTTP: it is in flight until the guard goes.
    pub(crate) fn upgraded(&self) -> Upgraded {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        Upgraded(self.in_flight.clone())
    }

    /// Returns how many requests, upgraded and copied connections there are now.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Sends and writes what waits, before the process ends.
    pub(crate) async fn flush(&self) {
        if let Some(tracer) = &self.tracer {
            tracer.flush().await;
        }
        self.access_log.flush(Duration::from_millis(500));
    }
}

/// An upgraded connection, as long as it is open.
pub(crate) struct Upgraded(Arc<AtomicUsize>);

impl Drop for Upgraded {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn start_tracer(config: &TelemetryConfig, endpoint: &str, store: Arc<Store>) -> anyhow::Result<Tracer> {
    let (tracer, exporter) = Tracer::new(TracerConfig {
        endpoint: endpoint.to_owned(),
        ratio: config.trace_ratio,
        mark: config.mark,
        resource: Box::new(move || resource(&store)),
    })
    .context("--otlp")?;
    // It ends with the tracer.
    tokio::spawn(exporter.run());
    Ok(tracer)
}

/// Names the workload, not the sidecar: the app's own spans and the sidecar's belong to one service.
fn resource(store: &Store) -> Resource {
    if let Some(workload) = store.workload().filter(|workload| !workload.resource.is_empty()) {
        return workload.resource.clone();
    }
    // Nothing is known yet but the name.
    let own = store.own();
    let attribute = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    vec![
        attribute("service.name", &own.name),
        attribute("service.namespace", &own.namespace),
        attribute("service.instance.id", &format!("{}.{}", own.namespace, own.name)),
        attribute("k8s.namespace.name", &own.namespace),
        attribute("k8s.pod.name", &own.name),
    ]
}

/// Makes the function that each scrape asks.
fn control_facts(
    (store, tls, admission): (Arc<Store>, Arc<TlsState>, Arc<Admission>),
    tracer: Option<Arc<Tracer>>,
    access_log: Arc<AccessLog>,
) -> impl Fn() -> ControlFacts + Send + Sync + 'static {
    let changed: Mutex<Option<(String, Instant)>> = Mutex::new(None);
    move || {
        let version = store.version().to_string();
        // To the scrape's precision: nobody has to be told of a change.
        let mut changed = changed.lock();
        if !version.is_empty() && changed.as_ref().is_none_or(|(last, _)| *last != version) {
            *changed = Some((version.clone(), Instant::now()));
        }
        let spans = tracer.as_ref().map(|tracer| tracer.counts()).unwrap_or_default();
        ControlFacts {
            certificate_expiry: tls.get().map(|tls| tls.credentials.not_after()),
            config_version: version,
            config_age: changed.as_ref().map(|(_, at)| at.elapsed()),
            connected: *store.connected().borrow(),
            ejections: crate::balance::ejections(),
            bytes: Zone::ALL.map(|zone| zone.traffic().counts()),
            spans_exported: spans.exported,
            spans_dropped: spans.dropped,
            log_lines_dropped: access_log.dropped(),
            limits: *admission.limits(),
            open: [Direction::Inbound, Direction::Outbound].map(|direction| admission.open(direction)),
            silent: admission.silent(),
            closed: admission.closed(),
            memory: admission.memory(),
            overload: admission.level(),
        }
    }
}

/// Series of request metrics; each is a histogram of some 20 lines.
const MAX_SERIES: usize = 2000;
/// Series of metrics of copied connections; each is four lines.
const MAX_CONNECTION_SERIES: usize = 1000;
