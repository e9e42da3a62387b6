//! What is told about one request: at its end, from what its [`Flow`] has gathered.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use http::header::{HOST, USER_AGENT};
use http::uri::PathAndQuery;
use http::{Method, Request, StatusCode, Version};
use outrigger_proto::ErrorCode;
use tokio::time::Instant;

use super::Telemetry;
use super::access_log::Entry;
use super::facts::{ErrorType, GrpcStatus};
use super::metrics::{FaultKind, Labels, Observed, PeerLabel};
use super::trace::{HttpSpan, Kind, Tracer};
use crate::caller::Reach;
use crate::direction::Direction;
use crate::edges::{Class, EdgeName};
use crate::flow::RetryOutcome;
use crate::flow::{Attempt, End, Facts, Flow, Outcome};
use crate::trace_context::TraceContext;

/// What is kept of a request's head.
pub(crate) struct RequestRecord {
    method: Method,
    path: Option<PathAndQuery>,
    version: Version,
    /// Its Host or authority, and who it says that it is from, when it is sampled.
    authority: Option<String>,
    user_agent: Option<String>,
    trace: Option<TraceContext>,
}

impl Telemetry {
    /// A request has come; its trace context is continued.
    pub(crate) fn begin<B>(&self, request: &mut Request<B>, flow: &Flow) -> RequestRecord {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        // The sidecar of a meshed caller has decided already.
        let starts = flow.caller.as_ref().is_none_or(|caller| caller.peer.is_none());
        let tracer = self.tracer.as_ref().filter(|_| !is_scrape(flow));
        let trace = tracer.map(|tracer| tracer.begin(request.headers(), starts));
        let (mut authority, mut user_agent) = (None, None);
        if let Some(trace) = &trace {
            trace.inject(request.headers_mut());
            if trace.sampled {
                authority = authority_of(request);
                user_agent = user_agent_of(request, flow.direction);
                // A server's span is one, however often the app's idle connection ends.
                if flow.direction == Direction::Outbound {
                    flow.sampled(*trace);
                }
            }
        }
        RequestRecord {
            method: request.method().clone(),
            path: request.uri().path_and_query().cloned(),
            version: request.version(),
            authority,
            user_agent,
            trace,
        }
    }

    /// A request has ended.
    pub(crate) fn end(&self, record: RequestRecord, flow: &Flow, outcome: Outcome) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        if is_scrape(flow) {
            return;
        }
        let ended = Ended::new(&record, flow, &outcome);
        self.measure(&ended);
        if self.access_log.wants(ended.error(Kind::Server).is_some()) {
            self.access_log.write(&ended.entry());
        }
        if let Some(tracer) = &self.tracer
            && let Some(trace) = record.trace.filter(|trace| trace.sampled)
        {
            ended.record_spans(tracer, trace);
        }
    }

    fn measure(&self, ended: &Ended<'_>) {
        let Ended { record, flow, outcome, facts, .. } = ended;
        let kind = ended.kind();
        let peer = match (&flow.caller, &facts.backend) {
            (Some(caller), _) => PeerLabel::caller(caller),
            (None, Some(backend)) => PeerLabel::backend(&backend.name),
            (None, None) => PeerLabel::Unknown,
        };
        let route = facts.rule.as_ref().map(|rule| (&*rule.route, rule.index, &*rule.name));
        let scope = self.requests.scope(&Labels { kind, grpc: flow.grpc, route, peer, mutual: ended.mutual() });
        let observed = Observed {
            method: &record.method,
            status: ended.sent(),
            grpc_status: ended.grpc_status,
            error: ended.error(kind),
            duration: ended.duration,
        };
        self.requests.record(&scope, &observed);
        self.count(ended);
        if let Some(denied) = flow.retry_denied() {
            self.counters.retried(denied);
        } else if flow.attempts() > 1 && kind == Kind::Client {
            let failed = ended.mesh.is_some() || ended.error(Kind::Server).is_some();
            self.counters.retried(if failed { RetryOutcome::Failed } else { RetryOutcome::Succeeded });
        }
        if flow.delay().is_some() {
            self.counters.faulted(FaultKind::Delay);
        }
        if outcome.error.as_ref().is_some_and(|error| error.code == ErrorCode::FaultInjected) {
            self.counters.faulted(FaultKind::Abort);
        }
        let failed = outcome.error.as_ref().map(|error| error.answered_as.unwrap_or(error.code));
        if let Some(code @ (ErrorCode::TlsCertificate | ErrorCode::TlsProtocol)) = failed {
            self.counters.handshake_failed(flow.direction, code);
        }
    }
}

