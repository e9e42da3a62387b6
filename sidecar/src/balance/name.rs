//! What backends are called.

use std::sync::Arc;

use outrigger_proto::ServicePort;

/// What a backend is called in logs, metrics and spans.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum BackendName {
    Service(ServicePort),
    Workload(Arc<str>),
    /// A destination that the mesh does not know.
    Unknown,
}

impl std::fmt::Display for BackendName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Service(service) => service.fmt(f),
            Self::Workload(name) => f.write_str(name),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}
