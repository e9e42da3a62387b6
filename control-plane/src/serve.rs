//! The gRPC server: our own accept loop, TLS by the mesh's own rules, and the calls of `Mesh`.
//!
//! ```text
//! accept ─▶ TLS (a leaf is asked for, not demanded) ─▶ HTTP/2 ─▶ Sync      needs a leaf            sync, subscription
//! unproved                                            share  ├─▶ Certify   leaf or token           certify, limit
//!                                                            ├─▶ Progress  a control plane's leaf  reporter, progress
//!                                                            └─▶ Observe   a control plane's leaf  observe
//! ```
//! Whoever has proved nothing has one of a few places that others can take; whoever has, has the places of its workload.

mod bucket;
mod call;
mod caller;
mod certify;
mod known;
mod limit;
mod metrics;
mod observe;
mod progress;
mod proof;
mod reporter;
mod reporting;
mod share;
mod sidecars;
mod subscription;
mod sync;
#[cfg(feature = "kubernetes")]
mod turns;
mod unproved;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use outrigger_daemon::{Drain, Incoming};
use outrigger_wire::http2::{self, Settings};
use outrigger_wire::tls::{self, TlsStream};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tonic::Status;
use tracing::debug;

use call::{Answer, MAX_MESSAGE, Request, response};
use caller::Caller;
use share::Shares;
use unproved::{Guest, Unproved};

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
    async fn answer(&self, caller: &Caller, request: http::Request<http2::Incoming>) -> Result<Answer, Status> {
        let (head, body) = request.into_parts();
        match head.uri.path().strip_prefix("/outrigger.mesh.v1.Mesh/") {
            Some("Sync") => self.streams.open(caller, Request::new(body, MAX_MESSAGE)),
            Some("Certify") => {
                let request = in_time(Request::new(body, MAX_CERTIFY).only_message()).await?;
                self.certifier.certify(caller, request).await.map(|chain| Answer::one(&chain))
            }
            Some("Progress") => {
                self.reporter.may_ask(caller)?;
                self.reporter.open(caller, in_time(Request::new(body, MAX_MESSAGE).only_message()).await?)
            }
            Some("Observe") => {
                self.reporter.may_ask(caller)?;
                let request = in_time(Request::new(body, MAX_CERTIFY).only_message()).await?;
                Ok(observe::open(self.streams.observed.clone(), request, self.reporter.drain.clone()))
            }
            _ => Err(Status::unimplemented("the control plane has no such call")),
        }
    }
}

/// The only message of a request is as short as it is: nobody waits for it for long.
async fn in_time<T>(message: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    let late = |_| Status::deadline_exceeded(format!("the request did not come within {REQUEST_LIMIT:?}"));
    tokio::time::timeout(REQUEST_LIMIT, message).await.map_err(late)?
}

/// What all connections are served with.
#[derive(Debug)]
pub(crate) struct Server {
    /// Answers.
    pub(crate) mesh: Mesh,
    /// The configuration of each moment: certificates change while the listener stays.
    pub(crate) tls: Arc<ArcSwap<ServerConfig>>,
    /// What is counted.
    pub(crate) metrics: Metrics,
    /// Ends all connections when it starts.
    pub(crate) drain: Drain,
}

/// Accepts connections until the drain starts.
pub(crate) async fn accept(listener: TcpListener, server: Server) {
    let server = Arc::new(server);
    let drain = server.drain.clone();
    let (unproved, shares) = (Unproved::new(server.metrics.clone()), Shares::default());
    let mut incoming = Incoming::new(listener, "sync");
    loop {
        let (io, address) = tokio::select! {
            accepted = incoming.accept() => accepted,
            () = drain.started() => return,
        };
        let guest = tokio::select! {
            guest = unproved.enter(address.ip().to_canonical()) => guest,
            () = drain.started() => return,
        };
        // Boxed: a task is as large as all that it ever holds, and keeps that size as long as it lives.
        let secured = Box::pin(secure(io, address, server.tls.load_full(), shares.clone()));
        let server = server.clone();
        drain.spawn(async move {
            let secured = tokio::select! {
                secured = secured => secured,
                () = guest.shed() => None,
            };
            match secured {
                Some((io, caller, Standing::Proved)) => {
                    drop(guest);
                    serve(io, caller, server, &SETTINGS).await;
                }
                Some((io, caller, Standing::Unproved)) => Box::pin(serve_stranger(io, caller, server, guest)).await,
                None => {}
            }
        });
    }
}

/// Serves whoever has no leaf, or too many connections already: for a while, and until somebody else needs the place.
async fn serve_stranger(io: Tls, caller: Arc<Caller>, server: Arc<Server>, guest: Guest) {
    let address = caller.address;
    let served = Box::pin(serve(io, caller, server, &STRANGERS_SETTINGS));
    tokio::select! {
        () = served => {}
        // A first certificate takes milliseconds.
        () = tokio::time::sleep(STRANGERS_LIMIT) => debug!(%address, limit = ?STRANGERS_LIMIT, "a stranger's connection is over"),
        () = guest.shed() => debug!(%address, "a stranger's connection makes room for others"),
    }
}

/// Whether a connection has a place of its workload's.
enum Standing {
    Proved,
    Unproved,
}

/// The TLS handshake, and who has proved what in it; `None` when it has failed.
async fn secure(
    io: TcpStream,
    address: SocketAddr,
    config: Arc<ServerConfig>,
    shares: Shares,
) -> Option<(Tls, Arc<Caller>, Standing)> {
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
        Ok(mut caller) => {
            let standing = if caller.admit(&shares) { Standing::Proved } else { Standing::Unproved };
            Some((io, Arc::new(caller), standing))
        }
        Err(error) => {
            debug!(%address, %error, "the client's leaf names nobody"); // the handshake has refused it before
            None
        }
    }
}

/// Boxed: it is moved through several futures, each of which would have room for it.
type Tls = Box<TlsStream<TcpStream>>;

async fn serve(io: Tls, caller: Arc<Caller>, server: Arc<Server>, settings: &Settings) {
    let address = caller.address;
    let answer = |request| {
        let (server, caller) = (server.clone(), caller.clone());
        // Boxed: what lives for hours is the answer alone.
        Box::pin(async move { response(server.mesh.answer(&caller, request).await, caller) })
    };
    let over = async {
        tokio::select! {
            () = server.drain.started() => {}
            () = unused(&caller) => {}
        }
    };
    if let Err(error) = Box::pin(http2::serve(io, settings, answer, over)).await {
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
    most_streams: 16,
    stream_window: 256 * 1024,
    grown_window: 256 * 1024,
    connection_window: 1024 * 1024,
    max_head: 16 * 1024,
    max_heads: 768 * 1024,
    max_resets: 500,
    pings: true,
    // Finds peers that are gone without a word, within 30 s: one interval may pass before silence is noticed.
    ping_interval: Duration::from_secs(10),
    ping_timeout: Duration::from_secs(10),
    unread: Some(Duration::from_secs(60)),
    half: Duration::from_secs(10),
    refusal: http2::bare,
};

/// A first certificate is one call of a few KiB.
const STRANGERS_SETTINGS: Settings = Settings {
    max_streams: 2,
    most_streams: 2,
    stream_window: 64 * 1024,
    connection_window: 64 * 1024,
    max_head: 8 * 1024,
    ..SETTINGS
};

/// A request for a certificate and a token, each with its own limit.
const MAX_CERTIFY: usize = 40 * 1024;

const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);

const STRANGERS_LIMIT: Duration = Duration::from_secs(30);

const REQUEST_LIMIT: Duration = Duration::from_secs(10);

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
