//! Where a connection for bytes leads, once an endpoint has been picked for it.

use std::sync::Arc;

use super::Rule;
use crate::balance::{Backend, Endpoint, InFlight};

/// Where a connection for bytes leads.
pub(crate) struct Via {
    /// The rule of a TCPRoute or TLSRoute that chose the backend.
    pub(crate) rule: Option<Arc<Rule>>,
    pub(crate) backend: Arc<Backend>,
    pub(crate) endpoint: Arc<Endpoint>,
    /// Connections are balanced by how many are open.
    _in_flight: InFlight,
}

impl Via {
    pub(crate) fn new(
        rule: Option<Arc<Rule>>,
        backend: Arc<Backend>,
        endpoint: Arc<Endpoint>,
        in_flight: InFlight,
    ) -> Self {
        Self { rule, backend, endpoint, _in_flight: in_flight }
    }
}
