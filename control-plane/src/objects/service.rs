//! Service, as far as the mesh reads it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU16;

use serde::Deserialize;

use super::meta::null_is_default;
use super::{Family, IntOrName, Metadata};

/// A Kubernetes Service.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// Name, labels, annotations.
    pub meta: Metadata,
    /// Labels of the workloads behind it.
    pub selector: BTreeMap<String, String>,
    /// Its virtual addresses, of its first family first; only a ClusterIP service has any.
    pub addresses: Vec<IpAddr>,
    /// How its name is resolved.
    pub kind: ServiceKind,
    /// Its first family; `None` when nobody says.
    pub family: Option<Family>,
    /// Whether clients may dial only endpoints on their own node (`internalTrafficPolicy: Local`).
    pub node_local: bool,
    /// Whether clients are to prefer endpoints that are near (`trafficDistribution`).
    pub prefers_near: bool,
    /// How long a client keeps its endpoint after it last used it, seconds (`sessionAffinity: ClientIP`); 0: it does not.
    pub affinity_seconds: u32,
    /// Its ports.
    pub ports: Vec<ServicePort>,
}

/// What a Service's name resolves to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceKind {
    /// A virtual address.
    Virtual,
    /// The addresses of its endpoints.
    Headless,
    /// Another name, of which the mesh knows nothing.
    ExternalName,
}

impl Service {
    /// Finds a port by number.
    #[must_use]
    pub fn port(&self, port: NonZeroU16) -> Option<&ServicePort> {
        self.ports.iter().find(|candidate| candidate.port == port)
    }
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServicePort {
    /// Empty when the service has only one.
    #[serde(default, deserialize_with = "null_is_default")]
    pub name: String,
    /// What clients dial.
    pub port: NonZeroU16,
    /// Where the workload listens; the port itself when unset.
    pub target_port: Option<IntOrName>,
    /// What it carries.
    pub app_protocol: Option<String>,
    /// TCP, UDP or SCTP.
    #[serde(default = "tcp")]
    pub protocol: String,
}

fn tcp() -> String {
    "TCP".to_owned()
}

/// The object as written.
#[derive(Deserialize)]
pub(super) struct Written {
    metadata: Metadata,
    #[serde(default, deserialize_with = "null_is_default")]
    spec: Spec,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    #[serde(default, deserialize_with = "null_is_default")]
    selector: BTreeMap<String, String>,
    #[serde(rename = "clusterIP")]
    cluster_ip: Option<ClusterIp>,
    #[serde(rename = "clusterIPs", default, deserialize_with = "null_is_default")]
    cluster_ips: Vec<ClusterIp>,
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(default, deserialize_with = "null_is_default")]
    ip_families: Vec<String>,
    internal_traffic_policy: Option<String>,
    traffic_distribution: Option<String>,
    session_affinity: Option<String>,
    #[serde(default, deserialize_with = "null_is_default")]
    session_affinity_config: AffinityConfig,
    #[serde(default, deserialize_with = "null_is_default")]
    ports: Vec<ServicePort>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AffinityConfig {
    #[serde(rename = "clientIP", default, deserialize_with = "null_is_default")]
    client_ip: ClientIpConfig,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClientIpConfig {
    timeout_seconds: Option<u32>,
}

/// What Kubernetes takes when nobody says: three hours.
const AFFINITY_SECONDS: u32 = 10_800;

impl From<Written> for Service {
    fn from(written: Written) -> Self {
        let Spec { selector, cluster_ip, cluster_ips, kind, ip_families, mut ports, .. } = written.spec;
        let node_local = written.spec.internal_traffic_policy.as_deref() == Some("Local");
        let distribution = written.spec.traffic_distribution.as_deref();
        let prefers_near = matches!(distribution, Some("PreferClose" | "PreferSameZone" | "PreferSameNode"));
        let affinity_seconds = match written.spec.session_affinity.as_deref() {
            Some("ClientIP") => {
                written.spec.session_affinity_config.client_ip.timeout_seconds.unwrap_or(AFFINITY_SECONDS)
            }
            _ => 0,
        };
        let external = kind.as_deref() == Some("ExternalName");
        let mut addresses: Vec<IpAddr> = Vec::new();
        if !external {
            for ClusterIp(address) in cluster_ip.into_iter().chain(cluster_ips) {
                addresses.extend(address.filter(|address| !addresses.contains(address)));
            }
        }
        // The mesh carries TCP; a UDP port of the same number is another thing.
        ports.retain(|port| port.protocol.eq_ignore_ascii_case("tcp"));
        let kind = match addresses.first() {
            _ if external => ServiceKind::ExternalName,
            Some(_) => ServiceKind::Virtual,
            None => ServiceKind::Headless,
        };
        let family = ip_families.first().and_then(|family| Family::parse(family));
        let family = family.or_else(|| addresses.first().copied().map(Family::of));
        Self {
            meta: written.metadata,
            selector,
            addresses,
            kind,
            family,
            node_local,
            prefers_near,
            affinity_seconds,
            ports,
        }
    }
}

/// An address, or `None` / empty for a headless service.
struct ClusterIp(Option<IpAddr>);

impl<'de> Deserialize<'de> for ClusterIp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() || text == "None" {
            return Ok(Self(None));
        }
        text.parse()
            .map(|address| Self(Some(address)))
            .map_err(|_| serde::de::Error::invalid_value(serde::de::Unexpected::Str(&text), &"an IP address or `None`"))
    }
}
