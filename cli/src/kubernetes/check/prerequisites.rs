//! Whether the mesh could be installed here.

use futures_util::future::try_join_all;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::{ListParams, PostParams};

use crate::check::finding::{Category, Check, error, ok, warn};
use crate::kubernetes::Cluster;

/// Looks at the cluster as it is without the mesh.
pub(super) async fn look(cluster: &Cluster) -> anyhow::Result<Category> {
    let version = cluster.client.apiserver_version().await;
    let version = version.map_err(|error| cluster.failure("cannot ask the API server for its version", error))?;
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    let nodes = nodes.list(&ListParams::default()).await;
    let routes: Api<CustomResourceDefinition> = Api::all(cluster.client.clone());
    let routes = routes.get_opt("httproutes.gateway.networking.k8s.io").await;
    let webhooks: Api<MutatingWebhookConfiguration> = Api::all(cluster.client.clone());
    let webhook = webhooks.get_opt("outrigger-injector").await;
    let mut checks = vec![server(&cluster.name, &version.git_version), permissions(&denied(cluster).await?)];
    checks.extend(webhook.ok().flatten().and_then(|webhook| in_the_way(&webhook, &cluster.namespace)));
    checks.extend(nodes.ok().map(|nodes| fit(&nodes.items)));
    checks.extend(routes.ok().map(|routes| gateway_api(routes.as_ref())));
    Ok(Category::new("prerequisites", checks))
}

fn server(name: &str, version: &str) -> Check {
    match minor(version) {
        Some(minor) if minor >= OLDEST_SERVER => ok("OC020", format!("{name} runs Kubernetes {version}")),
        Some(_) => error(
            "OC020",
            format!("{name} runs Kubernetes {version}; 1.{OLDEST_SERVER} is the oldest that works"),
            "upgrade the cluster",
        ),
        None => {
            warn("OC020", format!("{name} runs {version}, which is no known version"), "go on if it is 1.30 or newer")
        }
    }
}

fn permissions(denied: &[String]) -> Check {
    if denied.is_empty() {
        return ok("OC021", "you may create all that an install makes");
    }
    let hint = "ask for them, or have an administrator apply `outrigger install --dry-run`";
    error("OC021", format!("you may not create {}", denied.join(", ")), hint)
}

/// What an install makes and this user may not.
async fn denied(cluster: &Cluster) -> anyhow::Result<Vec<String>> {
    let reviews: Api<SelfSubjectAccessReview> = Api::all(cluster.client.clone());
    let ask = async |(group, resource, namespaced): (&'static str, &'static str, bool)| {
        let attributes = ResourceAttributes {
            group: Some(group.to_owned()),
            resource: Some(resource.to_owned()),
            verb: Some("create".to_owned()),
            namespace: namespaced.then(|| cluster.namespace.clone()),
            ..ResourceAttributes::default()
        };
        let spec = SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..Default::default() };
        let review = SelfSubjectAccessReview { spec, ..Default::default() };
        let review = reviews.create(&PostParams::default(), &review).await;
        let review = review.map_err(|error| cluster.failure("cannot ask what you may do", error))?;
        let allowed = review.status.is_some_and(|status| status.allowed);
        anyhow::Ok((!allowed).then(|| resource.to_owned()))
    };
    let kinds = crate::kubernetes::installed_kinds();
    Ok(try_join_all(kinds.into_iter().map(ask)).await?.into_iter().flatten().collect())
}

/// A webhook configuration of another mesh.
fn in_the_way(webhook: &MutatingWebhookConfiguration, namespace: &str) -> Option<Check> {
    let services = webhook.webhooks.iter().flatten().filter_map(|webhook| webhook.client_config.service.as_ref());
    let other = services.map(|service| &service.namespace).find(|other| *other != namespace)?;
    let hint =
        format!("upgrade that one (--mesh-namespace {other}), or install this one beside it: --set revision=NAME");
    Some(error("OC022", format!("there is a mesh in namespace {other} already"), hint))
}

fn fit(nodes: &[Node]) -> Check {
    let unfit: Vec<String> = nodes.iter().filter_map(unfit).collect();
    if unfit.is_empty() {
        return ok("OC023", format!("{} nodes can run sidecars", nodes.len()));
    }
    let hint = "upgrade those nodes, or keep meshed pods away from them";
    warn("OC023", format!("{} of {} nodes cannot: {}", unfit.len(), nodes.len(), unfit.join("; ")), hint)
}

