//! All objects that the sources told of, by kind and name. `apply` is pure: the same events give the same state.
//!
//! Copying a state is cheap: maps are shared until one of them changes.

mod filter;
mod namespaced;
mod policy;
mod protocol;
mod rule;
mod session;

use std::collections::BTreeMap;
use std::sync::Arc;

use outrigger_identity::TrustBundle;
use outrigger_proto::model::{Egress, InboundMode, RouteKind};

use crate::objects::{EndpointSlice, Kind, Namespace, Node, Object, ObjectId, PolicyKind, Service, Workload};

pub use namespaced::Namespaced;
pub use policy::{InForce, PreparedPolicy};
pub use protocol::declared;
pub(crate) use rule::wire_kind;
pub use rule::{PreparedBackend, PreparedRoute, PreparedRule};

/// What a source reports.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// An object is new or has changed.
    Put(Object),
    /// An object is gone.
    Remove(ObjectId),
    /// What the source could not read, in place of what it said before.
    SourceErrors(Vec<String>),
    /// Everything that existed at the start has been told, as far as it could be read.
    Synced(Reading),
}

/// How much of what existed at the start is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reading {
    /// The sources are still reading.
    Started,
    /// Something cannot be read, and never could since the start: what it says is not known.
    Partly,
    /// All of it.
    Wholly,
}

/// Settings that no object holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Who is trusted.
    pub bundle: TrustBundle,
    /// What happens to unknown destinations.
    pub egress: Egress,
    /// Who may dial a workload that does not say.
    pub inbound: InboundMode,
}

/// All objects.
#[derive(Clone, Debug)]
pub struct State {
    pub(crate) settings: Settings,
    pub(crate) namespaces: BTreeMap<Arc<str>, Arc<Namespace>>,
    pub(crate) services: Namespaced<Service>,
    pub(crate) slices: Namespaced<EndpointSlice>,
    pub(crate) pods: Namespaced<Workload>,
    pub(crate) nodes: BTreeMap<Arc<str>, Arc<Node>>,
    pub(crate) workloads: Namespaced<Workload>,
    pub(crate) routes: BTreeMap<RouteKind, Namespaced<PreparedRoute>>,
    pub(crate) policies: BTreeMap<PolicyKind, Namespaced<PreparedPolicy>>,
    pub(crate) source_errors: Arc<[String]>,
    reading: Reading,
}

impl State {
    /// Makes a state without objects.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            namespaces: BTreeMap::new(),
            services: Namespaced::default(),
            slices: Namespaced::default(),
            pods: Namespaced::default(),
            nodes: BTreeMap::new(),
            workloads: Namespaced::default(),
            routes: BTreeMap::new(),
            policies: BTreeMap::new(),
            source_errors: Arc::default(),
            reading: Reading::Started,
        }
    }

    /// Says how much of what existed at the start is known.
    #[must_use]
    pub fn reading(&self) -> Reading {
        self.reading
    }

    /// Says whether all that could be read at the start has been read.
    #[must_use]
    pub fn synced(&self) -> bool {
        self.reading != Reading::Started
    }

    /// Finds a pod or, in its absence, a Workload.
    #[must_use]
    pub fn workload(&self, namespace: &str, name: &str) -> Option<&Arc<Workload>> {
        self.pods.get(namespace, name).or_else(|| self.workloads.get(namespace, name))
    }

    /// Returns the zone of a workload, empty when nobody knows.
    #[must_use]
    pub fn zone_of(&self, workload: &Workload) -> Arc<str> {
        if !workload.zone.is_empty() {
            return workload.zone.clone();
        }
        self.nodes.get(&workload.node).map(|node| node.zone.clone()).unwrap_or_default()
    }

    /// Takes in one event; says whether it changed anything.
    pub fn apply(&mut self, event: Event) -> bool {
        match event {
            Event::Put(object) => self.put(object),
            Event::Remove(id) => self.remove(&id),
            Event::SourceErrors(errors) => {
                let changed = *self.source_errors != *errors;
                self.source_errors = errors.into();
                changed
            }
            Event::Synced(reading) => {
                let before = self.reading;
                self.reading = before.max(reading);
                self.reading != before
            }
        }
    }

    /// Takes new settings, such as another trust bundle.
    pub fn set(&mut self, settings: Settings) {
        self.settings = settings;
    }

    fn put(&mut self, object: Object) -> bool {
        let ObjectId { kind: _, namespace, name } = object.id();
        match object {
            Object::Namespace(object) => put(&mut self.namespaces, name, object),
            Object::Node(object) => put(&mut self.nodes, name, object),
            Object::Service(object) => self.services.put(namespace, name, object),
            Object::EndpointSlice(object) => self.slices.put(namespace, name, object),
            Object::Pod(object) => self.pods.put(namespace, name, object),
            Object::Workload(object) => self.workloads.put(namespace, name, object),
            Object::Route(object) => {
                let routes = self.routes.entry(object.kind).or_default();
                let changed = routes.get(&namespace, &name).is_none_or(|known| known.route != object);
                if changed {
                    routes.insert(namespace, name, Arc::new(PreparedRoute::new(object)));
                }
                changed
            }
            Object::Policy(object) => {
                let policies = self.policies.entry(object.kind).or_default();
                let known = policies.get(&namespace, &name);
                if known.is_some_and(|known| known.policy == object) {
                    return false;
                }
                let prepared = PreparedPolicy::new(object, known.map(Arc::as_ref));
                policies.insert(namespace, name, Arc::new(prepared));
                true
            }
        }
    }

    fn remove(&mut self, ObjectId { kind, namespace, name }: &ObjectId) -> bool {
        match kind {
            Kind::Namespace => self.namespaces.remove(name).is_some(),
            Kind::Node => self.nodes.remove(name).is_some(),
            Kind::Service => self.services.remove(namespace, name),
            Kind::EndpointSlice => self.slices.remove(namespace, name),
            Kind::Pod => self.pods.remove(namespace, name),
            Kind::Workload => self.workloads.remove(namespace, name),
            Kind::Route(kind) => self.routes.entry(*kind).or_default().remove(namespace, name),
            Kind::Policy(kind) => self.policies.entry(*kind).or_default().remove(namespace, name),
        }
    }
}

fn put<T: PartialEq>(objects: &mut BTreeMap<Arc<str>, Arc<T>>, name: Arc<str>, object: Arc<T>) -> bool {
    let changed = objects.get(&name) != Some(&object);
    if changed {
        objects.insert(name, object);
    }
    changed
}
