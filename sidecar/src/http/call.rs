//! A request on its way through the layers.

use std::net::SocketAddr;
use std::sync::Arc;

use http::Request;

use crate::balance::{Backend, Endpoint};
use crate::body::Body;
use crate::destination::{Rule, Target};
use crate::flow::Flow;
use crate::flow::onward::Onward;
use crate::http::fault::Drawn;

/// What every layer receives.
pub(crate) struct Call {
    pub(crate) request: Request<Body>,
    pub(crate) to: To,
    pub(crate) flow: Arc<Flow>,
    /// What a policy does to it on purpose.
    pub(crate) fault: Option<Box<Drawn>>,
    /// What it says of its callers, until its flow has it.
    pub(crate) onward: Option<Box<Onward>>,
}

/// Where a request goes, as far as it is known.
#[derive(Clone)]
pub(crate) enum To {
    /// The routes of this destination decide.
    Target(Arc<Target>),
    /// One of a backend's endpoints, as a rule decided; no rule when the service has no routes.
    Backend(Arc<Backend>, Option<Arc<Rule>>),
    /// The own app.
    App(Arc<Endpoint>),
}

impl To {
    /// Returns the address that was dialled, before routing.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Target(target) => Some(target.destination),
            Self::App(endpoint) => Some(endpoint.address),
            Self::Backend(..) => None,
        }
    }
}
