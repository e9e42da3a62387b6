//! The pods: which should have a sidecar, which have one, and whether those serve what is current.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Pod;
use outrigger_injector::Skip;
use serde_json::Value;

use super::super::finding::{Category, Check, Level, error, ok, warn};
use super::super::judge;
use super::control_plane::ControlPlane;
use crate::kubernetes::{Cluster, sidecars};

type Labels = BTreeMap<String, String>;

/// Lists the pods, and compares them with their labels and with what the control plane says.
pub(super) async fn look(
    cluster: &Cluster,
    namespace: Option<&str>,
    control_plane: &ControlPlane,
) -> anyhow::Result<Category> {
    let pods = sidecars::pods(cluster, namespace).await?;
    let seen = Seen {
        mesh_namespace: &cluster.namespace,
        revision: control_plane.label("outrigger.io/rev").unwrap_or_default(),
        version: control_plane.label("app.kubernetes.io/version").unwrap_or_default(),
        namespaces: sidecars::namespaces(cluster).await?,
        pods: pods
            .into_iter()
            .filter(|pod| !sidecars::is_over(pod) && pod.metadata.deletion_timestamp.is_none())
            .collect(),
        all_asked: control_plane.replicas.iter().all(|(_, pages)| pages.is_ok()),
        connected: connected(control_plane),
    };
    let name = namespace.map_or_else(|| "data plane".to_owned(), |namespace| format!("data plane: {namespace}"));
    Ok(Category::new(name, seen.judge()))
}

/// What every replica says of its sidecars, with the snapshot that is current there.
fn connected(control_plane: &ControlPlane) -> BTreeMap<String, (Value, u64)> {
    let mut connected = BTreeMap::new();
    for pages in control_plane.replicas.iter().filter_map(|(_, pages)| pages.as_ref().ok()) {
        let snapshot = pages.config["snapshot"].as_u64().unwrap_or(0);
        for sidecar in pages.sidecars["sidecars"].as_array().into_iter().flatten() {
            let name = sidecar["workload"].as_str().unwrap_or_default().to_owned();
            connected.insert(name, (sidecar.clone(), snapshot));
        }
    }
    connected
}

struct Seen<'a> {
    mesh_namespace: &'a str,
    revision: &'a str,
    version: &'a str,
    namespaces: BTreeMap<String, Labels>,
    pods: Vec<Pod>,
    /// Whether every replica said who is connected to it.
    all_asked: bool,
    connected: BTreeMap<String, (Value, u64)>,
}

