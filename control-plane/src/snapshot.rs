//! One immutable moment of the state, with the indexes that answer "what is this address?" and "which routes attach
//! here?". Readers share it; a change makes the next one.

mod by_address;
mod changes;
mod index;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use outrigger_proto::Key;

use crate::objects::{EndpointSlice, Service, Workload};
use crate::state::{PreparedPolicy, PreparedRoute, State};

pub(crate) use changes::Changes;
use index::Index;

/// A moment of the state.
#[derive(Debug)]
pub struct Snapshot {
    /// Counts snapshots of this process, from 1.
    pub version: u64,
    /// The objects.
    pub state: State,
    index: Index,
    /// What each of the latest snapshots changed, the latest of all last.
    changes: VecDeque<Arc<Changes>>,
}

impl Snapshot {
    /// Makes the snapshot that follows `previous`, whose indexes are taken over where they are still true.
    #[must_use]
    pub fn new(state: State, previous: Option<&Self>) -> Self {
        let Some(previous) = previous else {
            return Self { version: 1, index: Index::new(&state), changes: VecDeque::new(), state };
        };
        let index = previous.index.next(&previous.state, &state);
        let change = Arc::new(Changes::between(&previous.state, &state, [&previous.index, &index]));
        let kept = previous.changes.len().saturating_sub(MAX_CHANGES - 1);
        let changes = previous.changes.iter().skip(kept).cloned().chain([change]).collect();
        Self { version: previous.version + 1, index, changes, state }
    }

    /// What differs from the snapshot before; `None` when this is the first.
    pub(crate) fn latest_change(&self) -> Option<&Changes> {
        self.changes.back().map(AsRef::as_ref)
    }

    /// Says whether any of the keys may name something else than it did at that version.
    pub(crate) fn touches<'a>(&self, since: u64, mut keys: impl Iterator<Item = &'a Key>) -> bool {
        let passed = usize::try_from(self.version.saturating_sub(since)).unwrap_or(usize::MAX);
        let Some(known) = self.changes.len().checked_sub(passed) else { return true };
        let changes: Vec<&Changes> = self.changes.iter().skip(known).map(AsRef::as_ref).collect();
        !changes.is_empty() && keys.any(|key| changes.iter().any(|change| change.touches(key)))
    }

    /// Finds the service that owns a virtual address.
    #[must_use]
    pub fn service_at(&self, address: IpAddr) -> Option<&Arc<Service>> {
        self.index.services.get(&address)
    }

    /// Finds the workload at an address. Where several share it (loopback), a declared port decides.
    #[must_use]
    pub fn workload_at(&self, address: IpAddr, port: u16) -> Option<&Arc<Workload>> {
        let mut there = self.index.pods.at(address).iter().chain(self.index.workloads.at(address));
        let declares = |workload: &&Arc<Workload>| workload.ports.iter().any(|declared| declared.port.get() == port);
        there.clone().find(declares).or_else(|| there.next())
    }

    /// Returns the routes with a parentRef to this service, on whatever port.
    #[must_use]
    pub fn routes_of(&self, service: &Service) -> &[Arc<PreparedRoute>] {
        Index::of_service(&self.index.routes, &service.meta.namespace, &service.meta.name)
    }

    /// Returns the policies in force with a targetRef to this service, on whatever port.
    #[must_use]
    pub fn policies_of(&self, service: &Service) -> &[Arc<PreparedPolicy>] {
        Index::of_service(&self.index.policies, &service.meta.namespace, &service.meta.name)
    }

    /// Returns the EndpointSlices of this service.
    #[must_use]
    pub fn slices_of(&self, service: &Service) -> &[Arc<EndpointSlice>] {
        Index::of_service(&self.index.slices, &service.meta.namespace, &service.meta.name)
    }
}

/// Whoever is further behind looks at everything.
const MAX_CHANGES: usize = 64;
