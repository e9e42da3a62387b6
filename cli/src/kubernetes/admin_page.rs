//! A page of the control plane in a cluster, from the first of its replicas that answers. Who may read it is RBAC's word: list pods and
//! `pods/portforward` in the mesh's namespace.

use anyhow::Context as _;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use outrigger_console::exit::Failure;
use serde_json::Value;

use super::{Cluster, forward};
use crate::cluster::Target;

/// Reads a page of JSON.
pub(crate) async fn control_plane_page(target: &Target, path: &str) -> anyhow::Result<Value> {
    let cluster = Cluster::connect(target).await?;
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let listed = pods.list(&ListParams::default().labels("app.kubernetes.io/name=outrigger-control-plane")).await;
    let listed = listed.map_err(|error| cluster.failure("cannot list the control plane's pods", error))?;
    let mut last = None;
    for pod in listed.items.iter().filter(|pod| is_running(pod)) {
        let name = pod.metadata.name.clone().unwrap_or_default();
        match forward::page(&cluster, &name, ADMIN, path).await {
            Ok(page) => return Ok(page),
            Err(error) => last = Some(error.context(format!("pod {}/{name}", cluster.namespace))),
        }
    }
    match last {
        Some(error) => Err(error).context("cannot read from the control plane by port-forward"),
        None => {
            let message = format!("no control plane runs in namespace {} of {}", cluster.namespace, cluster.name);
            Err(Failure::new(message, "install one: outrigger install; or name its namespace: --mesh-namespace").into())
        }
    }
}

fn is_running(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_none()
        && pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running")
}

/// The port of the control plane's admin pages.
const ADMIN: u16 = 4182;
