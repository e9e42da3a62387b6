//! The facts about one request, and what goes on from it to the requests that are made for it.

pub(crate) mod callers_route;
pub(crate) mod onward;
mod outcome;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use outrigger_proto::ErrorCode;
use outrigger_routing::Matched;
use parking_lot::Mutex;
use tokio::time::Instant;

pub(crate) use outcome::{End, Outcome, RetryOutcome};

use crate::balance::{Backend, Endpoint};
use crate::caller::Caller;
use crate::destination::Rule;
use crate::direction::Direction;
use crate::edges::Edge;
use crate::error::ProxyError;
use crate::trace_context::TraceContext;
use onward::Onward;

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
    /// Attempts made after others that the peer has worked on, or may have.
    repeats: AtomicU32,
    facts: Mutex<Facts>,
    /// Where the request's session has it go, as long as that is possible.
    pinned: OnceLock<Arc<Endpoint>>,
    onward: OnceLock<Box<Onward>>,
    /// Inbound: the path that the route of the caller's sidecar has matched.
    callers_route: OnceLock<Box<str>>,
    /// Set when each attempt has a span of its own.
    trace: OnceLock<TraceContext>,
    spans: Mutex<Vec<Attempt>>,
    retry_denied: OnceLock<RetryOutcome>,
    /// Milliseconds that it was held back on purpose.
    delay: AtomicU32,
    /// Where it is counted, once an attempt was made.
    edge: OnceLock<Arc<Edge>>,
    /// A copy of a request is not counted with requests.
    pub(crate) is_copy: bool,
}

/// One attempt of a sampled request.
pub(crate) struct Attempt {
    pub(crate) context: TraceContext,
    pub(crate) start: Instant,
    pub(crate) endpoint: Arc<Endpoint>,
    /// When and how it ended; `None`: it was given up.
    pub(crate) result: Option<(Instant, AttemptResult)>,
}

/// A response's status, or the error and what is known of it.
pub(crate) type AttemptResult = Result<StatusCode, (ErrorCode, String)>;

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
        Self {
            direction,
            start: Instant::now(),
            grpc,
            caller,
            attempts: AtomicU32::new(0),
            repeats: AtomicU32::new(0),
            facts: Mutex::default(),
            pinned: OnceLock::new(),
            onward: OnceLock::new(),
            callers_route: OnceLock::new(),
            trace: OnceLock::new(),
            spans: Mutex::default(),
            retry_denied: OnceLock::new(),
            delay: AtomicU32::new(0),
            edge: OnceLock::new(),
            is_copy: false,
        }
    }

    /// Makes the flow of a copy of a request.
    pub(crate) fn copy(grpc: bool) -> Self {
        Self { is_copy: true, ..Self::new(Direction::Outbound, grpc, None) }
    }

    /// Attempts are counted there.
    pub(crate) fn counts_at(&self, edge: &Arc<Edge>) {
        // The first attempt's: what repeats it goes to the same backend.
        self.edge.get_or_init(|| edge.clone());
    }

    /// Returns where it is counted; `None` when no attempt was made.
    pub(crate) fn edge(&self) -> Option<&Arc<Edge>> {
        self.edge.get()
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

    /// The request belongs to a session with an endpoint.
    pub(crate) fn pin(&self, endpoint: Arc<Endpoint>) {
        // Set once, where the request is routed.
        let _ = self.pinned.set(endpoint);
    }

    /// Returns the endpoint of the request's session, unless it fails.
    pub(crate) fn pinned(&self, avoid: Option<&Arc<Endpoint>>) -> Option<&Arc<Endpoint>> {
        let usable =
            |endpoint: &&Arc<Endpoint>| !endpoint.is_left_out() && !avoid.is_some_and(|a| Arc::ptr_eq(a, endpoint));
        self.pinned.get().filter(usable)
    }

    /// What is known of its callers goes with it.
    pub(crate) fn goes_on(&self, onward: Box<Onward>) {
        // Set once, where it gets its time limit.
        let _ = self.onward.set(onward);
    }

    /// Returns the path that the route of the caller's sidecar has matched, as the route wrote it; empty when it is not known.
    pub(crate) fn callers_route(&self) -> &str {
        self.callers_route.get().map_or("", |route| route)
    }

    /// Returns what is known of its callers, if there is anything to know.
    pub(crate) fn onward(&self) -> Option<&Onward> {
        self.onward.get().map(|onward| &**onward)
    }

    /// The next attempt repeats what the peer has worked on, or may have.
    pub(crate) fn repeat(&self) {
        self.repeats.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn repeats(&self) -> u32 {
        self.repeats.load(Ordering::Relaxed)
    }

    /// An attempt begins; its headers name its own span from the second on.
    pub(crate) fn attempt(&self, endpoint: &Arc<Endpoint>, headers: &mut HeaderMap) {
        let before = self.attempts.fetch_add(1, Ordering::Relaxed);
        self.facts.lock().endpoint = Some(endpoint.clone());
        let Some(trace) = self.trace.get() else { return };
        let mut context = *trace;
        if before > 0 {
            context = trace.sibling();
            context.inject(headers);
        }
        let mut spans = self.spans.lock();
        if spans.len() >= MAX_SPANS {
            spans.pop();
        }
        spans.push(Attempt { context, start: Instant::now(), endpoint: endpoint.clone(), result: None });
    }

    /// The present attempt has its response's head, or has failed.
    pub(crate) fn attempted(&self, result: Result<StatusCode, &ProxyError>) {
        if self.trace.get().is_none() {
            return;
        }
        if let Some(attempt) = self.spans.lock().last_mut().filter(|attempt| attempt.result.is_none()) {
            let result = result.map_err(|error| (error.code, error.detail.clone()));
            attempt.result = Some((Instant::now(), result));
        }
    }

    /// Each attempt is to have a span; the first one's context is in the headers already.
    pub(crate) fn sampled(&self, trace: TraceContext) {
        // Set once, by the outermost layer.
        let _ = self.trace.set(trace);
    }

    pub(crate) fn take_attempts(&self) -> Vec<Attempt> {
        std::mem::take(&mut *self.spans.lock())
    }

    /// A repetition was wanted and not possible.
    pub(crate) fn deny_retry(&self, why: RetryOutcome) {
        // The first reason counts.
        let _ = self.retry_denied.set(why);
    }

    pub(crate) fn retry_denied(&self) -> Option<RetryOutcome> {
        self.retry_denied.get().copied()
    }

    /// It is held back because a policy asks for it.
    pub(crate) fn delayed(&self, delay: Duration) {
        self.delay.store(u32::try_from(delay.as_millis()).unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    /// Returns for how many milliseconds it was held back on purpose.
    pub(crate) fn delay(&self) -> Option<u32> {
        Some(self.delay.load(Ordering::Relaxed)).filter(|delay| *delay > 0)
    }

    pub(crate) fn attempts(&self) -> u32 {
        self.attempts.load(Ordering::Relaxed)
    }

    pub(crate) fn facts(&self) -> Facts {
        self.facts.lock().clone()
    }
}

/// Attempts of one request that have spans of their own; the last one's is always kept.
const MAX_SPANS: usize = 16;
