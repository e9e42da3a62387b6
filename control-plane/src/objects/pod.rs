//! Pod: a workload that Kubernetes runs. Of its spec and status only what says who and where it is is kept.

use std::net::IpAddr;
use std::num::NonZeroU16;

use serde::Deserialize;

use super::meta::null_is_default;
use super::{Metadata, Name, Workload, WorkloadPort};

/// A pod, read into the form of a workload.
#[derive(Deserialize)]
#[serde(try_from = "Written")]
pub(super) struct Pod(pub(super) Workload);

/// The object as written.
#[derive(Deserialize)]
struct Written {
    metadata: Metadata,
    #[serde(default, deserialize_with = "null_is_default")]
    spec: Spec,
    #[serde(default, deserialize_with = "null_is_default")]
    status: Status,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    #[serde(default, deserialize_with = "null_is_default")]
    service_account_name: String,
    #[serde(default, deserialize_with = "null_is_default")]
    node_name: String,
    #[serde(default, deserialize_with = "null_is_default")]
    host_network: bool,
    #[serde(default, deserialize_with = "null_is_default")]
    init_containers: Vec<Container>,
    #[serde(default, deserialize_with = "null_is_default")]
    containers: Vec<Container>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Container {
    name: String,
    restart_policy: Option<String>,
    #[serde(default, deserialize_with = "null_is_default")]
    ports: Vec<ContainerPort>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ContainerPort {
    #[serde(default, deserialize_with = "null_is_default")]
    name: String,
    container_port: NonZeroU16,
    #[serde(default, deserialize_with = "null_is_default")]
    protocol: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    #[serde(default, deserialize_with = "null_is_default")]
    phase: String,
    #[serde(rename = "podIP", default, deserialize_with = "null_is_default")]
    pod_ip: String,
    #[serde(rename = "podIPs", default, deserialize_with = "null_is_default")]
    pod_ips: Vec<PodIp>,
}

#[derive(Deserialize)]
struct PodIp {
    #[serde(default)]
    ip: String,
}

impl TryFrom<Written> for Pod {
    type Error = serde::de::value::Error;

    fn try_from(Written { metadata, spec, status }: Written) -> Result<Self, Self::Error> {
        let account = Some(spec.service_account_name).filter(|name| !name.is_empty());
        let listed = status.pod_ips.into_iter().map(|listed| listed.ip);
        let mut addresses: Vec<IpAddr> = Vec::new();
        for address in std::iter::once(status.pod_ip).chain(listed).filter_map(|text| text.parse().ok()) {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        // Without a network of its own it has nothing that a sidecar could capture.
        let sidecar = spec.init_containers.iter().any(|container| container.name == SIDECAR);
        let meshed = sidecar && !spec.host_network;
        let started_first = spec.init_containers.into_iter().filter(|c| c.restart_policy.as_deref() == Some("Always"));
        let containers = spec.containers.into_iter().chain(started_first).filter(|c| c.name != SIDECAR);
        let ports = containers.flat_map(|container| container.ports);
        let ports = ports.filter(|port| matches!(port.protocol.as_str(), "" | "TCP"));
        Ok(Self(Workload {
            meta: metadata,
            addresses,
            service_account: account.map_or_else(|| Ok(Name::default()), Name::parse)?,
            ports: ports.map(ContainerPort::read).take(Workload::MAX_PORTS).collect(),
            meshed,
            host_network: spec.host_network,
            ended: matches!(status.phase.as_str(), "Succeeded" | "Failed"),
            node: spec.node_name.into(),
            zone: "".into(), // its node's
        }))
    }
}

impl ContainerPort {
    fn read(self) -> WorkloadPort {
        WorkloadPort { name: self.name, port: self.container_port, app_protocol: None }
    }
}

/// The container that the injector adds.
const SIDECAR: &str = "outrigger-sidecar";

#[cfg(test)]
mod tests;
