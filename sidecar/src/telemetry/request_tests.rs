use std::collections::BTreeMap;
use std::sync::Arc;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use outrigger_daemon::Metrics;
use outrigger_proto::WorkloadName;
use tokio::sync::mpsc;

use super::*;
use crate::admission::tests::{admission, place};
use crate::balance::Endpoint;
use crate::caller::Caller;
use crate::error::ProxyError;
use crate::sync::Store;
use crate::telemetry::trace::collector::collector;
use crate::telemetry::{LineFormat, TelemetryConfig, Which};
use crate::tls::TlsState;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

struct Rig {
    telemetry: Telemetry,
    metrics: Metrics,
    received: mpsc::UnboundedReceiver<ExportTraceServiceRequest>,
}

impl Rig {
    async fn new(trace_ratio: f64) -> Self {
        let (endpoint, received) = collector(Vec::new()).await;
        let own = WorkloadName { namespace: "shop".into(), name: "cart-1".into() };
        let config = TelemetryConfig {
            access_log: Which::Off,
            access_log_format: LineFormat::Json,
            otlp: Some(endpoint),
            trace_ratio,
            mark: None,
        };
        let metrics = Metrics::new();
        let store = Arc::new(Store::new(own, 1).0);
        let telemetry =
            Telemetry::new(&config, (&metrics, &Arc::default()), (store, Arc::new(TlsState::new()), admission()))
                .unwrap();
        Self { telemetry, metrics, received }
    }

    /// All spans so far, in the order of their recording.
    async fn spans(&mut self) -> Vec<Span> {
        self.telemetry.flush().await;
        let mut spans = Vec::new();
        while let Ok(request) = self.received.try_recv() {
            spans.extend(request.resource_spans.into_iter().flat_map(|r| r.scope_spans).flat_map(|s| s.spans));
        }
        spans
    }

    fn shows(&self, line: &str) -> bool {
        self.metrics.encode().lines().any(|shown| shown == line)
    }
}

fn request(traceparent: Option<&str>) -> Request<()> {
    let mut request = Request::get("/items/7?secret=1").header("host", "web:80").body(()).unwrap();
    if let Some(value) = traceparent {
        request.headers_mut().insert("traceparent", value.parse().unwrap());
    }
    request
}

fn sampled() -> String {
    format!("00-{TRACE}-{PARENT}-01")
}

fn endpoint(last: u8) -> Arc<Endpoint> {
    Arc::new(Endpoint::local(([10, 0, 0, last], 8080).into(), 1))
}

fn answered(status: u16) -> Outcome {
    let status = StatusCode::from_u16(status).ok();
    Outcome { end: End::Complete, status, grpc_status: None, error: None, response_bytes: 10 }
}

fn failed(code: ErrorCode, detail: &str) -> Outcome {
    let status = code.info().http_status.and_then(|status| StatusCode::from_u16(status).ok());
    Outcome { status, error: Some(ProxyError::new(code, detail)), ..answered(500) }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn attributes(span: &Span) -> BTreeMap<&str, String> {
    let show = |value: &Value| match value {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(int) => int.to_string(),
        other => format!("{other:?}"),
    };
    let value = |a: &'_ opentelemetry_proto::tonic::common::v1::KeyValue| {
        a.value.as_ref().and_then(|value| value.value.as_ref()).map(show).unwrap_or_default()
    };
    span.attributes.iter().map(|attribute| (&*attribute.key, value(attribute))).collect()
}

