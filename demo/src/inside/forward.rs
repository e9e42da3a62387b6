//! Passing every export on, unchanged, to the OTLP receiver of the host.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

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
    accepted: Arc<AtomicU64>,
}

impl Forward {
    pub(super) fn start(socket: PathBuf) -> Self {
        let (queue, mut exports) = mpsc::channel(QUEUE);
        let accepted = Arc::new(AtomicU64::new(0));
        let counter = accepted.clone();
        tokio::spawn(async move {
            let mut client = TraceServiceClient::new(channel(socket)).max_decoding_message_size(MAX_ANSWER);
            while let Some(export) = exports.recv().await {
                if client.export(export).await.is_ok() {
                    counter.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        Self { queue, accepted }
    }

    /// Waits until what is queued now was sent, but not for long; returns how many exports were accepted.
    pub(super) async fn sent(&self) -> u64 {
        // The queue has its capacity back only when every earlier export was taken out of it.
        let _ = tokio::time::timeout(PATIENCE, self.queue.reserve_many(QUEUE)).await;
        self.accepted.load(Ordering::Relaxed)
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
const PATIENCE: Duration = Duration::from_secs(2);
const MAX_ANSWER: usize = 1024 * 1024;
