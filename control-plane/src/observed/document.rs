//! What `/edges` shows: one document, which `outrigger stat`, `top` and `graph` are made of.

use serde_json::{Map, Value, json};

use super::counts::{CLASSES, Counts, Tally, bounds};
use super::{EdgeKey, Look, Parts};
use crate::observed::merge::Seen;

/// Returns the document of what was seen in the window of such a look.
pub(crate) fn document(parts: &Parts, look: Look) -> Value {
    let sum = &parts.sum;
    // Of what was before anybody looked, nothing is known.
    let seconds = sum.lengths[look as usize].min(sum.observed).as_secs_f64();
    let edges = sum.edges.iter().map(|(key, seen)| edge(key, seen, &seen.windows[look as usize]));
    json!({
        "apiVersion": "cli.outrigger.io/v1",
        "kind": "EdgeList",
        "windowSeconds": (seconds * 1e3).round() / 1e3,
        "observedSeconds": (sum.observed.as_secs_f64() * 1e3).round() / 1e3,
        "reportSeconds": look.every().as_secs(),
        "replicas": { "asked": parts.replicas, "answered": parts.answered },
        "sidecars": { "connected": sum.connected, "capable": sum.capable, "reporting": sum.reporting },
        "refusedEdges": sum.refused,
        "latencyBoundsMs": bounds().map(|micros| micros as f64 / 1e3).collect::<Vec<_>>(),
        "edges": edges.collect::<Vec<_>>(),
    })
}

fn edge(key: &EdgeKey, seen: &Seen, counts: &Counts) -> Value {
    let [in_flight, open] = seen.now;
    let [sent, received] = counts.bytes();
    json!({
        "direction": if key.is_inbound { "inbound" } else { "outbound" },
        "namespace": &*key.source.namespace,
        "workload": &*key.source.workload,
        "serviceAccount": &*key.source.service_account,
        "rule": &*key.rule,
        "backend": &*key.backend,
        "peer": &*key.peer,
        "tls": if key.peer.is_empty() { "none" } else { "mutual" },
        "overflow": key.is_overflow,
        "requests": tally(counts.requests()),
        "attempts": tally(counts.attempts()),
        "started": counts.started(),
        "inFlight": in_flight,
        "connections": {
            "open": open,
            "opened": counts.opened(),
            "failed": by_class(counts.failed()),
            "sentBytes": sent,
            "receivedBytes": received,
        },
    })
}

fn tally(tally: Tally<'_>) -> Value {
    json!({
        "ended": by_class(tally.by_class()),
        "abandoned": tally.abandoned(),
        "slow": tally.slow(),
        "latency": trimmed(tally.buckets()),
    })
}

/// What has not happened is left out.
fn by_class(counts: &[u64]) -> Value {
    let counted = CLASSES.iter().zip(counts).filter(|(_, count)| **count > 0);
    Value::Object(counted.map(|(class, count)| ((*class).to_owned(), json!(count))).collect::<Map<_, _>>())
}

/// Counts by the bounds, up to the last that is not zero.
fn trimmed(buckets: &[u64]) -> &[u64] {
    &buckets[..buckets.iter().rposition(|count| *count > 0).map_or(0, |last| last + 1)]
}
