//! Sends spans to the collector: from a bounded queue, in batches, on the control runtime. The data path only pushes.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::uri::Uri;
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource as ResourceMessage;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use parking_lot::Mutex;
use socket2::SockRef;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, sleep};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use super::Resource;

/// Spans that wait to be sent.
#[derive(Debug, Default)]
pub(super) struct Queue {
    spans: Mutex<Vec<Span>>,
    half_full: Notify,
    exported: AtomicU64,
    dropped: AtomicU64,
}

impl Queue {
    pub(super) fn push(&self, span: Span) {
        let mut spans = self.spans.lock();
        if spans.len() >= QUEUE {
            drop(spans);
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        spans.push(span);
        let length = spans.len();
        drop(spans);
        // Not on each push: waking another thread costs more than the span.
        if length == QUEUE / 2 {
            self.half_full.notify_one();
        }
    }

    pub(super) fn counts(&self) -> Counts {
        Counts { exported: self.exported.load(Ordering::Relaxed), dropped: self.dropped.load(Ordering::Relaxed) }
    }
}

/// What became of the spans.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) exported: u64,
    /// The queue was full, or the collector was away or refused them.
    pub(crate) dropped: u64,
}

/// The sending end; run it on the control runtime.
pub(crate) struct Exporter {
    collector: Uri,
    client: TraceServiceClient<Channel>,
    resource: Box<dyn Fn() -> Resource + Send + Sync>,
    queue: Arc<Queue>,
    flushes: mpsc::Receiver<oneshot::Sender<()>>,
    last_warning: Option<Instant>,
}

impl Exporter {
    pub(super) fn new(
        collector: Uri,
        mark: Option<u32>,
        resource: Box<dyn Fn() -> Resource + Send + Sync>,
        queue: Arc<Queue>,
        flushes: mpsc::Receiver<oneshot::Sender<()>>,
    ) -> Self {
        let client = TraceServiceClient::new(channel(&collector, mark));
        Self { collector, client, resource, queue, flushes, last_warning: None }
    }

    /// Sends until the tracer is gone.
    pub(crate) async fn run(mut self) {
        loop {
            let flush = tokio::select! {
                flush = self.flushes.recv() => match flush {
                    Some(flush) => Some(flush),
                    None => return,
                },
                () = self.queue.half_full.notified() => None,
                () = sleep(INTERVAL) => None,
            };
            self.drain().await;
            if let Some(done) = flush {
                // The flusher may have stopped waiting.
                let _ = done.send(());
            }
        }
    }

    async fn drain(&mut self) {
        let mut spans = std::mem::take(&mut *self.queue.spans.lock());
        while !spans.is_empty() {
            let rest = spans.split_off(spans.len().min(BATCH));
            self.send(spans).await;
            spans = rest;
        }
    }

    async fn send(&mut self, spans: Vec<Span>) {
        let count = spans.len() as u64;
        let request = self.request(spans);
        let mut last = Status::unknown("not sent");
        for attempt in 0..ATTEMPTS {
            let mut message = tonic::Request::new(request.clone());
            message.set_timeout(TIMEOUT);
            match tokio::time::timeout(TIMEOUT, self.client.export(message)).await {
                Ok(Ok(response)) => {
                    let refused = response.into_inner().partial_success.map_or(0, |partial| partial.rejected_spans);
                    let refused = u64::try_from(refused).unwrap_or(0).min(count);
                    self.queue.exported.fetch_add(count - refused, Ordering::Relaxed);
                    self.queue.dropped.fetch_add(refused, Ordering::Relaxed);
                    return;
                }
                Ok(Err(status)) => last = status,
                Err(_) => last = Status::deadline_exceeded("no answer"),
            }
            // OTLP names the codes that may be retried; the queue goes on filling meanwhile.
            if !matches!(
                last.code(),
                Code::Unavailable | Code::DeadlineExceeded | Code::ResourceExhausted | Code::Aborted
            ) {
                break;
            }
            if attempt + 1 < ATTEMPTS {
                sleep(BACKOFF * 2_u32.pow(attempt)).await;
            }
        }
        self.queue.dropped.fetch_add(count, Ordering::Relaxed);
        self.warn(&last);
    }

    fn request(&self, spans: Vec<Span>) -> ExportTraceServiceRequest {
        let attribute = |(key, value): (String, String)| {
            let value = Some(AnyValue { value: Some(Value::StringValue(value)) });
            KeyValue { key, value, ..KeyValue::default() }
        };
        let attributes = (self.resource)().into_iter().map(attribute).collect();
        let scope = InstrumentationScope {
            name: "outrigger".to_owned(),
            version: outrigger_daemon::VERSION.to_owned(),
            ..InstrumentationScope::default()
        };
        ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans {
                resource: Some(ResourceMessage { attributes, ..ResourceMessage::default() }),
                scope_spans: vec![ScopeSpans { scope: Some(scope), spans, schema_url: SCHEMA.to_owned() }],
                schema_url: SCHEMA.to_owned(),
            }],
        }
    }

    /// At most once a minute: a collector that is away must not fill the log.
    fn warn(&mut self, status: &Status) {
        if self.last_warning.is_some_and(|last| last.elapsed() < QUIET) {
            return;
        }
        self.last_warning = Some(Instant::now());
        let dropped = self.queue.counts().dropped;
        tracing::warn!(collector = %self.collector, dropped, error = outrigger_daemon::error_chain(status), "spans were not exported");
    }
}

