//! Pods that cannot have a sidecar, and pods whose owner should know something.

use std::fmt;

use serde_json::Value;

use super::containers::{STATE, TOKEN};
use super::{CAPTURE, SIDECAR};

/// Why a pod is left as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skip {
    /// It has a sidecar already.
    Injected,
    /// Its label says so.
    Disabled,
    /// It shares the node's network: a capture there would take the node's traffic.
    HostNetwork,
    /// One of its containers runs as the sidecar's user, whose traffic is not captured.
    OwnUser,
    /// The sidecar is for Linux.
    Windows,
    /// It has the sidecar of another mesh, which takes the same traffic.
    OtherMesh,
    /// It has volumes with names of ours.
    TakenVolume,
    /// It has no spec, or something else in its place.
    NoSpec,
}

impl Skip {
    /// A short name, for metrics and Events.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::Injected => "AlreadyInjected",
            Self::Disabled => "Disabled",
            Self::HostNetwork => "HostNetwork",
            Self::OwnUser => "SidecarUser",
            Self::Windows => "Windows",
            Self::OtherMesh => "OtherMesh",
            Self::TakenVolume => "TakenVolume",
            Self::NoSpec => "NoSpec",
        }
    }

    /// Whether its owner asked for a sidecar and does not get one.
    #[must_use]
    pub fn is_surprising(self) -> bool {
        !matches!(self, Self::Injected | Self::Disabled)
    }

    /// Finds out why a pod, or a workload's template, cannot have a sidecar.
    #[must_use]
    pub fn of(pod: &Value) -> Option<Self> {
        let Some(spec) = pod.get("spec").filter(|spec| well_formed(spec)) else { return Some(Self::NoSpec) };
        if containers(spec).any(|container| container["name"] == SIDECAR || container["name"] == CAPTURE) {
            return Some(Self::Injected);
        }
        if pod["metadata"]["labels"][LABEL] == "disabled" {
            return Some(Self::Disabled);
        }
        if spec["hostNetwork"] == true {
            return Some(Self::HostNetwork);
        }
        if spec["os"]["name"] == "windows" || spec["nodeSelector"]["kubernetes.io/os"] == "windows" {
            return Some(Self::Windows);
        }
        if containers(spec).any(|container| user(spec, container) == Some(USER)) {
            return Some(Self::OwnUser);
        }
        let name = |container: &Value| container["name"].as_str().is_some_and(|name| OTHER_MESHES.contains(&name));
        if containers(spec).any(name) {
            return Some(Self::OtherMesh);
        }
        let taken = |volume: &Value| volume["name"] == TOKEN || volume["name"] == STATE;
        spec["volumes"].as_array().is_some_and(|volumes| volumes.iter().any(taken)).then_some(Self::TakenVolume)
    }
}

impl fmt::Display for Skip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Injected => f.write_str("the pod has a sidecar already"),
            Self::Disabled => f.write_str("the pod's label outrigger.io/inject is disabled"),
            Self::HostNetwork => f.write_str(
                "the pod uses the node's network (hostNetwork), where a sidecar would take the node's traffic",
            ),
            Self::OwnUser => write!(
                f,
                "a container runs as user {USER}, which is the sidecar's: its traffic could not be captured; give it another runAsUser"
            ),
            Self::Windows => f.write_str("the pod is for Windows; the sidecar runs on Linux"),
            Self::OtherMesh => f.write_str(
                "the pod has the sidecar of another mesh, which takes the same traffic; take that one away first",
            ),
            Self::TakenVolume => {
                write!(
                    f,
                    "the pod has a volume named {TOKEN} or {STATE}, which are the sidecar's; give it another name"
                )
            }
            Self::NoSpec => f.write_str("the pod has no spec that is one"),
        }
    }
}

/// The user that a container runs as, if it says so or the pod does.
fn user(spec: &Value, container: &Value) -> Option<u64> {
    let of = |value: &Value| value["securityContext"]["runAsUser"].as_u64();
    of(container).or_else(|| of(spec))
}

/// Whether the lists that we add to are lists. A key without a value counts as one that is not there.
fn well_formed(spec: &Value) -> bool {
    let is_list = |name: &str| spec[name].is_null() || spec[name].is_array();
    spec.is_object() && LISTS.into_iter().all(is_list)
}

/// What may be refused later, or work otherwise than expected.
pub(super) fn warnings(pod: &Value, sidecar: &Value, control_plane: &str) -> Vec<String> {
    let spec = &pod["spec"];
    let mut warnings = Vec::new();
    let tcp = |port: &Value| port["protocol"].is_null() || port["protocol"] == "TCP";
    let taken = |port: &Value| tcp(port) && port["containerPort"].as_u64().is_some_and(|port| PORTS.contains(&port));
    for container in containers(spec) {
        if container["ports"].as_array().is_some_and(|ports| ports.iter().any(taken)) {
            warnings.push(format!(
                "container {} uses a port of the sidecar ({}); one of them will not start",
                container["name"].as_str().unwrap_or("?"),
                PORTS.map(|port| port.to_string()).join(", ")
            ));
        }
    }
    if let Some(policy) = spec["dnsPolicy"].as_str().filter(|policy| ["None", "Default"].contains(policy)) {
        warnings.push(format!(
            "dnsPolicy is {policy}: the sidecar, too, must be able to resolve {control_plane}, or the pod does not start"
        ));
    }
    if containers(spec).next().is_some() && containers(spec).all(is_guaranteed) && !is_guaranteed(sidecar) {
        warnings.push(
            "the pod loses its QoS class Guaranteed: set cpu-request, cpu-limit, memory-request and memory-limit under \
             config.outrigger.io, requests and limits alike"
                .to_owned(),
        );
    }
    warnings
}

/// Whether it may use as much as it asks for. Without a request, the limit is the request.
fn is_guaranteed(container: &Value) -> bool {
    let resources = &container["resources"];
    ["cpu", "memory"].into_iter().all(|name| {
        let (request, limit) = (&resources["requests"][name], &resources["limits"][name]);
        !limit.is_null() && (request.is_null() || request == limit)
    })
}

fn containers(spec: &Value) -> impl Iterator<Item = &Value> {
    let of = |list: &str| spec[list].as_array().into_iter().flatten();
    of("initContainers").chain(of("containers"))
}

/// Lists of a pod's spec that are looked through or added to.
const LISTS: [&str; 3] = ["containers", "initContainers", "volumes"];
/// Who decides whether a pod gets here.
const LABEL: &str = "outrigger.io/inject";
/// Containers that other meshes add.
const OTHER_MESHES: [&str; 4] = ["istio-proxy", "linkerd-proxy", "kuma-sidecar", "consul-dataplane"];
/// The sidecar's user and group.
pub(super) const USER: u64 = 4140;
/// What the sidecar listens on: outbound, inbound, admin, health, probes, metrics.
const PORTS: [u64; 6] = [4140, 4143, 4191, 4192, 4193, 4194];
