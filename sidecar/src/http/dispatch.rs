//! The innermost layer: picks an endpoint, takes or opens a connection to it, and exchanges one request.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONNECTION, EXPECT, HOST, HeaderValue, UPGRADE};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Response, StatusCode, Uri, Version as HttpVersion, request};
use http_body::Body as _;
use outrigger_identity::{Alpn, Identity};
use outrigger_proto::ErrorCode;
use outrigger_wire::{http1, http2};
use tokio::time::Instant;

use crate::balance::{Backend, Endpoint, Http1, InFlight, Lease, Limits, NotOpened, Picked, Pool, Room, SMALL, Sender};
use crate::headers::leaving::FAREWELL;
use crate::http::ResponseBody;
use crate::stream::Connection;

use crate::body::Body;
use crate::connect::Connector;
use crate::direction::Direction;
use crate::edges::{Attempt, Class, Edge};
use crate::error::{Fate, ProxyError};
use crate::flow::Flow;
use crate::flow::onward;
use crate::grants;
use crate::http::call::To;
use crate::http::respond::unprocessed;
use crate::http::server::Version;
use crate::http::upgrade;
use crate::stream::Io;
use crate::wire_form::Wire;
use crate::worker::Worker;

/// Sends requests to endpoints.
#[derive(Clone)]
pub(crate) struct Dispatch {
    pub(crate) connector: Arc<Connector>,
    pub(crate) worker: usize,
    pub(crate) wire: Wire,
    /// What the sender spoke, and so what the app behind the endpoint is to be spoken to.
    pub(crate) version: Version,
}

impl Dispatch {
    pub(crate) fn new(worker: &Worker, direction: Direction, version: Version) -> Self {
        Self { connector: worker.connector(direction).clone(), worker: worker.id, wire: worker.wire, version }
    }
}

/// Where an attempt failed.
pub(crate) struct Failed {
    pub(crate) endpoint: Arc<Endpoint>,
    /// On a connection that had been idle, and was at its end. An app that ends closes all of those, one after the other.
    pub(crate) was_idle: bool,
}

/// The seam between the layers and the network: makes one attempt of a request. Tests put a script in its place.
pub(crate) trait Exchange: Clone + Send + 'static {
    /// Makes one attempt of a request, whose head may be sent again; `last` is where the one before failed.
    fn attempt(
        &self,
        head: &mut request::Parts,
        body: Body,
        to: &To,
        flow: &Flow,
        last: Option<&Failed>,
    ) -> impl Future<Output = Result<Response<ResponseBody>, ProxyError>> + Send;
}

impl Exchange for Dispatch {
    async fn attempt(
        &self,
        head: &mut request::Parts,
        body: Body,
        to: &To,
        flow: &Flow,
        last: Option<&Failed>,
    ) -> Result<Response<ResponseBody>, ProxyError> {
        let result = self.exchange(head, body, to, flow, last).await;
        flow.attempted(result.as_ref().map(Response::status));
        result
    }
}

