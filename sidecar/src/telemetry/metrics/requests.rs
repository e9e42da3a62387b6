//! Durations of requests: `http_server_…`, `http_client_…`, `rpc_server_…` and `rpc_client_…`.
//!
//! A [`Scope`] holds what many requests have in common (route, peer, TLS); within it a request's outcome finds its
//! histogram by a key of a few bytes. The number of histograms is bounded, and unused ones go.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use ahash::RandomState;
use http::{Method, StatusCode};
use parking_lot::RwLock;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder};
use prometheus_client::metrics::MetricType;
use tokio::time::Instant;

use super::histogram::Histogram;
use super::labels::{Labels, Pairs, PeerLabel};
use super::{IDLE_SECONDS, encode_counter};
use crate::telemetry::facts::{ErrorType, GrpcStatus, METHODS};
use crate::telemetry::trace::Kind;

/// All request metrics of a sidecar.
#[derive(Debug)]
pub(crate) struct RequestMetrics {
    scopes: RwLock<HashMap<u64, Arc<Scope>, RandomState>>,
    hasher: RandomState,
    /// Where requests go for whose scope there is no room; never shown.
    full: [Arc<Scope>; FAMILIES.len()],
    overflow: [Histogram; FAMILIES.len()],
    histograms: AtomicUsize,
    /// Seconds since the start.
    expired: AtomicU32,
    dropped: AtomicU64,
    cap: usize,
    started: Instant,
}

impl RequestMetrics {
    pub(crate) fn new(cap: usize) -> Self {
        Self {
            scopes: RwLock::default(),
            hasher: RandomState::new(),
            full: [(Kind::Server, false), (Kind::Client, false), (Kind::Server, true), (Kind::Client, true)].map(
                |(kind, grpc)| {
                    let labels = Labels { kind, grpc, route: None, peer: PeerLabel::Unknown, mutual: false };
                    Arc::new(Scope { full: true, ..Scope::new(&labels) })
                },
            ),
            overflow: Default::default(),
            histograms: AtomicUsize::new(0),
            expired: AtomicU32::new(0),
            dropped: AtomicU64::new(0),
            cap,
            started: Instant::now(),
        }
    }

    /// Returns the scope of requests with these labels; a caller may keep it.
    pub(crate) fn scope(&self, labels: &Labels<'_>) -> Arc<Scope> {
        // By the hash alone, with keys of the system's randomness: among 2,000 scopes two of 2^64 do not meet, and if
        // they did, two rows of a table would be one.
        let key = self.hasher.hash_one(labels);
        if let Some(scope) = self.scopes.read().get(&key) {
            return scope.clone();
        }
        let mut scopes = self.scopes.write();
        // Looking through all is not for every request that finds no room.
        let looked = self.expired.load(Ordering::Relaxed);
        if scopes.len() >= self.cap && self.now().saturating_sub(looked) >= EXPIRY_SECONDS {
            self.expire(&mut scopes);
        }
        if scopes.len() >= self.cap {
            return self.full[family(labels.kind, labels.grpc)].clone();
        }
        scopes.entry(key).or_insert_with(|| Arc::new(Scope::new(labels))).clone()
    }

    /// Counts a request that has ended.
    pub(crate) fn record(&self, scope: &Scope, observed: &Observed<'_>) {
        let now = self.now();
        let key = Key::of(scope.grpc, observed);
        if let Some(histogram) = find(&scope.histograms.read(), key) {
            return histogram.observe(observed.duration, now);
        }
        let mut histograms = scope.histograms.write();
        // Another worker may have made it meanwhile.
        if let Some(histogram) = find(&histograms, key) {
            return histogram.observe(observed.duration, now);
        }
        if scope.full || self.histograms.load(Ordering::Relaxed) >= self.cap {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return self.overflow[scope.family()].observe(observed.duration, now);
        }
        self.histograms.fetch_add(1, Ordering::Relaxed);
        let histogram = Box::new(Histogram::default());
        histogram.observe(observed.duration, now);
        histograms.push((key, histogram));
    }

    /// Lets go of what nobody has used for a while.
    fn expire(&self, scopes: &mut HashMap<u64, Arc<Scope>, RandomState>) {
        let now = self.now();
        self.expired.store(now, Ordering::Relaxed);
        scopes.retain(|_, scope| {
            let mut histograms = scope.histograms.write();
            let before = histograms.len();
            histograms.retain(|(_, histogram)| now.saturating_sub(histogram.last_used()) < IDLE_SECONDS);
            self.histograms.fetch_sub(before - histograms.len(), Ordering::Relaxed);
            let empty = histograms.is_empty();
            drop(histograms);
            // A scope that somebody holds would go on counting unseen.
            !empty || Arc::strong_count(scope) > 1
        });
    }

    fn now(&self) -> u32 {
        u32::try_from(self.started.elapsed().as_secs()).unwrap_or(u32::MAX)
    }
}

