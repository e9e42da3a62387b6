//! The kinds that an install makes, and objects of any of them.

use kube::api::{ApiResource, DynamicObject};
use kube::core::GroupVersionKind;
use kube::{Api, ResourceExt};
use serde_json::Value;

use super::Cluster;

/// A kind that a mesh is made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kind {
    group: &'static str,
    version: &'static str,
    pub(super) kind: &'static str,
    plural: &'static str,
    pub(super) namespaced: bool,
}

impl Kind {
    const fn cluster(group: &'static str, version: &'static str, kind: &'static str, plural: &'static str) -> Self {
        Self { group, version, kind, plural, namespaced: false }
    }

    const fn namespaced(group: &'static str, version: &'static str, kind: &'static str, plural: &'static str) -> Self {
        Self { group, version, kind, plural, namespaced: true }
    }

    /// The kind of an object; every kind of the charts is known.
    pub(super) fn of(object: &Value) -> anyhow::Result<Self> {
        let kind = object["kind"].as_str().unwrap_or_default();
        let known = KINDS.iter().find(|known| known.kind == kind);
        known.copied().ok_or_else(|| anyhow::anyhow!("no kind `{kind}` is known here"))
    }

    /// All objects of this kind, or those in the namespace of the mesh.
    pub(super) fn api(self, cluster: &Cluster) -> Api<DynamicObject> {
        if self.namespaced {
            Api::namespaced_with(cluster.client.clone(), &cluster.namespace, &self.resource())
        } else {
            self.everywhere(cluster)
        }
    }

    /// All objects of this kind, of all namespaces.
    pub(super) fn everywhere(self, cluster: &Cluster) -> Api<DynamicObject> {
        Api::all_with(cluster.client.clone(), &self.resource())
    }

    fn resource(self) -> ApiResource {
        let kind = GroupVersionKind::gvk(self.group, self.version, self.kind);
        ApiResource::from_gvk_with_plural(&kind, self.plural)
    }

    /// As `kubectl` names an object: `deployment/web`.
    pub(super) fn called(self, name: &str) -> String {
        format!("{}/{name}", self.kind.to_lowercase())
    }

    /// What an access review asks about.
    pub(super) fn in_review(self) -> (&'static str, &'static str, bool) {
        (self.group, self.plural, self.namespaced)
    }
}

/// The name of an object.
pub(super) fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

/// `namespace/name`.
pub(super) fn full_name(object: &impl ResourceExt) -> String {
    format!("{}/{}", object.namespace().unwrap_or_default(), object.name_any())
}

/// What users write, not what an install makes.
pub(super) const OWN_KINDS: &[Kind] = &[
    Kind::namespaced("outrigger.io", "v1alpha1", "Workload", "workloads"),
    Kind::namespaced("outrigger.io", "v1alpha1", "TrafficPolicy", "trafficpolicies"),
];

const RBAC: &str = "rbac.authorization.k8s.io";

/// In the order in which they are removed: who asks pods to wait goes first, then who runs, then what those needed.
pub(super) const KINDS: &[Kind] = &[
    Kind::cluster(
        "admissionregistration.k8s.io",
        "v1",
        "MutatingWebhookConfiguration",
        "mutatingwebhookconfigurations",
    ),
    Kind::namespaced("monitoring.coreos.com", "v1", "ServiceMonitor", "servicemonitors"),
    Kind::namespaced("monitoring.coreos.com", "v1", "PodMonitor", "podmonitors"),
    Kind::namespaced("apps", "v1", "Deployment", "deployments"),
    Kind::namespaced("", "v1", "Service", "services"),
    Kind::namespaced("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets"),
    Kind::namespaced("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies"),
    Kind::namespaced(RBAC, "v1", "RoleBinding", "rolebindings"),
    Kind::namespaced(RBAC, "v1", "Role", "roles"),
    Kind::cluster(RBAC, "v1", "ClusterRoleBinding", "clusterrolebindings"),
    Kind::cluster(RBAC, "v1", "ClusterRole", "clusterroles"),
    Kind::namespaced("", "v1", "ServiceAccount", "serviceaccounts"),
    Kind::namespaced("", "v1", "Secret", "secrets"),
    Kind::namespaced("", "v1", "ConfigMap", "configmaps"),
    Kind::namespaced("coordination.k8s.io", "v1", "Lease", "leases"),
    Kind::cluster("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions"),
    Kind::cluster("", "v1", "Namespace", "namespaces"),
];
