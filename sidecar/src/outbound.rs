//! The outbound path, top to bottom: from the workload's connection to an endpoint.
//!
//! ```text
//! app ─▶ 1 accept ─▶ 2 original destination ─▶ 3 look up ─▶ 4 protocol ─┬▶ HTTP, per request:
//!                                                                      │    observe ▸ respond ▸ hygiene ▸ 7 route ▸
//!                                                                      │    8 timeout ▸ retry ▸ 9 balance ▸
//!                                                                      │    10 connect ▸ 11 mutual TLS ─▶ [wire]
//!                                                                      └▶ bytes, once: 7 weights ▸ 9 ▸ 10 ▸ 11 ▸ copy
//! ```

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use outrigger_identity::{Alpn, Identity};
use outrigger_proto::ErrorCode;
use outrigger_proto::model::Protocol;
use outrigger_routing::Destination;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tower::ServiceBuilder;

use crate::balance::{Backend, Endpoint, InFlight, Outcome, Picked, Pool, reached};
use crate::destination::{Rule, Target, TargetKind, Via};
use crate::detect::{self, Detected, Prefixed, Sides};
use crate::direction::Direction;
use crate::error::{Fate, ProxyError};
use crate::grants;
use crate::headers::Asserted;
use crate::http::{
    Dispatch, HygieneLayer, Mirrors, Observe, RespondLayer, RetryLayer, RoutingLayer, Server, TimeoutLayer, To, Version,
};
use crate::orig_dst::{OrigDst, original_destination};
use crate::random::random;
use crate::stream::{Io, Reset};
use crate::tcp;
use crate::worker::Worker;

/// Attempts to open a connection for bytes: nothing was sent, so another endpoint is always safe.
const TCP_ATTEMPTS: u32 = 3;

/// The same as long as each is refused and there is an endpoint that has not refused.
const REFUSED_ATTEMPTS: u32 = 9;

/// Serves one connection of the workload. `explicit` is the destination where there is no capture.
pub(crate) async fn serve(worker: Arc<Worker>, io: TcpStream, explicit: Option<SocketAddr>) -> Result<(), ProxyError> {
    let destination = match explicit {
        Some(destination) => OrigDst(destination),
        None => original_destination(&io)?, // 2
    };
    let target = worker.store.target(destination).await.inspect_err(|_| io.reset_when_dropped())?; // 3
    let mut io = Prefixed::new(io);
    let mut via = None;
    let open = async || open_bytes(&worker, &target, &mut via).await;
    let has_routes = matches!(&**target.kind(), TargetKind::Service { routes: Some(_), .. });
    let sides = Sides { learned: target.learned(), has_routes, hello: Duration::ZERO };
    let detected = detect::detect(&mut io, declared(&target), sides, open).await;
    match detected.inspect_err(|_| io.reset_when_dropped())? {
        // 4
        Detected::Http1 => serve_http(worker, io, target, Version::Http1).await,
        Detected::Http2 => serve_http(worker, io, target, Version::Http2).await,
        Detected::Tls(dialled) | Detected::Opaque(dialled) => {
            let peer = match dialled {
                // The client took its time: the connection was opened to see who speaks first.
                Some(peer) => peer,
                None => {
                    let opened = open_bytes(&worker, &target, &mut via).await; // 7, 9, 10, 11
                    Prefixed::new(opened.inspect_err(|_| io.reset_when_dropped())?)
                }
            };
            let via = via.ok_or_else(|| ProxyError::new(ErrorCode::Internal, "a connection without an endpoint"))?;
            serve_bytes(&worker, io, peer, via).await
        }
        Detected::Closed => Ok(()),
    }
}

/// Serves HTTP; each request passes the stack. First line is outermost: requests go down, responses up.
async fn serve_http<I>(worker: Arc<Worker>, io: I, target: Arc<Target>, version: Version) -> Result<(), ProxyError>
where
    I: AsyncRead + AsyncWrite + Reset + Unpin + Send + 'static,
{
    let mirrors = Mirrors { worker: worker.clone(), version };
    let stack = ServiceBuilder::new()
        .layer_fn(|inner| Observe::new(inner, worker.telemetry.clone())) // sees the final answer, also of our errors
        .layer(RespondLayer { drain: worker.drains.outbound.clone() }) //      ProxyError → status, gRPC status
        .layer(HygieneLayer { asserted: Asserted::Own, client: None }) //     what may not pass a proxy
        .layer(RoutingLayer { mirrors }) //                               7   rule, filters, backend, copies
        .layer(TimeoutLayer) //                                           8   the rule's deadline, outside retry
        .layer(RetryLayer) //                                             8   repeats what is safe, within the budget
        .service(Dispatch::new(&worker, Direction::Outbound, version)); //                  9–11   endpoint, pool, mutual TLS
    Server {
        worker,
        direction: Direction::Outbound,
        to: To::Target(target),
        caller: None,
        version,
        settings: &grants::APP,
    }
    .serve(io, stack)
    .await
}

