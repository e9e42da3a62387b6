//! Who speaks to whom: nodes and edges, as text, DOT, Mermaid or JSON.
//!
//! A client's sidecar knows the Service and the identity behind it, a server's the identity of its clients. Where an identity is of one workload, the
//! edge leads to that workload; else to the Service.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::edges::{Direction, Edge, EdgeList, Tally};
use super::table::percent;

/// A place in the graph: `shop/cart`, or what is outside of the mesh.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub(crate) enum Node {
    /// A workload with sidecars.
    Workload { namespace: String, name: String },
    /// A Service, where it is not known which workload answers.
    Service { namespace: String, name: String },
    /// Clients without a sidecar.
    Unmeshed,
    /// Destinations that are no Service.
    Outside,
}

/// What goes from one to the other.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Link {
    pub(crate) from: Node,
    pub(crate) to: Node,
    /// As clients saw it: after retries.
    pub(crate) success: Option<f64>,
    pub(crate) requests_per_second: f64,
    /// The share of attempts and connections with mutual TLS.
    pub(crate) mutual_tls: Option<f64>,
    pub(crate) open_connections: u64,
}

#[derive(Default)]
struct Sum {
    requests: Tally,
    uses: u64,
    proved: u64,
    open: u64,
}

impl std::fmt::Display for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Workload { namespace, name } => write!(f, "{namespace}/{name}"),
            Self::Service { namespace, name } => write!(f, "service {namespace}/{name}"),
            Self::Unmeshed => f.write_str("(unmeshed)"),
            Self::Outside => f.write_str("(outside)"),
        }
    }
}

/// Returns the links, in the order of their ends; of one namespace, those that begin or end there.
pub(crate) fn links(list: &EdgeList, namespace: Option<&str>) -> Vec<Link> {
    let used: Vec<&Edge> = list.edges.iter().filter(|edge| edge.is_used()).collect();
    let mut sums: BTreeMap<(Node, Node), Sum> = BTreeMap::new();
    for edge in &used {
        let ends = match edge.direction {
            Direction::Outbound => (workload(edge), target(edge, &used)),
            // What meshed clients send, they tell themselves.
            Direction::Inbound if edge.peer.is_empty() => (Node::Unmeshed, workload(edge)),
            Direction::Inbound => continue,
        };
        let used = edge.attempts.total() + edge.attempts.abandoned + edge.connections.opened;
        let sum = sums.entry(ends).or_default();
        sum.requests.add(&edge.requests);
        sum.uses += used;
        sum.proved += if edge.peer.is_empty() { 0 } else { used };
        sum.open += edge.connections.open;
    }
    let is_there = |node: &Node| match (namespace, node) {
        (None, _) => true,
        (Some(wanted), Node::Workload { namespace, .. } | Node::Service { namespace, .. }) => wanted == namespace,
        (Some(_), Node::Unmeshed | Node::Outside) => false,
    };
    let shown = sums.into_iter().filter(|((from, to), _)| is_there(from) || is_there(to));
    shown.map(|((from, to), sum)| link(from, to, &sum, list.window_seconds)).collect()
}

fn link(from: Node, to: Node, sum: &Sum, seconds: f64) -> Link {
    let ended = (sum.requests.total() + sum.requests.abandoned) as f64;
    Link {
        from,
        to,
        success: sum.requests.success(),
        requests_per_second: if seconds > 0.0 { ended / seconds } else { 0.0 },
        mutual_tls: (sum.uses > 0).then(|| sum.proved as f64 / sum.uses as f64),
        open_connections: sum.open,
    }
}

fn workload(edge: &Edge) -> Node {
    Node::Workload { namespace: edge.namespace.clone(), name: edge.workload.clone() }
}

/// Where an outbound edge leads.
fn target(edge: &Edge, all: &[&Edge]) -> Node {
    let of_peer = |other: &&&Edge| {
        other.direction == Direction::Inbound
            && edge.peer.split_once('/') == Some((&other.namespace, &other.service_account))
    };
    let behind: BTreeSet<&str> = all.iter().filter(of_peer).map(|other| &*other.workload).collect();
    let service = edge.service();
    let known = match (behind.len(), service) {
        (1, _) => behind.first().copied(),
        // Several have the identity, and one of them the Service's name.
        (_, Some((_, name))) => behind.get(name).copied(),
        (_, None) => None,
    };
    match (known, service, edge.peer.split_once('/')) {
        (Some(name), _, Some((namespace, _))) => {
            Node::Workload { namespace: namespace.to_owned(), name: name.to_owned() }
        }
        (_, Some((namespace, name)), _) => Node::Service { namespace: namespace.to_owned(), name: name.to_owned() },
        (_, None, _) => Node::Outside,
    }
}

fn nodes(links: &[Link]) -> BTreeSet<&Node> {
    links.iter().flat_map(|link| [&link.from, &link.to]).collect()
}

/// What is said of a link.
fn label(link: &Link) -> String {
    let mut parts = Vec::new();
    if link.success.is_some() || link.requests_per_second > 0.0 {
        parts.push(format!("{:.1} rps", link.requests_per_second));
        parts.push(format!("{} success", percent(link.success)));
    }
    if link.open_connections > 0 {
        parts.push(format!("{} open connections", link.open_connections));
    }
    parts.push(format!("mTLS {}", percent(link.mutual_tls)));
    parts.join(", ")
}

/// A line for each link, below its client.
pub(crate) fn text(links: &[Link]) -> Vec<String> {
    let width = links.iter().map(|link| link.to.to_string().len()).max().unwrap_or(0);
    let mut lines = Vec::new();
    let mut last = None;
    for link in links {
        if last != Some(&link.from) {
            lines.push(link.from.to_string());
            last = Some(&link.from);
        }
        lines.push(format!("  -> {:width$}   {}", link.to.to_string(), label(link)));
    }
    lines
}

/// For Graphviz.
pub(crate) fn dot(links: &[Link]) -> Vec<String> {
    // Names are of letters, digits, `-`, `.`, `/`, and never need to be escaped.
    let mut lines = vec!["digraph mesh {".to_owned(), "  rankdir=LR;".to_owned()];
    lines.extend(nodes(links).iter().map(|node| format!("  \"{node}\";")));
    let edge = |link: &Link| format!("  \"{}\" -> \"{}\" [label=\"{}\"];", link.from, link.to, label(link));
    lines.extend(links.iter().map(edge));
    lines.push("}".to_owned());
    lines
}

/// For Mermaid, as Markdown renderers draw it.
pub(crate) fn mermaid(links: &[Link]) -> Vec<String> {
    let nodes: Vec<&Node> = nodes(links).into_iter().collect();
    let number = |node: &Node| nodes.iter().position(|known| *known == node).unwrap_or(0);
    let mut lines = vec!["flowchart LR".to_owned()];
    lines.extend((0..).zip(&nodes).map(|(number, node): (usize, _)| format!("  n{number}[\"{node}\"]")));
    let edge = |link: &Link| format!("  n{} -->|\"{}\"| n{}", number(&link.from), label(link), number(&link.to));
    lines.extend(links.iter().map(edge));
    lines
}
