//! A page of metrics that has all of them, for the reference: `cargo xtask gen` reads families, labels and closed sets from it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{Method, StatusCode};
use outrigger_daemon::Metrics;

use super::{ConnectionMetrics, ControlFacts, Counters, Labels, Observed, PeerLabel, RequestMetrics, Target};
use crate::admission::Level;
use crate::limits::Limits;
use crate::telemetry::facts::GrpcStatus;
use crate::telemetry::trace::Kind;
use crate::zone::Zone;

/// Returns the page, in OpenMetrics.
#[doc(hidden)]
#[must_use]
pub fn sample_metrics() -> String {
    let requests = Arc::new(RequestMetrics::new(FAMILIES));
    let connections = Arc::new(ConnectionMetrics::new(FAMILIES));
    let observed = Observed {
        method: &Method::GET,
        status: Some(StatusCode::OK),
        grpc_status: Some(GrpcStatus(0)),
        error: None,
        duration: Duration::ZERO,
    };
    for (kind, grpc) in [(Kind::Server, false), (Kind::Server, true), (Kind::Client, false), (Kind::Client, true)] {
        let labels = Labels { kind, grpc, route: None, peer: PeerLabel::Unknown, mutual: true };
        requests.record(&requests.scope(&labels), &observed);
        drop(connections.opened(&labels));
    }
    let counters = Counters::new(|| ControlFacts {
        certificate_expiry: Some(SystemTime::UNIX_EPOCH),
        config_version: String::new(),
        config_age: Some(Duration::ZERO),
        connected: true,
        ejections: 0,
        bytes: [[0; 2]; Zone::ALL.len()],
        spans_exported: 0,
        spans_dropped: 0,
        log_lines_dropped: 0,
        limits: Limits::new(1024, 1024),
        open: [0; 2],
        silent: 0,
        closed: 0,
        memory: Some((0, 1)),
        overload: Level::Normal,
    });
    let target = Target::new(|| RESOURCE.map(|name| (name.to_owned(), String::new())).to_vec());
    let metrics = Metrics::new();
    metrics.register(|registry| {
        registry.register_collector(Box::new(target));
        registry.register_collector(Box::new(requests));
        registry.register_collector(Box::new(connections));
        registry.register_collector(Box::new(counters));
    });
    metrics.encode()
}

/// What workloads in Kubernetes have.
const RESOURCE: [&str; 9] = [
    "service.name",
    "service.namespace",
    "service.version",
    "service.instance.id",
    "k8s.namespace.name",
    "k8s.pod.name",
    "k8s.pod.uid",
    "k8s.node.name",
    "k8s.deployment.name",
];

/// Room for a series of each.
const FAMILIES: usize = 8;
