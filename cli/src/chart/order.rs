//! The order in which objects are applied: what others need comes first. Removal goes backwards.

use serde_json::Value;

/// Where an object stands; the same rank keeps the order of the chart.
pub(super) fn rank(object: &Value) -> usize {
    let kind = object["kind"].as_str().unwrap_or_default();
    ORDER.iter().position(|known| *known == kind).unwrap_or(ORDER.len())
}

/// The webhook is last: from then on pods wait for an injector that the rest has already started.
const ORDER: &[&str] = &[
    "Namespace",
    "CustomResourceDefinition",
    "NetworkPolicy",
    "PodDisruptionBudget",
    "ServiceAccount",
    "ClusterRole",
    "ClusterRoleBinding",
    "Role",
    "RoleBinding",
    "Service",
    "Deployment",
    "PodMonitor",
    "ServiceMonitor",
    "MutatingWebhookConfiguration",
];
