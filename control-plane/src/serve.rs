//! The gRPC server: our own accept loop, TLS by the mesh's own rules, and the calls of `Mesh`.
//!
//! ```text
//! accept ─▶ TLS (a leaf is asked for, not demanded) ─▶ HTTP/2 ─▶ Sync      needs a leaf            sync, subscription
//!                                                            ├─▶ Certify   leaf or token           certify, limit
//!                                                            └─▶ Progress  a control plane's leaf  reporter, progress
//! ```

mod call;
mod caller;
mod certify;
mod known;
mod limit;
mod metrics;
mod progress;
mod proof;
mod reporter;
mod sidecars;
mod subscription;
mod sync;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use outrigger_daemon::Drain;
use outrigger_wire::tls::{self, TlsStream};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tonic::Status;
use tracing::{debug, warn};

use call::{Answer, Request, response};
use caller::Caller;

pub(crate) use certify::Certifier;
pub(crate) use known::Known;
pub(crate) use metrics::Metrics;
#[cfg(feature = "kubernetes")]
pub(crate) use proof::ServiceAccountTokens;
pub(crate) use proof::{JoinTokens, Proof};
#[cfg(feature = "kubernetes")]
pub(crate) use reporter::MAX_CARRIERS;
pub(crate) use reporter::Reporter;
pub(crate) use sidecars::Sidecars;
pub(crate) use sync::Streams;

/// The `Mesh` service.
#[derive(Debug)]
pub(crate) struct Mesh {
    /// Answers `Sync`.
    pub(crate) streams: Arc<Streams>,
    /// Answers `Certify`.
    pub(crate) certifier: Certifier,
    /// Answers `Progress`.
    pub(crate) reporter: Reporter,
}

impl Mesh {
    async fn answer(&self, caller: &Caller, request: hyper::Request<Incoming>) -> Result<Answer, Status> {
        let (head, body) = request.into_parts();
        match head.uri.path().strip_prefix("/outrigger.mesh.v1.Mesh/") {
            Some("Sync") => self.streams.open(caller, Request::new(body)),
            Some("Certify") => {
                let request = Request::new(body).only_message().await?;
                self.certifier.certify(caller, request).await.map(|chain| Answer::one(&chain))
            }
            Some("Progress") => self.reporter.open(caller, Request::new(body).only_message().await?),
            _ => Err(Status::unimplemented("the control plane has no such call")),
        }
    }
}

/// Accepts connections until the drain starts.
pub(crate) async fn accept(listener: TcpListener, tls: Arc<ArcSwap<ServerConfig>>, mesh: Mesh, drain: Drain) {
    let mesh = Arc::new(mesh);
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(permit) = permits.clone().acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = drain.started() => return,
        };
        match accepted {
            Ok((io, address)) => {
                // The configuration of this moment: certificates change while the listener stays.
                let config = tls.load_full();
                let (mesh, drain_too) = (mesh.clone(), drain.clone());
                // Boxed: a task is as large as all that it ever holds, and keeps that size as long as it lives.
                let secured = Box::pin(secure(io, address, config));
                drain.spawn(async move {
                    if let Some((io, caller)) = secured.await {
                        serve(io, caller, mesh, drain_too).await;
                    }
                    drop(permit);
                });
            }
            Err(error) => {
                // Out of descriptors, most likely: others must be closed first.
                warn!(%error, "accept failed");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// The TLS handshake, and who has proved what in it; `None` when it has failed.
async fn secure(io: TcpStream, address: SocketAddr, config: Arc<ServerConfig>) -> Option<(Tls, Arc<Caller>)> {
    let _ = io.set_nodelay(true);
    let io = match tokio::time::timeout(HANDSHAKE_LIMIT, tls::accept(config, io)).await {
        Ok(Ok(io)) => Box::new(io),
        Ok(Err(error)) => {
            debug!(%address, %error, "TLS handshake failed");
            return None;
        }
        Err(_) => {
            debug!(%address, limit = ?HANDSHAKE_LIMIT, "TLS handshake took too long");
            return None;
        }
    };
    let leaf = io.peer_certificates().and_then(|chain| chain.first());
    match Caller::new(address, leaf) {
        Ok(caller) => Some((io, Arc::new(caller))),
        Err(error) => {
            debug!(%address, %error, "the client's leaf names nobody"); // the handshake has refused it before
            None
        }
    }
}

/// Boxed: hyper moves it through several states.
type Tls = Box<TlsStream<TcpStream>>;

async fn serve(io: Tls, caller: Arc<Caller>, mesh: Arc<Mesh>, drain: Drain) {
    let address = caller.address;
    // A first certificate takes milliseconds; whoever has not proved anything does not get to keep a connection.
    let limit = if caller.leaf.is_some() { FOREVER } else { ANONYMOUS_LIMIT };
    let service = service_fn(move |request| {
        let (mesh, caller) = (mesh.clone(), caller.clone());
        Box::pin(async move { Ok::<_, Infallible>(response(mesh.answer(&caller, request).await)) })
    });
    let mut connection = Box::pin(
        hyper::server::conn::http2::Builder::new(Tracked(drain.clone()))
            .timer(TokioTimer::new())
            .max_concurrent_streams(16)
            .max_send_buf_size(64 * 1024)
            .max_header_list_size(16 * 1024)
            // Finds peers that are gone without a word.
            .keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(10))
            .serve_connection(TokioIo::new(io), service),
    );
    let served = tokio::select! {
        served = &mut connection => served,
        () = tokio::time::sleep(limit) => return,
        () = drain.started() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        debug!(%address, %error, "connection failed");
    }
}

/// Runs what hyper spawns under the drain, so that nothing is left behind.
#[derive(Clone)]
struct Tracked(Drain);

impl<F: Future<Output: Send> + Send + 'static> hyper::rt::Executor<F> for Tracked {
    fn execute(&self, future: F) {
        self.0.spawn(async move {
            future.await;
        });
    }
}

const MAX_CONNECTIONS: usize = 16 * 1024;

const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);

const ANONYMOUS_LIMIT: Duration = Duration::from_secs(30);

const FOREVER: Duration = Duration::MAX;
