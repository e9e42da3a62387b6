//! What a span says about a request: names and attributes by OpenTelemetry's conventions for HTTP and RPC. No query
//! strings, no headers, no raw path in a name.

use std::fmt::{self, Display, Write};
use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use http::uri::Authority;
use http::{Method, StatusCode, Version};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode as SpanStatus;
use opentelemetry_proto::tonic::trace::v1::{Span, Status};
use outrigger_proto::ErrorCode;

use crate::telemetry::facts::{ErrorType, GrpcStatus, method_label, protocol_version};
use crate::trace_context::TraceContext;

/// Which side of a hop a span is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// The caller's sidecar; one for each attempt.
    Client,
    /// The callee's sidecar.
    Server,
}

/// One exchange of a request and its response, or of what came of it.
pub(crate) struct HttpSpan<'a> {
    pub(crate) kind: Kind,
    pub(crate) start: SystemTime,
    pub(crate) end: SystemTime,
    pub(crate) method: &'a Method,
    /// Without the query.
    pub(crate) path: &'a str,
    /// The rule's path as the route wrote it; empty when there is none. A server's is what its caller's sidecar matched.
    pub(crate) pattern: &'a str,
    pub(crate) grpc: bool,
    pub(crate) version: Version,
    /// `None`: no response came.
    pub(crate) status: Option<StatusCode>,
    pub(crate) grpc_status: Option<GrpcStatus>,
    /// The mesh's own error and its details.
    pub(crate) error: Option<(ErrorCode, &'a str)>,
    /// What the client says it is (server).
    pub(crate) user_agent: Option<&'a str>,
    /// The Host or authority that the request named.
    pub(crate) authority: Option<&'a str>,
    /// The address that the app listens on.
    pub(crate) endpoint: Option<SocketAddr>,
    /// The other side of the connection.
    pub(crate) peer: Option<SocketAddr>,
    /// The identity that the other side proved.
    pub(crate) peer_identity: Option<&'a str>,
    /// 0 for the first attempt.
    pub(crate) resend_count: u32,
    /// Milliseconds that it was held back on purpose.
    pub(crate) fault_delay: Option<u32>,
    pub(crate) route: Option<&'a dyn Display>,
    pub(crate) backend: Option<&'a dyn Display>,
}