impl Telemetry {
    /// Counts the request where its attempts were counted, or where they would have been.
    fn count(&self, ended: &Ended<'_>) {
        let Ended { flow, facts, .. } = ended;
        let class = ended.class();
        if let Some(edge) = flow.edge() {
            return edge.requests.ended(class, ended.duration);
        }
        let edge = match (&flow.caller, &facts.backend, &facts.rule) {
            (Some(caller), _, _) => caller.edge(&self.edges).clone(),
            (None, Some(backend), rule) => backend.edge(&self.edges, rule.as_ref(), None),
            (None, None, rule) => self.edges.find(&EdgeName {
                route: rule.as_ref().map(|rule| (rule.route.clone(), rule.index, rule.name.clone())),
                ..EdgeName::unknown(flow.direction)
            }),
        };
        edge.requests.ended(class, ended.duration);
    }
}

/// Whether somebody reads the sidecar's metrics: no request of the workload's, so nothing is recorded of it.
fn is_scrape(flow: &Flow) -> bool {
    flow.caller.as_ref().is_some_and(|caller| matches!(caller.reach, Reach::Metrics))
}

fn authority_of<B>(request: &Request<B>) -> Option<String> {
    if let Some(authority) = request.uri().authority() {
        return Some(authority.as_str().to_owned());
    }
    request.headers().get(HOST)?.to_str().ok().map(str::to_owned)
}

fn user_agent_of<B>(request: &Request<B>, direction: Direction) -> Option<String> {
    let agent = request.headers().get(USER_AGENT).filter(|_| direction == Direction::Inbound)?;
    agent.to_str().ok().map(str::to_owned)
}

/// A request that has ended, and all that is known of it.
struct Ended<'a> {
    record: &'a RequestRecord,
    flow: &'a Flow,
    outcome: &'a Outcome,
    facts: Facts,
    at: Instant,
    duration: Duration,
    status: Option<StatusCode>,
    grpc_status: Option<GrpcStatus>,
    /// The mesh's own error, if it made one.
    mesh: Option<(ErrorCode, &'a str)>,
}

impl<'a> Ended<'a> {
    fn new(record: &'a RequestRecord, flow: &'a Flow, outcome: &'a Outcome) -> Self {
        let at = Instant::now();
        let mesh = match (&outcome.error, outcome.end) {
            (Some(error), _) => Some((error.code, &*error.detail)),
            (None, End::Complete) => None,
            (None, End::Broken) => Some((ErrorCode::ConnectionTerminated, "the response broke off")),
            (None, End::Abandoned) => {
                Some((ErrorCode::ClientClosed, "the client left before the response was complete"))
            }
        };
        let cancelled =
            || mesh.filter(|(code, _)| *code == ErrorCode::ClientClosed).map(|(code, _)| code.info().grpc_status);
        let unanswered = || mesh.and_then(|(code, _)| StatusCode::from_u16(code.info().http_status?).ok());
        Self {
            record,
            flow,
            outcome,
            facts: flow.facts(),
            at,
            duration: at.duration_since(flow.start),
            status: outcome.status.or_else(unanswered),
            grpc_status: outcome.grpc_status.or_else(cancelled).filter(|_| flow.grpc).map(GrpcStatus),
            mesh,
        }
    }

    fn kind(&self) -> Kind {
        match self.flow.direction {
            Direction::Inbound => Kind::Server,
            Direction::Outbound => Kind::Client,
        }
    }

    /// The client has left; that is nobody's error.
    fn is_cancelled(&self) -> bool {
        matches!(self.mesh, Some((ErrorCode::ClientClosed, _)))
    }

    /// The status that the client has received.
    fn sent(&self) -> Option<StatusCode> {
        if self.is_cancelled() { self.outcome.status.filter(|_| self.outcome.error.is_none()) } else { self.status }
    }

    fn error(&self, kind: Kind) -> Option<ErrorType> {
        if self.is_cancelled() {
            return None;
        }
        ErrorType::of(kind, self.mesh.map(|(code, _)| code), self.status, self.grpc_status)
    }

    /// How it ended, as its client saw it; `None`: the client gave it up.
    fn class(&self) -> Option<Class> {
        if let Some(error) = &self.outcome.error {
            return Class::of_error(error);
        }
        let class = match (self.grpc_status, self.outcome.status) {
            (Some(GrpcStatus(code)), _) if code != 0 => Class::of_grpc(code),
            (_, Some(status)) => Some(Class::of_status(status)),
            (_, None) => None,
        };
        match self.outcome.end {
            End::Complete => class,
            End::Broken => Some(Class::Reset),
            // A good response that nobody reads to its end was not wanted any more.
            End::Abandoned => class.filter(|class| *class != Class::Ok),
        }
    }

    fn mutual(&self) -> bool {
        match &self.flow.caller {
            Some(caller) => caller.peer.is_some(),
            None => self.facts.endpoint.as_ref().is_some_and(|endpoint| endpoint.identity.is_some()),
        }
    }

    fn path(&self) -> &str {
        self.record.path.as_ref().map_or("", PathAndQuery::path)
    }

    fn caller(&self) -> Option<SocketAddr> {
        self.flow.caller.as_ref().map(|caller| caller.address)
    }

