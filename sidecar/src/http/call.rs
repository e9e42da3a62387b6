//! A request on its way through the layers, and the facts about it that logs, metrics and spans read.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use http::Request;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::balance::{Backend, Endpoint};
use crate::http::Body;
use crate::inbound::Caller;
use crate::outbound::{Rule, Target};
use crate::route::Matched;

/// Seen from the workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Direction {
    Inbound,
    Outbound,
}

impl Direction {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
        }
    }
}

/// What every layer receives.
pub(crate) struct Call {
    pub(crate) request: Request<Body>,
    pub(crate) to: To,
    pub(crate) flow: Arc<Flow>,
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

/// The facts about one request. Layers write them as they learn them; whoever tells about the request reads them at
/// its end, also when a layer above gave up waiting.
pub(crate) struct Flow {
    pub(crate) direction: Direction,
    pub(crate) start: Instant,
    pub(crate) grpc: bool,
    /// Who sent the request (inbound).
    pub(crate) caller: Option<Arc<Caller>>,
    /// Attempts made so far.
    attempts: AtomicU32,
    facts: Mutex<Facts>,
}

/// What routing and balancing decided.
#[derive(Clone, Default)]
pub(crate) struct Facts {
    pub(crate) rule: Option<Arc<Rule>>,
    pub(crate) matched: Option<Matched>,
    pub(crate) backend: Option<Arc<Backend>>,
    pub(crate) endpoint: Option<Arc<Endpoint>>,
}

impl Flow {
    pub(crate) fn new(direction: Direction, grpc: bool, caller: Option<Arc<Caller>>) -> Self {
        Self { direction, start: Instant::now(), grpc, caller, attempts: AtomicU32::new(0), facts: Mutex::default() }
    }

    /// A rule matched, and which of its matches.
    pub(crate) fn matched(&self, rule: &Arc<Rule>, matched: Matched) {
        let mut facts = self.facts.lock();
        facts.rule = Some(rule.clone());
        facts.matched = Some(matched);
    }

    pub(crate) fn routed(&self, backend: &Arc<Backend>, rule: Option<&Arc<Rule>>) {
        let mut facts = self.facts.lock();
        facts.rule = rule.cloned();
        facts.backend = Some(backend.clone());
    }

    pub(crate) fn attempt(&self, endpoint: &Arc<Endpoint>) {
        self.attempts.fetch_add(1, Ordering::Relaxed);
        self.facts.lock().endpoint = Some(endpoint.clone());
    }

    pub(crate) fn attempts(&self) -> u32 {
        self.attempts.load(Ordering::Relaxed)
    }

    pub(crate) fn facts(&self) -> Facts {
        self.facts.lock().clone()
    }
}
