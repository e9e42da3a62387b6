//! EndpointSlice: some of a Service's endpoints, as Kubernetes (or whoever manages them) has found them.

use std::net::IpAddr;
use std::num::NonZeroU16;
use std::sync::Arc;

use serde::Deserialize;

use super::Metadata;
use super::meta::null_is_default;

/// An EndpointSlice (discovery.k8s.io/v1).
#[derive(Clone, Debug, PartialEq)]
pub struct EndpointSlice {
    /// Name and namespace.
    pub meta: Metadata,
    /// The Service whose endpoints these are, empty when it belongs to none.
    pub service: Arc<str>,
    /// Of which kind its addresses are; `None`: names, which the mesh does not dial.
    pub family: Option<Family>,
    /// The ports of every endpoint in it.
    pub ports: Box<[SlicePort]>,
    /// The endpoints.
    pub endpoints: Box<[SliceEndpoint]>,
}

/// A kind of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Returns the family of an address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        match text {
            "IPv4" => Some(Self::V4),
            "IPv6" => Some(Self::V6),
            _ => None,
        }
    }
}

/// A port of all endpoints of a slice.
#[derive(Clone, Debug, PartialEq)]
pub struct SlicePort {
    /// The name of the Service's port, empty when it has only one.
    pub name: Arc<str>,
    /// Where the endpoints listen; `None`: wherever the Service's port says.
    pub port: Option<NonZeroU16>,
}

/// One address of a slice.
#[derive(Clone, Debug, PartialEq)]
pub struct SliceEndpoint {
    /// Where it is.
    pub address: IpAddr,
    /// The pod behind it, of the slice's own namespace; `None`: it is not a pod's.
    pub pod: Option<Arc<str>>,
    /// Whether it should get new connections.
    pub ready: bool,
    /// Whether it would answer if it got one.
    pub serving: bool,
    /// Whether it is about to go.
    pub terminating: bool,
    /// Its zone, empty when unknown.
    pub zone: Arc<str>,
    /// Its node, empty when unknown.
    pub node: Arc<str>,
    /// Clients in these zones are to prefer it.
    pub for_zones: Box<[Arc<str>]>,
    /// Clients on these nodes are to prefer it.
    pub for_nodes: Box<[Arc<str>]>,
}

/// The object as written.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Written {
    metadata: Metadata,
    #[serde(default)]
    address_type: String,
    #[serde(default, deserialize_with = "null_is_default")]
    ports: Vec<WrittenPort>,
    #[serde(default, deserialize_with = "null_is_default")]
    endpoints: Vec<WrittenEndpoint>,
}

#[derive(Deserialize)]
struct WrittenPort {
    #[serde(default, deserialize_with = "null_is_default")]
    name: String,
    port: Option<NonZeroU16>,
    #[serde(default, deserialize_with = "null_is_default")]
    protocol: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenEndpoint {
    #[serde(default, deserialize_with = "null_is_default")]
    addresses: Vec<String>,
    #[serde(default, deserialize_with = "null_is_default")]
    conditions: Conditions,
    #[serde(default, deserialize_with = "null_is_default")]
    target_ref: TargetRef,
    #[serde(default, deserialize_with = "null_is_default")]
    zone: String,
    #[serde(default, deserialize_with = "null_is_default")]
    node_name: String,
    #[serde(default, deserialize_with = "null_is_default")]
    hints: Hints,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Hints {
    #[serde(default, deserialize_with = "null_is_default")]
    for_zones: Vec<Named>,
    #[serde(default, deserialize_with = "null_is_default")]
    for_nodes: Vec<Named>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

#[derive(Default, Deserialize)]
struct Conditions {
    ready: Option<bool>,
    serving: Option<bool>,
    terminating: Option<bool>,
}

#[derive(Default, Deserialize)]
struct TargetRef {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    name: String,
}

impl From<Written> for EndpointSlice {
    fn from(Written { mut metadata, address_type, ports, endpoints }: Written) -> Self {
        let service = metadata.labels.get(SERVICE).map(|name| Arc::from(name.as_str())).unwrap_or_default();
        metadata.labels.clear();
        metadata.annotations.clear();
        metadata.controller = None;
        let ports = ports.into_iter().filter(|port| matches!(port.protocol.as_str(), "" | "TCP"));
        let mut shared = Shared::default();
        Self {
            meta: metadata,
            service,
            family: Family::parse(&address_type),
            ports: ports.map(|port| SlicePort { name: port.name.into(), port: port.port }).collect(),
            endpoints: endpoints.into_iter().filter_map(|endpoint| endpoint.read(&mut shared)).collect(),
        }
    }
}

impl WrittenEndpoint {
    fn read(self, shared: &mut Shared) -> Option<SliceEndpoint> {
        // All addresses of one endpoint are the same for clients: the first one counts (discovery.k8s.io/v1).
        let address = self.addresses.first()?.parse().ok()?;
        let Conditions { ready, serving, terminating } = self.conditions;
        // Unset means yes for `ready`, and whatever `ready` says for `serving`.
        let ready = ready.unwrap_or(true);
        Some(SliceEndpoint {
            address,
            pod: Some(self.target_ref).filter(|target| target.kind == "Pod").map(|target| target.name.into()),
            ready,
            serving: serving.unwrap_or(ready),
            terminating: terminating.unwrap_or(false),
            zone: shared.text(self.zone),
            node: shared.text(self.node_name),
            for_zones: shared.names(self.hints.for_zones),
            for_nodes: shared.names(self.hints.for_nodes),
        })
    }
}

/// Zones and nodes of one slice, each once: there are few of them and many endpoints.
#[derive(Default)]
struct Shared(std::collections::BTreeSet<Arc<str>>);

impl Shared {
    /// As many as Kubernetes allows (discovery.k8s.io/v1).
    fn names(&mut self, names: Vec<Named>) -> Box<[Arc<str>]> {
        names.into_iter().take(8).map(|Named { name }| self.text(name)).collect()
    }

    fn text(&mut self, text: String) -> Arc<str> {
        if let Some(known) = self.0.get(text.as_str()) {
            return known.clone();
        }
        let text: Arc<str> = text.into();
        self.0.insert(text.clone());
        text
    }
}

const SERVICE: &str = "kubernetes.io/service-name";