/// Opens a connection for bytes to one of the target's backends, and says to which in `via`. The app behind the endpoint has taken it, as far as
/// the endpoint's sidecar says so.
async fn open_bytes(worker: &Worker, target: &Target, via: &mut Option<Via>) -> Result<Io, ProxyError> {
    let (backend, rule) = tcp_backend(target)?;
    let mut peer = None;
    let opened = open_any(worker, (&backend, rule.as_ref()), &mut peer, via).await;
    opened.inspect_err(|error| worker.telemetry.tcp_not_opened((&backend, rule.as_ref(), peer.as_ref()), error))
}

/// Tries one endpoint after the other; `peer` is then the identity of the last one.
async fn open_any(
    worker: &Worker,
    (backend, rule): (&Arc<Backend>, Option<&Arc<Rule>>),
    peer: &mut Option<Identity>,
    via: &mut Option<Via>,
) -> Result<Io, ProxyError> {
    let mut failed = None;
    let mut last = ProxyError::new(ErrorCode::Internal, "no attempt was made");
    for attempt in 0..REFUSED_ATTEMPTS {
        // Of many that end together the next one may have ended, too: the one that stays is to be found.
        let is_elsewhere = last.code == ErrorCode::ConnectionRefused && backend.has_usable();
        if attempt >= TCP_ATTEMPTS && !is_elsewhere {
            break;
        }
        let Picked { endpoint, policy } = backend.pick(failed.as_ref(), None)?;
        let max = policy.and_then(|policy| policy.limits.max_connections);
        peer.clone_from(&endpoint.identity);
        let mut in_flight = InFlight::new(&endpoint, Some(backend));
        match open_at(worker, &endpoint, max).await {
            Ok(Some(io)) => {
                in_flight.opened();
                *via = Some(Via::new(rule.cloned(), backend.clone(), endpoint, in_flight));
                return Ok(io);
            }
            Ok(None) => {
                in_flight.ended(Outcome::Unknown);
                last = reached(&backend.name, "maxConnections", max.unwrap_or(u32::MAX));
                failed = Some(endpoint);
            }
            Err(error) => {
                in_flight.ended(Outcome::of_error(&error));
                if error.fate == Fate::Withheld {
                    return Err(error);
                }
                failed = Some(endpoint);
                last = error;
            }
        }
    }
    Err(last)
}

/// Opens a connection for bytes to one endpoint: through a tunnel that is there, or a new one. `None` when another connection would be one too many.
async fn open_at(worker: &Worker, endpoint: &Endpoint, max: Option<u32>) -> Result<Option<Io>, ProxyError> {
    let pool = endpoint.pool(worker.id);
    while let Some(mut tunnel) = pool.take_tunnel() {
        match worker.to_endpoints.reopen(&mut tunnel, endpoint).await {
            Ok(true) => return Ok(Some(tunnel)),
            // Its peer ended it meanwhile.
            Ok(false) => {}
            Err(error) => {
                endpoint.give_back_tunnel(worker.id, tunnel);
                return Err(error);
            }
        }
    }
    let counted = match endpoint.connections().open(max) {
        Some(counted) => counted,
        // One that lies idle, for another worker or another protocol, makes room.
        None if endpoint.pools().iter().any(Pool::close_one) => match endpoint.connections().open(max) {
            Some(counted) => counted,
            None => return Ok(None),
        },
        None => return Ok(None),
    };
    let opened = worker.to_endpoints.open(endpoint, Alpn::Tunnel).await?;
    Ok(Some(opened.counted(counted)))
}

/// Returns the backend, and the rule that chose it.
fn tcp_backend(target: &Target) -> Result<(Arc<Backend>, Option<Arc<Rule>>), ProxyError> {
    let kind = target.kind();
    match &**kind {
        TargetKind::Service { tcp: Some(rule), .. } => match &rule.backends.pick(random()).to {
            Destination::Service { backend, .. } => Ok((backend.clone(), Some(rule.clone()))),
            Destination::Invalid(why) => Err(ProxyError::new(ErrorCode::BackendInvalid, why.to_string())),
        },
        TargetKind::Service { backend, .. } | TargetKind::Direct { backend, .. } => Ok((backend.clone(), None)),
        TargetKind::Denied => {
            let detail = format!("{} is not part of the mesh, and egress is denied", target.destination);
            Err(ProxyError::new(ErrorCode::RequestDenied, detail))
        }
    }
}

async fn serve_bytes(
    worker: &Worker,
    mut io: Prefixed<TcpStream>,
    mut peer: Prefixed<Io>,
    via: Via,
) -> Result<(), ProxyError> {
    let endpoint = via.endpoint.clone();
    let record = worker.telemetry.tcp_outbound(via);
    let copied = tcp::copy(&mut io, &mut peer, |way, bytes| {
        record.copied(way, bytes.len());
        Ok(())
    })
    .await;
    record.end(copied);
    if let Some(peer) = peer.into_inner() {
        endpoint.give_back_tunnel(worker.id, peer);
    }
    Ok(())
}

/// Returns what is known of the protocol before the first byte.
fn declared(target: &Target) -> Protocol {
    match &**target.kind() {
        // A TCPRoute or TLSRoute says where connections go, whatever is in them.
        TargetKind::Service { tcp: Some(_), .. } => Protocol::Opaque,
        TargetKind::Service { protocol, .. } | TargetKind::Direct { protocol, .. } => *protocol,
        TargetKind::Denied => Protocol::Opaque,
    }
}
