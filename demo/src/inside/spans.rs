//! The latest traces, bounded.

use std::collections::{BTreeMap, HashMap, VecDeque};

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, Span as Written};

/// One side of a hop.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Span {
    pub(super) trace_id: String,
    pub(super) id: String,
    /// Empty for a root.
    pub(super) parent: String,
    pub(super) name: String,
    pub(super) side: Side,
    pub(super) service: String,
    pub(super) start_ns: u64,
    pub(super) end_ns: u64,
    pub(super) error: bool,
    pub(super) attributes: BTreeMap<String, String>,
}

/// Which end of the hop made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Server,
    Other,
}

impl Span {
    /// The spans of one process's part of an export.
    pub(super) fn all(part: ResourceSpans) -> impl Iterator<Item = Self> {
        let resource = part.resource.map(|resource| attributes(resource.attributes)).unwrap_or_default();
        let service = resource.get("service.name").cloned().unwrap_or_default();
        let spans = part.scope_spans.into_iter().flat_map(|scope| scope.spans);
        spans.map(move |span| Self::read(span, service.clone()))
    }

    pub(super) fn attribute(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", String::as_str)
    }

    fn read(span: Written, service: String) -> Self {
        let side = match span.kind() {
            SpanKind::Client => Side::Client,
            SpanKind::Server => Side::Server,
            _ => Side::Other,
        };
        Self {
            trace_id: hex(&span.trace_id),
            id: hex(&span.span_id),
            parent: hex(&span.parent_span_id),
            name: span.name,
            side,
            service,
            start_ns: span.start_time_unix_nano,
            end_ns: span.end_time_unix_nano,
            error: span.status.is_some_and(|status| status.code() == StatusCode::Error),
            attributes: attributes(span.attributes),
        }
    }
}

/// Whole traces, the latest [`MAX_TRACES`].
#[derive(Debug, Default)]
pub(super) struct Spans {
    traces: HashMap<String, Vec<Span>>,
    order: VecDeque<String>,
}

impl Spans {
    pub(super) fn extend(&mut self, spans: impl IntoIterator<Item = Span>) {
        for span in spans {
            let trace = self.traces.entry(span.trace_id.clone()).or_insert_with(|| {
                self.order.push_back(span.trace_id.clone());
                Vec::new()
            });
            if trace.len() < MAX_SPANS {
                trace.push(span);
            }
        }
        while self.order.len() > MAX_TRACES {
            if let Some(oldest) = self.order.pop_front() {
                self.traces.remove(&oldest);
            }
        }
    }

    /// The traces, latest first.
    pub(super) fn latest(&self) -> impl Iterator<Item = &[Span]> {
        self.order.iter().rev().filter_map(|id| self.traces.get(id)).map(Vec::as_slice)
    }
}

fn attributes(list: Vec<KeyValue>) -> BTreeMap<String, String> {
    list.into_iter().map(|KeyValue { key, value, .. }| (key, text(value))).collect()
}

fn text(value: Option<AnyValue>) -> String {
    match value.and_then(|value| value.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::DoubleValue(number)) => number.to_string(),
        Some(Value::BoolValue(flag)) => flag.to_string(),
        _ => String::new(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A demo's load makes some hundreds a second, and a proof looks at the last second or two.
const MAX_TRACES: usize = 4000;
const MAX_SPANS: usize = 64;

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::inside) fn span(trace: &str, id: &str, parent: &str, service: &str, side: Side) -> Span {
        Span {
            trace_id: trace.into(),
            id: id.into(),
            parent: parent.into(),
            name: "GET".into(),
            side,
            service: service.into(),
            start_ns: 0,
            end_ns: 1_000_000,
            error: false,
            attributes: BTreeMap::new(),
        }
    }

    #[test]
    fn keeps_the_latest_traces_whole_and_forgets_the_oldest() {
        let mut spans = Spans::default();
        spans.extend((0..=MAX_TRACES).map(|n| span(&n.to_string(), "a", "", "s", Side::Client)));
        spans.extend([span("1", "b", "a", "t", Side::Server)]);

        assert!(!spans.latest().any(|trace| trace[0].trace_id == "0"));
        assert_eq!(spans.latest().find(|trace| trace[0].trace_id == "1").unwrap().len(), 2);
    }

    #[test]
    fn reads_what_the_proofs_need_of_a_span() {
        let string = |text: &str| Some(AnyValue { value: Some(Value::StringValue(text.into())) });
        let key = |key: &str, value| KeyValue { key: key.into(), value, ..KeyValue::default() };
        let mut part = ResourceSpans::default();
        part.resource.get_or_insert_default().attributes = vec![key("service.name", string("web"))];
        let number = Some(AnyValue { value: Some(Value::IntValue(200)) });
        part.scope_spans.push(opentelemetry_proto::tonic::trace::v1::ScopeSpans {
            spans: vec![Written {
                trace_id: vec![0xab; 16],
                span_id: vec![1; 8],
                kind: SpanKind::Server.into(),
                attributes: vec![key("http.response.status_code", number)],
                ..Written::default()
            }],
            ..Default::default()
        });

        let read: Vec<Span> = Span::all(part).collect();

        assert_eq!(read[0].trace_id, "ab".repeat(16));
        assert_eq!((read[0].service.as_str(), read[0].side, read[0].parent.as_str()), ("web", Side::Server, ""));
        assert_eq!(read[0].attribute("http.response.status_code"), "200");
    }
}
