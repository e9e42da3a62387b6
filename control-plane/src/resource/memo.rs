//! Encoded resources of one snapshot, filled in as they are asked for and taken over by the next one where nothing touched them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use outrigger_proto::{ServicePort, WorkloadName};
use parking_lot::Mutex;

use super::Resource;
use super::service::Compiled;
use crate::snapshot::Changes;

/// What was encoded for one snapshot, and what for the one before.
#[derive(Debug, Default)]
pub struct Memo {
    now: Mutex<Encoded>,
    before: Arc<Encoded>,
    /// Counts what was made, in this snapshot and all before.
    made: Arc<AtomicU64>,
}

#[derive(Clone, Debug, Default)]
struct Encoded {
    mesh: Option<Resource>,
    workloads: HashMap<WorkloadName, Resource>,
    services: HashMap<ServicePort, Compiled>,
    shards: HashMap<ServicePort, Arc<[Resource]>>,
}

impl Memo {
    /// Starts the memo of the next snapshot: with all that is as it was.
    #[must_use]
    pub(crate) fn next(&self, changes: &Changes) -> Self {
        let before = self.now.lock().clone();
        let now = match changes {
            Changes::Everything => Encoded::default(),
            Changes::Some(touched) => {
                let mut now = before.clone();
                now.shards.retain(|port, _| !touched.has_service(&port.namespace, &port.name));
                now.workloads.retain(|name, _| !touched.has_workload(&name.namespace, &name.name));
                now
            }
        };
        Self { now: Mutex::new(now), before: Arc::new(before), made: self.made.clone() }
    }

    /// Returns how many resources were encoded since the start, in this snapshot and all before it.
    #[must_use]
    pub(crate) fn made(&self) -> u64 {
        self.made.load(Ordering::Relaxed)
    }

    fn count(&self, made: usize) {
        self.made.fetch_add(made as u64, Ordering::Relaxed);
    }

    pub(super) fn mesh(&self, make: impl FnOnce() -> Resource) -> Resource {
        if let Some(known) = &self.now.lock().mesh {
            return known.clone();
        }
        let made = same(make(), self.before.mesh.as_ref());
        self.count(1);
        self.now.lock().mesh = Some(made.clone());
        made
    }

    pub(super) fn workload(&self, name: &WorkloadName, make: impl FnOnce() -> Resource) -> Resource {
        if let Some(known) = self.now.lock().workloads.get(name) {
            return known.clone();
        }
        let made = same(make(), self.before.workloads.get(name));
        self.count(1);
        self.now.lock().workloads.insert(name.clone(), made.clone());
        made
    }

    pub(super) fn service(&self, port: &ServicePort, make: impl FnOnce() -> Compiled) -> Compiled {
        if let Some(known) = self.now.lock().services.get(port) {
            return known.clone();
        }
        let mut made = make();
        self.count(1);
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
        self.count(made.len());
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
