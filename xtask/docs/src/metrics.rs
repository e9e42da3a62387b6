//! The page of metrics, from pages of metrics that hold all families.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// All metrics of all parts: a table each.
pub(crate) fn page() -> String {
    let mut page = format!("{}\n# Metrics\n\n{INTRODUCTION}\n", crate::GENERATED);
    for (part, introduction, metrics) in [
        ("Sidecar", SIDECAR, outrigger_sidecar::sample_metrics()),
        ("Control plane", CONTROL_PLANE, outrigger_control_plane::sample_metrics()),
        ("Injector", INJECTOR, outrigger_injector::sample_metrics()),
    ] {
        let _ = write!(
            page,
            "\n## {part}\n\n{introduction}\n\n| Metric | Type | Unit | Labels | |\n|---|---|---|---|---|\n"
        );
        for family in families(&metrics) {
            let _ = writeln!(page, "{}", family.row());
        }
    }
    let _ = write!(page, "\n{LABELS}\n");
    page
}

/// What a page says of one metric.
#[derive(Default)]
struct Family {
    name: String,
    kind: String,
    unit: String,
    help: String,
    /// Names and values in the order of the alphabet; those of `le` are not of interest.
    labels: BTreeMap<String, BTreeSet<String>>,
}

impl Family {
    /// A row of the table.
    fn row(&self) -> String {
        let suffix = match &*self.kind {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        let label = |(name, values): (&String, &BTreeSet<String>)| {
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            if values.len() > 1 { format!("`{name}`: {}", values.join(", ")) } else { format!("`{name}`") }
        };
        let labels: Vec<String> = self.labels.iter().map(label).collect();
        let Self { name, kind, unit, help, .. } = self;
        format!("| `{name}{suffix}` | {kind} | {unit} | {} | {help} |", labels.join("; "))
    }
}

/// Reads the families of a page in OpenMetrics, in its order.
fn families(page: &str) -> Vec<Family> {
    let mut families: Vec<Family> = Vec::new();
    for line in page.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').unwrap_or((help, ""));
            let help = help.trim_end_matches('.').to_owned();
            families.push(Family { name: name.to_owned(), help, ..Family::default() });
            continue;
        }
        let Some(family) = families.last_mut() else { continue };
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            family.kind = rest.rsplit(' ').next().unwrap_or_default().to_owned();
        } else if let Some(rest) = line.strip_prefix("# UNIT ") {
            family.unit = rest.rsplit(' ').next().unwrap_or_default().to_owned();
        } else if let Some((_, labels)) = line.split_once('{') {
            let labels = labels.rsplit_once('}').map_or(labels, |(labels, _)| labels);
            for label in labels.split("\",") {
                let Some((name, value)) = label.split_once("=\"") else { continue };
                let value = value.trim_end_matches('"').to_owned();
                family.labels.entry(name.to_owned()).or_default().insert(value);
            }
            family.labels.remove("le");
        }
    }
    families
}

const INTRODUCTION: &str = "\
Names and labels follow the [OpenTelemetry semantic conventions](https://opentelemetry.io/docs/specs/semconv/), version 1.45.0, where there is one, in the form that \
OpenTelemetry prescribes for Prometheus: dots become underscores, and names end with their unit. All others begin with `outrigger_`. Labels have values of the \
mesh's configuration or of closed sets; no caller can choose one. [Scrape the mesh with Prometheus](../tasks/metrics.md) shows how to read them.";

const SIDECAR: &str = "\
Port 4194 of each injected pod. *Inbound* and *server* are requests to the workload, *outbound* and *client* are requests of the workload. A sidecar has at most \
2,000 series of requests and 1,000 of connections; series that were not used for ten minutes are removed. What has no room is counted in a series whose only \
label is `overflow=\"true\"`.";

const CONTROL_PLANE: &str = "Port 4182 of its pods.";

const INJECTOR: &str = "Port 4184 of its pods.";

const LABELS: &str = "\
## Labels of requests and connections

| Label | Value |
|---|---|
| `http_request_method` | the method if HTTP defines it, else `_OTHER` |
| `http_response_status_code` | the status that the client received; empty if the client left before there was one |
| `rpc_status_code` | the name of the gRPC status, such as `UNAVAILABLE` |
| `error_type` | why the request failed: an HTTP status, a gRPC status, or the token of an [error of the mesh](errors.md); empty if it did not fail. A request that its client gave up is no error |
| `route` | kind, namespace and name of the route, then the rule; empty if no route applies |
| `peer_namespace`, `peer_service` | the Service that the workload requested |
| `peer_namespace`, `peer_service_account` | the verified identity of the caller; empty without mutual TLS |
| `server_address`, `server_port` | the Service that the workload requested, as a host name and a port |
| `tls` | `mutual` or `none` |

Two deviations from the conventions are deliberate. `server_address` is the Service from the configuration and not the host that the request names, because a caller \
could create any number of series otherwise. `network_protocol_version` is left out, because it doubles the series and hides nothing that a trace does not show.";
