//! What `/config` shows: objects by kind, what cannot be read, what is not in force as written.

use serde_json::{Value, json};

use crate::resource::problems;
use crate::snapshot::Snapshot;
use crate::state::Reading;

/// Returns the page of `/config`.
#[must_use]
pub fn config(snapshot: &Snapshot) -> Value {
    let state = &snapshot.state;
    let mut objects = serde_json::Map::new();
    let namespaces: Vec<&str> = state.namespaces.keys().map(|name| &**name).collect();
    objects.insert("Namespace".to_owned(), json!(namespaces));
    let name = |meta: &crate::objects::Metadata| format!("{}/{}", meta.namespace, meta.name);
    let services: Vec<String> = state.services.iter().map(|service| name(&service.meta)).collect();
    objects.insert("Service".to_owned(), json!(services));
    let workloads: Vec<String> = state.workloads.iter().map(|workload| name(&workload.meta)).collect();
    objects.insert("Workload".to_owned(), json!(workloads));
    for (kind, routes) in &state.routes {
        let routes: Vec<String> = routes.iter().map(|prepared| name(&prepared.route.meta)).collect();
        objects.insert(kind.as_str().to_owned(), json!(routes));
    }
    for (kind, policies) in &state.policies {
        let policies: Vec<String> = policies.iter().map(|prepared| name(&prepared.policy.meta)).collect();
        objects.insert(kind.as_str().to_owned(), json!(policies));
    }
    let pods: Vec<String> = state.pods.iter().map(|pod| name(&pod.meta)).collect();
    objects.insert("Pod".to_owned(), json!(pods));
    let mut counts: serde_json::Map<String, Value> =
        objects.iter().map(|(kind, names)| (kind.clone(), json!(names.as_array().map_or(0, Vec::len)))).collect();
    // Of these nobody asks by name.
    counts.insert("EndpointSlice".to_owned(), json!(state.slices.len()));
    counts.insert("Node".to_owned(), json!(state.nodes.len()));
    let problems: Vec<Value> = problems(snapshot)
        .into_iter()
        .map(|problem| json!({ "object": problem.object, "reason": problem.reason }))
        .collect();
    json!({
        "version": 1,
        "snapshot": snapshot.version,
        "synced": state.synced(),
        "complete": state.reading() == Reading::Wholly,
        "trustDomain": state.settings.bundle.domain().as_str(),
        "trustAnchors": state.settings.bundle.anchors().len(),
        "counts": counts,
        "objects": objects,
        "sourceErrors": &*state.source_errors,
        "problems": problems,
    })
}
