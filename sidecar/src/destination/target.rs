//! What a destination is, and where its requests may go. Replaced while connections use it: a connection keeps the
//! `Target`, each request reads its present kind once.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::{ArcSwap, Guard};
use outrigger_proto::ServicePort;
use outrigger_proto::model::{Fault, Protocol};
use outrigger_routing::RouteTable;

use crate::balance::Backend;
use crate::detect::Learned;

/// A compiled rule whose backends are balancers.
pub(crate) type Rule = outrigger_routing::Rule<Arc<Backend>>;

/// An original destination.
pub(crate) struct Target {
    pub(crate) destination: SocketAddr,
    kind: ArcSwap<TargetKind>,
    learned: Learned,
    /// Seconds since the store's start.
    last_used: AtomicU64,
}

/// What the control plane says of a destination.
#[expect(clippy::large_enum_variant, reason = "there is one for each destination, on the heap")]
pub(crate) enum TargetKind {
    /// A service's port.
    Service {
        service: ServicePort,
        protocol: Protocol,
        /// HTTPRoutes or GRPCRoutes.
        routes: Option<RouteTable<Arc<Backend>>>,
        /// The first rule of a TCPRoute or TLSRoute.
        tcp: Option<Arc<Rule>>,
        /// The service's own endpoints.
        backend: Arc<Backend>,
        /// What is done to its requests on purpose.
        fault: Option<Arc<Fault>>,
    },
    /// One address: a workload, or something outside the mesh. No routes.
    Direct { protocol: Protocol, backend: Arc<Backend> },
    /// Outside the mesh, and egress is denied.
    Denied,
}

impl Target {
    pub(crate) fn new(destination: SocketAddr, kind: TargetKind) -> Self {
        Self {
            destination,
            kind: ArcSwap::from_pointee(kind),
            learned: Learned::default(),
            last_used: AtomicU64::new(0),
        }
    }

    pub(crate) fn kind(&self) -> Guard<Arc<TargetKind>> {
        self.kind.load()
    }

    pub(crate) fn replace(&self, kind: TargetKind) {
        self.kind.store(Arc::new(kind));
    }

    /// What connections to it have taught.
    pub(crate) fn learned(&self) -> &Learned {
        &self.learned
    }

    pub(crate) fn used(&self, at: u64) {
        self.last_used.store(at, Ordering::Relaxed);
    }

    pub(crate) fn last_used(&self) -> u64 {
        self.last_used.load(Ordering::Relaxed)
    }
}

impl fmt::Display for TargetKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service { service, .. } => write!(f, "service {service}"),
            Self::Direct { backend, .. } => backend.name.fmt(f),
            Self::Denied => f.write_str("a destination outside the mesh"),
        }
    }
}