impl Dispatch {
    async fn exchange(
        &self,
        head: &mut request::Parts,
        body: Body,
        to: &To,
        flow: &Flow,
        last: Option<&Failed>,
    ) -> Result<Response<ResponseBody>, ProxyError> {
        if self.version == Version::Http1 && head.version == HttpVersion::HTTP_2 && head.method == Method::CONNECT {
            // HTTP/1 has no way to carry a stream's data that is no content before the app has agreed; no sidecar of ours sends this.
            let detail = "CONNECT over HTTP/2 to an app that is spoken to in HTTP/1";
            return Err(ProxyError::new(ErrorCode::HttpProtocol, detail));
        }
        let avoid = last.map(|last| &last.endpoint);
        let (backend, Picked { endpoint, policy }) = match to {
            To::Backend(backend, _) => {
                let picked = match flow.pinned(avoid) {
                    Some(endpoint) => Picked { endpoint: endpoint.clone(), policy: backend.policy() },
                    None => backend.pick(avoid, Some(head)).inspect_err(|error| self.not_sent(to, flow, error))?,
                };
                (Some(backend), picked)
            }
            To::App(endpoint) => (None, Picked { endpoint: endpoint.clone(), policy: None }),
            To::Target(_) => {
                return Err(ProxyError::new(ErrorCode::Internal, "a request was sent before it was routed"));
            }
        };
        let limited = backend.zip(policy.as_ref().map(|policy| &policy.limits));
        let permit = limited.map(|(backend, limits)| backend.admit(limits)).transpose();
        let permit = permit.inspect_err(|error| self.not_sent(to, flow, error))?.flatten();
        flow.attempt(&endpoint, &mut head.headers);
        let upgrade = upgrade::is_upgrade(&head.method, head.version, &head.headers);
        // From here on it counts: requests that come while this one dials go elsewhere.
        let strict = policy.as_ref().is_some_and(|policy| policy.is_strict());
        let in_flight = InFlight::new(&endpoint, backend).judged(time_limit(to, flow), strict);
        let mut in_flight = in_flight.counted(self.edge(to, flow, endpoint.identity.as_ref()));
        let alpn = match self.wire {
            Wire::Http2 => self.alpn(&endpoint, !upgrade && fits_http2(head)),
            Wire::Http1 => self.alpn(&endpoint, false),
            Wire::ByLoad => {
                let small = body.size_hint().upper().is_some_and(|bytes| bytes <= SMALL);
                self.alpn(&endpoint, in_flight.is_in_a_crowd() && !upgrade && small && fits_http2(head))
            }
        };
        let fresh = last.is_some_and(|last| last.was_idle && Arc::ptr_eq(&last.endpoint, &endpoint));
        let (sender, reused) = match self.connection(&endpoint, alpn, fresh, limited).await {
            Ok(connection) => connection,
            Err(error) => {
                in_flight.failed(&error);
                return Err(error);
            }
        };
        let most = limited.and_then(|(_, limits)| limits.max_requests_per_connection);
        if !reused {
            in_flight.connected();
        }
        // Only now is it known whether a sidecar is at the other end.
        onward::tell(flow, &endpoint, &mut head.headers);
        let mut lease = Lease::new(in_flight, self.worker, sender).limited(most, permit);
        let sent = match lease.sender() {
            Some(Sender::Http1(http1)) => {
                to_http1(head)?;
                // In the place of an idle one that was at its end: the app may end, and close unread what it is sent, whatever it comes on.
                send_http1(http1, head, body, (endpoint.address, reused || fresh)).await
            }
            Some(Sender::Http2 { sender, .. }) => {
                to_http2(head)?;
                match sender.send(head, body).await {
                    Ok(response) => Ok(response.map(|body| Body::http2(body).into())),
                    Err(error) => Err(ProxyError::http2(endpoint.address, &error, reused)),
                }
            }
            None => return Err(ProxyError::new(ErrorCode::Internal, "a lease without a connection")),
        };
        let response = match sent {
            Ok(response) => response,
            Err(error) => {
                lease.in_flight().failed(&error);
                return Err(error);
            }
        };
        lease.in_flight().answered(&response, response.body().size_hint().exact());
        // Only who has proved to be of the mesh is believed.
        endpoint.heard_in(&response);
        if let Some(error) = endpoint.identity.as_ref().and_then(|_| unprocessed(&response)) {
            lease.in_flight().failed(&error);
            return Err(error);
        }
        // A stream of HTTP/2 that carries a tunnel is a stream like all others (RFC 9113 section 8.5).
        let switched = response.status() == StatusCode::SWITCHING_PROTOCOLS
            || (head.version == HttpVersion::HTTP_11
                && head.method == Method::CONNECT
                && response.status().is_success());
        if switched {
            return upgrade::agreed(upgrade, response, lease);
        }
        Ok(response.map(|body| body.with_lease(lease)))
    }

    /// Returns where the attempt is counted, the request with it.
    fn edge(&self, to: &To, flow: &Flow, peer: Option<&Identity>) -> Option<Arc<Edge>> {
        if flow.is_copy {
            return None;
        }
        let edges = &self.connector.edges;
        let edge = match to {
            To::Backend(backend, rule) => backend.edge(edges, rule.as_ref(), peer),
            To::App(_) | To::Target(_) => flow.caller.as_ref()?.edge(edges).clone(),
        };
        flow.counts_at(&edge);
        Some(edge)
    }

    /// An attempt ends before an endpoint is asked.
    fn not_sent(&self, to: &To, flow: &Flow, error: &ProxyError) {
        if let Some(edge) = self.edge(to, flow, None) {
            Attempt::begin(edge).failed(Class::of_error(error), Duration::ZERO);
        }
    }

    /// What the connection to the endpoint carries; `wrapped`: HTTP/1 requests may ride HTTP/2, which has no `Upgrade` and is for sidecars.
    fn alpn(&self, endpoint: &Endpoint, wrapped: bool) -> Alpn {
        match self.version {
            Version::Http2 => Alpn::Http2,
            Version::Http1 if wrapped && endpoint.has_sidecar() => Alpn::Http1InHttp2,
            Version::Http1 => Alpn::Http1,
        }
    }

