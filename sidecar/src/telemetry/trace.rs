//! Traces: whose request a request belongs to, and what is told to an OTLP collector about it.
//!
//! [`Tracer::begin`] reads the caller's trace context and decides whether the request is sampled; [`Tracer::record`]
//! hands a finished span to the exporter, which runs beside the data path and never holds it up.

#[cfg(test)]
pub(crate) mod collector;
mod export;
mod span;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use http::uri::{Scheme, Uri};
use opentelemetry_proto::tonic::trace::v1::Span;
use tokio::sync::{mpsc, oneshot};

pub(crate) use export::{Counts, Exporter};
pub(crate) use span::{HttpSpan, Kind};

use crate::trace_context::{Incoming, Sampler, TraceContext};
use export::Queue;

/// Where traces go, and which.
pub(crate) struct TracerConfig {
    /// `http://HOST:PORT`, OTLP over gRPC.
    pub(crate) endpoint: String,
    /// Share of the traces that this sidecar starts, 0 to 1.
    pub(crate) ratio: f64,
    /// Keeps the exporter's own packets out of the capture.
    pub(crate) mark: Option<u32>,
    /// Asked at each export: `service.name` is learned from the control plane.
    pub(crate) resource: Box<dyn Fn() -> Resource + Send + Sync>,
}

/// OpenTelemetry resource attributes, such as `service.name`.
pub(crate) type Resource = Vec<(String, String)>;

/// Decides about traces and takes finished spans.
pub(crate) struct Tracer {
    sampler: Sampler,
    queue: Arc<Queue>,
    flush: mpsc::Sender<oneshot::Sender<()>>,
}

impl Tracer {
    /// Makes a tracer and its exporter, which is to run on the control runtime.
    ///
    /// # Errors
    /// When the endpoint is none that plaintext gRPC can go to.
    pub(crate) fn new(config: TracerConfig) -> Result<(Self, Exporter), EndpointError> {
        let TracerConfig { endpoint, ratio, mark, resource } = config;
        let collector = parse_endpoint(&endpoint)?;
        let queue = Arc::new(Queue::default());
        let (flush, flushes) = mpsc::channel(1);
        let exporter = Exporter::new(collector, mark, resource, queue.clone(), flushes);
        Ok((Self { sampler: Sampler::new(ratio), queue, flush }, exporter))
    }

    /// Reads the caller's context and makes the one of a span for this request; `starts`: a new trace may begin with it.
    pub(crate) fn begin(&self, headers: &HeaderMap, starts: bool) -> TraceContext {
        self.sampler.begin(&Incoming::read(headers), starts)
    }

    /// Queues a span; a full queue drops and counts it.
    pub(crate) fn record(&self, span: Span) {
        self.queue.push(span);
    }

    /// Spans sent and spans lost since the start.
    pub(crate) fn counts(&self) -> Counts {
        self.queue.counts()
    }

    /// Sends what is queued, or gives up after a moment.
    pub(crate) async fn flush(&self) {
        let (done, wait) = oneshot::channel();
        if self.flush.try_send(done).is_ok() {
            let _ = tokio::time::timeout(FLUSH, wait).await;
        }
    }
}

/// How long the end of a process waits for the collector.
const FLUSH: Duration = Duration::from_secs(2);

impl fmt::Debug for Tracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracer").field("sampler", &self.sampler).finish_non_exhaustive()
    }
}

/// Checks the setting that names a collector; empty is none.
///
/// # Errors
/// When plaintext gRPC cannot go there.
pub(crate) fn endpoint(text: &str) -> Result<String, EndpointError> {
    if !text.is_empty() {
        parse_endpoint(text)?;
    }
    Ok(text.to_owned())
}

fn parse_endpoint(text: &str) -> Result<Uri, EndpointError> {
    let wrong = |problem| EndpointError { endpoint: text.chars().take(256).collect(), problem };
    let uri: Uri = text.parse().map_err(|_| wrong("not a URL"))?;
    if uri.scheme() != Some(&Scheme::HTTP) {
        return Err(wrong("its scheme is not http; collectors beyond the machine are reached through a local agent"));
    }
    if uri.host().is_none_or(str::is_empty) {
        return Err(wrong("it has no host"));
    }
    Ok(uri)
}

/// An OTLP endpoint that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{endpoint}` is not an OTLP endpoint such as http://127.0.0.1:4317: {problem}")]
pub(crate) struct EndpointError {
    endpoint: String,
    problem: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_endpoints_that_are_not_plain_http() {
        for endpoint in ["", "127.0.0.1:4317", "https://collector:4317", "http://", "/x", "grpc://a:1"] {
            assert!(parse_endpoint(endpoint).is_err(), "{endpoint}");
        }
        assert_eq!(parse_endpoint("http://[::1]:4317").unwrap().port_u16(), Some(4317));
    }
}
