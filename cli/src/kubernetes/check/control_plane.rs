//! The control plane: its Deployment, and what each of its pods says of itself.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use serde_json::Value;

use super::allowed;
use crate::check::finding::{Category, Check, error, ok, warn};
use crate::check::judge;
use crate::kubernetes::{Cluster, forward};

/// What was seen.
pub(super) struct ControlPlane {
    deployment: Option<Deployment>,
    /// What this user may not see of it.
    unseen: Vec<Check>,
    /// Each pod that runs, and its pages or why it has none.
    pub(super) replicas: Vec<(String, Result<Pages, String>)>,
}

/// What one replica says.
pub(super) struct Pages {
    pub(super) config: Value,
    pub(super) sidecars: Value,
}

/// Looks at the Deployment and asks every replica.
pub(super) async fn look(cluster: &Cluster) -> anyhow::Result<ControlPlane> {
    let deployments: Api<Deployment> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let mut unseen = Vec::new();
    let deployment = deployments.get_opt(NAME).await;
    let deployment = allowed(cluster, &format!("read deployment/{NAME}"), deployment, &mut unseen)?.flatten();
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let pods = pods.list(&ListParams::default().labels(&format!("app.kubernetes.io/name={NAME}"))).await;
    let pods = allowed(cluster, "list the control plane's pods", pods, &mut unseen)?;
    let mut replicas = Vec::new();
    for pod in pods.iter().flat_map(|pods| &pods.items).filter(|pod| is_running(pod)) {
        let name = pod.metadata.name.clone().unwrap_or_default();
        let pages = pages(cluster, &name).await.map_err(|error| format!("{error:#}"));
        replicas.push((name, pages));
    }
    Ok(ControlPlane { deployment, unseen, replicas })
}

async fn pages(cluster: &Cluster, pod: &str) -> anyhow::Result<Pages> {
    let config = forward::page(cluster, pod, ADMIN, "/config").await?;
    let sidecars = forward::page(cluster, pod, ADMIN, "/sidecars").await?;
    Ok(Pages { config, sidecars })
}

fn is_running(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_none()
        && pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running")
}

impl ControlPlane {
    pub(super) fn is_missing(&self) -> bool {
        self.deployment.is_none() && self.unseen.is_empty()
    }

    /// Whether every replica said who is connected to it; where there is none, nobody did.
    pub(super) fn all_asked(&self) -> bool {
        !self.replicas.is_empty() && self.replicas.iter().all(|(_, pages)| pages.is_ok())
    }

    /// The version and the revision of the mesh, by the labels of its Deployment.
    pub(super) fn label(&self, name: &str) -> Option<&str> {
        let labels = self.deployment.as_ref()?.metadata.labels.as_ref()?;
        labels.get(name).map(String::as_str)
    }

    pub(super) fn judge(&self) -> Category {
        let mut checks = self.unseen.clone();
        checks.extend(self.deployment.iter().map(|deployment| available("OC004", deployment)));
        checks.extend(self.label(VERSION_LABEL).and_then(versions));
        let mut said: Vec<Check> = Vec::new();
        let mut silent: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (name, pages) in &self.replicas {
            match pages {
                // Replicas see the same objects: what two of them say is said once.
                Ok(pages) => {
                    for check in judge::control_plane(&pages.config) {
                        if !said.iter().any(|there| there.code == check.code && there.level == check.level)
                            || check.code == "OC003" && !said.contains(&check)
                        {
                            said.push(check);
                        }
                    }
                }
                Err(why) => silent.entry(why).or_default().push(name),
            }
        }
        // One reason is told once.
        for (why, names) in silent {
            let hint = "may you create pods/portforward there?";
            checks.push(warn("OC006", format!("{} could not be asked: {why}", names.join(", ")), hint));
        }
        checks.extend(said);
        Category::new("control plane", checks)
    }
}

/// Whether a Deployment has all its replicas.
pub(super) fn available(code: &'static str, deployment: &Deployment) -> Check {
    let name = deployment.metadata.name.as_deref().unwrap_or_default();
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let available = deployment.status.as_ref().and_then(|status| status.available_replicas).unwrap_or(0);
    let message = format!("{available}/{wanted} replicas ready");
    let hint = || {
        let namespace = deployment.metadata.namespace.as_deref().unwrap_or_default();
        format!("kubectl describe pods -n {namespace} -l app.kubernetes.io/name={name}")
    };
    match available {
        // Also when nobody asks for one.
        0 => error(code, message, hint()),
        available if available >= wanted => ok(code, message),
        _ => warn(code, message, hint()),
    }
}

fn versions(mesh: &str) -> Option<Check> {
    let own = outrigger_daemon::VERSION;
    (mesh != own).then(|| {
        let hint = "`outrigger upgrade` brings this version, or use the command of that version";
        warn("OC005", format!("the mesh is of version {mesh}, this command of {own}"), hint)
    })
}

const NAME: &str = "outrigger-control-plane";
const ADMIN: u16 = 4182;
const VERSION_LABEL: &str = "app.kubernetes.io/version";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::check::finding::Level;

    fn control_plane(available: i32, config: &[Value]) -> ControlPlane {
        let deployment = json!({"metadata": {"name": NAME, "labels": {VERSION_LABEL: outrigger_daemon::VERSION}},
            "spec": {"replicas": 2, "selector": {}, "template": {}}, "status": {"availableReplicas": available}});
        let pages = |config: &Value| Pages { config: config.clone(), sidecars: json!({}) };
        let replicas = config.iter().map(|config| ("p".to_owned(), Ok(pages(config)))).collect();
        ControlPlane { deployment: serde_json::from_value(deployment).unwrap(), unseen: Vec::new(), replicas }
    }

    fn levels(control_plane: &ControlPlane) -> Vec<(&'static str, Level)> {
        control_plane.judge().checks.iter().map(|check| (check.code, check.level)).collect()
    }

    #[test]
    fn what_two_replicas_say_is_said_once() {
        let config =
            json!({"synced": true, "snapshot": 1, "problems": [{"object": "HTTPRoute a/b", "reason": "no c"}]});
        let found = levels(&control_plane(2, &[config.clone(), config]));
        assert_eq!(found, [("OC004", Level::Ok), ("OC001", Level::Ok), ("OC003", Level::Warn)]);
    }

    #[test]
    fn one_replica_that_has_not_read_its_objects_is_found() {
        let found = levels(&control_plane(1, &[json!({"synced": true}), json!({"synced": false})]));
        assert!(found.contains(&("OC001", Level::Error)) && found.contains(&("OC004", Level::Warn)), "{found:?}");
        assert_eq!(levels(&control_plane(0, &[]))[0], ("OC004", Level::Error));
    }

    #[test]
    fn another_version_is_a_warning() {
        assert_eq!(versions(outrigger_daemon::VERSION), None);
        assert_eq!(versions("99.0.0").unwrap().level, Level::Warn);
    }
}
