//! Which pods have a sidecar, and which should.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::ListParams;

use super::Cluster;

/// How many pods with a sidecar a namespace has.
pub(crate) type Meshed = BTreeMap<String, usize>;

/// Counts the pods with a sidecar that are still running.
pub(crate) async fn meshed(cluster: &Cluster) -> anyhow::Result<Meshed> {
    let mut meshed = Meshed::new();
    let pods = pods(cluster, None).await.map_err(|error| cluster.failure("cannot list pods", error))?;
    for pod in pods {
        if has_sidecar(&pod) && !is_over(&pod) {
            *meshed.entry(pod.metadata.namespace.unwrap_or_default()).or_default() += 1;
        }
    }
    Ok(meshed)
}

/// All pods, or those of one namespace, page by page.
pub(crate) async fn pods(cluster: &Cluster, namespace: Option<&str>) -> kube::Result<Vec<Pod>> {
    let api: Api<Pod> = match namespace {
        Some(namespace) => Api::namespaced(cluster.client.clone(), namespace),
        None => Api::all(cluster.client.clone()),
    };
    let mut pods = Vec::new();
    let mut params = ListParams::default().limit(PAGE);
    loop {
        let page = api.list(&params).await?;
        pods.extend(page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(pods),
        }
    }
}

/// The namespaces, with their labels and annotations.
pub(crate) async fn namespaces(cluster: &Cluster) -> kube::Result<BTreeMap<String, ObjectMeta>> {
    let api: Api<Namespace> = Api::all(cluster.client.clone());
    let found = api.list_metadata(&ListParams::default()).await?;
    let named = |namespace: kube::core::PartialObjectMeta<Namespace>| {
        Some((namespace.metadata.name.clone()?, namespace.metadata))
    };
    Ok(found.items.into_iter().filter_map(named).collect())
}

/// One namespace, if it is there.
pub(crate) async fn namespace(cluster: &Cluster, name: &str) -> kube::Result<Option<ObjectMeta>> {
    let api: Api<Namespace> = Api::all(cluster.client.clone());
    Ok(api.get_metadata_opt(name).await?.map(|namespace| namespace.metadata))
}

/// Whether the injector gave the pod a sidecar.
pub(crate) fn has_sidecar(pod: &Pod) -> bool {
    let spec = pod.spec.as_ref();
    let init = spec.and_then(|spec| spec.init_containers.as_ref()).into_iter().flatten();
    let containers = spec.map(|spec| &spec.containers).into_iter().flatten();
    init.chain(containers).any(|container| container.name == SIDECAR)
}

/// Whether all containers have ended for good.
pub(crate) fn is_over(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// The container that the injector adds.
pub(crate) const SIDECAR: &str = "outrigger-sidecar";
const PAGE: u32 = 500;