#[tokio::test]
async fn each_attempt_has_a_span_and_the_endpoint_hears_of_its_own() {
    let mut rig = Rig::new(0.0).await;
    let flow = Flow::new(Direction::Outbound, false, None);
    let mut request = request(Some(&sampled()));

    let record = rig.telemetry.begin(&mut request, &flow);
    let mut first = request.headers().clone();
    flow.attempt(&endpoint(1), &mut first);
    flow.attempted(Err(&ProxyError::new(ErrorCode::ConnectionRefused, "connect to 10.0.0.1:8080: refused")));
    let mut second = request.headers().clone();
    flow.attempt(&endpoint(2), &mut second);
    let mut third = request.headers().clone();
    flow.attempt(&endpoint(3), &mut third);
    flow.attempted(Ok(StatusCode::OK));
    rig.telemetry.end(record, &flow, answered(200));

    let spans = rig.spans().await;
    assert_eq!(spans.len(), 3);
    for (span, headers) in spans.iter().zip([&first, &second, &third]) {
        assert_eq!(span.kind, i32::from(SpanKind::Client));
        assert_eq!((hex(&span.trace_id), hex(&span.parent_span_id)), (TRACE.to_owned(), PARENT.to_owned()));
        assert_eq!(headers["traceparent"], format!("00-{TRACE}-{}-01", hex(&span.span_id)));
        assert_eq!(span.name, "GET");
    }
    let told: Vec<_> = spans.iter().map(attributes).collect();
    assert_eq!(told[0]["error.type"], "connection_refused");
    assert_eq!(told[0].get("http.request.resend_count"), None);
    assert_eq!(told[1]["error.type"], "http_response_timeout", "it was given up");
    assert_eq!((&*told[1]["http.request.resend_count"], &*told[1]["network.peer.address"]), ("1", "10.0.0.2"));
    assert_eq!((&*told[2]["http.request.resend_count"], &*told[2]["http.response.status_code"]), ("2", "200"));
    assert_eq!((&*told[2]["server.address"], &*told[2]["url.full"]), ("web", "http://web:80/items/7"));
    assert!(spans[2].status.is_none());
    assert!(!format!("{spans:?}").contains("secret"));
    assert!(rig.shows(r#"outrigger_outbound_retries_total{outcome="succeeded"} 1"#));
}

#[tokio::test]
async fn a_request_that_reached_no_endpoint_has_a_span_that_says_why() {
    let mut rig = Rig::new(1.0).await;
    let flow = Flow::new(Direction::Outbound, false, None);
    let mut request = request(None);

    let record = rig.telemetry.begin(&mut request, &flow);
    assert_eq!(rig.telemetry.in_flight(), 1);
    rig.telemetry.end(record, &flow, failed(ErrorCode::DestinationUnavailable, "no endpoint for shop/web:80"));

    let spans = rig.spans().await;
    assert_eq!(spans.len(), 1);
    assert!(spans[0].parent_span_id.is_empty());
    assert_eq!(spans[0].status.as_ref().unwrap().message, "E002 no endpoint for shop/web:80");
    assert_eq!(rig.telemetry.in_flight(), 0);
}

#[tokio::test]
async fn a_server_has_one_span_between_its_caller_and_the_app() {
    let mut rig = Rig::new(0.0).await;
    let caller = Arc::new(Caller::new(None, ([10, 0, 0, 9], 40_000).into(), place()));
    let flow = Flow::new(Direction::Inbound, false, Some(caller));
    let mut request = request(Some(&sampled()));

    let record = rig.telemetry.begin(&mut request, &flow);
    let mut headers = request.headers().clone();
    flow.attempt(&endpoint(1), &mut headers);
    flow.attempt(&endpoint(1), &mut headers);
    flow.attempted(Ok(StatusCode::NOT_FOUND));
    rig.telemetry.end(record, &flow, answered(404));

    let spans = rig.spans().await;
    assert_eq!(spans.len(), 1);
    assert_eq!(spans[0].kind, i32::from(SpanKind::Server));
    assert_eq!(hex(&spans[0].parent_span_id), PARENT);
    assert_eq!(headers["traceparent"], format!("00-{TRACE}-{}-01", hex(&spans[0].span_id)));
    assert!(spans[0].status.is_none(), "404 is not the server's fault");
    let told = attributes(&spans[0]);
    assert_eq!((&*told["network.peer.address"], &*told["server.port"]), ("10.0.0.9", "80"));
}

#[tokio::test]
async fn a_request_that_is_not_sampled_is_counted_and_has_no_span() {
    let mut rig = Rig::new(1.0).await;
    let flow = Flow::new(Direction::Outbound, false, None);
    let parent = format!("00-{TRACE}-{PARENT}-00");
    let mut request = request(Some(&parent));

    let record = rig.telemetry.begin(&mut request, &flow);
    assert_eq!(request.headers()["traceparent"], parent);
    rig.telemetry.end(record, &flow, answered(200));

    assert!(rig.spans().await.is_empty());
    assert!(rig.metrics.encode().contains("http_client_request_duration_seconds_count"));
}

#[tokio::test]
async fn the_client_that_left_and_the_response_that_broke_off_are_told_apart() {
    let mut rig = Rig::new(1.0).await;
    for (end, error, code) in [(End::Abandoned, None, "E019"), (End::Broken, Some("connection_terminated"), "E005")] {
        let flow = Flow::new(Direction::Outbound, false, None);
        let mut request = request(None);
        let record = rig.telemetry.begin(&mut request, &flow);
        flow.attempt(&endpoint(1), request.headers_mut());
        flow.attempted(Ok(StatusCode::OK));
        rig.telemetry.end(record, &flow, Outcome { end, ..answered(200) });

        let spans = rig.spans().await;
        let told = attributes(&spans[0]);
        assert_eq!(told.get("error.type").map(|error| &**error), error);
        assert_eq!((spans[0].status.is_some(), &*told["outrigger.error.code"]), (error.is_some(), code));
    }
    let count = |error: &str, status: &str| {
        let page = rig.metrics.encode();
        let labels = [format!("error_type=\"{error}\""), format!("http_response_status_code=\"{status}\"")];
        let is_count = |line: &&str| line.starts_with("http_client_request_duration_seconds_count{");
        page.lines().filter(is_count).any(|line| labels.iter().all(|label| line.contains(label)))
    };
    assert!(count("", "200") && count("connection_terminated", "200"));
    // It left before there was any answer.
    let flow = Flow::new(Direction::Outbound, false, None);
    let record = rig.telemetry.begin(&mut request(None), &flow);
    rig.telemetry.end(record, &flow, Outcome { end: End::Abandoned, status: None, ..answered(200) });
    assert!(count("", "") && !count("client_closed", "499"));
}

#[tokio::test]
async fn a_denied_repetition_is_counted_by_its_reason() {
    let rig = Rig::new(0.0).await;
    let flow = Flow::new(Direction::Outbound, false, None);
    let record = rig.telemetry.begin(&mut request(None), &flow);
    flow.deny_retry(RetryOutcome::OverBudget);
    rig.telemetry.end(record, &flow, failed(ErrorCode::ConnectionRefused, "refused"));

    assert!(rig.shows(r#"outrigger_outbound_retries_total{outcome="over_budget"} 1"#));
}
