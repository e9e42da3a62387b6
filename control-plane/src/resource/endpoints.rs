//! A service port's endpoints, in shards: a change of one endpoint resends one shard.
//!
//! They come from two places: EndpointSlices, where Kubernetes keeps them, and Workloads that the service selects.

mod choose;

use std::net::SocketAddr;
use std::sync::Arc;

use outrigger_proto::{ServicePort, wire};

use super::{Published, Resource, encode, policy, version, workload};
use crate::objects;
use crate::objects::{Service, SliceEndpoint};
use crate::snapshot::Snapshot;
use crate::state::declared;

/// Returns all shards, at least one; `None` when there is no such service port.
pub(super) fn shards(snapshot: &Published, port: &ServicePort) -> Option<Arc<[Resource]>> {
    let service = snapshot.state.services.get(&port.namespace, &port.name)?;
    let service_port = service.port(port.port)?;
    Some(snapshot.memo.shards(port, || {
        let mut endpoints: Vec<wire::Endpoint> = of_slices(snapshot, service, service_port).collect();
        endpoints.extend(of_workloads(snapshot, service, service_port));
        endpoints.sort_by(|a, b| (&a.address, &a.workload).cmp(&(&b.address, &b.workload)));
        endpoints.dedup_by(|a, b| a.address == b.address && a.workload == b.workload);
        endpoints.iter_mut().for_each(|endpoint| prefer(service, endpoint));
        // Counted only when it is told: it changes more often than what is ready.
        let not_ready = if endpoints.is_empty() { choose::not_ready(snapshot, service, service_port) } else { 0 };
        let mut shards = split(endpoints);
        if let Some(first) = shards.first_mut() {
            first.not_ready = not_ready;
            first.policy = policy::of_backend(snapshot, service, service_port);
            first.affinity_seconds = service.affinity_seconds;
        }
        shards.iter().map(encode).collect()
    }))
}

fn of_workloads(
    snapshot: &Snapshot,
    service: &Service,
    port: &objects::ServicePort,
) -> impl Iterator<Item = wire::Endpoint> {
    let workloads = snapshot.state.workloads.in_namespace(&service.meta.namespace);
    let selected = workloads.filter(|workload| workload.meta.is_selected_by(&service.selector));
    selected.flat_map(move |workload| {
        let target = workload::target_port(workload, port);
        let addresses = target.into_iter().flat_map(|target| {
            workload.addresses.iter().map(move |address| (target, SocketAddr::new(*address, target.get())))
        });
        addresses.filter_map(|(target, address)| {
            // The service's word counts first: it is the one the client dialled.
            let protocol = match declared(port.app_protocol.as_deref(), &port.name) {
                wire::Protocol::Detect => workload::protocol(snapshot, workload, target),
                declared => declared,
            };
            workload::endpoint(snapshot, workload, address, protocol)
        })
    })
}

fn of_slices(
    snapshot: &Snapshot,
    service: &Service,
    port: &objects::ServicePort,
) -> impl Iterator<Item = wire::Endpoint> {
    let protocol = declared(port.app_protocol.as_deref(), &port.name);
    choose::endpoints(snapshot, service, port)
        .into_iter()
        .filter_map(move |(endpoint, address)| of_slice(snapshot, service, endpoint, address, protocol))
}

/// Finds out who is behind an address; `None` when that is not known yet.
fn of_slice(
    snapshot: &Snapshot,
    service: &Service,
    endpoint: &SliceEndpoint,
    address: SocketAddr,
    protocol: wire::Protocol,
) -> Option<wire::Endpoint> {
    let namespace = &service.meta.namespace;
    let only_node = if service.node_local { endpoint.node.to_string() } else { String::new() };
    let names = |names: &[Arc<str>]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    let (for_zones, for_nodes) = (names(&endpoint.for_zones), names(&endpoint.for_nodes));
    let workload = match &endpoint.pod {
        // A pod that is not here, or has another address, is told of a moment later. Until then nobody knows whether it
        // is meshed, and to dial it in plaintext would be a guess.
        Some(pod) => {
            let pod = snapshot.state.pods.get(namespace, pod)?;
            Some(pod).filter(|pod| pod.addresses.contains(&endpoint.address))?
        }
        None => match snapshot.workload_at(endpoint.address, address.port()) {
            Some(workload) => workload,
            None => {
                return Some(wire::Endpoint {
                    address: address.to_string(),
                    identity: String::new(),
                    namespace: namespace.to_string(),
                    workload: String::new(),
                    zone: endpoint.zone.to_string(),
                    protocol: protocol.into(),
                    only_node,
                    for_zones,
                    for_nodes,
                });
            }
        },
    };
    let protocol = match protocol {
        wire::Protocol::Detect => workload::protocol(snapshot, workload, std::num::NonZeroU16::new(address.port())?),
        declared => declared,
    };
    let known = workload::endpoint(snapshot, workload, address, protocol)?;
    let zone = if endpoint.zone.is_empty() { known.zone } else { endpoint.zone.to_string() };
    Some(wire::Endpoint { zone, only_node, for_zones, for_nodes, ..known })
}

