//! The objects that the control plane reads: the Kubernetes kinds of routing and discovery, and the mesh's own.
//!
//! Routes and own kinds are strict: an unknown field is an error that names it, because a field that is skipped in
//! silence is a promise that nobody keeps. Service, Namespace and metadata are lenient: Kubernetes owns them, and they
//! hold much that a mesh has no use for.

mod duration;
mod meta;
mod read;
mod route;
mod service;
mod workload;

use std::fmt;
use std::sync::Arc;

pub use meta::{IntOrName, Metadata, Name};
pub use read::{Document, ReadError, Skipped, read};
pub use route::{
    BackendRef, Filter, GrpcMatch, GrpcMethod, Header, HeaderModifier, HttpMatch, Matches, NamedMatch, ParentRef,
    PathKind, PathModifier, Redirect, Retry, Route, Rule, StringKind, Timeouts, UrlRewrite,
};
pub use service::{Service, ServicePort};
pub use workload::{Workload, WorkloadPort};

/// One object, wherever it came from. Cheap to clone.
#[derive(Clone, Debug, PartialEq)]
pub enum Object {
    /// Namespace.
    Namespace(Arc<Namespace>),
    /// Service.
    Service(Arc<Service>),
    /// Workload (outrigger.io).
    Workload(Arc<Workload>),
    /// HTTPRoute, GRPCRoute, TLSRoute or TCPRoute.
    Route(Arc<Route>),
}

impl Object {
    /// Returns the object's id.
    #[must_use]
    pub fn id(&self) -> ObjectId {
        let (kind, meta) = match self {
            Self::Namespace(namespace) => (Kind::Namespace, &namespace.meta),
            Self::Service(service) => (Kind::Service, &service.meta),
            Self::Workload(workload) => (Kind::Workload, &workload.meta),
            Self::Route(route) => (Kind::Route(route.kind), &route.meta),
        };
        // A Namespace lives in no namespace.
        let namespace = if kind == Kind::Namespace { "".into() } else { meta.namespace.arc() };
        ObjectId { kind, namespace, name: meta.name.arc() }
    }
}

/// A Kubernetes namespace.
#[derive(Clone, Debug, PartialEq)]
pub struct Namespace {
    /// Name, labels, annotations.
    pub meta: Metadata,
}

/// Names one object.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectId {
    /// The kind.
    pub kind: Kind,
    /// The Kubernetes namespace; empty for a Namespace.
    pub namespace: Arc<str>,
    /// The name.
    pub name: Arc<str>,
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.namespace {
            "" => write!(f, "{} {}", self.kind, self.name),
            namespace => write!(f, "{} {namespace}/{}", self.kind, self.name),
        }
    }
}

/// The kinds that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Namespace.
    Namespace,
    /// Service.
    Service,
    /// Workload (outrigger.io).
    Workload,
    /// One of the four kinds of routes.
    Route(outrigger_proto::model::RouteKind),
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Namespace => "Namespace",
            Self::Service => "Service",
            Self::Workload => "Workload",
            Self::Route(kind) => kind.as_str(),
        })
    }
}