impl Collector for RequestMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let scopes: Vec<Arc<Scope>> = {
            let mut scopes = self.scopes.write();
            self.expire(&mut scopes);
            scopes.values().cloned().collect()
        };
        for (index, (name, help)) in FAMILIES.into_iter().enumerate() {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
            for scope in scopes.iter().filter(|scope| scope.family() == index) {
                scope.encode(&mut metric)?;
            }
            let overflow = &self.overflow[index];
            if overflow.count() > 0 {
                overflow.encode(&mut metric.encode_family(&[("overflow", "true")])?)?;
            }
        }
        let dropped = self.dropped.load(Ordering::Relaxed);
        let name = ("outrigger_metrics_overflowed", "Observations beyond the limit on series, counted as overflow");
        encode_counter(&mut encoder, name, &[(&[], dropped)])
    }
}

/// Requests that differ in their outcome only.
#[derive(Debug)]
pub(crate) struct Scope {
    kind: Kind,
    grpc: bool,
    labels: Pairs,
    // Few: a linear search beats hashing.
    histograms: RwLock<Vec<(Key, Box<Histogram>)>>,
    // Not among the scopes that are rendered: its requests overflow.
    full: bool,
}

impl Scope {
    fn new(labels: &Labels<'_>) -> Self {
        let Labels { kind, grpc, peer, .. } = *labels;
        let mut labels = labels.pairs();
        match (kind, peer) {
            (Kind::Client, PeerLabel::Service(service)) => {
                labels.push(("server_address", format!("{}.{}", service.name, service.namespace)));
                labels.push(("server_port", service.port.to_string()));
            }
            (Kind::Client, PeerLabel::Unknown | PeerLabel::Account { .. }) => {
                labels.extend([("server_address", String::new()), ("server_port", String::new())]);
            }
            (Kind::Server, _) if !grpc => labels.push(("url_scheme", "http".to_owned())),
            (Kind::Server, _) => {}
        }
        Self { kind, grpc, labels, histograms: RwLock::default(), full: false }
    }

    fn family(&self) -> usize {
        family(self.kind, self.grpc)
    }

    fn encode(&self, metric: &mut MetricEncoder<'_>) -> fmt::Result {
        for (key, histogram) in self.histograms.read().iter() {
            let error = key.error.map(|error| error.to_string()).unwrap_or_default();
            let mut labels: Vec<(&str, &str)> = Vec::with_capacity(10);
            let status = StatusCode::from_u16(key.status).ok();
            match (self.grpc, &status) {
                (true, _) => {
                    labels.push(("rpc_system_name", "grpc"));
                    labels.push(("rpc_status_code", key.grpc.map_or("", GrpcStatus::name)));
                }
                (false, status) => {
                    labels.push(("http_request_method", METHODS.get(usize::from(key.method)).unwrap_or(&"_OTHER")));
                    labels.push(("http_response_status_code", status.as_ref().map_or("", StatusCode::as_str)));
                }
            }
            labels.push(("error_type", &error));
            labels.extend(self.labels.iter().map(|(name, value)| (*name, value.as_str())));
            histogram.encode(&mut metric.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

/// A request that has ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Observed<'a> {
    pub(crate) method: &'a Method,
    /// `None`: no response.
    pub(crate) status: Option<StatusCode>,
    pub(crate) grpc_status: Option<GrpcStatus>,
    pub(crate) error: Option<ErrorType>,
    pub(crate) duration: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Key {
    method: u8,
    status: u16,
    grpc: Option<GrpcStatus>,
    error: Option<ErrorType>,
}

impl Key {
    fn of(grpc: bool, observed: &Observed<'_>) -> Self {
        if grpc {
            // Apps may invent codes; the known ones are a closed set.
            let grpc = observed.grpc_status.map(GrpcStatus::known);
            return Self { method: 0, status: 0, grpc, error: observed.error.map(ErrorType::known) };
        }
        let method = METHODS.iter().position(|known| *known == observed.method.as_str());
        let method = method.and_then(|index| u8::try_from(index).ok()).unwrap_or(u8::MAX);
        let status = observed.status.map_or(0, |status| status.as_u16());
        Self { method, status, grpc: None, error: observed.error.map(ErrorType::known) }
    }
}

fn find(histograms: &[(Key, Box<Histogram>)], key: Key) -> Option<&Histogram> {
    histograms.iter().find(|(other, _)| *other == key).map(|(_, histogram)| &**histogram)
}

/// The place in [`FAMILIES`].
fn family(kind: Kind, grpc: bool) -> usize {
    2 * usize::from(grpc) + usize::from(kind == Kind::Client)
}

const FAMILIES: [(&str, &str); 4] = [
    ("http_server_request_duration_seconds", "Duration of HTTP requests to the workload"),
    ("http_client_request_duration_seconds", "Duration of HTTP requests of the workload, all attempts together"),
    ("rpc_server_call_duration_seconds", "Duration of gRPC calls to the workload"),
    ("rpc_client_call_duration_seconds", "Duration of gRPC calls of the workload, all attempts together"),
];

/// Between two looks for unused series while there is no room.
const EXPIRY_SECONDS: u32 = 10;

#[cfg(test)]
#[path = "requests_tests.rs"]
mod tests;
