//! What an original destination is: a service's port, a workload, or nothing that the mesh knows.

use std::net::SocketAddr;
use std::num::NonZeroU16;

use outrigger_proto::{ServicePort, wire};

use super::workload;
use crate::snapshot::Snapshot;

pub(super) fn address(snapshot: &Snapshot, address: SocketAddr) -> wire::Address {
    wire::Address { target: Some(target(snapshot, address)) }
}

pub(super) fn target(snapshot: &Snapshot, address: SocketAddr) -> wire::address::Target {
    let unknown = wire::address::Target::Unknown(wire::Unknown {});
    let Some(port) = NonZeroU16::new(address.port()) else { return unknown };
    let ip = address.ip().to_canonical();
    if let Some(service) = snapshot.service_at(ip) {
        if service.port(port).is_none() {
            return unknown; // as without a mesh: nothing listens there
        }
        return wire::address::Target::Service(wire::ServiceRef {
            namespace: service.meta.namespace.to_string(),
            name: service.meta.name.to_string(),
            port: port.get().into(),
        });
    }
    let endpoint = snapshot.workload_at(ip, port.get()).and_then(|workload| {
        let protocol = workload::protocol(snapshot, workload, port);
        workload::endpoint(snapshot, workload, SocketAddr::new(ip, port.get()), protocol)
    });
    endpoint.map_or(unknown, wire::address::Target::Workload)
}

pub(super) fn service_port(service: &wire::ServiceRef) -> Option<ServicePort> {
    let port = u16::try_from(service.port).ok().and_then(NonZeroU16::new)?;
    Some(ServicePort { namespace: service.namespace.as_str().into(), name: service.name.as_str().into(), port })
}