impl HttpSpan<'_> {
    /// Makes the span that goes to the collector.
    pub(crate) fn encode(&self, context: &TraceContext) -> Span {
        // A client that gives up on purpose is nobody's error.
        let mesh = self.error.map(|(code, _)| code);
        let error = match mesh {
            Some(ErrorCode::ClientClosed) => None,
            mesh => ErrorType::of(self.kind, mesh, self.status, self.grpc_status),
        };
        Span {
            trace_id: context.trace_id.to_bytes().to_vec(),
            span_id: context.span_id.to_bytes().to_vec(),
            parent_span_id: context.parent.map(|parent| parent.to_bytes().to_vec()).unwrap_or_default(),
            flags: flags(context),
            name: self.name(),
            kind: match self.kind {
                Kind::Client => SpanKind::Client,
                Kind::Server => SpanKind::Server,
            }
            .into(),
            start_time_unix_nano: nanos(self.start),
            end_time_unix_nano: nanos(self.end),
            attributes: self.attributes(error),
            status: error.map(|_| self.status()),
            ..Span::default()
        }
    }

    fn name(&self) -> String {
        if self.grpc {
            return self.rpc_method().map_or_else(|| "grpc".to_owned(), |method| cut(method.to_owned()));
        }
        // "HTTP" where the method is not one of the known (semantic conventions for HTTP spans).
        let method = method_label(self.method).unwrap_or("HTTP");
        if self.pattern.is_empty() { method.to_owned() } else { cut(format!("{method} {}", self.pattern)) }
    }

    /// `package.Service/Method` of a gRPC path, unless nothing knows such a method: a caller could invent any number of them.
    fn rpc_method(&self) -> Option<&str> {
        let is_unknown = self.rpc_status() == Some(GrpcStatus::UNIMPLEMENTED);
        let path = self.path.strip_prefix('/').filter(|_| !is_unknown)?;
        let (service, method) = path.rsplit_once('/')?;
        (!service.is_empty() && !method.is_empty()).then_some(path)
    }

    /// The status of a call, also of one that an error of the mesh has ended.
    fn rpc_status(&self) -> Option<GrpcStatus> {
        self.grpc_status.or_else(|| self.error.map(|(code, _)| GrpcStatus(code.info().grpc_status)))
    }

    fn status(&self) -> Status {
        let mut message = String::new();
        if let Some((code, detail)) = self.error {
            // A String takes every write.
            let _ = write!(message, "{code} {detail}");
        }
        Status { code: SpanStatus::Error.into(), message: cut(message) }
    }

    fn attributes(&self, error: Option<ErrorType>) -> Vec<KeyValue> {
        let mut all = Attributes(Vec::with_capacity(16));
        let rpc_status = self.rpc_status().filter(|_| self.grpc);
        if self.grpc {
            self.rpc_attributes(&mut all);
        } else {
            self.http_attributes(&mut all);
        }
        if let Some(status) = rpc_status {
            all.text("rpc.status_code", status.name());
        } else if let Some(status) = self.status {
            all.int("http.response.status_code", i64::from(status.as_u16()));
        }
        self.server_attributes(&mut all);
        if let Some(peer) = self.peer {
            all.text("network.peer.address", peer.ip());
            all.int("network.peer.port", i64::from(peer.port()));
        }
        if !self.grpc {
            all.text("network.protocol.version", protocol_version(self.version));
        }
        if self.kind == Kind::Server {
            if let Some(peer) = self.peer {
                all.text("client.address", peer.ip());
            }
            if let Some(agent) = self.user_agent {
                all.text("user_agent.original", agent);
            }
        }
        if let Some(error) = error {
            all.text("error.type", error);
        }
        if let Some((code, _)) = self.error {
            all.text("outrigger.error.code", code);
        }
        if self.resend_count > 0 {
            all.int("http.request.resend_count", i64::from(self.resend_count));
        }
        if let Some(delay) = self.fault_delay {
            all.int("outrigger.fault.delay_ms", i64::from(delay));
        }
        if let Some(route) = self.route {
            all.text("outrigger.route", route);
        }
        if let Some(backend) = self.backend {
            all.text("outrigger.backend", backend);
        }
        if let Some(identity) = self.peer_identity {
            all.text("outrigger.peer.identity", identity);
        }
        all.0
    }

    /// The server by the name that the client used, else by its address.
    fn server_attributes(&self, all: &mut Attributes) {
        let port = match (self.named_server(), self.endpoint) {
            (Some(authority), endpoint) => {
                all.text("server.address", authority.host().trim_matches(['[', ']']));
                // A gRPC server's is the one that the client named, and no other.
                let own = endpoint.filter(|_| !self.grpc || self.kind == Kind::Client);
                authority.port_u16().or_else(|| own.map(|endpoint| endpoint.port()))
            }
            (None, Some(endpoint)) => {
                all.text("server.address", endpoint.ip());
                Some(endpoint.port())
            }
            (None, None) => None,
        };
        if let Some(port) = port {
            all.int("server.port", i64::from(port));
        }
    }

    fn named_server(&self) -> Option<Authority> {
        self.authority?.parse().ok()
    }

    fn rpc_attributes(&self, all: &mut Attributes) {
        all.text("rpc.system.name", "grpc");
        match self.rpc_method() {
            Some(method) => all.text("rpc.method", method),
            None => {
                all.text("rpc.method", "_OTHER");
                all.text("rpc.method_original", self.path.trim_start_matches('/'));
            }
        }
    }

    /// Without the query, which may hold secrets, and without a user's name.
    fn full_url(&self) -> Option<String> {
        let server = match (self.named_server(), self.endpoint) {
            (Some(authority), _) => match authority.port() {
                Some(port) => format!("{}:{port}", authority.host()),
                None => authority.host().to_owned(),
            },
            (None, endpoint) => endpoint?.to_string(),
        };
        Some(format!("http://{server}{}", self.path))
    }

    fn http_attributes(&self, all: &mut Attributes) {
        match method_label(self.method) {
            Some(method) => all.text("http.request.method", method),
            None => {
                all.text("http.request.method", "_OTHER");
                all.text("http.request.method_original", self.method);
            }
        }
        match self.kind {
            Kind::Client => {
                if let Some(url) = self.full_url() {
                    all.text("url.full", url);
                }
            }
            Kind::Server => {
                all.text("url.path", self.path);
                all.text("url.scheme", "http");
            }
        }
        if !self.pattern.is_empty() {
            let name = match self.kind {
                Kind::Client => "url.template",
                Kind::Server => "http.route",
            };
            all.text(name, self.pattern);
        }
    }
}

struct Attributes(Vec<KeyValue>);

impl Attributes {
    fn text(&mut self, key: &str, value: impl Display) {
        self.push(key, Value::StringValue(cut(value.to_string())));
    }

    fn int(&mut self, key: &str, value: i64) {
        self.push(key, Value::IntValue(value));
    }

    fn push(&mut self, key: &str, value: Value) {
        let value = Some(AnyValue { value: Some(value) });
        self.0.push(KeyValue { key: key.to_owned(), value, ..KeyValue::default() });
    }
}

/// The flags of OTLP: W3C's, and that the parent, if there is one, is of another process.
fn flags(context: &TraceContext) -> u32 {
    let (has_is_remote, is_remote) = (0x100, 0x200);
    let remote = if context.parent.is_some() { is_remote } else { 0 };
    u32::from(context.sampled) | has_is_remote | remote
}

/// Shortens what a stranger chose.
fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(MAX_TEXT));
    text
}

fn nanos(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).ok().and_then(|since| u64::try_from(since.as_nanos()).ok()).unwrap_or(0)
}

impl fmt::Debug for HttpSpan<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpSpan").field("name", &self.name()).finish_non_exhaustive()
    }
}

/// The longest name or attribute, bytes.
const MAX_TEXT: usize = 1024;

#[cfg(test)]
#[path = "span_tests.rs"]
mod tests;
