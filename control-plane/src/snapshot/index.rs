//! Indexes of one snapshot, each taken over from the one before while what it is made of is the very same.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use super::by_address::ByAddress;
use crate::objects::{EndpointSlice, Service};
use crate::state::{Namespaced, PreparedPolicy, PreparedRoute, State};

/// Answers "what is this address?", "which endpoints?" and "which routes attach here?".
#[derive(Debug)]
pub(super) struct Index {
    pub(super) services: Arc<HashMap<IpAddr, Arc<Service>>>,
    pub(super) pods: ByAddress,
    pub(super) workloads: ByAddress,
    pub(super) slices: Arc<ByService<EndpointSlice>>,
    pub(super) routes: Arc<ByService<PreparedRoute>>,
    pub(super) policies: Arc<ByService<PreparedPolicy>>,
}

/// By the Service's namespace, then its name.
type ByService<T> = BTreeMap<Arc<str>, BTreeMap<Arc<str>, Vec<Arc<T>>>>;

impl Index {
    /// Makes the indexes of a state.
    pub(super) fn new(state: &State) -> Self {
        Self {
            services: services(state).into(),
            pods: ByAddress::new(&state.pods),
            workloads: ByAddress::new(&state.workloads),
            slices: slices(state).into(),
            routes: routes(state).into(),
            policies: policies(state).into(),
        }
    }

    /// Makes the indexes of the state that follows `state`.
    pub(super) fn next(&self, state: &State, next: &State) -> Self {
        let same_routes = same(&state.routes, &next.routes);
        let same_policies = same(&state.policies, &next.policies);
        let (kept, new) = (self, next);
        Self {
            services: keep(&kept.services, state.services.is_same(&new.services), || services(new)),
            pods: kept.pods.next(&state.pods, &new.pods),
            workloads: kept.workloads.next(&state.workloads, &new.workloads),
            slices: keep(&kept.slices, state.slices.is_same(&new.slices), || slices(new)),
            routes: keep(&kept.routes, same_routes, || routes(new)),
            policies: keep(&kept.policies, same_policies, || policies(new)),
        }
    }

    /// Returns all EndpointSlices that belong to a service.
    pub(super) fn all_slices(&self) -> impl Iterator<Item = &Arc<EndpointSlice>> {
        self.slices.values().flat_map(BTreeMap::values).flatten()
    }

    pub(super) fn of_service<'a, T>(index: &'a ByService<T>, namespace: &str, name: &str) -> &'a [Arc<T>] {
        index.get(namespace).and_then(|services| services.get(name)).map_or(&[], Vec::as_slice)
    }
}

/// Says whether both hold the very same objects of every kind.
pub(super) fn same<K: Ord, T>(before: &BTreeMap<K, Namespaced<T>>, now: &BTreeMap<K, Namespaced<T>>) -> bool {
    let is_same = |(kind, objects): (&K, &Namespaced<T>)| now.get(kind).is_some_and(|now| objects.is_same(now));
    before.len() == now.len() && before.iter().all(is_same)
}

fn keep<T>(kept: &Arc<T>, same: bool, make: impl FnOnce() -> T) -> Arc<T> {
    if same { kept.clone() } else { Arc::new(make()) }
}

fn services(state: &State) -> HashMap<IpAddr, Arc<Service>> {
    let mut services = HashMap::new();
    for service in state.services.iter() {
        for address in &service.addresses {
            // Kubernetes gives an address once; where files give it twice, the first by name has it.
            services.entry(*address).or_insert_with(|| service.clone());
        }
    }
    services
}

fn slices(state: &State) -> ByService<EndpointSlice> {
    let mut by_service = ByService::new();
    for slice in state.slices.iter().filter(|slice| !slice.service.is_empty()) {
        of(&mut by_service, slice.meta.namespace.arc(), slice.service.clone()).push(slice.clone());
    }
    by_service
}

fn routes(state: &State) -> ByService<PreparedRoute> {
    let mut by_service = ByService::new();
    for prepared in state.routes.values().flat_map(Namespaced::iter) {
        for parent in prepared.route.parents.iter().filter(|parent| parent.is_service()) {
            let namespace = parent.namespace.as_deref().unwrap_or(&prepared.route.meta.namespace);
            let routes = of(&mut by_service, namespace.into(), parent.name.as_str().into());
            // Several parentRefs may name several ports of one service.
            if !routes.iter().any(|other| Arc::ptr_eq(other, prepared)) {
                routes.push(prepared.clone());
            }
        }
    }
    by_service
}

fn policies(state: &State) -> ByService<PreparedPolicy> {
    let mut by_service = ByService::new();
    for prepared in state.policies.values().flat_map(Namespaced::iter) {
        let targets = prepared.in_force.iter().flat_map(|in_force| &in_force.targets);
        for target in targets.filter(|target| target.is_service()) {
            let policies = of(&mut by_service, prepared.policy.meta.namespace.arc(), target.name.as_str().into());
            // Several targetRefs may name several ports of one service.
            if !policies.iter().any(|other| Arc::ptr_eq(other, prepared)) {
                policies.push(prepared.clone());
            }
        }
    }
    by_service
}

fn of<T>(index: &mut ByService<T>, namespace: Arc<str>, name: Arc<str>) -> &mut Vec<Arc<T>> {
    index.entry(namespace).or_default().entry(name).or_default()
}
