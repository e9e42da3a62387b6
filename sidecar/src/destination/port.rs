//! What a port of the own workload is, and what may come to it.

use std::sync::Arc;

use outrigger_proto::model::{InboundMode, Protocol};

use crate::detect::Learned;

/// What the control plane says of a port of the own workload.
pub(crate) struct PortPolicy {
    pub(crate) mode: InboundMode,
    pub(crate) protocol: Protocol,
    pub(crate) learned: Arc<Learned>,
}

impl PortPolicy {
    /// That of the sidecar's metrics: what may come in plaintext is decided by path.
    pub(crate) fn of_metrics() -> Self {
        Self { mode: InboundMode::Strict, protocol: Protocol::Http, learned: Arc::default() }
    }

    /// Whether the port is declared to carry something else than HTTP.
    pub(crate) fn is_opaque(&self) -> bool {
        matches!(self.protocol, Protocol::Opaque | Protocol::Tls)
    }
}
