//! The pods: which should have a sidecar, which have one, and whether those serve what is current.

mod labels;
mod owner;
mod refused;

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use outrigger_injector::Skip;
use serde_json::Value;

use self::owner::{Owner, by_owner};
use self::refused::Refused;
use super::allowed;
use super::certificates::{self, Roots};
use super::control_plane::ControlPlane;
use crate::check::finding::{Category, Check, Level, error, ok, warn};
use crate::check::judge;
use crate::kubernetes::{Cluster, sidecars};

type Labels = BTreeMap<String, String>;

/// Lists the pods, and compares them with their labels and with what the control plane says.
pub(super) async fn look(
    cluster: &Cluster,
    namespace: Option<&str>,
    control_plane: &ControlPlane,
) -> anyhow::Result<Category> {
    let name = namespace.map_or_else(|| "data plane".to_owned(), |namespace| format!("data plane: {namespace}"));
    let mut unseen = Vec::new();
    let namespaces = match namespace {
        None => allowed(cluster, "list namespaces", sidecars::namespaces(cluster).await, &mut unseen)?,
        Some(namespace) => {
            let found = sidecars::namespace(cluster, namespace).await;
            let what = format!("read namespace {namespace}");
            let Some(found) = allowed(cluster, &what, found, &mut unseen)?.map_or(Some(None), |found| found.map(Some))
            else {
                let missing = error("OC030", format!("there is no namespace {namespace}"), "kubectl get namespaces");
                return Ok(Category::new(name, vec![missing]));
            };
            found.map(|found| BTreeMap::from([(namespace.to_owned(), found)]))
        }
    };
    let pods = allowed(cluster, "list pods", sidecars::pods(cluster, namespace).await, &mut unseen)?;
    let revisions = labels::revisions(cluster).await;
    let roots = certificates::roots(cluster).await;
    let mut seen = Seen {
        mesh_namespace: &cluster.namespace,
        revision: control_plane.label("outrigger.io/rev").unwrap_or_default(),
        version: control_plane.label("app.kubernetes.io/version").unwrap_or_default(),
        namespaces: namespaces.unwrap_or_default(),
        revisions: allowed(cluster, "list webhook configurations", revisions, &mut unseen)?,
        pods: pods
            .unwrap_or_default()
            .into_iter()
            .filter(|pod| !sidecars::is_over(pod) && pod.metadata.deletion_timestamp.is_none())
            .collect(),
        roots: allowed(cluster, "read the trust bundle", roots, &mut unseen)?.unwrap_or_default(),
        refused: Vec::new(),
        all_asked: control_plane.all_asked(),
        connected: connected(control_plane),
    };
    let refused = refused::look(cluster, namespace, |namespace, labels| seen.asks_for_one(namespace, labels)).await;
    seen.refused = allowed(cluster, "list events", refused, &mut unseen)?.unwrap_or_default();
    unseen.extend(seen.judge(unseen.is_empty()));
    Ok(Category::new(name, unseen))
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
    namespaces: BTreeMap<String, ObjectMeta>,
    /// Of which there is an injector; not known to everybody.
    revisions: Option<BTreeSet<String>>,
    pods: Vec<Pod>,
    /// The mesh's root certificates; none when they could not be read.
    roots: Roots,
    refused: Vec<Refused>,
    /// Whether every replica said who is connected to it.
    all_asked: bool,
    connected: BTreeMap<String, (Value, u64)>,
}