    /// Takes or opens a connection, `fresh`: no idle one; at a limit on connections, waits for one.
    async fn connection(
        &self,
        endpoint: &Endpoint,
        alpn: Alpn,
        fresh: bool,
        limited: Option<(&Arc<Backend>, &Limits)>,
    ) -> Result<(Sender, bool), ProxyError> {
        let limits = limited.map_or(&UNLIMITED, |(_, limits)| limits);
        if let Some(found) = self.try_connection(endpoint, alpn, fresh, limits).await? {
            return Ok(found);
        }
        Box::pin(self.freed_connection(endpoint, alpn, fresh, limited)).await
    }

    /// Waits for a connection: there is a limit, and it is reached.
    async fn freed_connection(
        &self,
        endpoint: &Endpoint,
        alpn: Alpn,
        fresh: bool,
        limited: Option<(&Arc<Backend>, &Limits)>,
    ) -> Result<(Sender, bool), ProxyError> {
        let limits = limited.map_or(&UNLIMITED, |(_, limits)| limits);
        let _place = limited.map(|(backend, limits)| backend.wait(limits)).transpose()?;
        let waiting = endpoint.connections().wait();
        loop {
            let mut freed = std::pin::pin!(waiting.freed());
            freed.as_mut().enable();
            if let Some(found) = self.try_connection(endpoint, alpn, fresh, limits).await? {
                return Ok(found);
            }
            // One that lies idle, for another worker or another protocol, is of no use to us; its end makes room.
            if !endpoint.pools().iter().any(Pool::close_one) {
                freed.await;
            }
        }
    }

    /// Returns a connection and whether it was there; `None` when another one would be one too many.
    async fn try_connection(
        &self,
        endpoint: &Endpoint,
        alpn: Alpn,
        fresh: bool,
        limits: &Limits,
    ) -> Result<Option<(Sender, bool)>, ProxyError> {
        let pool = endpoint.pool(self.worker);
        let open = || endpoint.connections().open(limits.max_connections);
        match alpn {
            Alpn::Http1 | Alpn::Opaque | Alpn::Tunnel => {
                if !fresh && let Some(sender) = pool.take_http1(endpoint.idle()) {
                    return Ok(Some((sender, true)));
                }
                let Some(connection) = open() else { return Ok(None) };
                // Boxed: rare, and the room that a handshake takes would be every request's.
                Ok(Some((Box::pin(self.open_http1(endpoint, connection)).await?, false)))
            }
            Alpn::Http2 | Alpn::Http1InHttp2 => {
                let (wrapped, most) = (alpn == Alpn::Http1InHttp2, limits.max_requests_per_connection);
                let room = match self.connector.direction {
                    _ if wrapped => Room::CROWD,
                    Direction::Inbound => Room::OWN,
                    Direction::Outbound => Room::SHARED,
                };
                let join = || pool.join_http2(wrapped, most, room);
                if let Some(sender) = join() {
                    return Ok(Some((sender, true)));
                }
                let since = Instant::now();
                let mut opening = Box::pin(pool.opening.lock()).await;
                // Somebody else may have opened one meanwhile, or have failed to.
                if let Some(sender) = join() {
                    return Ok(Some((sender, true)));
                }
                if let Some(error) = opening.as_ref().and_then(|failed| failed.for_who_waited(since)) {
                    return Err(error);
                }
                let Some(connection) = open() else { return Ok(None) };
                let opened = Box::pin(self.open_http2(endpoint, connection, alpn)).await;
                *opening = opened.as_ref().err().and_then(NotOpened::new);
                Ok(Some((opened?, false)))
            }
        }
    }

    async fn open_http1(&self, endpoint: &Endpoint, connection: Connection) -> Result<Sender, ProxyError> {
        let io = self.connector.open(endpoint, Alpn::Http1).await?;
        Ok(Sender::Http1(Http1::new(http1::Connection::new(io), connection)))
    }

    async fn open_http2(&self, endpoint: &Endpoint, counted: Connection, alpn: Alpn) -> Result<Sender, ProxyError> {
        let io = self.connector.open(endpoint, alpn).await?;
        if alpn == Alpn::Http1InHttp2 && io.is_plain() {
            // The endpoint turned out to be the own app, with no sidecar between: the requests to come go to it in HTTP/1.
            return Ok(Sender::Http1(Http1::new(http1::Connection::new(io), counted)));
        }
        let settings = match alpn {
            Alpn::Http1InHttp2 => &grants::TO_SIDECAR_WRAPPED,
            _ if endpoint.has_sidecar() => &grants::TO_SIDECAR,
            _ => &grants::APP,
        };
        let leaving = endpoint.has_sidecar().then(|| endpoint.leaving().clone());
        let (sender, connection) = http2::connect_told(io, settings, |debug| {
            leaving.filter(|_| debug == FAREWELL).iter().for_each(|leaving| leaving.told());
        });
        // Ends when the pool and the last request let go of the sender, or the peer closes.
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection to endpoint ended");
            }
        });
        if !endpoint.has_sidecar() {
            // It is to be met as its own clients do, who know from the first request on what it takes. One that says nothing is asked all the same.
            if let Ok(Err(error)) = tokio::time::timeout(grants::SETTINGS_WAIT, sender.settled()).await {
                let error = ProxyError::http2(endpoint.address, &error, false);
                return Err(if error.fate == Fate::MayHaveBeenProcessed {
                    error.fate(Fate::NotProcessed)
                } else {
                    error
                });
            }
        }
        Ok(endpoint.pool(self.worker).add_http2(sender, counted, alpn == Alpn::Http1InHttp2))
    }
}

