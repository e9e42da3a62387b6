//! One request's way through the mesh, as the sidecars told it.

use serde_json::json;

use super::{Found, Proof, eventually};
use crate::inside::collector::Collector;
use crate::inside::mesh::Mesh;
use crate::inside::spans::{Side, Span};
use crate::inside::tree;

/// Waits for a trace that leads from the load to pricing without a gap, and draws it.
pub(super) async fn prove(mesh: &Mesh, collector: &Collector) -> anyhow::Result<(Proof, String)> {
    let trace = eventually(|| async {
        mesh.alive()?;
        let trace = collector.with(|spans| spans.latest().find(|trace| is_whole(trace)).map(<[Span]>::to_vec));
        Ok(Found::enough_if(trace.is_some(), trace))
    });
    let Some(trace) = trace.await? else {
        let (traces, longest) = collector
            .with(|spans| (spans.latest().count(), spans.latest().max_by_key(|trace| trace.len()).map(tree::draw)));
        anyhow::bail!("none of {traces} traces is whole; the longest: {:?}", longest.unwrap_or_default());
    };
    let id = trace[0].trace_id.clone();
    let spans: Vec<_> = trace
        .iter()
        .map(|span| json!({"service": span.service, "name": span.name, "id": span.id, "parent": span.parent}))
        .collect();
    let proof = Proof {
        ok: true,
        summary: format!("{id}: {} spans of {} services", trace.len(), SERVICES.len()),
        details: tree::draw(&trace),
        values: json!({"traceId": id, "spans": spans, "services": SERVICES}),
    };
    Ok((proof, id))
}

/// One root, no missing parent, both sides of each hop.
fn is_whole(trace: &[Span]) -> bool {
    let has = |service: &str, side| trace.iter().any(|span| span.service == service && span.side == side);
    let [first, .., last] = SERVICES;
    let hops = SERVICES.iter().all(|service| {
        (*service == first || has(service, Side::Server)) && (*service == last || has(service, Side::Client))
    });
    let roots = tree::roots(trace);
    hops && roots.len() == 1 && roots[0].service == first && !trace.iter().any(|span| span.error)
}

/// On the way of `/items/N`.
const SERVICES: [&str; 4] = ["load", "frontend", "catalog", "pricing"];

#[cfg(test)]
mod tests {
    use super::super::super::spans::tests::span;
    use super::*;

    fn whole() -> Vec<Span> {
        vec![
            span("t", "1", "", "load", Side::Client),
            span("t", "2", "1", "frontend", Side::Server),
            span("t", "3", "2", "frontend", Side::Client),
            span("t", "4", "3", "catalog", Side::Server),
            span("t", "5", "4", "catalog", Side::Client),
            span("t", "6", "5", "pricing", Side::Server),
        ]
    }

    #[test]
    fn a_trace_with_a_gap_is_not_whole() {
        assert!(is_whole(&whole()));
        for missing in 0..6 {
            let mut trace = whole();
            trace.remove(missing);
            assert!(!is_whole(&trace), "without span {missing}");
        }
    }

    #[test]
    fn a_trace_in_two_pieces_is_not_whole() {
        let mut trace = whole();
        trace[3].parent = "x".into();
        assert!(!is_whole(&trace));
    }
}
