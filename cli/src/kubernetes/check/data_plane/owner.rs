//! What made a pod, and how its pods are made anew.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;

use super::Labels;

/// What made a pod, as `kubectl` names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Owner {
    pub(super) namespace: String,
    pub(super) kind: String,
    pub(super) name: String,
}

impl Owner {
    pub(super) fn of(pod: &Pod) -> Self {
        let namespace = pod.metadata.namespace.clone().unwrap_or_default();
        let none = Labels::new();
        let labels = pod.metadata.labels.as_ref().unwrap_or(&none);
        let owner = pod.metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true));
        let (kind, name) = match (owner, labels.get("pod-template-hash")) {
            (Some(owner), Some(hash)) if owner.kind == "ReplicaSet" => {
                let deployment = owner.name.strip_suffix(hash.as_str()).and_then(|name| name.strip_suffix('-'));
                ("deployment".to_owned(), deployment.unwrap_or(&owner.name).to_owned())
            }
            (Some(owner), _) => (owner.kind.to_lowercase(), owner.name.clone()),
            (None, _) => ("pod".to_owned(), pod.metadata.name.clone().unwrap_or_default()),
        };
        Self { namespace, kind, name }
    }

    /// The command that makes its pods anew.
    pub(super) fn restart(&self) -> String {
        let Self { namespace, kind, name } = self;
        match kind.as_str() {
            "deployment" | "statefulset" | "daemonset" => {
                format!("kubectl rollout restart -n {namespace} {kind}/{name}")
            }
            "job" => {
                format!("the pods of job/{name} in {namespace} cannot be changed: delete the job and create it again")
            }
            "pod" => format!("nothing would create pod {name} in {namespace} again: delete it and create it yourself"),
            _ => format!("delete the pods of {kind}/{name} in {namespace}, so that it creates them again"),
        }
    }
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{} in {}", self.kind, self.name, self.namespace)
    }
}

pub(super) fn by_owner<'a>(pods: &[&'a Pod]) -> BTreeMap<Owner, Vec<&'a Pod>> {
    let mut by_owner: BTreeMap<Owner, Vec<&Pod>> = BTreeMap::new();
    for pod in pods {
        by_owner.entry(Owner::of(pod)).or_default().push(pod);
    }
    by_owner
}