/// The time that the rule gives this attempt: its own, or what is left of the request's.
fn time_limit(to: &To, flow: &Flow) -> Option<Duration> {
    let To::Backend(_, Some(rule)) = to else { return None };
    let left = rule.request_timeout.map(|limit| limit.saturating_sub(flow.start.elapsed()));
    rule.attempt_timeout.into_iter().chain(left).min()
}

/// Sends a request over HTTP/1; when the connection ends without an answer, looks whether the peer has got the request.
async fn send_http1(
    http1: &mut Http1,
    head: &request::Parts,
    body: Body,
    (address, reused): (SocketAddr, bool),
) -> Result<Response<ResponseBody>, ProxyError> {
    let before = http1.connection.with_io(Io::written);
    let error = match http1.connection.send(head, body).await {
        Ok(response) => return Ok(response.map(|body| Body::http1(body).into())),
        Err(error) => error,
    };
    let untaken = || http1.connection.with_io(|io| io.took_nothing_after(before));
    let is_unprocessed = matches!(error, http1::Error::Closed) && untaken();
    let error = ProxyError::http1(address, &error, reused);
    Err(if is_unprocessed { error.fate(Fate::NotProcessed) } else { error })
}

/// What holds where no policy says otherwise.
const UNLIMITED: Limits =
    Limits { max_connections: None, max_pending_requests: None, max_requests: None, max_requests_per_connection: None };

/// Says whether HTTP/2 can say the same: it wants an authority, and a path that is one. It cannot say whether a client asked for a proxy's own
/// target, nor write what is no URI; and who waits for a word before it sends its body gets it from the app, over HTTP/1 all the way.
fn fits_http2(head: &request::Parts) -> bool {
    let named = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(byte);
    let host = head.headers.get(HOST).map(HeaderValue::as_bytes).unwrap_or_default();
    let plain = head.uri.authority().is_none()
        && head.extensions.get::<http1::RawTarget>().is_none()
        && !head.headers.contains_key(EXPECT);
    plain && head.uri.path().starts_with('/') && !host.is_empty() && host.iter().all(named)
}

/// Writes the request's target in the form of HTTP/1.
fn to_http1(head: &mut request::Parts) -> Result<(), ProxyError> {
    let before = std::mem::replace(&mut head.version, HttpVersion::HTTP_11);
    if before != HttpVersion::HTTP_2 {
        return Ok(());
    }
    if let Some(authority) = head.uri.authority()
        && !head.headers.contains_key(HOST)
    {
        let host = HeaderValue::from_str(authority.as_str()).map_err(|_| malformed("authority"))?;
        head.headers.insert(HOST, host);
    }
    if head.method != Method::CONNECT {
        let path = head.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        head.uri = Uri::from(path);
    }
    Ok(())
}

/// Writes the request's target in the form of HTTP/2.
fn to_http2(head: &mut request::Parts) -> Result<(), ProxyError> {
    let before = std::mem::replace(&mut head.version, HttpVersion::HTTP_2);
    if before == HttpVersion::HTTP_2 {
        return Ok(());
    }
    let host = head.headers.remove(HOST);
    head.headers.remove(CONNECTION);
    head.headers.remove(UPGRADE);
    if head.uri.authority().is_none() {
        let host = host.ok_or_else(|| malformed("Host: missing"))?;
        let authority = Authority::try_from(host.as_bytes()).map_err(|_| malformed("Host"))?;
        let mut parts = std::mem::take(&mut head.uri).into_parts();
        parts.scheme = Some(Scheme::HTTP);
        parts.authority = Some(authority);
        parts.path_and_query.get_or_insert_with(|| PathAndQuery::from_static("/"));
        head.uri = Uri::from_parts(parts).map_err(|_| malformed("request target"))?;
    }
    Ok(())
}

fn malformed(what: &str) -> ProxyError {
    ProxyError::new(ErrorCode::HttpProtocol, format!("malformed request: {what}"))
}
