//! A small OTLP receiver: it keeps the latest spans for the proofs, and passes exports on.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use anyhow::Context as _;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

use super::forward::Forward;
use super::spans::{Span, Spans};

/// What was collected.
#[derive(Debug, Default)]
pub(super) struct Collector {
    spans: Mutex<Spans>,
    forward: OnceLock<Forward>,
}

impl Collector {
    /// Looks at the spans that are kept.
    pub(super) fn with<T>(&self, look: impl FnOnce(&Spans) -> T) -> T {
        look(&self.spans.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Exports that the host's receiver accepted, when the earlier ones were all sent.
    pub(super) async fn forwarded(&self) -> u64 {
        match self.forward.get() {
            Some(forward) => forward.sent().await,
            None => 0,
        }
    }
}

/// Listens, and serves for as long as the process lives.
pub(super) async fn listen(
    collector: Arc<Collector>,
    addr: SocketAddr,
    forward: Option<PathBuf>,
) -> anyhow::Result<()> {
    let listener = TcpListener::bind(addr).await.with_context(|| format!("listen for spans on {addr}"))?;
    if let Some(socket) = forward {
        let _ = collector.forward.set(Forward::start(socket));
    }
    let service = TraceServiceServer::new(Receiver(collector));
    let server = tonic::transport::Server::builder().add_service(service);
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    Ok(())
}

struct Receiver(Arc<Collector>);

#[tonic::async_trait]
impl TraceService for Receiver {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let export = request.into_inner();
        if let Some(forward) = self.0.forward.get() {
            forward.pass_on(&export);
        }
        let spans = export.resource_spans.into_iter().flat_map(Span::all);
        self.0.spans.lock().unwrap_or_else(PoisonError::into_inner).extend(spans);
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}
