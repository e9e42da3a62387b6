//! What a workload's telemetry is of: the attributes of its OpenTelemetry resource, by OpenTelemetry's rules for Kubernetes (semantic conventions,
//! "Specify resource attributes using Kubernetes annotations"): annotations first, then labels, then what manages the pod.

use outrigger_proto::{model, wire};

use crate::objects::{Controller, Workload};
use crate::snapshot::Snapshot;

/// Returns `service.name`.
pub(crate) fn service_name(workload: &Workload) -> &str {
    let meta = &workload.meta;
    let label = |name: &str| meta.labels.get(name).map(String::as_str);
    annotation(workload, "service.name")
        .or_else(|| label("app.kubernetes.io/instance"))
        .or_else(|| label("app.kubernetes.io/name"))
        .or_else(|| owner(workload).first().map(|(_, name)| *name))
        // Not of OpenTelemetry: where nothing manages the workload, it tells replicas of one application from another.
        .or_else(|| label("app"))
        .unwrap_or(&meta.name)
}

/// Returns all attributes; an annotation stands before what is known otherwise.
pub(super) fn resource(snapshot: &Snapshot, workload: &Workload) -> Vec<wire::ResourceAttribute> {
    let meta = &workload.meta;
    let label = |name: &str| meta.labels.get(name).map_or("", String::as_str);
    let instance = format!("{}.{}", meta.namespace, meta.name);
    let mut all: Vec<wire::ResourceAttribute> = Vec::new();
    let mut add = |name: &str, value: &str| {
        let is_new = all.iter().all(|known| known.name != name);
        if is_new && !value.is_empty() && name.len() <= MAX_NAME && all.len() < model::Workload::MAX_RESOURCE {
            let value = value[..value.floor_char_boundary(MAX_VALUE)].to_owned();
            all.push(wire::ResourceAttribute { name: name.to_owned(), value });
        }
    };
    add("service.name", service_name(workload));
    let annotated = meta.annotations.iter().filter_map(|(name, value)| Some((name.strip_prefix(ANNOTATION)?, value)));
    // Not all of them could be in the way of what identifies the workload.
    for (name, value) in annotated.filter(|(name, _)| !name.is_empty()).take(MAX_ANNOTATED) {
        add(name, value);
    }
    add("service.namespace", &meta.namespace);
    add("service.version", label("app.kubernetes.io/version"));
    add("service.instance.id", &instance);
    add("k8s.namespace.name", &meta.namespace);
    add("k8s.pod.name", &meta.name);
    add("k8s.pod.uid", &meta.uid);
    add("k8s.node.name", &workload.node);
    add("cloud.availability_zone", &snapshot.state.zone_of(workload));
    for (name, value) in owner(workload) {
        add(name, value);
    }
    all
}

/// What manages the workload, from the top down: the Deployment before its ReplicaSet, the CronJob before its Job.
fn owner(workload: &Workload) -> Vec<(&'static str, &str)> {
    let Some(Controller { kind, name }) = workload.meta.controller.as_deref() else { return Vec::new() };
    match &**kind {
        "ReplicaSet" => {
            let own = ("k8s.replicaset.name", &**name);
            // A Deployment names its ReplicaSets by the hash that it labels their pods with.
            let hash = workload.meta.labels.get("pod-template-hash");
            let deployment = hash.and_then(|hash| name.strip_suffix(&**hash)?.strip_suffix('-'));
            deployment.map(|name| ("k8s.deployment.name", name)).into_iter().chain([own]).collect()
        }
        "Job" => {
            // A CronJob names its Jobs by the minute for which they are due, counted from 1970.
            let cron = name
                .rsplit_once('-')
                .filter(|(_, minute)| minute.len() >= 8 && minute.bytes().all(|byte| byte.is_ascii_digit()));
            let cron = cron.map(|(name, _)| ("k8s.cronjob.name", name));
            cron.into_iter().chain([("k8s.job.name", &**name)]).collect()
        }
        "StatefulSet" => vec![("k8s.statefulset.name", name)],
        "DaemonSet" => vec![("k8s.daemonset.name", name)],
        _ => Vec::new(),
    }
}

fn annotation<'a>(workload: &'a Workload, name: &str) -> Option<&'a str> {
    workload.meta.annotations.get(&format!("{ANNOTATION}{name}")).map(String::as_str)
}

const ANNOTATION: &str = "resource.opentelemetry.io/";

