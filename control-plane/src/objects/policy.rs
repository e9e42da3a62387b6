//! TrafficPolicy (outrigger.io), and the Gateway API's experimental XBackendTrafficPolicy in the same form: what a Service
//! wants of those who call it, beyond routes.
//!
//! From the API server comes also what cannot be read, with the reason: it is told in the object's status, and the last
//! good version stays in force.

mod spec;
mod written;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Kind, Metadata, ObjectId};

pub use spec::{
    Abort, ConsistentHash, Delay, Ejection, FaultInjection, HashType, Limits, LoadBalancer, LoadBalancerType, Named,
    NamedValue, PolicySpec, RetryBudget,
};
pub(super) use written::{WrittenBackend, WrittenTraffic};

/// Which of the two kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PolicyKind {
    /// TrafficPolicy.
    Traffic,
    /// XBackendTrafficPolicy.
    Backend,
}

impl PolicyKind {
    /// Returns the Kubernetes kind.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Traffic => "TrafficPolicy",
            Self::Backend => "XBackendTrafficPolicy",
        }
    }
}

/// A policy of either kind.
#[derive(Clone, Debug, PartialEq)]
pub struct TrafficPolicy {
    /// Name, namespace, age.
    pub meta: Metadata,
    /// Which of the two.
    pub kind: PolicyKind,
    /// What it attaches to.
    pub targets: Vec<TargetRef>,
    /// What it asks for, or why that cannot be read.
    pub spec: Result<PolicySpec, String>,
}

impl TrafficPolicy {
    /// Returns which object it is.
    #[must_use]
    pub fn id(&self) -> ObjectId {
        ObjectId { kind: Kind::Policy(self.kind), namespace: self.meta.namespace.arc(), name: self.meta.name.arc() }
    }
}

/// What a policy attaches to, in its own namespace (GEP-713). A status names it as the policy does.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TargetRef {
    /// API group.
    #[serde(default)]
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Name.
    pub name: String,
    /// A port's name; all ports when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub section_name: Option<String>,
}

impl TargetRef {
    /// Says whether it names a Service. `core` is what much documentation writes for the empty group.
    #[must_use]
    pub fn is_service(&self) -> bool {
        matches!(self.group.as_str(), "" | "core") && self.kind == "Service"
    }
}

/// Reads a policy as an API server sends it.
///
/// # Errors
/// When not even its metadata can be read.
pub(super) fn from_json(kind: PolicyKind, value: &Value) -> Result<TrafficPolicy, serde_json::Error> {
    let read = match kind {
        PolicyKind::Traffic => WrittenTraffic::deserialize(value).map(Into::into),
        PolicyKind::Backend => WrittenBackend::deserialize(value).map(Into::into),
    };
    read.or_else(|error| {
        let spec = &value["spec"];
        let targets = Vec::deserialize(&spec["targetRefs"]).unwrap_or_default();
        let meta = Metadata::deserialize(&value["metadata"])?;
        Ok(TrafficPolicy {
            meta,
            kind,
            targets,
            spec: Err(spec::at_fault(kind, spec).unwrap_or_else(|| error.to_string())),
        })
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refusal(kind: PolicyKind, spec: Value) -> String {
        let value =
            json!({"apiVersion": "a/v1", "kind": "K", "metadata": {"name": "p", "namespace": "shop"}, "spec": spec});
        let policy = from_json(kind, &value).unwrap();
        assert_eq!(policy.targets.len(), 1, "what it is about is known all the same");
        policy.spec.expect_err("accepted")
    }

    #[test]
    fn what_an_api_server_sends_and_nobody_can_read_keeps_its_targets_and_names_the_field() {
        let target = json!([{"group": "", "kind": "Service", "name": "web"}]);
        for (spec, expected) in [
            (json!({"limits": {"maxConections": 1}}), "spec.limits: unknown field `maxConections`"),
            (json!({"ejection": {"baseEjectionTime": "1d"}}), "spec.ejection: invalid value: string \"1d\""),
            (json!({"loadBalancer": {"type": "Fastest"}}), "spec.loadBalancer: unknown variant `Fastest`"),
            (json!({"circuitBreaker": {}}), "unknown field `circuitBreaker`"),
        ] {
            let mut spec = spec;
            spec["targetRefs"] = target.clone();
            let refusal = refusal(PolicyKind::Traffic, spec);
            assert!(refusal.starts_with(expected), "{refusal}");
        }
        let spec = json!({"targetRefs": target, "retryConstraint": {"budget": {"percent": "many"}}});
        let refusal = refusal(PolicyKind::Backend, spec);
        assert!(refusal.starts_with("spec.retryConstraint: invalid type"), "{refusal}");
    }
}
