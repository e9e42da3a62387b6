//! Passing every export on, unchanged, to the OTLP receiver of the host.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tonic::transport::{Channel, Endpoint};

/// A bounded queue to the host's receiver: when it is slow, exports are dropped and the demo goes on.
#[derive(Debug)]
pub(super) struct Forward {
    queue: mpsc::Sender<ExportTraceServiceRequest>,
}

impl Forward {
    /// `accepted` counts what the receiver took.
    pub(super) fn start(socket: PathBuf, accepted: Arc<AtomicU64>) -> Self {
        let (queue, mut exports) = mpsc::channel(QUEUE);
        tokio::spawn(async move {
            let mut client = TraceServiceClient::new(channel(socket)).max_decoding_message_size(MAX_ANSWER);
            while let Some(export) = exports.recv().await {
                if client.export(export).await.is_ok() {
                    accepted.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        Self { queue }
    }

    pub(super) fn pass_on(&self, export: &ExportTraceServiceRequest) {
        if let Ok(permit) = self.queue.try_reserve() {
            permit.send(export.clone());
        }
    }
}

fn channel(socket: PathBuf) -> Channel {
    let connect = move |_| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    };
    Endpoint::from_static("http://otlp.host").connect_with_connector_lazy(tower::service_fn(connect))
}

const QUEUE: usize = 256;
const MAX_ANSWER: usize = 1024 * 1024;
