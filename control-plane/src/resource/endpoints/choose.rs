//! Which endpoints of a service's EndpointSlices get connections: the ready ones of one family; when there are none,
//! those that are on their way out and still serve, as kube-proxy does it (KEP-1669).

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::num::NonZeroU16;

use crate::objects::{EndpointSlice, Family, IntOrName, Service, ServicePort, SliceEndpoint};
use crate::snapshot::Snapshot;

/// Returns the endpoints of a service's port with the addresses where they listen.
pub(super) fn endpoints<'a>(
    snapshot: &'a Snapshot,
    service: &Service,
    port: &ServicePort,
) -> Vec<(&'a SliceEndpoint, SocketAddr)> {
    let slices = snapshot.slices_of(service);
    // A pod of a dual-stack service is in a slice of either family, and is one endpoint all the same.
    let first = service.family.unwrap_or(Family::V4);
    let second = if first == Family::V4 { Family::V6 } else { Family::V4 };
    let in_family = |family| {
        let of_family = slices.iter().filter(move |slice| slice.family == Some(family));
        let listening = of_family.filter_map(|slice| Some((slice, listens_at(slice, port)?)));
        listening.flat_map(|(slice, port)| {
            slice.endpoints.iter().map(move |endpoint| (endpoint, SocketAddr::new(endpoint.address, port.get())))
        })
    };
    if service.node_local {
        // Each node's clients have its own endpoints only, so the choice is made for each node by itself.
        let of_either = in_family(first).chain(in_family(second));
        let nodes: BTreeSet<&'a str> =
            of_either.map(|(endpoint, _)| &*endpoint.node).filter(|n| !n.is_empty()).collect();
        let on = |node: &'a str, family| in_family(family).filter(move |(endpoint, _)| *endpoint.node == *node);
        let best = |node: &'a str| usable(on(node, first)).or_else(|| usable(on(node, second)));
        return nodes.into_iter().filter_map(best).flatten().collect();
    }
    usable(in_family(first)).or_else(|| usable(in_family(second))).unwrap_or_default()
}

/// Counts the pods of a service's port that get no connections.
pub(super) fn not_ready(snapshot: &Snapshot, service: &Service, port: &ServicePort) -> u32 {
    let slices = snapshot.slices_of(service);
    let listening = slices.iter().filter(|slice| listens_at(slice, port).is_some());
    let addresses: BTreeSet<_> = listening
        .flat_map(|slice| &slice.endpoints)
        .map(|endpoint| endpoint.pod.as_ref().map_or_else(|| endpoint.address.to_string(), ToString::to_string))
        .collect();
    u32::try_from(addresses.len()).unwrap_or(u32::MAX)
}

/// Returns the best there are; `None` when there are none.
fn usable<'a>(
    endpoints: impl Iterator<Item = (&'a SliceEndpoint, SocketAddr)>,
) -> Option<Vec<(&'a SliceEndpoint, SocketAddr)>> {
    let mut best = Rank::LastResort;
    let mut chosen = Vec::new();
    for (endpoint, address) in endpoints {
        let Some(rank) = Rank::of(endpoint) else { continue };
        if rank > best {
            best = rank;
            chosen.clear();
        }
        if rank == best {
            chosen.push((endpoint, address));
        }
    }
    (!chosen.is_empty()).then_some(chosen)
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    LastResort,
    Ready,
}

impl Rank {
    fn of(endpoint: &SliceEndpoint) -> Option<Self> {
        match endpoint {
            // `publishNotReadyAddresses` makes even one that goes ready.
            SliceEndpoint { ready: true, terminating: false, .. } => Some(Self::Ready),
            SliceEndpoint { ready: true, .. } | SliceEndpoint { serving: true, terminating: true, .. } => {
                Some(Self::LastResort)
            }
            SliceEndpoint { ready: false, .. } => None,
        }
    }
}

/// Finds where the endpoints of a slice listen for a service's port; `None` when they do not.
fn listens_at(slice: &EndpointSlice, port: &ServicePort) -> Option<NonZeroU16> {
    let named = slice.ports.iter().find(|candidate| *candidate.name == *port.name)?;
    named.port.or(match port.target_port {
        Some(IntOrName::Number(number)) => Some(number),
        Some(IntOrName::Name(_)) => None,
        None => Some(port.port),
    })
}
