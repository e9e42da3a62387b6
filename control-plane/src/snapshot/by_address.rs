//! Who is at an address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::objects::{Metadata, Workload};
use crate::state::Namespaced;

/// Pods, or Workloads, by their addresses, in parts that successive snapshots share: one that differs costs its part.
#[derive(Clone, Debug)]
pub(super) struct ByAddress(Vec<Arc<Part>>);

type Part = HashMap<IpAddr, Vec<Arc<Workload>>>;

impl ByAddress {
    /// Makes the index of these.
    pub(super) fn new(workloads: &Namespaced<Workload>) -> Self {
        let mut index = Self(vec![Arc::default(); PARTS]);
        workloads.iter().for_each(|workload| index.insert(workload));
        index
    }

    /// Makes the index of what followed `before`, whose index this is.
    pub(super) fn next(&self, before: &Namespaced<Workload>, after: &Namespaced<Workload>) -> Self {
        let mut index = self.clone();
        for [before, after] in before.differences(after) {
            before.into_iter().for_each(|workload| index.remove(workload));
            after.into_iter().for_each(|workload| index.insert(workload));
        }
        index
    }

    /// Returns all at an address, by namespace and name: several only where it is loopback, or for a moment.
    pub(super) fn at(&self, address: IpAddr) -> &[Arc<Workload>] {
        self.0.get(part_of(address)).and_then(|part| part.get(&address)).map_or(&[], Vec::as_slice)
    }

    fn insert(&mut self, workload: &Arc<Workload>) {
        for address in own_addresses(workload) {
            let Some(part) = self.0.get_mut(part_of(address)) else { continue };
            // Nearly every address has one.
            let there = Arc::make_mut(part).entry(address).or_insert_with(|| Vec::with_capacity(1));
            let place = there.partition_point(|other| order(&other.meta) <= order(&workload.meta));
            there.insert(place, workload.clone());
        }
    }

    fn remove(&mut self, workload: &Arc<Workload>) {
        for address in own_addresses(workload) {
            let Some(part) = self.0.get_mut(part_of(address)).map(Arc::make_mut) else { continue };
            let Some(there) = part.get_mut(&address) else { continue };
            there.retain(|other| !Arc::ptr_eq(other, workload));
            if there.is_empty() {
                part.remove(&address);
            }
        }
    }
}

/// The addresses that are its own alone.
fn own_addresses(workload: &Workload) -> impl Iterator<Item = IpAddr> {
    let own = !workload.ended && !workload.host_network;
    workload.addresses.iter().filter(move |_| own).map(IpAddr::to_canonical)
}

fn order(meta: &Metadata) -> (&str, &str) {
    (&meta.namespace, &meta.name)
}

/// Neighbours differ in their last byte.
fn part_of(address: IpAddr) -> usize {
    let last = match address {
        IpAddr::V4(address) => address.octets().last().copied(),
        IpAddr::V6(address) => address.octets().last().copied(),
    };
    usize::from(last.unwrap_or_default())
}

const PARTS: usize = 256;
