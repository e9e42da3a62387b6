//! A service port's endpoints, in shards: a change of one endpoint resends one shard.

use std::sync::Arc;

use outrigger_proto::{ServicePort, wire};

use super::{Resource, encode, version, workload};
use crate::snapshot::Snapshot;
use crate::state::declared;

/// Returns all shards, at least one; `None` when there is no such service port.
pub(super) fn shards(snapshot: &Snapshot, port: &ServicePort) -> Option<Arc<[Resource]>> {
    let service = snapshot.state.services.get(&port.namespace, &port.name)?;
    let service_port = service.port(port.port)?;
    Some(snapshot.memo.shards(port, || {
        let of_service = declared(service_port.app_protocol.as_deref(), &service_port.name);
        let workloads = snapshot.state.workloads.in_namespace(&port.namespace);
        let selected = workloads.filter(|workload| workload.meta.is_selected_by(&service.selector));
        let mut endpoints: Vec<wire::Endpoint> = selected
            .filter_map(|workload| {
                let target = workload::target_port(workload, service_port)?;
                // The service's word counts first: it is the one the client dialled.
                let protocol = match of_service {
                    wire::Protocol::Detect => workload::protocol(snapshot, workload, target),
                    declared => declared,
                };
                workload::endpoint(snapshot, workload, target, protocol)
            })
            .collect();
        endpoints.sort_by(|a, b| (&a.address, &a.workload).cmp(&(&b.address, &b.workload)));
        split(endpoints).iter().map(encode).collect()
    }))
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
