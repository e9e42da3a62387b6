//! Attempts, requests and dials by edge: `outrigger_<side>_attempts_…`, `outrigger_<side>_requests`, `outrigger_<side>_tcp_connections_failed`.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use outrigger_proto::ServicePort;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;

use super::{Samples, encode_counter, encode_gauge};
use crate::direction::Direction;
use crate::edges::{BOUNDS, Class, Edge, Edges, Tally};

/// Shows all edges.
#[derive(Debug)]
pub(crate) struct EdgeMetrics(pub(crate) Arc<Edges>);

/// An edge with its labels as they are shown.
struct Shown {
    edge: Arc<Edge>,
    labels: Vec<(&'static str, String)>,
}

/// Labels of one sample.
type Labels<'a> = Vec<(&'static str, &'a str)>;

impl Collector for EdgeMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let edges: Vec<Shown> = self.0.all().into_iter().map(Shown::new).collect();
        for direction in [Direction::Inbound, Direction::Outbound] {
            let edges: Vec<&Shown> = edges.iter().filter(|shown| shown.edge.name.direction == direction).collect();
            encode_side(&mut encoder, direction.as_str(), &edges)?;
        }
        Ok(())
    }
}

impl Shown {
    fn new(edge: Arc<Edge>) -> Self {
        let name = &edge.name;
        let (mut namespace, mut service, mut account) = (String::new(), String::new(), String::new());
        if let Some(peer) = &name.peer {
            (namespace, account) = (peer.namespace().to_owned(), peer.service_account().to_owned());
        }
        if let Some(ServicePort { namespace: of_service, name, port }) = &name.backend {
            if !account.is_empty() && *namespace != **of_service {
                account = format!("{namespace}/{account}");
            }
            (namespace, service) = (of_service.to_string(), format!("{name}:{port}"));
        }
        let tls = if name.peer.is_some() { "mutual" } else { "none" };
        let mut labels = vec![
            ("route", name.rule()),
            ("peer_namespace", namespace),
            ("peer_service", service),
            ("peer_service_account", account),
            ("tls", tls.to_owned()),
        ];
        if edge.is_overflow() {
            labels = vec![("overflow", "true".to_owned())];
        }
        Self { edge, labels }
    }

    fn labels(&self) -> Labels<'_> {
        self.labels.iter().map(|(name, value)| (*name, &**value)).collect()
    }

    fn with(&self, class: &'static str) -> Labels<'_> {
        let mut labels = self.labels();
        labels.push(("class", class));
        labels
    }

    /// Counts by class; what has not happened is not shown.
    fn by_class(&self, counts: [u64; Class::ALL.len()], abandoned: u64) -> impl Iterator<Item = (Labels<'_>, u64)> {
        let classes = Class::ALL.iter().map(|class| class.as_str()).zip(counts).chain([("abandoned", abandoned)]);
        classes.filter(|(_, count)| *count > 0).map(|(class, count)| (self.with(class), count))
    }

    fn tally<'a>(&'a self, tally: &Tally) -> impl Iterator<Item = (Labels<'a>, u64)> {
        self.by_class(tally.by_class(), tally.abandoned())
    }
}