impl Seen<'_> {
    fn judge(&self) -> Vec<Check> {
        let (meshed, bare): (Vec<&Pod>, Vec<&Pod>) = self.pods.iter().partition(|pod| sidecars::has_sidecar(pod));
        let bare: Vec<&Pod> = bare.into_iter().filter(|pod| self.should_be_meshed(pod)).collect();
        let mut checks = self.bare(&bare);
        checks.extend(self.unready(&meshed));
        checks.extend(self.old(&meshed));
        checks.extend(self.in_step(&meshed));
        if checks.is_empty() {
            let none = "no pod has a sidecar, and none should: label a namespace with outrigger.io/inject=enabled";
            checks.push(if meshed.is_empty() { ok("OC031", none) } else { ok("OC032", "all sidecars are ready") });
        }
        checks
    }

    /// By the same rules as the webhook's selectors.
    fn should_be_meshed(&self, pod: &Pod) -> bool {
        let none = Labels::new();
        let name = pod.metadata.namespace.as_deref().unwrap_or_default();
        let namespace = self.namespaces.get(name).unwrap_or(&none);
        let own = pod.metadata.labels.as_ref().unwrap_or(&none);
        let rev = own.get(REV).or_else(|| namespace.get(REV)).map(String::as_str).unwrap_or_default();
        if name == self.mesh_namespace || NEVER.contains(&name) || rev != self.revision {
            return false;
        }
        match own.get(INJECT).map(String::as_str) {
            Some("disabled") => false,
            Some("enabled") => true,
            _ => namespace.get(INJECT).is_some_and(|value| value == "enabled"),
        }
    }

    fn bare(&self, bare: &[&Pod]) -> Vec<Check> {
        let mut checks = Vec::new();
        for (owner, pods) in by_owner(bare) {
            if let Some(why) = pods.iter().find_map(|pod| cannot_have_one(pod)) {
                let message = format!("{owner}: {why}");
                checks.push(warn("OC034", message, "if that is meant, label the pods outrigger.io/inject=disabled"));
                continue;
            }
            let all = self.pods.iter().filter(|pod| Owner::of(pod) == owner).count();
            let message = format!("{owner}: {} of {all} pods without a sidecar (created before the label)", pods.len());
            checks.push(warn("OC031", message, owner.restart()));
        }
        checks
    }

    fn unready(&self, meshed: &[&Pod]) -> Vec<Check> {
        let unready: Vec<&Pod> = meshed.iter().copied().filter(|pod| !is_ready(pod)).collect();
        let describe = |(owner, pods): (Owner, Vec<&Pod>)| {
            let namespace = &owner.namespace;
            let pod = pods[0].metadata.name.as_deref().unwrap_or_default();
            let hint = format!("kubectl logs -n {namespace} {pod} -c {}", sidecars::SIDECAR);
            error("OC032", format!("{owner}: the sidecars of {} pods are not ready", pods.len()), hint)
        };
        by_owner(&unready).into_iter().map(describe).collect()
    }

    fn old(&self, meshed: &[&Pod]) -> Vec<Check> {
        let old: Vec<&Pod> = meshed
            .iter()
            .copied()
            .filter(|pod| version(pod).is_some_and(|version| !self.version.is_empty() && version != self.version))
            .collect();
        let describe = |(owner, pods): (Owner, Vec<&Pod>)| {
            let versions: BTreeSet<&str> = pods.iter().filter_map(|pod| version(pod)).collect();
            let versions: Vec<&str> = versions.into_iter().collect();
            let message = format!(
                "{owner}: sidecars of {} pods are of version {}, the mesh is of {}",
                pods.len(),
                versions.join(", "),
                self.version
            );
            warn("OC033", message, owner.restart())
        };
        by_owner(&old).into_iter().map(describe).collect()
    }

    /// One line for all that are in step, and one for each that is not.
    fn in_step(&self, meshed: &[&Pod]) -> Vec<Check> {
        let mut behind = Vec::new();
        let mut current = 0;
        for pod in meshed.iter().copied().filter(|pod| is_ready(pod)) {
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            let name = format!("{namespace}/{}", pod.metadata.name.as_deref().unwrap_or_default());
            let check = match self.connected.get(&name) {
                Some((status, snapshot)) => judge::in_step(&name, Some(status), *snapshot),
                // It may be with a replica that could not be asked, which another finding says.
                None if !self.all_asked => continue,
                None => judge::in_step(&name, None, 0),
            };
            if check.level == Level::Ok { current += 1 } else { behind.push(check) }
        }
        if current > 0 {
            behind.insert(0, ok("OC012", format!("{current} sidecars serve what is current")));
        }
        behind
    }
}

/// What made a pod, as `kubectl` names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Owner {
    namespace: String,
    kind: String,
    name: String,
}

impl Owner {
    fn of(pod: &Pod) -> Self {
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
    fn restart(&self) -> String {
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

fn by_owner<'a>(pods: &[&'a Pod]) -> BTreeMap<Owner, Vec<&'a Pod>> {
    let mut by_owner: BTreeMap<Owner, Vec<&Pod>> = BTreeMap::new();
    for pod in pods {
        by_owner.entry(Owner::of(pod)).or_default().push(pod);
    }
    by_owner
}

/// Whether the pod's sidecar is ready.
fn is_ready(pod: &Pod) -> bool {
    let Some(status) = &pod.status else { return false };
    let init = status.init_container_statuses.iter().flatten();
    let mut all = init.chain(status.container_statuses.iter().flatten());
    all.any(|container| container.name == sidecars::SIDECAR && container.ready)
}

/// Why the injector leaves a pod alone.
fn cannot_have_one(pod: &Pod) -> Option<Skip> {
    let pod = serde_json::to_value(pod).ok()?;
    Skip::of(&pod).filter(|skip| skip.is_surprising())
}

/// The version that the injector wrote on the pod.
fn version(pod: &Pod) -> Option<&str> {
    pod.metadata.annotations.as_ref()?.get("outrigger.io/injected").map(String::as_str)
}

const INJECT: &str = "outrigger.io/inject";
const REV: &str = "outrigger.io/rev";
/// The webhook never sees their pods.
const NEVER: &[&str] = &["kube-system", "kube-node-lease"];

#[cfg(test)]
mod tests;
