//! Writes what became of each route into its status, where `kubectl describe`, canary tools and people look.
//!
//! ```text
//! snapshot ─▶ record (one a route): Accepted, ResolvedRefs ─┐
//!                │ what must be acked                       ├▶ what the status should say ─▶ written when it does not
//!                └▶ replicas: who has acked it ─ Programmed ┘
//! ```
//! One replica at a time writes, the holder of a Lease. Entries of other controllers stay as they are, and what says
//! already what it should is not written again.

mod entry;
mod record;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use kube::api::{DynamicObject, ListParams, PostParams};
use kube::core::ApiResource;
use kube::{Api, ResourceExt};
use outrigger_daemon::Drain;
use outrigger_proto::model::RouteKind;
use outrigger_proto::wire;
use serde_json::Value;
use tokio::time::Instant;
use tracing::{debug, warn};

use super::policy_status::PolicyStatusWriter;
use super::replicas::{Replicas, Total};
use super::{Cluster, Lease};
use crate::ca::Authority;
use crate::latest::Latest;
use crate::objects::{Kind, ObjectId, Route};
use crate::resource::Published;
use crate::serve::{MAX_CARRIERS, Reporter};
use crate::snapshot::Snapshot;
use crate::source::kubernetes::resource_of;
use crate::state::PreparedRoute;
use crate::why::why;

pub(super) use entry::{CONTROLLER, MAX_MESSAGE};
use entry::{Said, merged};
use record::{Next, Record};

/// Keeps the status of all routes.
pub(crate) struct StatusWriter {
    cluster: Cluster,
    latest: Latest,
    replicas: Replicas,
    resources: BTreeMap<RouteKind, ApiResource>,
    records: BTreeMap<ObjectId, Record>,
    /// Routes whose status is not yet what it should be, or waits for sidecars.
    open: BTreeSet<ObjectId>,
    /// The snapshot that the records are of.
    seen: u64,
    /// When all that is written is looked at.
    look: Instant,
}

impl StatusWriter {
    /// Makes a writer that asks `reporter` about the sidecars of this replica.
    pub(crate) fn new(cluster: Cluster, authority: Arc<Authority>, reporter: Reporter) -> Self {
        let latest = reporter.latest.clone();
        let replicas = Replicas::new(authority, reporter, cluster.namespace.clone(), cluster.replica.clone());
        let (records, open, resources) = (BTreeMap::new(), BTreeSet::new(), BTreeMap::new());
        Self { cluster, latest, replicas, resources, records, open, seen: 0, look: Instant::now() }
    }

    /// Runs until the drain starts.
    pub(crate) async fn run(mut self, drain: Drain) {
        let mut held = Lease::seek(&self.cluster, LEASE, &drain);
        let policies =
            PolicyStatusWriter { cluster: self.cluster.clone(), latest: self.latest.clone(), held: held.clone() };
        drain.spawn(policies.run(drain.clone()));
        loop {
            let mut next = Instant::now() + LOOK;
            if *held.borrow_and_update() {
                let snapshot = self.latest.take();
                if snapshot.state.synced() {
                    next = self.round(&snapshot).await;
                }
            } else {
                // Whoever holds the Lease meanwhile may write something else.
                self.records.clear();
                self.open.clear();
                self.replicas.ask(Vec::new());
                (self.seen, self.look) = (0, Instant::now());
            }
            tokio::select! {
                () = drain.started() => return,
                changed = held.changed() => if changed.is_err() { return },
                changed = self.latest.changed() => if !changed { return },
                // Acks come in swarms.
                () = self.replicas.changed() => tokio::time::sleep(GATHER).await,
                () = tokio::time::sleep_until(next) => {}
            }
        }
    }