    /// The identity that the other side proved: not the one that it failed to prove.
    fn peer_identity(&self) -> Option<&str> {
        if let Some(caller) = &self.flow.caller {
            return caller.peer.as_ref().map(|peer| peer.identity.as_str());
        }
        let answered = self.outcome.error.is_none() && self.outcome.status.is_some();
        let endpoint = self.facts.endpoint.as_ref().filter(|_| answered)?;
        endpoint.identity.as_ref().map(outrigger_identity::Identity::as_str)
    }

    fn entry(&self) -> Entry<'_> {
        Entry {
            time: SystemTime::now(),
            direction: self.flow.direction,
            method: &self.record.method,
            path: self.path(),
            version: self.record.version,
            status: self.status,
            grpc_status: self.grpc_status,
            error_type: self.error(self.kind()),
            error: self.mesh,
            duration: self.duration,
            response_bytes: self.outcome.response_bytes,
            attempts: self.flow.attempts(),
            fault_delay: self.flow.delay(),
            route: self.facts.rule.as_ref().map(|rule| rule as _),
            backend: self.facts.backend.as_ref().map(|backend| &backend.name as _),
            server: self.facts.endpoint.as_ref().map(|endpoint| endpoint.address),
            client: self.caller(),
            peer_identity: self.peer_identity(),
            trace: self.record.trace.filter(TraceContext::is_known).map(|trace| (trace.trace_id, trace.span_id)),
        }
    }

    /// One span of a server, or one of a client for each attempt.
    fn record_spans(&self, tracer: &Tracer, trace: TraceContext) {
        let mut attempts = self.flow.take_attempts();
        let Some(last) = attempts.pop() else {
            tracer.record(self.span().encode(&trace));
            return;
        };
        for (count, attempt) in (0..).zip(&attempts) {
            tracer.record(self.attempt(attempt, count).encode(&attempt.context));
        }
        let resend_count = u32::try_from(attempts.len()).unwrap_or(u32::MAX);
        let own = self.attempt(&last, resend_count);
        let span = match &last.result {
            // It is over: what came after it is not its own.
            Some((_, Err(_))) => own,
            // Its response is the answer, to its last byte.
            Some((_, Ok(_))) => HttpSpan {
                end: SystemTime::now(),
                grpc_status: self.grpc_status,
                error: self.mesh.filter(|_| self.outcome.error.is_none()),
                ..own
            },
            // It was given up.
            None => HttpSpan { error: self.mesh.or(own.error), ..own },
        };
        tracer.record(span.encode(&last.context));
    }

    fn attempt<'s>(&'s self, attempt: &'s Attempt, resend_count: u32) -> HttpSpan<'s> {
        let (end, status, error) = match &attempt.result {
            Some((end, Ok(status))) => (*end, Some(*status), None),
            Some((end, Err((code, detail)))) => (*end, None, Some((*code, &**detail))),
            // Only the limit of an attempt ends one without a result while the request goes on.
            None => (self.at, None, Some((ErrorCode::ResponseTimeout, "the attempt was given up"))),
        };
        let endpoint = &attempt.endpoint;
        let identity = endpoint.identity.as_ref().filter(|_| status.is_some());
        HttpSpan {
            start: self.wall(attempt.start),
            end: self.wall(end),
            status,
            grpc_status: None,
            error,
            endpoint: Some(endpoint.address),
            peer: Some(endpoint.address),
            peer_identity: identity.map(outrigger_identity::Identity::as_str),
            resend_count,
            ..self.span()
        }
    }

    fn span(&self) -> HttpSpan<'_> {
        let Facts { rule, matched, backend, endpoint } = &self.facts;
        HttpSpan {
            kind: self.kind(),
            start: self.wall(self.flow.start),
            end: SystemTime::now(),
            method: &self.record.method,
            path: self.path(),
            pattern: match self.kind() {
                Kind::Client => rule.as_ref().zip(*matched).map_or("", |(rule, matched)| rule.pattern(matched)),
                Kind::Server => self.flow.callers_route(),
            },
            grpc: self.flow.grpc,
            version: self.record.version,
            status: if self.is_cancelled() { self.sent() } else { self.outcome.status },
            grpc_status: self.grpc_status,
            error: self.mesh,
            user_agent: self.record.user_agent.as_deref(),
            authority: self.record.authority.as_deref(),
            endpoint: endpoint.as_ref().map(|endpoint| endpoint.address),
            peer: self.caller(),
            peer_identity: self.peer_identity(),
            resend_count: 0,
            fault_delay: self.flow.delay(),
            route: rule.as_ref().map(|rule| rule as _),
            backend: backend.as_ref().map(|backend| &backend.name as _),
        }
    }

    /// The wall clock's time of a moment before the end.
    fn wall(&self, moment: Instant) -> SystemTime {
        let now = SystemTime::now();
        now.checked_sub(self.at.saturating_duration_since(moment)).unwrap_or(now)
    }
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