/// Has clients of the same zone prefer an endpoint, where the Service asks for that and Kubernetes has given no hints: for endpoints that it does
/// not manage.
fn prefer(service: &Service, endpoint: &mut wire::Endpoint) {
    if service.prefers_near && endpoint.for_zones.is_empty() && !endpoint.zone.is_empty() {
        endpoint.for_zones.push(endpoint.zone.clone());
    }
}

/// Splits by a hash of the address, into as few shards (a power of two) as hold at most [`MAX_SHARD`] each.
fn split(endpoints: Vec<wire::Endpoint>) -> Vec<wire::Endpoints> {
    let hashed: Vec<(u64, wire::Endpoint)> =
        endpoints.into_iter().map(|endpoint| (version(endpoint.address.as_bytes()), endpoint)).collect();
    let mut bits = 0;
    while bits < MAX_BITS && fullest(&hashed, bits) > MAX_SHARD {
        bits += 1;
    }
    let mut shards = vec![wire::Endpoints::default(); 1 << bits];
    for (hash, endpoint) in hashed {
        if let Some(shard) = shards.get_mut(shard_of(hash, bits)) {
            shard.endpoints.push(endpoint);
        }
    }
    shards
}

fn fullest(hashed: &[(u64, wire::Endpoint)], bits: u32) -> usize {
    let mut counts = vec![0; 1 << bits];
    for (hash, _) in hashed {
        if let Some(count) = counts.get_mut(shard_of(*hash, bits)) {
            *count += 1;
        }
    }
    counts.into_iter().max().unwrap_or(0)
}

fn shard_of(hash: u64, bits: u32) -> usize {
    usize::try_from(hash & ((1 << bits) - 1)).unwrap_or(0)
}

/// At about 150 bytes an endpoint, a shard is well below the size limit of an update.
const MAX_SHARD: usize = 256;

/// 4096 shards: far beyond a million endpoints of one service.
const MAX_BITS: u32 = 12;

#[cfg(test)]
mod slice_tests;

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(number: u32) -> wire::Endpoint {
        let address = format!("10.{}.{}.{}:80", number >> 16 & 255, number >> 8 & 255, number & 255);
        wire::Endpoint { address, ..wire::Endpoint::default() }
    }

    #[test]
    fn an_empty_service_has_one_empty_shard() {
        assert_eq!(split(Vec::new()), [wire::Endpoints::default()]);
    }

    #[test]
    fn no_shard_is_larger_than_the_limit_and_none_is_lost() {
        let shards = split((0..10_000).map(endpoint).collect());

        assert!(shards.len().is_power_of_two());
        assert!(shards.iter().all(|shard| shard.endpoints.len() <= MAX_SHARD));
        assert_eq!(shards.iter().map(|shard| shard.endpoints.len()).sum::<usize>(), 10_000);
    }

    #[test]
    fn one_change_touches_one_shard() {
        let all: Vec<_> = (0..5_000).map(endpoint).collect();
        let without: Vec<_> = all.iter().filter(|endpoint| endpoint.address != "10.0.3.7:80").cloned().collect();

        let (before, after) = (split(all), split(without));

        assert_eq!(before.len(), after.len());
        assert_eq!(before.iter().zip(&after).filter(|(before, after)| before != after).count(), 1);
    }
}
