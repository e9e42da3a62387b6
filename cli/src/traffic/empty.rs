//! Why there is nothing to show, and what to do.

use std::collections::BTreeSet;

use super::edges::{Edge, EdgeList};
use super::rows::Filter;

/// Returns what happened and the next step.
pub(crate) fn why(list: &EdgeList, filter: &Filter) -> (String, String) {
    let sidecars = &list.sidecars;
    let window = format!("in the last {:.0} s", list.window_seconds.max(1.0));
    if sidecars.connected == 0 {
        return (
            "no sidecar is connected to the control plane".to_owned(),
            "mesh a workload, and look for what keeps its sidecar from connecting: outrigger check".to_owned(),
        );
    }
    if sidecars.capable == 0 {
        let count = sidecars.connected;
        return (
            format!("the version of the connected sidecars ({count}) does not report traffic"),
            "restart the workloads, so that they get the sidecar of this version: kubectl rollout restart".to_owned(),
        );
    }
    let used: Vec<&Edge> = list.edges.iter().filter(|edge| edge.is_used()).collect();
    if used.is_empty() {
        return (
            format!("no traffic {window}: {} of {} sidecars have reported", sidecars.reporting, sidecars.capable),
            "send requests while the command runs, or look at a longer window: --window 1m".to_owned(),
        );
    }
    let what = match (&filter.namespace, &filter.name) {
        (Some(namespace), Some(name)) => format!("no traffic of {name} in namespace {namespace} {window}"),
        (Some(namespace), None) => format!("no such traffic in namespace {namespace} {window}"),
        (None, Some(name)) => format!("no traffic of {name} {window}"),
        (None, None) => format!("no traffic of this kind {window}"),
    };
    let namespaces: BTreeSet<&str> = used.iter().map(|edge| &*edge.namespace).collect();
    let namespaces: Vec<&str> = namespaces.into_iter().collect();
    (what, format!("there is traffic in: {}; choose with -n, or see all with -A", namespaces.join(", ")))
}