/// Why a node cannot run sidecars.
fn unfit(node: &Node) -> Option<String> {
    let info = node.status.as_ref()?.node_info.as_ref()?;
    let why = if info.operating_system != "linux" {
        format!("runs {}", info.operating_system)
    } else if numbers(&info.kernel_version) < Some(OLDEST_KERNEL) {
        format!("has kernel {}", info.kernel_version)
    } else if minor(&info.kubelet_version) < Some(OLDEST_KUBELET) {
        format!("has kubelet {}", info.kubelet_version)
    } else {
        return None;
    };
    Some(format!("{} {why}", node.metadata.name.as_deref().unwrap_or("a node")))
}

fn gateway_api(routes: Option<&CustomResourceDefinition>) -> Check {
    let Some(routes) = routes else {
        let hint =
            "install the standard channel of the Gateway API when you want routes; the mesh picks it up while it runs";
        return warn("OC024", "the Gateway API is not installed: no HTTPRoute, no GRPCRoute", hint);
    };
    let annotation = |name: &str| {
        let annotations = routes.metadata.annotations.as_ref()?;
        annotations.get(&format!("gateway.networking.k8s.io/{name}")).map(String::as_str)
    };
    let (version, channel) = (annotation("bundle-version").unwrap_or("?"), annotation("channel").unwrap_or("?"));
    ok("OC024", format!("Gateway API {version}, {channel} channel"))
}

/// 36 of `v1.36.3`.
fn minor(version: &str) -> Option<u32> {
    let (major, minor) = numbers(version.trim_start_matches('v'))?;
    if major == 1 { Some(minor) } else { None }
}

/// (6, 18) of `6.18.2-generic`.
fn numbers(version: &str) -> Option<(u32, u32)> {
    let (major, rest) = version.split_once('.')?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    Some((major.parse().ok()?, rest[..end].parse().ok()?))
}

const OLDEST_SERVER: u32 = 30;
const OLDEST_KUBELET: u32 = 29;
/// The last long-term kernel before which nftables lacked redirects for both address families in one table.
const OLDEST_KERNEL: (u32, u32) = (5, 4);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::check::finding::Level;

    fn node(kernel: &str, kubelet: &str) -> Node {
        let info = json!({"kernelVersion": kernel, "kubeletVersion": kubelet, "operatingSystem": "linux", "architecture": "",
            "bootID": "", "containerRuntimeVersion": "", "kubeProxyVersion": "", "machineID": "", "osImage": "", "systemUUID": ""});
        serde_json::from_value(json!({"metadata": {"name": "n"}, "status": {"nodeInfo": info}})).unwrap()
    }

    #[test]
    fn old_servers_kernels_and_kubelets_are_found() {
        assert_eq!(server("c", "v1.36.3").level, Level::Ok);
        assert_eq!(server("c", "v1.29.9").level, Level::Error);
        assert_eq!(server("c", "v0.0.0-master").level, Level::Warn);
        assert_eq!(unfit(&node("6.18.2-generic", "v1.36.3")), None);
        assert_eq!(unfit(&node("4.19.0", "v1.36.3")).as_deref(), Some("n has kernel 4.19.0"));
        assert_eq!(unfit(&node("5.15.0", "v1.28.1-gke.3")).as_deref(), Some("n has kubelet v1.28.1-gke.3"));
    }

    #[test]
    fn a_webhook_of_another_namespace_is_in_the_way() {
        let webhook = |namespace: &str| {
            serde_json::from_value(
                json!({"webhooks": [{"name": "a", "sideEffects": "None", "admissionReviewVersions": [],
                "clientConfig": {"service": {"name": "outrigger-injector", "namespace": namespace}}}]}),
            )
            .unwrap()
        };
        assert_eq!(in_the_way(&webhook("mesh"), "mesh"), None);
        assert_eq!(in_the_way(&webhook("other"), "mesh").unwrap().code, "OC022");
    }

    #[test]
    fn what_may_not_be_created_is_named() {
        let check = permissions(&["clusterroles".into(), "secrets".into()]);
        assert_eq!(check.message, "you may not create clusterroles, secrets");
    }
}
