//! What one worker thread has at hand. Workers share configuration, which they only read, and nothing else on the
//! request path: connections, pools and timers are each worker's own.

use std::sync::Arc;
use std::time::Duration;

use crate::connect::Connector;
use crate::direction::Direction;
use crate::drains::Drains;
use crate::headers::{ClientCertHeaders, ClientHeaders};
use crate::scrape::Scrape;
use crate::sync::Store;
use crate::telemetry::Telemetry;
use crate::tls::TlsState;
use crate::wire_form::Wire;

pub(crate) struct Worker {
    /// Place among the workers, for pools.
    pub(crate) id: usize,
    pub(crate) store: Arc<Store>,
    pub(crate) tls: Arc<TlsState>,
    /// Dials endpoints for the app.
    pub(crate) to_endpoints: Arc<Connector>,
    /// Dials the app for peers.
    pub(crate) to_app: Arc<Connector>,
    pub(crate) telemetry: Arc<Telemetry>,
    pub(crate) drains: Drains,
    pub(crate) wire: Wire,
    /// What other proxies assert of who sent a request.
    pub(crate) client_cert_headers: ClientCertHeaders,
    /// Whether requests to the workload say who sent them.
    pub(crate) client_headers: ClientHeaders,
    /// Age at which an inbound HTTP connection is to be replaced.
    pub(crate) max_connection_age: Option<Duration>,
    /// How long a request's head may take to come whole, and a frame or a header block of HTTP/2.
    pub(crate) request_head_timeout: Duration,
    /// What may be read without mesh TLS.
    pub(crate) scrape: Scrape,
}

impl Worker {
    /// What dials for connections of this direction.
    pub(crate) fn connector(&self, direction: Direction) -> &Arc<Connector> {
        match direction {
            Direction::Inbound => &self.to_app,
            Direction::Outbound => &self.to_endpoints,
        }
    }
}
