//! The inbound path, top to bottom: from a peer's connection to the app.
//!
//! ```text
//! peer ─▶ 1 accept ─▶ 2 original destination ─▶ 3 look up ─▶ 4 protocol ─┬▶ mesh TLS: 5 who is it? ─▶ ALPN says HTTP or bytes
//!                                                                       ├▶ plaintext HTTP (when permitted)
//!                                                                       └▶ other bytes, the app's own TLS (when permitted)
//! HTTP, per request: observe ▸ respond ▸ hygiene ▸ 10 connect ─▶ app        bytes, once: 10 connect ▸ copy
//! ```

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use outrigger_identity::{Alpn, Peer, peer_of};
use outrigger_proto::ErrorCode;
use outrigger_proto::model::{InboundMode, Protocol};
use outrigger_wire::tls::{self, TlsStream};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tower::ServiceBuilder;

use crate::admission::Place;
use crate::balance::Endpoint;
use crate::connect::{Io, Reset};
use crate::detect::{self, Detected, Learned, Prefixed, Sides};
use crate::error::ProxyError;
use crate::http::{
    Admit, Asserted, ClientNames, Direction, Dispatch, HygieneLayer, Observe, RespondLayer, RetryLayer, Server, To,
    Version, grants,
};
use crate::orig_dst::original_destination;
use crate::tcp::{self, Way};
use crate::worker::Worker;

/// How long a peer may take for its part of the handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Who is at the other end of an inbound connection.
pub(crate) struct Caller {
    /// `None`: plaintext, from outside the mesh.
    pub(crate) peer: Option<Peer>,
    pub(crate) address: SocketAddr,
    pub(crate) place: Arc<Place>,
}

/// Serves one connection of a peer. `explicit` is the app's address where there is no capture.
pub(crate) async fn serve(
    worker: Arc<Worker>,
    io: TcpStream,
    explicit: Option<SocketAddr>,
    place: Arc<Place>,
) -> Result<(), ProxyError> {
    let app = match explicit {
        Some(app) => app,
        None => original_destination(&io)?.0, // 2
    };
    let address = io.peer_addr().map_err(|error| ProxyError::new(ErrorCode::ClientClosed, error.to_string()))?;
    // One listener serves both families: an IPv4 peer comes as ::ffff:….
    let address = SocketAddr::new(address.ip().to_canonical(), address.port());
    let policy = worker.store.inbound(app.port()).await?; // 3
    let mut io = Prefixed::new(io);
    if policy.mode == InboundMode::Strict {
        // Nothing is dialled and nothing answered before the peer has proved who it is.
        return match timeout(HANDSHAKE, detect::mesh_hello(&mut io)).await {
            Ok(true) => serve_meshed(worker, io, app, &policy.learned, (address, place)).await,
            Ok(false) | Err(_) => {
                let detail = format!("{address} came without mesh TLS to port {}, whose mode is strict", app.port());
                Err(ProxyError::new(ErrorCode::TlsProtocol, detail))
            }
        };
    }
    let endpoint = worker.store.app(app);
    let open = async || worker.to_app.plain(app).await;
    let caller = Arc::new(Caller { peer: None, address, place: place.clone() });
    // A meshed peer comes with TLS, whatever the app's port carries: only HTTP can be told without a look.
    let opaque = matches!(policy.protocol, Protocol::Opaque | Protocol::Tls);
    let declared = if opaque { Protocol::Detect } else { policy.protocol };
    let sides = Sides { learned: &policy.learned, has_routes: false, hello: detect::HELLO };
    let detected = detect::detect(&mut io, declared, sides, open).await;
    match detected.inspect_err(|_| io.reset_when_dropped())? {
        // 4
        Detected::Http1 | Detected::Http2 if opaque => serve_bytes(&worker, io, app, None, &caller).await,
        Detected::Tls(dialled) => {
            if detect::mesh_hello(&mut io).await {
                drop(dialled);
                return serve_meshed(worker, io, app, &policy.learned, (address, place)).await;
            }
            serve_bytes(&worker, io, app, dialled, &caller).await // the app's own TLS
        }
        Detected::Opaque(dialled) => serve_bytes(&worker, io, app, dialled, &caller).await,
        Detected::Http1 => serve_http(worker, io, To::App(endpoint), caller, Version::Http1, Version::Http1).await,
        Detected::Http2 => serve_http(worker, io, To::App(endpoint), caller, Version::Http2, Version::Http2).await,
        Detected::Closed => Ok(()),
    }
}

