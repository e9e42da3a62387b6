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

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use outrigger_daemon::Drain;
use outrigger_wire::http2::{self, Incoming, Settings};
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
    async fn answer(&self, caller: &Caller, request: http::Request<Incoming>) -> Result<Answer, Status> {
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

/// Boxed: it is moved through several futures, each of which would have room for it.
type Tls = Box<TlsStream<TcpStream>>;

async fn serve(io: Tls, caller: Arc<Caller>, mesh: Arc<Mesh>, drain: Drain) {
    let address = caller.address;
    let answer = |request| {
        let (mesh, caller) = (mesh.clone(), caller.clone());
        // Boxed: what lives for hours is the answer alone.
        Box::pin(async move { response(mesh.answer(&caller, request).await, caller) })
    };
    let over = async {
        tokio::select! {
            () = drain.started() => {}
            () = unused(&caller) => {}
        }
    };
    let connection = Box::pin(http2::serve(io, &SETTINGS, answer, over));
    let served = if caller.leaf.is_some() {
        connection.await
    } else {
        // A first certificate takes milliseconds; whoever has not proved anything does not get to keep a connection.
        let Ok(served) = tokio::time::timeout(ANONYMOUS_LIMIT, connection).await else { return };
        served
    };
    if let Err(error) = served {
        debug!(%address, %error, "connection failed");
    }
}

/// Completes when the connection has had no call for a while: whether its peer is still there is asked only while a call is open.
async fn unused(caller: &Arc<Caller>) {
    loop {
        tokio::time::sleep(UNUSED_LIMIT).await;
        // Each call holds the caller, and the connection does.
        if Arc::strong_count(caller) == 1 {
            return;
        }
    }
}

const SETTINGS: Settings = Settings {
    max_streams: 16,
    stream_window: 256 * 1024,
    connection_window: 1024 * 1024,
    max_head: 16 * 1024,
    // Finds peers that are gone without a word, within 30 s: one interval may pass before silence is noticed.
    ping_interval: Duration::from_secs(10),
    ping_timeout: Duration::from_secs(10),
};

const MAX_CONNECTIONS: usize = 16 * 1024;

const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);

const ANONYMOUS_LIMIT: Duration = Duration::from_secs(30);

const UNUSED_LIMIT: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_connection_goes_when_it_has_had_no_call_for_a_while() {
        let caller = Arc::new(Caller::new(([127, 0, 0, 1], 1).into(), None).unwrap());
        let call = caller.clone();
        assert!(tokio::time::timeout(10 * UNUSED_LIMIT, unused(&caller)).await.is_err());

        drop(call);
        assert!(tokio::time::timeout(2 * UNUSED_LIMIT, unused(&caller)).await.is_ok());
    }
}