impl fmt::Debug for Exporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exporter").field("collector", &self.collector).finish_non_exhaustive()
    }
}

/// Makes a channel that connects when it is used, and again when it broke.
fn channel(collector: &Uri, mark: Option<u32>) -> Channel {
    let connector = tower::service_fn(move |uri: Uri| async move {
        let stream = tokio::time::timeout(CONNECT, dial(&uri, mark)).await;
        Ok::<_, io::Error>(TokioIo::new(stream.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?))
    });
    Endpoint::from(collector.clone()).connect_with_connector_lazy(connector)
}

async fn dial(uri: &Uri, mark: Option<u32>) -> io::Result<TcpStream> {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the collector's name has no address");
    for address in tokio::net::lookup_host((host, uri.port_u16().unwrap_or(4317))).await? {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        if let Some(mark) = mark {
            SockRef::from(&socket).set_mark(mark)?;
        }
        match socket.connect(address).await {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Spans that wait at most: a few MiB when the collector is away.
const QUEUE: usize = 4096;
/// Spans of one message; 512 of the largest kind stay below gRPC's 4 MiB.
const BATCH: usize = 512;
/// How long a span waits for company.
const INTERVAL: Duration = Duration::from_millis(500);
const TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT: Duration = Duration::from_secs(3);
const ATTEMPTS: u32 = 3;
const BACKOFF: Duration = Duration::from_secs(1);
const QUIET: Duration = Duration::from_secs(60);
/// The version of OpenTelemetry's semantic conventions that names follow; docs/reference/traces.md says where not.
const SCHEMA: &str = "https://opentelemetry.io/schemas/1.45.0";

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::telemetry::trace::collector::collector;
    use crate::telemetry::trace::{Tracer, TracerConfig};

    fn tracer(endpoint: String) -> (Tracer, Exporter) {
        let resource =
            || ["service.name", "k8s.namespace.name"].map(|name| (name.to_owned(), "shop".to_owned())).to_vec();
        Tracer::new(TracerConfig { endpoint, ratio: 1.0, mark: None, resource: Box::new(resource) }).unwrap()
    }

    fn span(name: &str) -> Span {
        Span { name: name.to_owned(), ..Span::default() }
    }

    fn names(request: &ExportTraceServiceRequest) -> Vec<&str> {
        request.resource_spans[0].scope_spans[0].spans.iter().map(|span| &*span.name).collect()
    }

    #[tokio::test]
    async fn exports_with_the_workloads_resource_and_our_scope() {
        let (endpoint, mut received) = collector(Vec::new()).await;
        let (tracer, exporter) = tracer(endpoint);
        tokio::spawn(exporter.run());

        tracer.record(span("a"));
        tracer.record(span("b"));
        tracer.flush().await;

        let request = received.recv().await.unwrap();
        assert_eq!(names(&request), ["a", "b"]);
        let resource = request.resource_spans[0].resource.as_ref().unwrap();
        assert_eq!(resource.attributes[0].key, "service.name");
        let scope = &request.resource_spans[0].scope_spans[0];
        assert_eq!(scope.scope.as_ref().unwrap().name, "outrigger");
        assert_eq!([&scope.schema_url, &request.resource_spans[0].schema_url], [SCHEMA; 2]);
        assert_eq!(tracer.counts(), Counts { exported: 2, dropped: 0 });
    }

    #[tokio::test]
    async fn repeats_what_the_collector_could_not_take_and_drops_what_it_refused() {
        let (endpoint, mut received) = collector(vec![Code::InvalidArgument, Code::Unavailable]).await;
        let (tracer, mut exporter) = tracer(endpoint);

        tracer.record(span("refused in the end"));
        exporter.drain().await;
        tracer.record(span("taken"));
        exporter.drain().await;

        assert_eq!(names(&received.recv().await.unwrap()), ["taken"]);
        assert_eq!(tracer.counts(), Counts { exported: 1, dropped: 1 });
    }

    #[tokio::test]
    async fn sends_batches_no_larger_than_a_collector_takes() {
        let (endpoint, mut received) = collector(Vec::new()).await;
        let (tracer, mut exporter) = tracer(endpoint);

        (0..BATCH + 1).for_each(|_| tracer.record(span("x")));
        exporter.drain().await;

        assert_eq!(names(&received.recv().await.unwrap()).len(), BATCH);
        assert_eq!(names(&received.recv().await.unwrap()).len(), 1);
    }

    #[tokio::test]
    async fn a_full_queue_drops_and_counts_and_never_waits() {
        let (tracer, _exporter) = tracer("http://127.0.0.1:1".to_owned());

        (0..QUEUE + 10).for_each(|_| tracer.record(span("x")));

        assert_eq!(tracer.counts(), Counts { exported: 0, dropped: 10 });
    }

    #[tokio::test(start_paused = true)]
    async fn a_collector_that_is_away_costs_the_spans_and_one_warning_a_minute() {
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let (tracer, mut exporter) = tracer(format!("http://{closed}"));

        tracer.record(span("a"));
        exporter.drain().await;
        assert_eq!(tracer.counts(), Counts { exported: 0, dropped: 1 });
        let first = exporter.last_warning.unwrap();
        tracer.record(span("b"));
        exporter.drain().await;

        assert_eq!(exporter.last_warning, Some(first));
        tokio::time::advance(QUIET).await;
        tracer.record(span("c"));
        exporter.drain().await;
        assert_ne!(exporter.last_warning, Some(first));
    }
}