impl Seen<'_> {
    /// `all_seen`: nothing was hidden from this user, so that what is not there can be told.
    fn judge(&self, all_seen: bool) -> Vec<Check> {
        let (meshed, bare): (Vec<&Pod>, Vec<&Pod>) = self.pods.iter().partition(|pod| sidecars::has_sidecar(pod));
        let bare: Vec<&Pod> = bare.into_iter().filter(|pod| self.should_be_meshed(pod)).collect();
        let (strange, own): (Vec<&Pod>, Vec<&Pod>) = meshed.iter().partition(|pod| self.trusts_another_root(pod));
        let mut checks = self.meaningless();
        checks.extend(self.without_an_injector());
        checks.extend(refused::judge(&self.refused));
        checks.extend(self.bare(&bare));
        checks.extend(strangers(&strange));
        checks.extend(self.unready(&own));
        checks.extend(self.old(&own));
        checks.extend(self.in_step(&own));
        if checks.is_empty() && all_seen {
            checks.push(if meshed.is_empty() { self.nothing() } else { ok("OC032", "all sidecars are ready") });
        }
        checks
    }

    fn nothing(&self) -> Check {
        let asking = self.namespaces.keys().filter(|namespace| self.asks_for_one(namespace, &Labels::new()));
        let asking: Vec<String> = asking.cloned().collect();
        ok(
            "OC031",
            if asking.is_empty() {
                "no pod has a sidecar, and none should: label a namespace with outrigger.io/inject=enabled".to_owned()
            } else {
                format!(
                    "no pod has a sidecar: there is none in the labelled namespaces ({}) that should",
                    some(&asking)
                )
            },
        )
    }

    fn should_be_meshed(&self, pod: &Pod) -> bool {
        let none = Labels::new();
        let own = pod.metadata.labels.as_ref().unwrap_or(&none);
        self.asks_for_one(pod.metadata.namespace.as_deref().unwrap_or_default(), own)
    }

    /// Whether a pod with these labels gets a sidecar of this mesh, by the same rules as the webhook's selectors.
    fn asks_for_one(&self, name: &str, own: &Labels) -> bool {
        self.asks_at_all(name, own) && self.revision_for(name, own) == self.revision
    }

    fn asks_at_all(&self, name: &str, own: &Labels) -> bool {
        if name == self.mesh_namespace || NEVER.contains(&name) {
            return false;
        }
        match own.get(INJECT).map(String::as_str) {
            Some("disabled") => false,
            Some("enabled") => true,
            _ => self.label(name, INJECT).is_some_and(|value| value == "enabled"),
        }
    }

    fn revision_for<'b>(&'b self, name: &str, own: &'b Labels) -> &'b str {
        own.get(REV).map(String::as_str).or_else(|| self.label(name, REV)).unwrap_or_default()
    }

    fn label(&self, namespace: &str, label: &str) -> Option<&str> {
        self.namespaces.get(namespace)?.labels.as_ref()?.get(label).map(String::as_str)
    }

    /// It was injected by an earlier installation, and cannot reach this one.
    fn trusts_another_root(&self, pod: &Pod) -> bool {
        let name = name_of(pod);
        let absent = !self.connected.contains_key(&name) && (self.all_asked || !is_ready(pod));
        absent && !self.roots.is_empty() && anchors(pod).is_some_and(|own| own.is_disjoint(&self.roots))
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

    /// One line for all that are in step, one for all that are behind and one for all that are away.
    fn in_step(&self, meshed: &[&Pod]) -> Vec<Check> {
        let (mut behind, mut away, mut newest) = (Vec::new(), Vec::new(), 0);
        let mut current = 0;
        for pod in meshed.iter().copied().filter(|pod| is_ready(pod)) {
            let name = name_of(pod);
            match self.connected.get(&name) {
                Some((status, snapshot)) => {
                    let check = judge::in_step(&name, Some(status), *snapshot);
                    if check.level == Level::Ok {
                        current += 1
                    } else {
                        behind.push((name, check))
                    }
                    newest = newest.max(*snapshot);
                }
                // It may be with a replica that could not be asked, which another finding says.
                None if !self.all_asked => {}
                None => away.push((name.clone(), judge::in_step(&name, None, 0))),
            }
        }
        let mut checks = Vec::new();
        if current > 0 {
            checks.push(ok("OC012", format!("{current} sidecars serve what is current")));
        }
        checks.extend(together(behind, &format!("sidecars do not serve snapshot {newest} yet")));
        checks.extend(together(away, "sidecars are not connected to the control plane"));
        checks
    }
}

/// What is found of several is said once.
fn together(found: Vec<(String, Check)>, what: &str) -> Option<Check> {
    let names: Vec<String> = found.iter().map(|(name, _)| name.clone()).collect();
    let mut check = found.into_iter().next()?.1;
    if names.len() > 1 {
        check.message = format!("{} {what}: {}", names.len(), some(&names));
    }
    Some(check)
}

fn strangers(strange: &[&Pod]) -> Vec<Check> {
    let describe = |(owner, pods): (Owner, Vec<&Pod>)| {
        let message = format!("{owner}: {} pods trust a root that is not this mesh's, and cannot reach it", pods.len());
        error("OC037", message, owner.restart())
    };
    by_owner(strange).into_iter().map(describe).collect()
}

/// The first few names, and how many more there are.
fn some(names: &[String]) -> String {
    const FEW: usize = 10;
    match names.len().checked_sub(FEW) {
        None | Some(0) => names.join(", "),
        Some(more) => format!("{} and {more} more", names[..FEW].join(", ")),
    }
}

fn name_of(pod: &Pod) -> String {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    format!("{namespace}/{}", pod.metadata.name.as_deref().unwrap_or_default())
}

/// The roots that the injector wrote into the pod.
fn anchors(pod: &Pod) -> Option<Roots> {
    let spec = pod.spec.as_ref()?;
    let mut all = spec.init_containers.iter().flatten().chain(&spec.containers);
    let sidecar = all.find(|container| container.name == sidecars::SIDECAR)?;
    let anchors = sidecar.env.iter().flatten().find(|variable| variable.name == "OUTRIGGER_TRUST_ANCHORS_PEM")?;
    let anchors = certificates::certificates(anchors.value.as_deref()?.as_bytes());
    (!anchors.is_empty()).then_some(anchors)
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
