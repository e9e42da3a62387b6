//! Encoded resources of one snapshot, filled in as they are asked for.

use std::collections::HashMap;
use std::sync::Arc;

use outrigger_proto::{ServicePort, WorkloadName};
use parking_lot::Mutex;

use super::Resource;
use super::service::Compiled;

/// What was encoded for one snapshot, and what for the one before.
#[derive(Debug, Default)]
pub struct Memo {
    now: Mutex<Encoded>,
    before: Arc<Encoded>,
}

#[derive(Clone, Debug, Default)]
struct Encoded {
    mesh: Option<Resource>,
    workloads: HashMap<WorkloadName, Resource>,
    services: HashMap<ServicePort, Compiled>,
    shards: HashMap<ServicePort, Arc<[Resource]>>,
}

impl Memo {
    /// Starts the memo of the next snapshot.
    #[must_use]
    pub(crate) fn next(&self) -> Self {
        Self { now: Mutex::default(), before: Arc::new(self.now.lock().clone()) }
    }

    pub(super) fn mesh(&self, make: impl FnOnce() -> Resource) -> Resource {
        if let Some(known) = &self.now.lock().mesh {
            return known.clone();
        }
        let made = same(make(), self.before.mesh.as_ref());
        self.now.lock().mesh = Some(made.clone());
        made
    }

    pub(super) fn workload(&self, name: &WorkloadName, make: impl FnOnce() -> Resource) -> Resource {
        if let Some(known) = self.now.lock().workloads.get(name) {
            return known.clone();
        }
        let made = same(make(), self.before.workloads.get(name));
        self.now.lock().workloads.insert(name.clone(), made.clone());
        made
    }

    pub(super) fn service(&self, port: &ServicePort, make: impl FnOnce() -> Compiled) -> Compiled {
        if let Some(known) = self.now.lock().services.get(port) {
            return known.clone();
        }
        let mut made = make();
        made.resource = same(made.resource, self.before.services.get(port).map(|before| &before.resource));
        self.now.lock().services.insert(port.clone(), made.clone());
        made
    }

    pub(super) fn shards(&self, port: &ServicePort, make: impl FnOnce() -> Vec<Resource>) -> Arc<[Resource]> {
        if let Some(known) = self.now.lock().shards.get(port) {
            return known.clone();
        }
        let before = self.before.shards.get(port);
        let shards = make().into_iter().enumerate();
        let made: Arc<[Resource]> =
            shards.map(|(index, shard)| same(shard, before.and_then(|before| before.get(index)))).collect();
        self.now.lock().shards.insert(port.clone(), made.clone());
        made
    }
}

/// Keeps the old buffer when the content is the same: streams may still hold it.
fn same(made: Resource, before: Option<&Resource>) -> Resource {
    match before {
        Some(before) if *before == made => before.clone(),
        _ => made,
    }
}
