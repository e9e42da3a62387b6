//! What differs between a snapshot and the one before it, as far as a resource can tell.
//!
//! Pods and endpoints come and go all the time, and each concerns few sidecars: for them it is known which. Whatever else
//! changes is rare, and is taken to concern everybody.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use ahash::RandomState;
use outrigger_proto::Key;

use super::index::{Index, same};
use crate::objects::{EndpointSlice, Name, Workload};
use crate::state::State;

/// What differs.
#[derive(Debug)]
pub(crate) enum Changes {
    /// Nobody knows what does not.
    Everything,
    /// These, and nothing else.
    Some(Touched),
}

/// What pods, Workloads and EndpointSlices that differ lead to.
#[derive(Debug, Default)]
pub(crate) struct Touched {
    /// Services whose endpoints may differ.
    services: Names,
    workloads: Names,
    /// Addresses that may be somebody else's now.
    addresses: HashSet<IpAddr>,
}

/// By namespace, then name. Every stream looks up all that it holds, at every snapshot.
type Names = HashMap<Arc<str>, HashSet<Arc<str>, RandomState>, RandomState>;

impl Changes {
    /// Compares two states; the indexes are theirs.
    pub(super) fn between(before: &State, now: &State, indexes: [&Index; 2]) -> Self {
        let rare = before.settings == now.settings
            && before.reading() == now.reading()
            && same_objects(&before.namespaces, &now.namespaces)
            && same_objects(&before.nodes, &now.nodes)
            && before.services.is_same(&now.services)
            && same(&before.routes, &now.routes)
            && same(&before.policies, &now.policies);
        if !rare {
            return Self::Everything;
        }
        let mut touched = Touched::default();
        before.slices.differences(&now.slices).flatten().flatten().for_each(|slice| touched.service(slice));
        let pods: Vec<&Arc<Workload>> = before.pods.differences(&now.pods).flatten().flatten().collect();
        let workloads: Vec<&Arc<Workload>> = before.workloads.differences(&now.workloads).flatten().flatten().collect();
        for workload in pods.iter().chain(&workloads) {
            insert(&mut touched.workloads, &workload.meta.namespace, &workload.meta.name);
            touched.addresses.extend(workload.addresses.iter().map(IpAddr::to_canonical));
        }
        // What selects a Workload leads to it.
        for workload in &workloads {
            let services = now.services.in_namespace(&workload.meta.namespace);
            for service in services.filter(|service| workload.meta.is_selected_by(&service.selector)) {
                insert(&mut touched.services, &service.meta.namespace, &service.meta.name);
            }
        }
        // What lists a pod leads to it; so does what lists a bare address of it, or of what had the address before.
        if !pods.is_empty() || !workloads.is_empty() {
            indexes.iter().flat_map(|index| index.all_slices()).for_each(|slice| touched.listed(slice));
        }
        Self::Some(touched)
    }

    /// Says whether what the key names may differ.
    pub(crate) fn touches(&self, key: &Key) -> bool {
        let Self::Some(touched) = self else { return true };
        match key {
            // The service itself knows nothing of who is behind it.
            Key::Mesh | Key::Service(_) => false,
            Key::Endpoints(port, _) => touched.has_service(&port.namespace, &port.name),
            Key::Workload(name) => touched.has_workload(&name.namespace, &name.name),
            Key::Address(address) => touched.addresses.contains(&address.ip().to_canonical()),
        }
    }
}

impl Touched {
    /// Says whether the endpoints of a service may differ.
    pub(crate) fn has_service(&self, namespace: &str, name: &str) -> bool {
        contains(&self.services, namespace, name)
    }

    /// Says whether a workload may differ.
    pub(crate) fn has_workload(&self, namespace: &str, name: &str) -> bool {
        contains(&self.workloads, namespace, name)
    }

    fn service(&mut self, slice: &EndpointSlice) {
        self.services.entry(slice.meta.namespace.arc()).or_default().insert(slice.service.clone());
    }

    fn listed(&mut self, slice: &EndpointSlice) {
        let namespace = &slice.meta.namespace;
        let is_touched = slice.endpoints.iter().any(|endpoint| match &endpoint.pod {
            Some(pod) => self.has_workload(namespace, pod),
            None => self.addresses.contains(&endpoint.address.to_canonical()),
        });
        if is_touched {
            self.service(slice);
        }
    }
}

fn insert(names: &mut Names, namespace: &Name, name: &Name) {
    names.entry(namespace.arc()).or_default().insert(name.arc());
}

fn contains(names: &Names, namespace: &str, name: &str) -> bool {
    names.get(namespace).is_some_and(|names| names.contains(name))
}

fn same_objects<T>(before: &BTreeMap<Arc<str>, Arc<T>>, now: &BTreeMap<Arc<str>, Arc<T>>) -> bool {
    let is_same = |(name, object): (&Arc<str>, &Arc<T>)| now.get(name).is_some_and(|now| Arc::ptr_eq(now, object));
    before.len() == now.len() && before.iter().all(is_same)
}

#[cfg(test)]
mod tests;