    /// Brings every status up to date as far as that can be done now; returns when there is more to do.
    async fn round(&mut self, snapshot: &Published) -> Instant {
        if self.seen != snapshot.version {
            self.update(snapshot);
        }
        if self.look <= Instant::now() {
            if let Err(error) = self.look(snapshot).await {
                warn!(error = %why(&error), "cannot read the status of routes");
                return Instant::now() + RETRY;
            }
            self.look = Instant::now() + LOOK;
        }
        let questions = self.ask(snapshot);
        let totals = self.replicas.totals(snapshot);
        let mut next = self.look;
        let mut jobs = Vec::new();
        let records = &mut self.records;
        self.open.retain(|id| {
            let (Some(record), Some(prepared)) = (records.get_mut(id), find(snapshot, id)) else { return false };
            match record.judge(|parent| total(questions.get(&(id, parent))?, &totals)) {
                Next::Rest => return false,
                Next::Wait => {}
                Next::Write(said) => jobs.push((id.clone(), prepared.clone(), said)),
                Next::WriteAt(at) => next = next.min(at),
            }
            true
        });
        self.write(jobs).await;
        next
    }

    fn update(&mut self, snapshot: &Snapshot) {
        self.seen = snapshot.version;
        self.replicas.find(snapshot);
        let mut before = std::mem::take(&mut self.records);
        for prepared in snapshot.state.routes.values().flat_map(|routes| routes.iter()) {
            let id = prepared.route.id();
            let (record, changed) = match before.remove(&id) {
                Some(mut record) => {
                    let changed = record.update(snapshot, prepared);
                    (record, changed)
                }
                None => (Record::new(snapshot, prepared), true),
            };
            if changed {
                self.open.insert(id.clone());
            }
            self.records.insert(id, record);
        }
    }

    /// Reads what is written: by whoever held the Lease before, or behind our back.
    async fn look(&mut self, snapshot: &Snapshot) -> Result<(), kube::Error> {
        let kinds: Vec<RouteKind> = snapshot.state.routes.keys().copied().collect();
        for kind in kinds {
            let Some(resource) = self.resource(kind).await? else { continue };
            let api: Api<DynamicObject> = Api::all_with(self.cluster.client.clone(), &resource);
            let mut page = ListParams::default().limit(PAGE);
            loop {
                let list = api.list(&page).await?;
                for object in &list.items {
                    let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
                    let id = ObjectId { kind: Kind::Route(kind), namespace: namespace.into(), name: name.into() };
                    let same = |record: &&mut Record| is_present(object, record);
                    if let Some(record) = self.records.get_mut(&id).filter(same) {
                        record.look(&parents(object));
                        self.open.insert(id);
                    }
                }
                match list.metadata.continue_.filter(|token| !token.is_empty()) {
                    Some(token) => page = page.continue_token(&token),
                    None => break,
                }
            }
        }
        Ok(())
    }

    /// Asks how far sidecars are; returns which part of the question each open parent is, or why there is nothing to ask.
    fn ask(&mut self, snapshot: &Published) -> Questions {
        let mut parts: HashMap<Vec<(String, u64)>, usize> = HashMap::new();
        let mut carriers = Vec::new();
        let mut questions = Questions::default();
        for id in &self.open {
            let (Some(record), Some(prepared)) = (self.records.get(id), find(snapshot, id)) else { continue };
            for (parent, resources) in record.open(snapshot, prepared) {
                let resources = match resources {
                    Ok(resources) => resources,
                    Err(reason) => {
                        questions.0.insert((id.clone(), parent), Err(reason));
                        continue;
                    }
                };
                let name = resources.iter().map(|held| (held.key.clone(), held.version)).collect();
                let part = *parts.entry(name).or_insert(carriers.len());
                if part == carriers.len() {
                    if part == MAX_CARRIERS {
                        break; // its turn comes when others are done
                    }
                    carriers.push(wire::Carriers { resources });
                }
                questions.0.insert((id.clone(), parent), Ok(part));
            }
        }
        self.replicas.ask(carriers);
        questions
    }

