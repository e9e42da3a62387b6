//! All objects that the sources told of, by kind and name. `apply` is pure: the same events give the same state.
//!
//! Copying a state is cheap: maps are shared until one of them changes.

mod filter;
mod namespaced;
mod path;
mod protocol;
mod rule;

use std::collections::BTreeMap;
use std::sync::Arc;

use outrigger_identity::TrustBundle;
use outrigger_proto::model::{Egress, InboundMode, RouteKind};

use crate::objects::{Kind, Namespace, Object, ObjectId, Service, Workload};

pub use namespaced::Namespaced;
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
    pub(crate) workloads: Namespaced<Workload>,
    pub(crate) routes: BTreeMap<RouteKind, Namespaced<PreparedRoute>>,
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
            workloads: Namespaced::default(),
            routes: BTreeMap::new(),
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

    /// Takes in one event.
    pub fn apply(&mut self, event: Event) {
        match event {
            Event::Put(object) => self.put(object),
            Event::Remove(id) => self.remove(&id),
            Event::SourceErrors(errors) => self.source_errors = errors.into(),
            Event::Synced(reading) => self.reading = self.reading.max(reading),
        }
    }

    /// Takes new settings, such as another trust bundle.
    pub fn set(&mut self, settings: Settings) {
        self.settings = settings;
    }

    fn put(&mut self, object: Object) {
        let ObjectId { kind: _, namespace, name } = object.id();
        match object {
            Object::Namespace(object) => {
                self.namespaces.insert(name, object);
            }
            Object::Service(object) => self.services.insert(namespace, name, object),
            Object::Workload(object) => self.workloads.insert(namespace, name, object),
            Object::Route(object) => {
                let prepared = Arc::new(PreparedRoute::new(object));
                self.routes.entry(prepared.route.kind).or_default().insert(namespace, name, prepared);
            }
        }
    }

    fn remove(&mut self, ObjectId { kind, namespace, name }: &ObjectId) {
        match kind {
            Kind::Namespace => {
                self.namespaces.remove(name);
            }
            Kind::Service => self.services.remove(namespace, name),
            Kind::Workload => self.workloads.remove(namespace, name),
            Kind::Route(kind) => self.routes.entry(*kind).or_default().remove(namespace, name),
        }
    }
}
