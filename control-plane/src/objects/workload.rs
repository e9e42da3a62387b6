//! Workload: an endpoint outside Kubernetes, and the only "pod" of local mode. A pod is read into the same form.

use std::net::IpAddr;
use std::num::NonZeroU16;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{Metadata, Name};

/// A Workload (outrigger.io/v1alpha1), or a pod.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// Name, labels, annotations.
    pub meta: Metadata,
    /// Where it listens; none as long as a pod has no network.
    pub addresses: Vec<IpAddr>,
    /// Whose identity it bears.
    pub service_account: Name,
    /// Its named ports.
    pub ports: Vec<WorkloadPort>,
    /// Whether a sidecar stands beside it.
    pub meshed: bool,
    /// Whether it has its node's addresses in place of its own.
    pub host_network: bool,
    /// Whether it has run to its end: its addresses may be another's by now.
    pub ended: bool,
    /// Its node, empty when unknown.
    pub node: Arc<str>,
    /// Its own word on its zone, empty when it has none.
    pub zone: Arc<str>,
}

impl Workload {
    /// How many ports may be declared, so that the workload's resource stays far below the size limit of an update.
    pub(super) const MAX_PORTS: usize = 256;
}

/// A port of a Workload.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WorkloadPort {
    /// What a Service's `targetPort` may name.
    #[serde(default)]
    pub name: String,
    /// The number.
    pub port: NonZeroU16,
    /// What it carries.
    pub app_protocol: Option<String>,
}

/// The object as written.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Written {
    #[serde(rename = "apiVersion")]
    _api_version: IgnoredAny,
    #[serde(rename = "kind")]
    _kind: IgnoredAny,
    metadata: Metadata,
    spec: Spec,
    #[serde(rename = "status")]
    _status: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Spec {
    address: IpAddr,
    #[serde(default)]
    service_account_name: Name,
    #[serde(default)]
    ports: Ports,
    #[serde(default = "yes")]
    meshed: bool,
    #[serde(default)]
    zone: String,
}

fn yes() -> bool {
    true
}

impl From<Written> for Workload {
    fn from(Written { metadata, spec, .. }: Written) -> Self {
        Self {
            meta: metadata,
            addresses: vec![spec.address],
            service_account: spec.service_account_name,
            ports: spec.ports.0,
            meshed: spec.meshed,
            host_network: false,
            ended: false,
            node: "".into(),
            zone: spec.zone.into(),
        }
    }
}

/// At most [`Workload::MAX_PORTS`].
#[derive(Default)]
struct Ports(Vec<WorkloadPort>);

impl<'de> Deserialize<'de> for Ports {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let ports: Vec<WorkloadPort> = Vec::deserialize(deserializer)?;
        if ports.len() > Workload::MAX_PORTS {
            return Err(serde::de::Error::invalid_length(ports.len(), &"at most 256 ports"));
        }
        Ok(Self(ports))
    }
}