    async fn write(&mut self, jobs: Vec<(ObjectId, Arc<PreparedRoute>, Said)>) {
        let mut ready = Vec::with_capacity(jobs.len());
        for (id, prepared, said) in jobs {
            match self.resource(prepared.route.kind).await {
                Ok(Some(resource)) => ready.push((id, prepared, said, resource)),
                Ok(None) => {} // the kind is gone, and the routes with it
                Err(error) => self.wrote(&id, Err(error), said),
            }
        }
        let cluster = &self.cluster;
        let puts = ready.into_iter().map(|(id, prepared, said, resource)| async move {
            let put = put(cluster, &resource, &prepared.route, &said).await;
            (id, put, said)
        });
        let done: Vec<_> = futures_util::stream::iter(puts).buffer_unordered(AT_ONCE).collect().await;
        for (id, put, said) in done {
            self.wrote(&id, put, said);
        }
    }

    fn wrote(&mut self, id: &ObjectId, put: Result<(), kube::Error>, said: Said) {
        // A conflict means that the route has changed: it will be told of again.
        if let Err(error) = &put
            && !matches!(error, kube::Error::Api(status) if status.code == 409)
        {
            warn!(route = %id, error = %why(error), "cannot write the status of a route");
        }
        if let Some(record) = self.records.get_mut(id) {
            record.wrote(put.is_ok().then_some(said));
        }
    }

    async fn resource(&mut self, kind: RouteKind) -> Result<Option<ApiResource>, kube::Error> {
        if let Some(resource) = self.resources.get(&kind) {
            return Ok(Some(resource.clone()));
        }
        let found = resource_of(&self.cluster.client, Kind::Route(kind)).await?;
        self.resources.extend(found.clone().map(|found| (kind, found)));
        Ok(found)
    }
}

/// Which part of the question each open parent of a route is.
#[derive(Default)]
struct Questions(HashMap<(ObjectId, usize), Result<usize, String>>);

impl Questions {
    fn get(&self, (id, parent): &(&ObjectId, usize)) -> Option<&Result<usize, String>> {
        self.0.get(&((*id).clone(), *parent))
    }
}

fn total(question: &Result<usize, String>, totals: &[Total]) -> Option<Result<Total, String>> {
    match question {
        Ok(part) => totals.get(*part).cloned().map(Ok),
        Err(reason) => Some(Err(reason.clone())),
    }
}

fn find<'a>(snapshot: &'a Snapshot, id: &ObjectId) -> Option<&'a Arc<PreparedRoute>> {
    let Kind::Route(kind) = id.kind else { return None };
    snapshot.state.routes.get(&kind)?.get(&id.namespace, &id.name)
}

async fn put(cluster: &Cluster, resource: &ApiResource, route: &Route, said: &Said) -> Result<(), kube::Error> {
    let api: Api<DynamicObject> = Api::namespaced_with(cluster.client.clone(), &route.meta.namespace, resource);
    let Some(mut object) = api.get_opt(&route.meta.name).await? else { return Ok(()) };
    if object.uid().as_deref() != Some(&*route.meta.uid) || object.metadata.generation != Some(said.generation) {
        return Ok(()); // another one by now, which the watch will tell of
    }
    let present = parents(&object);
    let wanted = merged(&present, said, &jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    if wanted != present {
        object.data["status"]["parents"] = Value::Array(wanted);
        api.replace_status(&route.meta.name, &PostParams::default(), &object).await?;
        debug!(route = %route.id(), "wrote its status");
    }
    Ok(())
}

fn is_present(object: &DynamicObject, record: &Record) -> bool {
    let uid = object.uid().unwrap_or_default();
    object.metadata.generation.is_some_and(|generation| record.is_of(&uid, generation))
}

fn parents(object: &DynamicObject) -> Vec<Value> {
    object.data["status"]["parents"].as_array().cloned().unwrap_or_default()
}

const LEASE: &str = "outrigger-status";

/// Somebody may have changed a status behind our back.
const LOOK: Duration = Duration::from_secs(600);
const RETRY: Duration = Duration::from_secs(2);
const GATHER: Duration = Duration::from_millis(10);

/// Writes under way at once.
const AT_ONCE: usize = 8;
const PAGE: u32 = 250;