fn encode_side(encoder: &mut DescriptorEncoder<'_>, side: &str, edges: &[&Shown]) -> fmt::Result {
    let name = |metric: &str| format!("outrigger_{side}_{metric}");
    let mut counter = |metric: &str, help: &str, samples: Vec<(Labels<'_>, u64)>| {
        let samples: Vec<_> = samples.iter().map(|(labels, count)| (&labels[..], *count)).collect();
        let samples: Samples<'_, u64> = &samples;
        encode_counter(encoder, (&name(metric), help), samples)
    };
    let started = edges.iter().map(|shown| (shown.labels(), shown.edge.started())).collect();
    counter("attempts_started", "Attempts that have begun; a request is one, and one for each retry", started)?;
    let ended = edges.iter().flat_map(|shown| shown.tally(&shown.edge.attempts)).collect();
    counter("attempts", "Attempts that have ended, by how", ended)?;
    let slow = edges.iter().map(|shown| (shown.labels(), shown.edge.attempts.slow())).collect();
    counter("attempts_slow", "Attempts that took longer than a second", slow)?;
    let requests = edges.iter().flat_map(|shown| shown.tally(&shown.edge.requests)).collect();
    counter("requests", "Requests that have ended, all attempts together, by how", requests)?;
    let failed = edges.iter().flat_map(|shown| shown.by_class(shown.edge.connections.failed(), 0)).collect();
    counter("tcp_connections_failed", "Connections for bytes that could not be opened, by why", failed)?;

    let samples: Vec<_> = edges.iter().map(|shown| (shown.labels(), in_flight(&shown.edge))).collect();
    let samples: Vec<_> = samples.iter().map(|(labels, count)| (&labels[..], *count as f64)).collect();
    encode_gauge(encoder, (&name("attempts_in_flight"), "Attempts that have not ended"), &samples)?;
    let help = "Time from an attempt's begin to the head of its response";
    let name = name("attempt_duration_seconds");
    let mut metric = encoder.encode_descriptor(&name, help, None, MetricType::Histogram)?;
    for shown in edges {
        let latency = shown.edge.attempts.latency();
        // Two of the buckets are one here: twice as many say nothing more on a dashboard.
        let counts = latency.buckets();
        let bounds = BOUNDS.iter().step_by(2).map(|bound| *bound as f64 / 1e6).chain([f64::INFINITY]);
        let halves = std::iter::once(counts[0]).chain(counts[1..].chunks(2).map(|pair| pair.iter().sum()));
        let buckets: Vec<(f64, u64)> = bounds.zip(halves).collect();
        let sum = latency.micros() as f64 / 1e6;
        let labels = shown.labels();
        let mut family = metric.encode_family(&labels)?;
        family.encode_histogram::<[(&str, &str); 0]>(sum, counts.iter().sum(), &buckets, None)?;
    }
    Ok(())
}

fn in_flight(edge: &Edge) -> u64 {
    // Read first: what ends between the two is not counted twice.
    let ended = edge.attempts.total();
    std::sync::atomic::fence(Ordering::Acquire);
    edge.started().saturating_sub(ended)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;
    use std::time::Duration;

    use outrigger_daemon::Metrics;

    use super::*;
    use crate::edges::{Attempt, EdgeName};

    #[test]
    fn shows_attempts_requests_and_failed_dials_of_each_edge() {
        let edges = Arc::<Edges>::default();
        let metrics = Metrics::new();
        metrics.register(|registry| registry.register_collector(Box::new(EdgeMetrics(edges.clone()))));
        let backend = ServicePort { namespace: "shop".into(), name: "web".into(), port: NonZeroU16::MIN };
        let peer = "spiffe://mesh.local/ns/shop/sa/web".parse().unwrap();
        let name = EdgeName { backend: Some(backend), peer: Some(peer), ..EdgeName::unknown(Direction::Outbound) };
        let edge = edges.find(&name);
        let mut slow = Attempt::begin(edge.clone());
        slow.failed(Some(Class::TimedOut), Duration::from_millis(1_500));
        drop(slow);
        let in_flight = Attempt::begin(edge.clone());
        edge.requests.ended(None, Duration::ZERO);
        edge.connections.not_opened(Some(Class::Refused));

        let text = metrics.encode();
        let labels = r#"route="",peer_namespace="shop",peer_service="web:1",peer_service_account="web",tls="mutual""#;
        let shown = |line: String| assert!(text.lines().any(|shown| shown == line), "{line} is not in\n{text}");
        shown(format!("outrigger_outbound_attempts_started_total{{{labels}}} 2"));
        shown(format!("outrigger_outbound_attempts_total{{{labels},class=\"timed_out\"}} 1"));
        shown(format!("outrigger_outbound_attempts_slow_total{{{labels}}} 1"));
        shown(format!("outrigger_outbound_attempts_in_flight{{{labels}}} 1.0"));
        shown(format!("outrigger_outbound_requests_total{{{labels},class=\"abandoned\"}} 1"));
        shown(format!("outrigger_outbound_tcp_connections_failed_total{{{labels},class=\"refused\"}} 1"));
        shown(format!("outrigger_outbound_attempt_duration_seconds_bucket{{le=\"1.024\",{labels}}} 0"));
        shown(format!("outrigger_outbound_attempt_duration_seconds_bucket{{le=\"2.048\",{labels}}} 1"));
        shown(format!("outrigger_outbound_attempt_duration_seconds_count{{{labels}}} 1"));
        drop(in_flight);
    }
}
