//! The objects that the control plane reads: the Kubernetes kinds of routing and discovery, and the mesh's own.
//!
//! Routes and own kinds are strict: an unknown field is an error that names it, because a field that is skipped in
//! silence is a promise that nobody keeps. Of a route that an API server has taken only that rule is lost. Service,
//! Namespace and metadata are lenient: Kubernetes owns them, and they hold much that a mesh has no use for.

mod duration;
mod endpoint_slice;
mod meta;
mod node;
mod pod;
mod policy;
mod read;
mod route;
mod service;
mod workload;

use std::fmt;
use std::sync::Arc;

use outrigger_proto::model::RouteKind;

pub use endpoint_slice::{EndpointSlice, Family, SliceEndpoint, SlicePort};
pub use meta::{Controller, IntOrName, Metadata, Name};
pub use node::Node;
pub use policy::{
    Abort, ConsistentHash, Delay, Ejection, FaultInjection, HashType, Limits, LoadBalancer, LoadBalancerType, Named,
    NamedValue, PolicyKind, PolicySpec, RetryBudget, TargetRef, TrafficPolicy,
};
pub use read::{Document, ReadError, Skipped, from_json, read};
pub use route::{
    BackendRef, Cookie, CookieLifetime, Cors, Filter, Fraction, GrpcMatch, GrpcMethod, Header, HeaderModifier,
    HttpMatch, Matches, Mirror, NamedMatch, ParentRef, PathKind, PathModifier, Redirect, Retry, Route, Rule, Session,
    SessionHeader, SessionKind, StringKind, Timeouts, Unread, UrlRewrite,
};
pub use service::{Service, ServiceKind, ServicePort};
pub use workload::{Workload, WorkloadPort};

/// One object, wherever it came from. Cheap to clone.
#[derive(Clone, Debug, PartialEq)]
pub enum Object {
    /// Namespace.
    Namespace(Arc<Namespace>),
    /// Service.
    Service(Arc<Service>),
    /// EndpointSlice.
    EndpointSlice(Arc<EndpointSlice>),
    /// Pod: a workload that Kubernetes runs.
    Pod(Arc<Workload>),
    /// Node.
    Node(Arc<Node>),
    /// Workload (outrigger.io).
    Workload(Arc<Workload>),
    /// HTTPRoute, GRPCRoute, TLSRoute or TCPRoute.
    Route(Arc<Route>),
    /// TrafficPolicy (outrigger.io) or XBackendTrafficPolicy.
    Policy(Arc<TrafficPolicy>),
}

impl Object {
    /// Says whether both are one object in memory: equal, without a look.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Namespace(a), Self::Namespace(b)) => Arc::ptr_eq(a, b),
            (Self::Service(a), Self::Service(b)) => Arc::ptr_eq(a, b),
            (Self::EndpointSlice(a), Self::EndpointSlice(b)) => Arc::ptr_eq(a, b),
            (Self::Pod(a), Self::Pod(b)) | (Self::Workload(a), Self::Workload(b)) => Arc::ptr_eq(a, b),
            (Self::Node(a), Self::Node(b)) => Arc::ptr_eq(a, b),
            (Self::Route(a), Self::Route(b)) => Arc::ptr_eq(a, b),
            (Self::Policy(a), Self::Policy(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }

    /// Returns the object's id.
    #[must_use]
    pub fn id(&self) -> ObjectId {
        let (kind, meta) = match self {
            Self::Namespace(namespace) => (Kind::Namespace, &namespace.meta),
            Self::Service(service) => (Kind::Service, &service.meta),
            Self::EndpointSlice(slice) => (Kind::EndpointSlice, &slice.meta),
            Self::Pod(pod) => (Kind::Pod, &pod.meta),
            Self::Node(node) => (Kind::Node, &node.meta),
            Self::Workload(workload) => (Kind::Workload, &workload.meta),
            Self::Route(route) => (Kind::Route(route.kind), &route.meta),
            Self::Policy(policy) => (Kind::Policy(policy.kind), &policy.meta),
        };
        let namespace = if kind.is_namespaced() { meta.namespace.arc() } else { "".into() };
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
    /// The Kubernetes namespace; empty for what lives in none.
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
    /// EndpointSlice.
    EndpointSlice,
    /// Pod.
    Pod,
    /// Node.
    Node,
    /// Workload (outrigger.io).
    Workload,
    /// One of the four kinds of routes.
    Route(RouteKind),
    /// One of the two kinds of policies.
    Policy(PolicyKind),
}

impl Kind {
    /// Finds a kind by its API group and its name.
    #[must_use]
    pub fn named(group: &str, name: &str) -> Option<Self> {
        Some(match (group, name) {
            ("", "Namespace") => Self::Namespace,
            ("", "Service") => Self::Service,
            ("", "Pod") => Self::Pod,
            ("", "Node") => Self::Node,
            ("discovery.k8s.io", "EndpointSlice") => Self::EndpointSlice,
            ("outrigger.io", "Workload") => Self::Workload,
            ("gateway.networking.k8s.io", "HTTPRoute") => Self::Route(RouteKind::Http),
            ("gateway.networking.k8s.io", "GRPCRoute") => Self::Route(RouteKind::Grpc),
            ("gateway.networking.k8s.io", "TLSRoute") => Self::Route(RouteKind::Tls),
            ("gateway.networking.k8s.io", "TCPRoute") => Self::Route(RouteKind::Tcp),
            ("outrigger.io", "TrafficPolicy") => Self::Policy(PolicyKind::Traffic),
            ("gateway.networking.x-k8s.io", "XBackendTrafficPolicy") => Self::Policy(PolicyKind::Backend),
            _ => return None,
        })
    }

    /// Says whether objects of this kind live in a namespace.
    #[must_use]
    pub fn is_namespaced(self) -> bool {
        match self {
            Self::Namespace | Self::Node => false,
            Self::Service | Self::EndpointSlice | Self::Pod | Self::Workload | Self::Route(_) | Self::Policy(_) => true,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Namespace => "Namespace",
            Self::Service => "Service",
            Self::EndpointSlice => "EndpointSlice",
            Self::Pod => "Pod",
            Self::Node => "Node",
            Self::Workload => "Workload",
            Self::Route(kind) => kind.as_str(),
            Self::Policy(kind) => kind.as_str(),
        })
    }
}
