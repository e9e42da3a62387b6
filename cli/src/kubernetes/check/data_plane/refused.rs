//! Pods that should be there, and that the API server refuses: nobody sees them in a list of pods.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Event;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams};
use serde_json::Value;

use super::owner::Owner;
use super::{Labels, some};
use crate::check::finding::{Check, error};
use crate::kubernetes::Cluster;

/// Something whose pods are refused.
pub(super) struct Refused {
    pub(super) owner: Owner,
    /// The API server's word.
    pub(super) why: String,
}

/// Looks at what could not create pods, and still has fewer than it wants. `asks` says whether pods of a namespace and with labels
/// get a sidecar.
pub(super) async fn look(
    cluster: &Cluster,
    namespace: Option<&str>,
    asks: impl Fn(&str, &Labels) -> bool,
) -> kube::Result<Vec<Refused>> {
    let events: Api<Event> = match namespace {
        Some(namespace) => Api::namespaced(cluster.client.clone(), namespace),
        None => Api::all(cluster.client.clone()),
    };
    let found = events.list(&ListParams::default().fields("reason=FailedCreate").limit(MOST)).await?;
    let mut last: BTreeMap<(String, String, String), String> = BTreeMap::new();
    let mut events = found.items;
    events.sort_by_key(|event| event.last_timestamp.as_ref().map(|time| time.0));
    for event in events {
        let about = event.involved_object;
        if let (Some(namespace), Some(kind), Some(name)) = (about.namespace, about.kind, about.name) {
            last.insert((namespace, kind, name), event.message.unwrap_or_default());
        }
    }
    let mut refused = Vec::new();
    for ((namespace, kind, name), message) in last {
        let group = if kind == "Job" { "batch" } else { "apps" };
        if !["ReplicaSet", "StatefulSet", "DaemonSet", "Job"].contains(&kind.as_str()) {
            continue;
        }
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1", &kind));
        let api: Api<DynamicObject> = Api::namespaced_with(cluster.client.clone(), &namespace, &resource);
        let Some(object) = api.get_opt(&name).await? else { continue };
        let labels = &object.data["spec"]["template"]["metadata"]["labels"];
        let labels: Labels = serde_json::from_value(labels.clone()).unwrap_or_default();
        if lacks_pods(&kind, &object.data) && asks(&namespace, &labels) {
            refused.push(Refused { owner: owner(&kind, &object), why: plain(&message) });
        }
    }
    Ok(refused)
}

fn lacks_pods(kind: &str, object: &Value) -> bool {
    let number = |path: &str, otherwise: u64| object.pointer(path).and_then(Value::as_u64).unwrap_or(otherwise);
    match kind {
        "DaemonSet" => number("/status/desiredNumberScheduled", 0) > number("/status/currentNumberScheduled", 0),
        "Job" => {
            let begun = ["/status/active", "/status/succeeded", "/status/failed"].map(|path| number(path, 0));
            begun.iter().sum::<u64>() == 0
        }
        _ => number("/spec/replicas", 1) > number("/status/replicas", 0),
    }
}

/// What made it, as people know it: of a ReplicaSet, the Deployment.
fn owner(kind: &str, object: &DynamicObject) -> Owner {
    let of = object.metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true));
    let (kind, name) = match of {
        Some(of) => (of.kind.to_lowercase(), of.name.clone()),
        None => (kind.to_lowercase(), object.metadata.name.clone().unwrap_or_default()),
    };
    Owner { namespace: object.metadata.namespace.clone().unwrap_or_default(), kind, name }
}

/// Without the name that the pod would have had: it differs each time.
fn plain(message: &str) -> String {
    let message = message.strip_prefix("Error creating: ").unwrap_or(message);
    let message = message.split_once(" failed error: ").map_or(message, |(_, why)| why);
    match message.strip_prefix("pods \"").and_then(|rest| rest.split_once("\" ")) {
        Some((_, rest)) => format!("pods {rest}"),
        None => message.to_owned(),
    }
}

/// One finding for one reason.
pub(super) fn judge(refused: &[Refused]) -> Vec<Check> {
    let mut by_reason: BTreeMap<&str, Vec<&Owner>> = BTreeMap::new();
    for Refused { owner, why } in refused {
        by_reason.entry(why).or_default().push(owner);
    }
    let describe = |(why, owners): (&str, Vec<&Owner>)| {
        let names: Vec<String> = owners.iter().map(ToString::to_string).collect();
        let hint = format!("kubectl get events -n {} --field-selector reason=FailedCreate", owners[0].namespace);
        error("OC038", format!("{}: pods with a sidecar are not created: {why}", some(&names)), hint)
    };
    by_reason.into_iter().map(describe).collect()
}

/// Events looked at.
const MOST: u32 = 500;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn one_reason_is_told_once_with_all_that_it_stops() {
        let refused = |name: &str, message: &str| Refused {
            owner: Owner { namespace: "shop".into(), kind: "deployment".into(), name: name.into() },
            why: plain(message),
        };
        let checks = judge(&[
            refused("web", "Error creating: pods \"web-5d9-x7\" is forbidden: exceeded quota: q"),
            refused("db", "Error creating: pods \"db-6-1\" is forbidden: exceeded quota: q"),
            refused("mail", "create Pod mail-0 in StatefulSet mail failed error: pods \"mail-0\" is forbidden: no"),
        ]);

        let messages: Vec<&str> = checks.iter().map(|check| check.message.as_str()).collect();
        assert_eq!(
            messages,
            [
                "deployment/web in shop, deployment/db in shop: pods with a sidecar are not created: \
                 pods is forbidden: exceeded quota: q",
                "deployment/mail in shop: pods with a sidecar are not created: pods is forbidden: no",
            ]
        );
    }

    #[test]
    fn what_has_its_pods_by_now_is_well() {
        assert!(lacks_pods("ReplicaSet", &json!({"spec": {"replicas": 2}, "status": {"replicas": 1}})));
        assert!(!lacks_pods("ReplicaSet", &json!({"spec": {"replicas": 0}, "status": {"replicas": 0}})));
        assert!(lacks_pods("StatefulSet", &json!({"spec": {}, "status": {}})));
        assert!(lacks_pods("DaemonSet", &json!({"status": {"desiredNumberScheduled": 2}})));
        assert!(!lacks_pods("Job", &json!({"status": {"succeeded": 1}})));
        assert!(lacks_pods("Job", &json!({"status": {}})));
    }
}
