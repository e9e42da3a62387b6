//! The inbound path, top to bottom: from a peer's connection to the app.
//!
//! ```text
//! peer ─▶ 1 accept ─▶ 2 original destination ─▶ 3 look up ─▶ 4 protocol ─┬▶ mesh TLS: 5 who is it? ─▶ ALPN says HTTP or bytes
//!                                                                       ├▶ plaintext HTTP (when permitted)
//!                                                                       └▶ other bytes, the app's own TLS (when permitted)
//! HTTP, per request: observe ▸ respond ▸ hygiene ▸ 10 connect ─▶ app        bytes, once: 10 connect ▸ copy
//! ```

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
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
use crate::caller::{Caller, Reach};
use crate::destination::PortPolicy;
use crate::detect::{self, Detected, Late, Passed, Prefixed, Sides};
use crate::direction::Direction;
use crate::error::ProxyError;
use crate::grants;
use crate::headers::{Asserted, ClientNames};
use crate::http::{
    Admit, Dispatch, HygieneLayer, Observe, RespondLayer, RetryLayer, Server, TimeoutLayer, To, Version, farewell,
};
use crate::orig_dst::original_destination;
use crate::stream::{Io, Reset};
use crate::tcp::{self, Way};
use crate::tunnel::{TAKEN, Tunnel};
use crate::worker::Worker;

/// How long a peer may take for its part of the handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

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
    let mut caller = Caller::new(None, address, place);
    if let Some(metrics) = worker.scrape.metrics(app.port()) {
        caller.reach = Reach::Metrics;
        return serve_strict(worker, Prefixed::new(io), metrics, &PortPolicy::of_metrics(), caller).await;
    }
    let policy = worker.store.inbound(app.port()).await?; // 3
    let mut io = Prefixed::new(io);
    if policy.mode == InboundMode::Strict {
        return serve_strict(worker, io, app, &policy, caller).await;
    }
    let open = async || worker.to_app.plain(app).await;
    // A meshed peer comes with TLS, whatever the app's port carries: only HTTP can be told without a look.
    let opaque = policy.is_opaque();
    let declared = if opaque { Protocol::Detect } else { policy.protocol };
    let sides = Sides { learned: &policy.learned, has_routes: false, hello: detect::HELLO };
    let detected = detect::detect(&mut io, declared, sides, open).await;
    match detected.inspect_err(|_| io.reset_when_dropped())? {
        // 4
        Detected::Http1 | Detected::Http2 if opaque => {
            serve_bytes(worker, io, app, None, caller.into(), &policy).await.map(drop)
        }
        Detected::Tls(dialled) => {
            if detect::mesh_hello(&mut io).await {
                drop(dialled);
                return serve_meshed(worker, io, app, &policy, caller).await;
            }
            serve_bytes(worker, io, app, dialled, caller.into(), &policy).await.map(drop) // the app's own TLS
        }
        Detected::Opaque(dialled) => serve_bytes(worker, io, app, dialled, caller.into(), &policy).await.map(drop),
        Detected::Http1 => serve_http(worker, io, app, caller.into(), Version::Http1, Version::Http1).await,
        Detected::Http2 => serve_http(worker, io, app, caller.into(), Version::Http2, Version::Http2).await,
        Detected::Closed => Ok(()),
    }
}

/// Serves a port whose mode is strict: nothing is dialled and nothing answered before the peer has proved who it is, but for what scrapers may
/// read.
async fn serve_strict(
    worker: Arc<Worker>,
    mut io: Prefixed<TcpStream>,
    app: SocketAddr,
    policy: &PortPolicy,
    caller: Caller,
) -> Result<(), ProxyError> {
    match timeout(HANDSHAKE, detect::mesh_hello(&mut io)).await {
        Ok(true) => serve_meshed(worker, io, app, policy, caller).await,
        hello => {
            let open = worker.scrape.plaintext(app.port()).filter(|_| hello.is_ok());
            let Some(reach) = open else {
                let (from, port) = (caller.address, app.port());
                let detail = format!("{from} came without mesh TLS to port {port}, whose mode is strict");
                return Err(ProxyError::new(ErrorCode::TlsProtocol, detail));
            };
            serve_http(worker, io, app, caller.limited(reach).into(), Version::Http1, Version::Http1).await
        }
    }
}

