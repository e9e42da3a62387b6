//! What a sidecar needs to know of its own workload, and a workload as somebody's endpoint.

use std::net::SocketAddr;
use std::num::NonZeroU16;

use outrigger_identity::Identity;
use outrigger_proto::model::InboundMode;
use outrigger_proto::wire;

use super::telemetry;
use crate::objects::{IntOrName, Metadata, ServicePort, Workload};
use crate::snapshot::Snapshot;
use crate::state::declared;

pub(super) fn workload(snapshot: &Snapshot, workload: &Workload) -> wire::Workload {
    wire::Workload {
        namespace: workload.meta.namespace.to_string(),
        name: workload.meta.name.to_string(),
        service_account: workload.service_account.to_string(),
        service_name: telemetry::service_name(workload).to_owned(),
        mode: match mode(snapshot, workload) {
            InboundMode::Permissive => wire::InboundMode::InboundPermissive.into(),
            InboundMode::Strict => wire::InboundMode::InboundStrict.into(),
        },
        ports: ports(snapshot, workload),
        node: workload.node.to_string(),
        zone: snapshot.state.zone_of(workload).to_string(),
        resource: telemetry::resource(snapshot, workload),
    }
}

/// Returns the workload as an endpoint; `None` when it should prove an identity that cannot be written as a SPIFFE id:
/// it must not be dialled in plaintext instead.
pub(super) fn endpoint(
    snapshot: &Snapshot,
    workload: &Workload,
    address: SocketAddr,
    protocol: wire::Protocol,
) -> Option<wire::Endpoint> {
    let namespace = &workload.meta.namespace;
    let domain = snapshot.state.settings.bundle.domain();
    let identity = match workload.meshed {
        true => Identity::new(domain, namespace, &workload.service_account).ok()?.to_string(),
        false => String::new(),
    };
    Some(wire::Endpoint {
        address: address.to_string(),
        identity,
        namespace: namespace.to_string(),
        workload: workload.meta.name.to_string(),
        zone: snapshot.state.zone_of(workload).to_string(),
        protocol: protocol.into(),
        only_node: String::new(),
        for_zones: Vec::new(),
        for_nodes: Vec::new(),
    })
}

/// Finds where a service's port leads on this workload; `None` when it names a port that the workload lacks.
pub(super) fn target_port(workload: &Workload, port: &ServicePort) -> Option<NonZeroU16> {
    match &port.target_port {
        None => Some(port.port),
        Some(IntOrName::Number(number)) => Some(*number),
        Some(IntOrName::Name(name)) => {
            workload.ports.iter().find(|declared| declared.name == **name).map(|declared| declared.port)
        }
    }
}

/// Says what a workload's port carries: by its own word, else by that of a service that leads there.
pub(super) fn protocol(snapshot: &Snapshot, workload: &Workload, port: NonZeroU16) -> wire::Protocol {
    let own = workload.ports.iter().find(|declared| declared.port == port);
    let own = own.map(|own| declared(own.app_protocol.as_deref(), &own.name));
    if let Some(protocol) = own.filter(|protocol| *protocol != wire::Protocol::Detect) {
        return protocol;
    }
    let services = snapshot.state.services.in_namespace(&workload.meta.namespace);
    let services = services.filter(|service| workload.meta.is_selected_by(&service.selector));
    let ports = services.flat_map(|service| &service.ports);
    ports
        .filter(|candidate| target_port(workload, candidate) == Some(port))
        .map(|candidate| declared(candidate.app_protocol.as_deref(), &candidate.name))
        .find(|protocol| *protocol != wire::Protocol::Detect)
        .unwrap_or(wire::Protocol::Detect)
}

/// The ports of which anything is declared.
fn ports(snapshot: &Snapshot, workload: &Workload) -> Vec<wire::WorkloadPort> {
    let mut numbers: Vec<NonZeroU16> = workload.ports.iter().map(|declared| declared.port).collect();
    let services = snapshot.state.services.in_namespace(&workload.meta.namespace);
    for service in services.filter(|service| workload.meta.is_selected_by(&service.selector)) {
        numbers.extend(service.ports.iter().filter_map(|port| target_port(workload, port)));
    }
    numbers.sort_unstable();
    numbers.dedup();
    numbers.truncate(MAX_PORTS);
    let ports = numbers.into_iter().map(|port| (port, protocol(snapshot, workload, port)));
    let declared = ports.filter(|(_, protocol)| *protocol != wire::Protocol::Detect);
    declared.map(|(port, protocol)| wire::WorkloadPort { port: port.get().into(), protocol: protocol.into() }).collect()
}

fn mode(snapshot: &Snapshot, workload: &Workload) -> InboundMode {
    let state = &snapshot.state;
    let namespace = state.namespaces.get(&*workload.meta.namespace);
    let own = annotated(&workload.meta).or_else(|| namespace.and_then(|namespace| annotated(&namespace.meta)));
    match own {
        None => state.settings.inbound,
        Some(Ok(mode)) => mode,
        // What is not understood must not open the door.
        Some(Err(_)) => InboundMode::Strict,
    }
}

/// Returns the mode that an annotation sets, or its value when that means nothing.
pub(super) fn annotated(meta: &Metadata) -> Option<Result<InboundMode, &str>> {
    match meta.annotations.get(INBOUND).map(String::as_str) {
        None => None,
        Some("permissive") => Some(Ok(InboundMode::Permissive)),
        Some("strict") => Some(Ok(InboundMode::Strict)),
        Some(other) => Some(Err(other)),
    }
}

pub(super) const INBOUND: &str = "config.outrigger.io/inbound";

/// Keeps the resource small, whatever services select the workload.
const MAX_PORTS: usize = 1024;
