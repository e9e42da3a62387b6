//! Edges added up: a row for each workload, Service, route or backend.

use std::collections::BTreeMap;

use serde::Serialize;

use super::edges::{Direction, Edge, EdgeList, Tally};

/// What a row is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum By {
    /// What workloads receive and what they send.
    #[default]
    #[value(aliases = ["workloads", "deployment", "deployments", "deploy"])]
    Workload,
    /// What clients in the mesh send to Services.
    #[value(aliases = ["services", "svc"])]
    Service,
    /// What rules of routes send on.
    #[value(aliases = ["routes", "rule", "rules"])]
    Route,
    /// What goes to each backend of each rule.
    #[value(aliases = ["backends"])]
    Backend,
}

/// Which rows.
#[derive(Debug, Clone, Default)]
pub(crate) struct Filter {
    /// Of this namespace alone.
    pub(crate) namespace: Option<String>,
    /// Of this name alone.
    pub(crate) name: Option<String>,
}

/// What a row is called.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Name {
    pub(crate) namespace: String,
    pub(crate) name: String,
    /// Of a workload: what it receives, or what it sends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) direction: Option<&'static str>,
    /// Of a backend: where its traffic goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) backend: Option<String>,
}

/// One line of `outrigger stat`.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Row {
    #[serde(flatten)]
    pub(crate) name: Name,
    /// As clients saw it: after retries. From 0 to 1.
    pub(crate) success: Option<f64>,
    /// Of all attempts: before retries.
    pub(crate) success_before_retries: Option<f64>,
    pub(crate) requests_per_second: f64,
    pub(crate) p50_ms: Option<f64>,
    pub(crate) p95_ms: Option<f64>,
    pub(crate) p99_ms: Option<f64>,
    /// The share of attempts and connections with mutual TLS.
    pub(crate) mutual_tls: Option<f64>,
    pub(crate) open_connections: u64,
    pub(crate) requests: Counts,
    pub(crate) attempts: Counts,
    pub(crate) in_flight: u64,
    pub(crate) opened_connections: u64,
    pub(crate) failed_connections: u64,
    pub(crate) sent_bytes: u64,
    pub(crate) received_bytes: u64,
}

/// How many, in the window.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Counts {
    pub(crate) ended: BTreeMap<String, u64>,
    pub(crate) abandoned: u64,
    pub(crate) slow: u64,
}

/// Returns the rows in the order of their names. Traffic for which there is no such name has none.
pub(crate) fn rows(list: &EdgeList, by: By, filter: &Filter) -> Vec<Row> {
    let mut sums: BTreeMap<Name, Vec<&Edge>> = BTreeMap::new();
    for edge in list.edges.iter().filter(|edge| edge.is_used()) {
        let Some(name) = name(edge, by) else { continue };
        let is_of = |wanted: &Option<String>, is: &str| wanted.as_ref().is_none_or(|wanted| wanted == is);
        if is_of(&filter.namespace, &name.namespace) && is_of(&filter.name, short(&name.name)) {
            sums.entry(name).or_default().push(edge);
        }
    }
    sums.into_iter().map(|(name, edges)| row(name, &edges, list)).collect()
}

/// Of a rule, the name of its route: `web` of `HTTPRoute/web/0`.
fn short(name: &str) -> &str {
    name.split('/').nth(1).unwrap_or(name)
}

fn name(edge: &Edge, by: By) -> Option<Name> {
    let is_outbound = edge.direction == Direction::Outbound;
    let rule = || {
        let mut parts = edge.rule.splitn(3, '/');
        let (kind, namespace, rest) = (parts.next()?, parts.next()?, parts.next()?);
        Some((namespace.to_owned(), format!("{kind}/{rest}")))
    };
    let (direction, backend) = (None, None);
    Some(match by {
        By::Workload => Name {
            namespace: edge.namespace.clone(),
            name: edge.workload.clone(),
            direction: Some(edge.direction.as_str()),
            backend,
        },
        By::Service => {
            let (namespace, name) = edge.service().filter(|_| is_outbound)?;
            Name { namespace: namespace.to_owned(), name: name.to_owned(), direction, backend }
        }
        By::Route => {
            let (namespace, name) = rule()?;
            Name { namespace, name, direction, backend }
        }
        By::Backend => {
            if !is_outbound || edge.backend.is_empty() {
                return None;
            }
            let (namespace, name) = rule().or_else(|| {
                let (namespace, name) = edge.service()?;
                Some((namespace.to_owned(), format!("Service/{name}")))
            })?;
            Name { namespace, name, direction, backend: Some(edge.backend.clone()) }
        }
    })
}

fn row(name: Name, edges: &[&Edge], list: &EdgeList) -> Row {
    let (mut requests, mut attempts) = (Tally::default(), Tally::default());
    let (mut uses, mut proved) = (0, 0);
    for edge in edges {
        requests.add(&edge.requests);
        attempts.add(&edge.attempts);
        let used = edge.attempts.total() + edge.attempts.abandoned + edge.connections.opened;
        uses += used;
        proved += if edge.peer.is_empty() { 0 } else { used };
    }
    let sum = |of: fn(&Edge) -> u64| edges.iter().map(|edge| of(edge)).sum();
    let percentile = |share| requests.percentile(share, &list.latency_bounds_ms);
    let counts = |tally: &Tally| Counts { ended: tally.ended.clone(), abandoned: tally.abandoned, slow: tally.slow };
    let ended = requests.total() + requests.abandoned;
    Row {
        name,
        success: requests.success(),
        success_before_retries: attempts.success(),
        requests_per_second: if list.window_seconds > 0.0 { ended as f64 / list.window_seconds } else { 0.0 },
        p50_ms: percentile(0.5),
        p95_ms: percentile(0.95),
        p99_ms: percentile(0.99),
        mutual_tls: (uses > 0).then(|| proved as f64 / uses as f64),
        open_connections: sum(|edge| edge.connections.open),
        requests: counts(&requests),
        attempts: counts(&attempts),
        in_flight: sum(|edge| edge.in_flight),
        opened_connections: sum(|edge| edge.connections.opened),
        failed_connections: sum(|edge| edge.connections.failed.values().sum()),
        sent_bytes: sum(|edge| edge.connections.sent_bytes),
        received_bytes: sum(|edge| edge.connections.received_bytes),
    }
}