/// Serves a peer of the mesh, once it has proved who it is.
async fn serve_meshed(
    worker: Arc<Worker>,
    io: Prefixed<TcpStream>,
    app: SocketAddr,
    policy: &PortPolicy,
    caller: Caller,
) -> Result<(), ProxyError> {
    let (io, peer, alpn) = accept_tls(&worker, io, caller.address).await?; // 5
    caller.place.meshed();
    let caller = Arc::new(caller.proved(peer));
    let drain = worker.drains.inbound.clone();
    if alpn == Alpn::Tunnel {
        return serve_tunnel(worker, Tunnel::called(io, drain), app, caller).await;
    }
    // Of the same type, so that all that serves is there once for it and once for what comes in the clear.
    let io = Prefixed::new(Tunnel::bare(io, drain));
    let version = match alpn {
        Alpn::Tunnel | Alpn::Opaque => return serve_bytes(worker, io, app, None, caller, policy).await.map(drop),
        Alpn::Http1 => (Version::Http1, Version::Http1),
        Alpn::Http2 => (Version::Http2, Version::Http2),
        Alpn::Http1InHttp2 => (Version::Http2, Version::Http1),
    };
    policy.learned.http();
    serve_http(worker, io, app, caller, version.0, version.1).await
}

/// Serves connections of bytes that a peer's sidecar sends one after the other.
async fn serve_tunnel(
    worker: Arc<Worker>,
    mut tunnel: Tunnel<TlsStream<Prefixed<TcpStream>>>,
    app: SocketAddr,
    caller: Arc<Caller>,
) -> Result<(), ProxyError> {
    let gone = |error: io::Error| ProxyError::new(ErrorCode::ClientClosed, error.to_string());
    let mut farewell = pin!(farewell(&worker.drains.inbound, worker.max_connection_age));
    let mut served = 0_u32;
    loop {
        // The first one was on its way before anybody could be told.
        let is_opened = tokio::select! {
            biased;
            opened = tunnel.opened() => opened.map_err(gone)?,
            _ = &mut farewell, if served > 0 => {
                tunnel.tell_leaving().await.map_err(gone)?;
                false
            }
        };
        if !is_opened {
            return Ok(());
        }
        served = served.saturating_add(1);
        let policy = worker.store.inbound(app.port()).await?; // 3
        let opened = worker.to_app.plain(app).await; // 10
        let status = opened.as_ref().map_or_else(|error| error.code.number(), |_| TAKEN);
        tunnel.answer(status).await.map_err(gone)?;
        let dialled = match opened {
            Ok(dialled) => Some(Prefixed::new(dialled)),
            Err(error) => {
                worker.telemetry.tcp_not_taken(&caller, &error);
                worker.telemetry.connection_failed(Direction::Inbound, caller.address, &error);
                continue;
            }
        };
        let served = serve_bytes(worker.clone(), Prefixed::new(tunnel), app, dialled, caller.clone(), &policy).await?;
        match served.filter(Tunnel::is_free) {
            Some(free) => tunnel = free,
            None => return Ok(()),
        }
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
    let accepted = accepted.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
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
    app: SocketAddr,
    caller: Arc<Caller>,
    version: Version,
    app_version: Version,
) -> Result<(), ProxyError>
where
    I: AsyncRead + AsyncWrite + Reset + Unpin + Send + 'static,
{
    let to = To::App(match app_version {
        // Clients of HTTP/2 do not share connections to the app, where one could use up what all have: each has its own, as without the mesh.
        Version::Http2 => Arc::new(Endpoint::local(app, 1)),
        Version::Http1 => worker.store.app(app),
    });
    let asserted = Asserted::inbound(worker.client_cert_headers);
    let client = ClientNames::of(worker.client_headers, &caller);
    let stack = ServiceBuilder::new()
        .layer_fn(|inner| Observe::new(inner, worker.telemetry.clone())) // sees the final answer, also of our errors
        .layer(RespondLayer { drain: worker.drains.inbound.clone() }) //       ProxyError → status, gRPC status
        .layer_fn(Admit::new) //                                              is there room for strangers?
        .layer(HygieneLayer { asserted, client }) //                          what may not pass a proxy
        .layer(TimeoutLayer) //                                           8   the caller's deadline
        .layer(RetryLayer) //                                             8   the app's idle connections may end
        .service(Dispatch::new(&worker, Direction::Inbound, app_version)); //                10   the app
    let settings = match caller.peer {
        None => &grants::STRANGER,
        Some(_) if version == app_version => &grants::MESH,
        Some(_) => &grants::WRAPPED,
    };
    Server { worker, direction: Direction::Inbound, to, caller: Some(caller), version, settings }.serve(io, stack).await
}

/// Copies bytes to the app and back. What turns out to be HTTP is served as that, unless the port is declared to carry something else: a
/// client does not choose whether its requests are looked at. Returns what the bytes came over, if they ended in good order.
async fn serve_bytes<I>(
    worker: Arc<Worker>,
    mut io: Prefixed<I>,
    app: SocketAddr,
    dialled: Option<Prefixed<Io>>,
    caller: Arc<Caller>,
    policy: &PortPolicy,
) -> Result<Option<I>, ProxyError>
where
    I: AsyncRead + AsyncWrite + Reset + Unpin + Send + 'static,
{
    // Before the app is bothered, when it is the client that has spoken.
    if caller.peer.is_none() && dialled.is_none() {
        caller.place.stranger()?;
    }
    let mut dialled = match dialled {
        Some(dialled) => dialled,
        None => {
            let opened = worker.to_app.plain(app).await; // 10
            let opened = opened.inspect_err(|error| worker.telemetry.tcp_not_taken(&caller, error));
            Prefixed::new(opened.inspect_err(|_| io.reset_when_dropped())?)
        }
    };
    let mut passed = Passed::default();
    let mut first_line = None;
    if !policy.is_opaque() {
        let version = match detect::watch(&mut io, &mut dialled, &mut passed).await {
            Late::Http1 => Some(Version::Http1),
            Late::Http2 => Some(Version::Http2),
            Late::Bytes(line) => {
                first_line = line;
                None
            }
        };
        if let Some(version) = version {
            drop(dialled);
            policy.learned.http();
            return serve_http(worker, io, app, caller, version, version).await.map(|()| None);
        }
    }
    let record = worker.telemetry.tcp_inbound(caller.clone(), app);
    record.copied(Way::There, passed.there);
    record.copied(Way::Back, passed.back);
    let mut unheard = caller.peer.is_none();
    let see = |way, bytes: &[u8]| {
        if way == Way::There {
            if unheard {
                unheard = false;
                // Too late to refuse it: the app has seen it, and is served by what it said.
                let _ = caller.place.stranger();
            }
            if let Some(line) = &mut first_line {
                match line.read(bytes) {
                    Some(true) => {
                        return Err(io::Error::new(io::ErrorKind::InvalidData, "a request line that is too long"));
                    }
                    Some(false) => first_line = None,
                    None => {}
                }
            }
        }
        record.copied(way, bytes.len());
        Ok(())
    };
    let copied = tcp::copy(&mut io, &mut dialled, see).await;
    let has_ended = copied.is_ok();
    record.end(copied);
    Ok(if has_ended { io.into_inner() } else { None })
}