/// Bounds of what pods' owners write, bytes and attributes.
const MAX_NAME: usize = 128;
const MAX_VALUE: usize = 256;
const MAX_ANNOTATED: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::snapshot;
    use crate::objects::{Object, read};

    fn pod(meta: &str) -> Workload {
        let yaml = format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: p-1, namespace: shop, uid: u{meta}}}\nspec: {{nodeName: n1}}\n"
        );
        match read(&yaml).unwrap().objects.remove(0) {
            Object::Pod(pod) => (*pod).clone(),
            other => panic!("{other:?}"),
        }
    }

    fn attributes(meta: &str) -> Vec<String> {
        let attributes = resource(&snapshot(""), &pod(meta));
        attributes.into_iter().map(|attribute| format!("{}={}", attribute.name, attribute.value)).collect()
    }

    fn owned(kind: &str, name: &str, labels: &str) -> String {
        format!(
            ", labels: {{{labels}}}, ownerReferences: [{{kind: Other, name: o, uid: x}}, {{apiVersion: a/v1, kind: {kind}, name: {name}, uid: y, controller: true}}]"
        )
    }

    #[test]
    fn a_pod_belongs_to_what_its_owner_wrote() {
        for (meta, name, owners) in [
            (
                owned("ReplicaSet", "web-5d9c", "pod-template-hash: 5d9c"),
                "web",
                "k8s.deployment.name=web k8s.replicaset.name=web-5d9c",
            ),
            (owned("ReplicaSet", "web-5d9c", ""), "web-5d9c", "k8s.replicaset.name=web-5d9c"),
            (owned("ReplicaSet", "web", "pod-template-hash: web"), "web", "k8s.replicaset.name=web"),
            (owned("StatefulSet", "db", "app: other"), "db", "k8s.statefulset.name=db"),
            (owned("DaemonSet", "log", ""), "log", "k8s.daemonset.name=log"),
            (owned("Job", "report-29412345", ""), "report", "k8s.cronjob.name=report k8s.job.name=report-29412345"),
            (owned("Job", "report-7", ""), "report-7", "k8s.job.name=report-7"),
            (owned("Node", "n1", "app: a"), "a", ""),
            (String::new(), "p-1", ""),
        ] {
            let all = attributes(&meta);
            assert_eq!(all[0], format!("service.name={name}"), "{meta}");
            let is_owner = |one: &&String| {
                ["deployment", "replicaset", "statefulset", "daemonset", "cronjob", "job"]
                    .iter()
                    .any(|kind| one.starts_with(&format!("k8s.{kind}.")))
            };
            let found: Vec<&str> = all.iter().filter(is_owner).map(String::as_str).collect();
            assert_eq!(found.join(" "), owners, "{meta}");
        }
    }

    #[test]
    fn annotations_come_first_then_labels_and_all_of_them_are_attributes() {
        let meta = format!(
            "{}, annotations: {{resource.opentelemetry.io/service.version: v7, resource.opentelemetry.io/team.name: blue, resource.opentelemetry.io/k8s.pod.name: mine, other/x: y}}",
            owned(
                "ReplicaSet",
                "web-5d9c",
                "pod-template-hash: 5d9c, app.kubernetes.io/version: v1, app.kubernetes.io/name: shop-web"
            )
        );
        assert_eq!(
            attributes(&meta),
            [
                "service.name=shop-web",
                "k8s.pod.name=mine",
                "service.version=v7",
                "team.name=blue",
                "service.namespace=shop",
                "service.instance.id=shop.p-1",
                "k8s.namespace.name=shop",
                "k8s.pod.uid=u",
                "k8s.node.name=n1",
                "k8s.deployment.name=web",
                "k8s.replicaset.name=web-5d9c",
            ]
        );
    }

    #[test]
    fn what_an_owner_writes_is_bounded() {
        let many: Vec<String> =
            (0..200).map(|n| format!("resource.opentelemetry.io/a{n}: '{}'", "ä".repeat(1000))).collect();
        let all = attributes(&format!(", annotations: {{{}}}", many.join(", ")));
        assert_eq!(all.iter().filter(|one| one.starts_with('a')).count(), MAX_ANNOTATED);
        assert!(all.iter().all(|one| one.len() <= MAX_NAME + MAX_VALUE + 1));
        assert!(all.contains(&"k8s.pod.name=p-1".to_owned()), "{all:?}");
    }
}
