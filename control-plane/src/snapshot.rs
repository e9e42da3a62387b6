//! One immutable moment of the state, with the indexes that answer "what is this address?" and "which routes attach
//! here?". Readers share it; a change makes the next one.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::watch;

use crate::objects::{Service, Workload};
use crate::resource::Memo;
use crate::state::{PreparedRoute, State};

/// A moment of the state.
#[derive(Debug)]
pub struct Snapshot {
    /// Counts snapshots of this process, from 1.
    pub version: u64,
    /// The objects.
    pub state: State,
    pub(crate) memo: Memo,
    services_by_address: HashMap<IpAddr, Arc<Service>>,
    workloads_by_address: HashMap<IpAddr, Vec<Arc<Workload>>>,
    // By the Service's namespace, then its name.
    routes_by_parent: BTreeMap<String, BTreeMap<String, Vec<Arc<PreparedRoute>>>>,
}

impl Snapshot {
    /// Makes the snapshot that follows `previous`, whose encoded resources are taken over where they are still true.
    #[must_use]
    pub fn new(state: State, previous: Option<&Self>) -> Self {
        let mut services_by_address = HashMap::new();
        for service in state.services.iter() {
            for address in &service.addresses {
                // Kubernetes gives an address once; where files give it twice, the first by name has it.
                services_by_address.entry(*address).or_insert_with(|| service.clone());
            }
        }
        let mut workloads_by_address: HashMap<IpAddr, Vec<Arc<Workload>>> = HashMap::new();
        for workload in state.workloads.iter() {
            workloads_by_address.entry(workload.address).or_default().push(workload.clone());
        }
        let mut routes_by_parent: BTreeMap<String, BTreeMap<String, Vec<Arc<PreparedRoute>>>> = BTreeMap::new();
        for prepared in state.routes.values().flat_map(|routes| routes.iter()) {
            for parent in prepared.route.parents.iter().filter(|parent| parent.is_service()) {
                let namespace = parent.namespace.as_deref().unwrap_or(&prepared.route.meta.namespace);
                let routes = routes_by_parent.entry(namespace.to_owned()).or_default();
                let routes = routes.entry(parent.name.clone()).or_default();
                // Several parentRefs may name several ports of one service.
                if !routes.iter().any(|other| Arc::ptr_eq(other, prepared)) {
                    routes.push(prepared.clone());
                }
            }
        }
        Self {
            version: previous.map_or(1, |previous| previous.version + 1),
            memo: previous.map_or_else(Memo::default, |previous| previous.memo.next()),
            state,
            services_by_address,
            workloads_by_address,
            routes_by_parent,
        }
    }

    /// Finds the service that owns a virtual address.
    #[must_use]
    pub fn service_at(&self, address: IpAddr) -> Option<&Arc<Service>> {
        self.services_by_address.get(&address)
    }

    /// Finds the workload at an address. Where several share it (loopback), a declared port decides.
    #[must_use]
    pub fn workload_at(&self, address: IpAddr, port: u16) -> Option<&Arc<Workload>> {
        let workloads = self.workloads_by_address.get(&address)?;
        let declares = |workload: &&Arc<Workload>| workload.ports.iter().any(|declared| declared.port.get() == port);
        workloads.iter().find(declares).or_else(|| workloads.first())
    }

    /// Returns the routes with a parentRef to this service, on whatever port.
    #[must_use]
    pub fn routes_of(&self, service: &Service) -> &[Arc<PreparedRoute>] {
        let routes = self.routes_by_parent.get(&*service.meta.namespace);
        routes.and_then(|routes| routes.get(&*service.meta.name)).map_or(&[], Vec::as_slice)
    }
}

/// Where the latest snapshot is published.
#[derive(Clone, Debug)]
pub struct Latest(watch::Receiver<Arc<Snapshot>>);

impl Latest {
    /// Makes a publisher and its first reader.
    #[must_use]
    pub fn channel(first: Snapshot) -> (watch::Sender<Arc<Snapshot>>, Self) {
        let (sender, receiver) = watch::channel(Arc::new(first));
        (sender, Self(receiver))
    }

    /// Returns the latest snapshot, without marking it as seen.
    #[must_use]
    pub fn get(&self) -> Arc<Snapshot> {
        self.0.borrow().clone()
    }

    /// Returns the latest snapshot and marks it as seen.
    pub fn take(&mut self) -> Arc<Snapshot> {
        self.0.borrow_and_update().clone()
    }

    /// Completes when the sources have told what existed at the start; `false` when they never will.
    pub async fn synced(&mut self) -> bool {
        self.0.wait_for(|snapshot| snapshot.state.synced()).await.is_ok()
    }

    /// Completes when there is a snapshot that was not taken; `false` when there will be none.
    pub async fn changed(&mut self) -> bool {
        self.0.changed().await.is_ok()
    }
}
