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

use crate::telemetry::facts::{ErrorType, GrpcStatus, method_label};
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
    /// The rule's path as the route wrote it; empty when there is none.
    pub(crate) pattern: &'a str,
    pub(crate) grpc: bool,
    pub(crate) version: Version,
    /// `None`: no response came.
    pub(crate) status: Option<StatusCode>,
    pub(crate) grpc_status: Option<GrpcStatus>,
    /// The mesh's own error and its details.
    pub(crate) error: Option<(ErrorCode, &'a str)>,
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
        let error = ErrorType::of(self.kind, self.error.map(|(code, _)| code), self.status, self.grpc_status);
        Span {
            trace_id: context.trace_id.to_bytes().to_vec(),
            span_id: context.span_id.to_bytes().to_vec(),
            parent_span_id: context.parent.map(|parent| parent.to_bytes().to_vec()).unwrap_or_default(),
            flags: u32::from(context.sampled),
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
        if self.grpc
            && let Some((service, method)) = self.rpc()
        {
            return cut(format!("{service}/{method}"));
        }
        // "HTTP" where the method is not one of the known (semantic conventions for HTTP spans).
        let method = method_label(self.method).unwrap_or("HTTP");
        if self.pattern.is_empty() { method.to_owned() } else { cut(format!("{method} {}", self.pattern)) }
    }

    /// The service and method of a gRPC path.
    fn rpc(&self) -> Option<(&str, &str)> {
        let (service, method) = self.path.strip_prefix('/')?.rsplit_once('/')?;
        (!service.is_empty() && !method.is_empty()).then_some((service, method))
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
        match self.rpc().filter(|_| self.grpc) {
            Some((service, method)) => {
                all.text("rpc.system", "grpc");
                all.text("rpc.service", service);
                all.text("rpc.method", method);
                if let Some(status) = self.grpc_status {
                    all.int("rpc.grpc.status_code", i64::from(status.0));
                }
            }
            None => self.http_attributes(&mut all),
        }
        if let Some(status) = self.status {
            all.int("http.response.status_code", i64::from(status.as_u16()));
        }
        self.server_attributes(&mut all);
        if let Some(peer) = self.peer {
            all.text("network.peer.address", peer.ip());
            all.int("network.peer.port", i64::from(peer.port()));
        }
        all.text("network.protocol.version", if self.version == Version::HTTP_2 { "2" } else { "1.1" });
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
        let authority = self.authority.and_then(|text| text.parse::<Authority>().ok());
        let port = match (&authority, self.endpoint) {
            (Some(authority), endpoint) => {
                all.text("server.address", authority.host());
                authority.port_u16().or_else(|| endpoint.map(|endpoint| endpoint.port()))
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

    fn http_attributes(&self, all: &mut Attributes) {
        match method_label(self.method) {
            Some(method) => all.text("http.request.method", method),
            None => {
                all.text("http.request.method", "_OTHER");
                all.text("http.request.method_original", self.method);
            }
        }
        all.text("url.path", self.path);
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
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::trace_context::{Incoming, Sampler};

    fn span<'a>(kind: Kind, method: &'a Method, path: &'a str) -> HttpSpan<'a> {
        HttpSpan {
            kind,
            start: UNIX_EPOCH + Duration::from_secs(1),
            end: UNIX_EPOCH + Duration::from_millis(1500),
            method,
            path,
            pattern: "",
            grpc: false,
            version: Version::HTTP_11,
            status: Some(StatusCode::OK),
            grpc_status: None,
            error: None,
            authority: None,
            endpoint: None,
            peer: None,
            peer_identity: None,
            resend_count: 0,
            fault_delay: None,
            route: None,
            backend: None,
        }
    }

    fn context() -> TraceContext {
        Sampler::new(1.0).begin(&Incoming::default(), true)
    }

    /// `key=value` of all attributes; integers without quotes.
    fn attributes(span: &Span) -> Vec<String> {
        let show = |attribute: &KeyValue| match attribute.value.as_ref().and_then(|value| value.value.as_ref()) {
            Some(Value::StringValue(text)) => format!("{}={text:?}", attribute.key),
            Some(Value::IntValue(int)) => format!("{}={int}", attribute.key),
            other => format!("{}={other:?}", attribute.key),
        };
        span.attributes.iter().map(show).collect()
    }

    #[test]
    fn names_are_of_low_cardinality() {
        let purge = Method::from_bytes(b"PURGE").unwrap();
        for (method, path, pattern, grpc, want) in [
            (&Method::GET, "/items/7", "/items", false, "GET /items"),
            (&Method::GET, "/items/7", "", false, "GET"),
            (&purge, "/items/7", "", false, "HTTP"),
            (&purge, "/items/7", "/items", false, "HTTP /items"),
            (&Method::POST, "/shop.Cart/Get", "", true, "shop.Cart/Get"),
            (&Method::POST, "/odd", "", true, "POST"),
            (&Method::POST, "//", "", true, "POST"),
        ] {
            let span = HttpSpan { pattern, grpc, ..span(Kind::Client, method, path) };
            assert_eq!(span.encode(&context()).name, want, "{method} {path}");
        }
    }

    #[test]
    fn a_clients_span_says_all_that_is_known() {
        let span = HttpSpan {
            pattern: "/items",
            authority: Some("web"),
            endpoint: Some(([10, 0, 0, 7], 8080).into()),
            peer: Some(([10, 0, 0, 7], 8080).into()),
            peer_identity: Some("spiffe://mesh.local/ns/shop/sa/web"),
            resend_count: 2,
            route: Some(&"HTTPRoute/shop/web/1"),
            backend: Some(&"shop/web:80"),
            ..span(Kind::Client, &Method::GET, "/items/7")
        };
        let context = context();
        let encoded = span.encode(&context);

        assert_eq!(
            attributes(&encoded),
            [
                r#"http.request.method="GET""#,
                r#"url.path="/items/7""#,
                r#"url.template="/items""#,
                "http.response.status_code=200",
                r#"server.address="web""#,
                "server.port=8080",
                r#"network.peer.address="10.0.0.7""#,
                "network.peer.port=8080",
                r#"network.protocol.version="1.1""#,
                "http.request.resend_count=2",
                r#"outrigger.route="HTTPRoute/shop/web/1""#,
                r#"outrigger.backend="shop/web:80""#,
                r#"outrigger.peer.identity="spiffe://mesh.local/ns/shop/sa/web""#,
            ]
        );
        assert_eq!(encoded.kind, i32::from(SpanKind::Client));
        assert_eq!((encoded.start_time_unix_nano, encoded.end_time_unix_nano), (1_000_000_000, 1_500_000_000));
        assert_eq!(encoded.trace_id, context.trace_id.to_bytes());
        assert_eq!(encoded.span_id, context.span_id.to_bytes());
        assert!(encoded.parent_span_id.is_empty());
        assert_eq!(encoded.status, None);
    }

    #[test]
    fn the_server_is_named_as_the_client_named_it() {
        let endpoint = Some(([10, 0, 0, 7], 8080).into());
        for (authority, endpoint, want) in [
            (Some("web:80"), endpoint, &[r#"server.address="web""#, "server.port=80"][..]),
            (Some("[::1]"), endpoint, &[r#"server.address="[::1]""#, "server.port=8080"]),
            (Some("a b"), endpoint, &[r#"server.address="10.0.0.7""#, "server.port=8080"]),
            (Some("web"), None, &[r#"server.address="web""#]),
            (None, None, &[]),
        ] {
            let span = HttpSpan { authority, endpoint, ..span(Kind::Client, &Method::GET, "/") }.encode(&context());
            let all = attributes(&span);
            let server: Vec<_> = all.iter().filter(|attribute| attribute.starts_with("server.")).collect();
            assert_eq!(server, want, "{authority:?}");
        }
    }

    #[test]
    fn grpc_spans_follow_the_conventions_for_rpc() {
        let span = HttpSpan {
            grpc: true,
            version: Version::HTTP_2,
            grpc_status: Some(GrpcStatus(14)),
            ..span(Kind::Server, &Method::POST, "/shop.Cart/Get")
        };
        let encoded = span.encode(&context());
        assert_eq!(
            attributes(&encoded),
            [
                r#"rpc.system="grpc""#,
                r#"rpc.service="shop.Cart""#,
                r#"rpc.method="Get""#,
                "rpc.grpc.status_code=14",
                "http.response.status_code=200",
                r#"network.protocol.version="2""#,
                r#"error.type="UNAVAILABLE""#,
            ]
        );
        assert_eq!(encoded.status.unwrap().code, i32::from(SpanStatus::Error));
    }

    #[test]
    fn an_error_of_the_mesh_is_told_with_its_code() {
        let span = HttpSpan {
            status: None,
            error: Some((ErrorCode::ConnectionRefused, "connect to 10.0.0.7:80: refused")),
            ..span(Kind::Client, &Method::GET, "/")
        };
        let encoded = span.encode(&context());
        let all = attributes(&encoded);
        assert!(all.contains(&r#"error.type="connection_refused""#.to_owned()), "{all:?}");
        assert!(all.contains(&r#"outrigger.error.code="E003""#.to_owned()), "{all:?}");
        assert_eq!(encoded.status.unwrap().message, "E003 connect to 10.0.0.7:80: refused");
    }

    #[test]
    fn an_unknown_method_and_a_giant_path_stay_bounded() {
        let purge = Method::from_bytes(b"PURGE").unwrap();
        let path = format!("/{}", "ä".repeat(10_000));
        let all = attributes(&span(Kind::Server, &purge, &path).encode(&context()));
        assert_eq!(all[0], r#"http.request.method="_OTHER""#);
        assert_eq!(all[1], r#"http.request.method_original="PURGE""#);
        assert!(all[2].len() < 1100, "{}", all[2].len());
    }
}
