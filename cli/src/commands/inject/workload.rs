//! Where the pods are in objects of every kind, and what became of them.

use outrigger_injector::{Outcome, ProbeSecret, Settings, inject as inject_pod};
use serde_json::Value;

/// What is told at the end.
#[derive(Debug, Default)]
pub(super) struct Summary {
    /// One for each workload.
    pub(super) lines: Vec<String>,
    pub(super) warnings: Vec<String>,
    /// Workloads that should have a sidecar and cannot.
    pub(super) refused: usize,
    injected: usize,
    left: usize,
    others: usize,
}

impl Summary {
    pub(super) fn total(&self) -> String {
        let Self { injected, left, refused, others, .. } = self;
        format!("{injected} injected, {left} left as they are, {refused} refused; {others} other objects")
    }
}

/// Gives an object's pods their sidecar, and those of a list's items; says whether anything changed.
pub(super) fn inject(object: &mut Value, settings: &Settings, summary: &mut Summary) -> bool {
    let kind = object["kind"].as_str().unwrap_or_default().to_owned();
    if kind.ends_with("List")
        && let Some(items) = object["items"].as_array_mut()
    {
        // The items of a PodList do not say their kind.
        let of_items = kind.strip_suffix("List").unwrap_or_default();
        let mut changed = false;
        for item in items.iter_mut().filter(|item| item.is_object()) {
            if item["kind"].is_null() && !of_items.is_empty() {
                item["kind"] = of_items.into();
            }
            changed |= inject(item, settings, summary);
        }
        return changed;
    }
    let Some(pod) = template(&kind).and_then(|path| object.pointer(path)) else {
        summary.others += 1;
        return false;
    };
    let outcome = inject_pod(pod, settings, &ProbeSecret::random());
    let name = name(&kind, object);
    match outcome {
        Outcome::Injected(injected) => {
            if let Some(pod) = template(&kind).and_then(|path| object.pointer_mut(path)) {
                *pod = injected.pod;
            }
            summary.injected += 1;
            summary.lines.push(format!("{name}: injected"));
            summary.warnings.extend(injected.warnings.iter().map(|warning| format!("{name}: {warning}")));
            true
        }
        Outcome::Skipped(skip) => {
            if skip.is_surprising() {
                summary.refused += 1;
                summary.warnings.push(format!("{name}: no sidecar: {skip}"));
            } else {
                summary.left += 1;
                summary.lines.push(format!("{name}: left as it is: {skip}"));
            }
            false
        }
    }
}

/// Where the pod is in an object of this kind.
fn template(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "Pod" => "",
        "PodTemplate" => "/template",
        "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" | "ReplicationController" | "Job" => "/spec/template",
        "CronJob" => "/spec/jobTemplate/spec/template",
        _ => return None,
    })
}

fn name(kind: &str, object: &Value) -> String {
    let metadata = &object["metadata"];
    let name = metadata["name"].as_str().or_else(|| metadata["generateName"].as_str()).unwrap_or("?");
    let kind = kind.to_lowercase();
    match metadata["namespace"].as_str() {
        Some(namespace) => format!("{kind}/{name} in {namespace}"),
        None => format!("{kind}/{name}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use outrigger_injector::MetricsFrom;

    use super::*;

    fn settings() -> Settings {
        Settings {
            image: "sidecar:1".into(),
            pull_policy: None,
            control_plane: "control-plane:4180".into(),
            trust_domain: "mesh.local".into(),
            trust_anchors: "PEM".into(),
            otlp: None,
            metrics: MetricsFrom::default(),
        }
    }

    #[test]
    fn pods_are_found_in_every_kind_of_workload() {
        let pod = json!({"spec": {"containers": [{"name": "app"}]}});
        for (kind, path) in [
            ("Pod", ""),
            ("PodTemplate", "/template"),
            ("Deployment", "/spec/template"),
            ("StatefulSet", "/spec/template"),
            ("DaemonSet", "/spec/template"),
            ("ReplicaSet", "/spec/template"),
            ("ReplicationController", "/spec/template"),
            ("Job", "/spec/template"),
            ("CronJob", "/spec/jobTemplate/spec/template"),
        ] {
            let mut object =
                path.rsplit('/').filter(|part| !part.is_empty()).fold(pod.clone(), |inner, part| json!({part: inner}));
            object["kind"] = kind.into();
            object["metadata"] = json!({"name": "web"});

            assert!(inject(&mut object, &settings(), &mut Summary::default()), "{kind}");

            let inits = object.pointer(&format!("{path}/spec/initContainers")).unwrap();
            assert_eq!(inits[1]["name"], "outrigger-sidecar", "{kind}");
        }
    }

    #[test]
    fn lists_are_looked_through_and_the_rest_is_left_alone() {
        let pod = |name: &str| json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "app"}]}});
        let host =
            json!({"kind": "Pod", "metadata": {"name": "host"}, "spec": {"hostNetwork": true, "containers": []}});
        let service = json!({"kind": "Service", "metadata": {"name": "web"}, "spec": {}});
        let mut list =
            json!({"kind": "List", "items": [{"kind": "PodList", "items": [pod("a"), pod("b")]}, host, service]});
        let before = list.clone();
        let mut summary = Summary::default();

        assert!(inject(&mut list, &settings(), &mut summary));

        assert_eq!(summary.total(), "2 injected, 0 left as they are, 1 refused; 1 other objects");
        assert_eq!((&list["items"][1], &list["items"][2]), (&before["items"][1], &before["items"][2]));
        assert!(summary.warnings[0].contains("pod/host") && summary.warnings[0].contains("hostNetwork"));
    }
}
