//! What a sidecar gets: pure functions from a snapshot and a key to an encoded resource, the same for every client.
//!
//! A resource's version is a hash of its bytes, so that it means the same after a restart and in every replica. What was
//! encoded once for a snapshot is shared by all streams, and kept for the next snapshot when the bytes are the same.

mod address;
#[cfg(feature = "kubernetes")]
mod conditions;
mod endpoints;
mod memo;
mod policy;
mod problems;
mod published;
mod refusal;
mod routes;
mod service;
mod telemetry;
mod workload;

use bytes::Bytes;
use outrigger_proto::{Key, ServicePort, wire};
use prost::Message;

use crate::snapshot::Snapshot;

#[cfg(feature = "kubernetes")]
pub(crate) use conditions::{Condition, ParentConditions, carriers, conditions};
pub use memo::Memo;
#[cfg(feature = "kubernetes")]
pub(crate) use policy::ancestors;
pub use problems::{Problem, problems};
pub use published::Published;
#[cfg(feature = "kubernetes")]
pub(crate) use refusal::Refusal;
pub(crate) use telemetry::service_name;

/// An encoded resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// A hash of the bytes.
    pub version: u64,
    /// The encoded message.
    pub value: Bytes,
}

/// Returns the resource that a key names; `None` when there is no such thing.
#[must_use]
pub fn resource(snapshot: &Published, key: &Key) -> Option<Resource> {
    match key {
        Key::Mesh => Some(snapshot.memo.mesh(|| encode(&mesh(snapshot)))),
        // Not kept: there are as many as a client cares to name, and they are small.
        Key::Address(address) => Some(encode(&address::address(snapshot, *address))),
        Key::Service(port) => Some(service::compiled(snapshot, port)?.resource),
        Key::Endpoints(port, shard) => endpoints::shards(snapshot, port)?.get(usize::from(*shard)).cloned(),
        Key::Workload(name) => {
            let workload = snapshot.state.workload(&name.namespace, &name.name)?;
            Some(snapshot.memo.workload(name, || encode(&workload::workload(snapshot, workload))))
        }
    }
}

/// Returns all keys that a client needs which subscribes to `root`: the root itself and what it leads to.
#[must_use]
pub fn closure(snapshot: &Published, root: &Key) -> Vec<Key> {
    let mut keys = vec![root.clone()];
    match root {
        Key::Mesh | Key::Workload(_) | Key::Endpoints(..) => {}
        Key::Address(address) => {
            if let wire::address::Target::Service(service) = address::target(snapshot, *address)
                && let Some(port) = address::service_port(&service)
            {
                keys.push(Key::Service(port.clone()));
                add_service(snapshot, &port, &mut keys);
            }
        }
        Key::Service(port) => add_service(snapshot, port, &mut keys),
    }
    keys
}

/// Adds the endpoints of a service and of all backends of its routes. Backends are dialled without their own routes.
fn add_service(snapshot: &Published, port: &ServicePort, keys: &mut Vec<Key>) {
    let Some(compiled) = service::compiled(snapshot, port) else { return };
    let backends = compiled.backends.iter().filter(|backend| *backend != port);
    for port in std::iter::once(port).chain(backends) {
        let shards = endpoints::shards(snapshot, port).map_or(0, |shards| shards.len());
        keys.extend((0..shards).filter_map(|shard| Some(Key::Endpoints(port.clone(), u16::try_from(shard).ok()?))));
    }
}

fn mesh(snapshot: &Snapshot) -> wire::MeshSettings {
    let settings = &snapshot.state.settings;
    let egress = match settings.egress {
        outrigger_proto::model::Egress::Allow => wire::Egress::Allow,
        outrigger_proto::model::Egress::Deny => wire::Egress::Deny,
    };
    wire::MeshSettings {
        trust_domain: settings.bundle.domain().to_string(),
        trust_anchors: settings.bundle.anchors().iter().map(|anchor| Bytes::copy_from_slice(anchor)).collect(),
        egress: egress.into(),
    }
}

fn encode(message: &impl Message) -> Resource {
    let value = Bytes::from(message.encode_to_vec());
    Resource { version: version(&value), value }
}

/// The first 64 bits of SHA-256: no key, so the same everywhere, and no accidents.
fn version(value: &[u8]) -> u64 {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, value);
    digest.as_ref().iter().take(8).fold(0, |version, byte| version << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod usable_tests;