/// Serves a peer of the mesh, once it has proved who it is.
async fn serve_meshed(
    worker: Arc<Worker>,
    io: Prefixed<TcpStream>,
    app: SocketAddr,
    learned: &Learned,
    (address, place): (SocketAddr, Arc<Place>),
) -> Result<(), ProxyError> {
    let (io, peer, alpn) = accept_tls(&worker, io, address).await?; // 5
    place.meshed();
    let caller = Arc::new(Caller { peer: Some(peer), address, place });
    let to = To::App(worker.store.app(app));
    if alpn != Alpn::Opaque {
        learned.http();
    }
    match alpn {
        Alpn::Http1 => serve_http(worker, io, to, caller, Version::Http1, Version::Http1).await,
        Alpn::Http2 => serve_http(worker, io, to, caller, Version::Http2, Version::Http2).await,
        Alpn::Http1InHttp2 => serve_http(worker, io, to, caller, Version::Http2, Version::Http1).await,
        Alpn::Opaque => serve_bytes(&worker, io, app, None, &caller).await,
    }
}

async fn accept_tls(
    worker: &Worker,
    io: Prefixed<TcpStream>,
    address: SocketAddr,
) -> Result<(TlsStream<Prefixed<TcpStream>>, Peer, Alpn), ProxyError> {
    let own = worker.tls.ready().await?;
    // Boxed: a connection's task is as large as all that it ever holds, and keeps that size as long as it lives.
    let accepted = timeout(HANDSHAKE, Box::pin(tls::accept(own.server.clone(), io))).await;
    let accepted = accepted.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
    let io = accepted.map_err(|error| ProxyError::handshake(address, &error))?;
    let refused = |why: &str| ProxyError::new(ErrorCode::TlsProtocol, format!("{address}: {why}"));
    let leaf = io.peer_certificates().and_then(<[_]>::first).ok_or_else(|| refused("no certificate"))?;
    let peer = peer_of(leaf).map_err(|error| refused(&error.to_string()))?;
    let alpn = io.alpn().and_then(Alpn::from_id).ok_or_else(|| refused("no mesh protocol"))?;
    Ok((io, peer, alpn))
}

/// Serves HTTP; each request passes the stack. First line is outermost: requests go down, responses up.
async fn serve_http<I>(
    worker: Arc<Worker>,
    io: I,
    to: To,
    caller: Arc<Caller>,
    version: Version,
    app_version: Version,
) -> Result<(), ProxyError>
where
    I: AsyncRead + AsyncWrite + Reset + Unpin + Send + 'static,
{
    let to = match to {
        // Clients of HTTP/2 do not share connections to the app, where one could use up what all have: each has its own, as without the mesh.
        To::App(app) if app_version == Version::Http2 => To::App(Arc::new(Endpoint::local(app.address, 1))),
        to => to,
    };
    let asserted = Asserted::inbound(worker.client_cert_headers);
    let client = ClientNames::of(worker.client_headers, &caller);
    let stack = ServiceBuilder::new()
        .layer_fn(|inner| Observe::new(inner, worker.telemetry.clone())) // sees the final answer, also of our errors
        .layer(RespondLayer { drain: worker.drain.clone() }) //               ProxyError → status, gRPC status
        .layer_fn(Admit::new) //                                              is there room for strangers?
        .layer(HygieneLayer { asserted, client }) //                          what may not pass a proxy
        .layer(RetryLayer) //                                             8   the app's idle connections may end
        .service(Dispatch::new(&worker, Direction::Inbound, app_version)); //                10   the app
    let settings = match caller.peer {
        None => &grants::STRANGER,
        Some(_) if version == app_version => &grants::MESH,
        Some(_) => &grants::WRAPPED,
    };
    Server { worker, direction: Direction::Inbound, to, caller: Some(caller), version, settings }.serve(io, stack).await
}

/// Copies bytes to the app and back.
async fn serve_bytes<I>(
    worker: &Worker,
    io: I,
    app: SocketAddr,
    dialled: Option<Prefixed<Io>>,
    caller: &Arc<Caller>,
) -> Result<(), ProxyError>
where
    I: AsyncRead + AsyncWrite + Reset + Unpin,
{
    // Before the app is bothered, when it is the client that has spoken.
    if caller.peer.is_none() && dialled.is_none() {
        caller.place.stranger()?;
    }
    let dialled = match dialled {
        Some(dialled) => dialled,
        None => {
            let opened = worker.to_app.plain(app).await; // 10
            Prefixed::new(opened.inspect_err(|_| io.reset_when_dropped())?)
        }
    };
    let record = worker.telemetry.tcp_inbound(caller.clone(), app);
    let unheard = AtomicBool::new(caller.peer.is_none());
    let count = |way, bytes| {
        if way == Way::There && unheard.load(Ordering::Relaxed) && unheard.swap(false, Ordering::Relaxed) {
            // Too late to refuse it: the app has seen it, and is served by what it said.
            let _ = caller.place.stranger();
        }
        record.copied(way, bytes);
    };
    let copied = tcp::copy(io, dialled, count).await;
    record.end(copied);
    Ok(())
}

/// What the control plane says of a port of the own workload.
pub(crate) struct PortPolicy {
    pub(crate) mode: InboundMode,
    pub(crate) protocol: Protocol,
    pub(crate) learned: Arc<Learned>,
}
