//! Every hop between two sidecars: who proved to be whom, and that nothing went in the clear.

use std::collections::BTreeMap;

use serde_json::json;

use super::{Found, Proof, eventually};
use crate::inside::collector::Collector;
use crate::inside::mesh::Mesh;
use crate::inside::place::Place;
use crate::inside::spans::{Side, Span, Spans};
use crate::inside::{admin, shop};

/// Services on both ends of a hop, and the identities that each end saw the other prove.
type Hops = BTreeMap<(String, String), (String, String)>;

/// Joins both sides' spans of each hop, reads every sidecar's own counts, and tries to get in without TLS.
pub(super) async fn prove(mesh: &Mesh, collector: &Collector) -> anyhow::Result<Proof> {
    let seen = eventually(|| async {
        mesh.alive()?;
        let (hops, counts) = (collector.with(hops), counts(mesh).await?);
        let enough = EXPECTED.iter().all(|hop| has(&hops, *hop)) && counts.mutual >= ENOUGH;
        Ok(Found::enough_if(enough, (hops, counts)))
    });
    let (hops, counts) = seen.await?;
    let refused = plaintext_is_refused(mesh).await?;
    let complete = EXPECTED.iter().all(|hop| has(&hops, *hop));
    let arrow = |((from, to), (client, server)): (&(String, String), &(String, String))| {
        format!("{:<20} {client} → {server}", format!("{from} → {to}"))
    };
    let said = if refused { "refused" } else { "ACCEPTED" };
    Ok(Proof {
        ok: complete && counts.mutual > 0 && counts.plaintext == 0 && refused,
        summary: format!(
            "{} of {} hops, both sides proved; {} requests by mutual TLS, {} without; plaintext from outside {said}",
            EXPECTED.iter().filter(|hop| has(&hops, **hop)).count(),
            EXPECTED.len(),
            counts.mutual,
            counts.plaintext,
        ),
        details: hops.iter().map(arrow).collect(),
        values: json!({
            "hops": hops.iter().map(|((from, to), (client, server))| json!({
                "from": from, "to": to, "clientIdentity": client, "serverIdentity": server,
            })).collect::<Vec<_>>(),
            "requestsByMutualTls": counts.mutual,
            "requestsWithout": counts.plaintext,
            "plaintextFromOutsideRefused": refused,
        }),
    })
}

fn has(hops: &Hops, (from, to): (&str, &str)) -> bool {
    hops.contains_key(&(from.to_owned(), to.to_owned()))
}

/// The server's span tells whom the client proved to be, the client's span whom the server proved to be.
fn hops(spans: &Spans) -> Hops {
    let mut hops = Hops::new();
    for trace in spans.latest() {
        for server in trace.iter().filter(|span| span.side == Side::Server) {
            let Some(client) = trace.iter().find(|span| span.id == server.parent) else { continue };
            let identity = |span: &Span| span.attribute("outrigger.peer.identity").to_owned();
            let (of_client, of_server) = (identity(server), identity(client));
            if !of_client.is_empty() && !of_server.is_empty() {
                hops.entry((client.service.clone(), server.service.clone())).or_insert((of_client, of_server));
            }
        }
    }
    hops
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Counts {
    mutual: u64,
    plaintext: u64,
}

/// What all sidecars counted, as clients and as servers.
async fn counts(mesh: &Mesh) -> anyhow::Result<Counts> {
    let mut all = Counts::default();
    for running in &mesh.members {
        let (_, metrics) = mesh.sidecar_page(running, "/metrics").await?;
        let counts = count(&metrics);
        all.mutual += counts.mutual;
        all.plaintext += counts.plaintext;
    }
    Ok(all)
}

/// Sums the requests of a Prometheus text by their label `tls`.
fn count(metrics: &str) -> Counts {
    let mut counts = Counts::default();
    for line in metrics.lines() {
        let Some((name, rest)) = line.split_once('{') else { continue };
        let Some((labels, value)) = rest.rsplit_once("} ") else { continue };
        if !REQUESTS.contains(&name) {
            continue;
        }
        let value: u64 = value.split_whitespace().next().and_then(|value| value.parse().ok()).unwrap_or(0);
        if labels.contains(r#"tls="mutual""#) {
            counts.mutual += value;
        } else {
            counts.plaintext += value;
        }
    }
    counts
}

/// Asks the frontend as a program without a sidecar would.
async fn plaintext_is_refused(mesh: &Mesh) -> anyhow::Result<bool> {
    let frontend = mesh.member(shop::FRONTEND)?;
    let addr = mesh.control_plane.addresses().endpoint(frontend.member);
    Ok(admin::get(&Place::here(), addr, "/stock").await.is_err())
}

/// Service by service.
const EXPECTED: [(&str, &str); 3] = [("load", "frontend"), ("frontend", "catalog"), ("catalog", "pricing")];
/// Requests, counted at both ends of a hop.
const ENOUGH: u64 = 300;
const REQUESTS: [&str; 4] = [
    "http_client_request_duration_seconds_count",
    "http_server_request_duration_seconds_count",
    "rpc_client_call_duration_seconds_count",
    "rpc_server_call_duration_seconds_count",
];

#[cfg(test)]
mod tests {
    use super::super::super::spans::tests::span;
    use super::*;

    #[test]
    fn counts_requests_by_their_tls_label() {
        let metrics = "# TYPE http_client_request_duration_seconds histogram\n\
            http_client_request_duration_seconds_count{peer_service=\"web:80\",tls=\"mutual\"} 7\n\
            http_client_request_duration_seconds_bucket{tls=\"mutual\",le=\"0.1\"} 7\n\
            rpc_server_call_duration_seconds_count{tls=\"none\"} 2\n\
            http_server_request_duration_seconds_count{tls=\"mutual\"} 3 # {trace_id=\"a\"} 0.1\n";
        assert_eq!(count(metrics), Counts { mutual: 7, plaintext: 2 });
    }

    #[test]
    fn a_hop_counts_only_with_both_identities() {
        let mut client = span("t", "1", "", "load", Side::Client);
        let mut server = span("t", "2", "1", "frontend", Side::Server);
        server.attributes.insert("outrigger.peer.identity".into(), "spiffe://m/load".into());
        let mut half = Spans::default();
        half.extend([client.clone(), server.clone()]);
        assert!(hops(&half).is_empty());

        client.attributes.insert("outrigger.peer.identity".into(), "spiffe://m/frontend".into());
        let mut whole = Spans::default();
        whole.extend([client, server]);
        let found = hops(&whole);
        assert!(has(&found, ("load", "frontend")));
        assert_eq!(found.values().next().unwrap().0, "spiffe://m/load");
    }
}
