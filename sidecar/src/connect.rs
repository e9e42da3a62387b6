//! Opens connections to endpoints: TCP, and mesh TLS where the endpoint has an identity to prove.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use outrigger_identity::{Alpn, client_config};
use outrigger_proto::ErrorCode;
use outrigger_wire::tls;
use rustls_pki_types::ServerName;
use socket2::{SockRef, Socket, TcpKeepalive};
use tokio::net::{TcpSocket, TcpStream};

use crate::admission::{Admission, Dialled};
use crate::balance::Endpoint;
use crate::direction::Direction;
use crate::edges::Edges;
use crate::error::{Fate, ProxyError};
use crate::orig_dst::reaches_own_workload;
use crate::stream::{Counted, Io, Stream};
use crate::tls::TlsState;
use crate::tunnel::{TAKEN, Tunnel};

/// Dials endpoints for one sidecar.
pub(crate) struct Connector {
    pub(crate) admission: Arc<Admission>,
    /// Where what is sent over these connections is counted.
    pub(crate) edges: Arc<Edges>,
    /// Whose connections these are: the app's, or those to the app.
    pub(crate) direction: Direction,
    pub(crate) tls: Arc<TlsState>,
    /// Marks the sidecar's own packets, so that they are not captured (`SO_MARK`).
    pub(crate) mark: Option<u32>,
    /// Whether traffic is captured, so that a connection to the own workload meets the app itself.
    pub(crate) captured: bool,
    /// For TCP and TLS together, to endpoints and the app.
    pub(crate) timeout: Duration,
}

/// For TCP alone, where another endpoint can be asked instead: within a cluster an answer takes milliseconds, and a packet that was lost is sent
/// again after a second.
const WITH_OTHERS: Duration = Duration::from_secs(1);

/// For destinations outside of the mesh, which are dialled as the app would have: the kernel gives up first.
const OUTSIDE: Duration = Duration::from_secs(180);

impl Connector {
    /// Opens a connection that carries `alpn`: inside mesh TLS when the endpoint is meshed, else in the clear.
    ///
    /// # Errors
    /// E003, E004 when TCP fails; E005, E006, E007 when TLS does; what the endpoint's sidecar says where bytes are carried. Nothing was sent to the
    /// app in any case.
    pub(crate) async fn open(&self, endpoint: &Endpoint, alpn: Alpn) -> Result<Io, ProxyError> {
        let limit = if self.direction == Direction::Outbound && endpoint.is_outside() { OUTSIDE } else { self.timeout };
        let mut io = in_time(limit, endpoint.address, self.open_untimed(endpoint, alpn)).await?;
        if self.direction == Direction::Outbound {
            io.tcp_mut().count_for(endpoint.zone().traffic());
        }
        Ok(io)
    }

    /// Has the app at the other end of an open tunnel take another connection of bytes; `false` when the tunnel has ended.
    ///
    /// # Errors
    /// What the endpoint's sidecar says, and then the tunnel is free again; E004 when it says nothing. Nothing was sent to the app in any case.
    pub(crate) async fn reopen(&self, tunnel: &mut Io, endpoint: &Endpoint) -> Result<bool, ProxyError> {
        let Stream::Tunnel(tunnel) = &mut tunnel.stream else { return Ok(false) };
        let status = in_time(self.timeout, endpoint.address, async { Ok(tunnel.open().await) }).await?;
        status.ok().map(|status| taken(status, endpoint.address)).transpose().map(|taken| taken.is_some())
    }

    async fn open_untimed(&self, endpoint: &Endpoint, alpn: Alpn) -> Result<Io, ProxyError> {
        let Some(identity) = &endpoint.identity else {
            return self.plain(endpoint.address).await;
        };
        let own = self.tls.ready().await?;
        let config = client_config(&own.credentials, &own.bundle, identity, alpn)
            .map_err(|error| ProxyError::new(ErrorCode::Internal, error.to_string()))?;
        let limit = if endpoint.has_others() { WITH_OTHERS } else { self.timeout };
        let (tcp, dialled) = in_time(limit, endpoint.address, self.tcp(endpoint.address)).await?;
        if self.captured && reaches_own_workload(&tcp).unwrap_or(false) {
            endpoint.met_own_app();
            return Ok(Io::new(Stream::Plain(Counted::new(tcp)), dialled));
        }
        let name = ServerName::IpAddress(endpoint.address.ip().into());
        let stream = tls::connect(Arc::new(config), name, Counted::new(tcp)).await;
        let stream = stream.map_err(|error| ProxyError::handshake(endpoint.address, &error))?;
        let stream = match stream.alpn().and_then(Alpn::from_id) {
            Some(Alpn::Tunnel) => {
                let mut tunnel = Tunnel::caller(stream, endpoint.leaving().clone());
                let status = tunnel.open().await.map_err(|error| {
                    let detail = format!(
                        "{} ended the connection before it said whether the app took it: {error}",
                        endpoint.address
                    );
                    ProxyError::new(ErrorCode::ConnectionTerminated, detail)
                })?;
                taken(status, endpoint.address)?;
                Stream::Tunnel(tunnel)
            }
            // An older sidecar, which says nothing.
            Some(Alpn::Opaque) if alpn == Alpn::Tunnel => Stream::Tls(stream),
            Some(agreed) if agreed == alpn => Stream::Tls(stream),
            _ => {
                let detail = format!("{} did not agree to carry {alpn:?}", endpoint.address);
                return Err(ProxyError::new(ErrorCode::TlsProtocol, detail));
            }
        };
        Ok(Io::new(stream, dialled))
    }

    /// Opens a plain connection.
    ///
    /// # Errors
    /// E003, E004 when TCP fails; E010 when there are no descriptors for it.
    pub(crate) async fn plain(&self, address: SocketAddr) -> Result<Io, ProxyError> {
        let (tcp, dialled) = self.tcp(address).await?;
        Ok(Io::new(Stream::Plain(Counted::new(tcp)), dialled))
    }

    /// Opens a TCP connection that the capture rules let through.
    async fn tcp(&self, address: SocketAddr) -> Result<(TcpStream, Dialled), ProxyError> {
        let dialled = self.admission.dial(self.direction).ok_or_else(|| {
            let (direction, share) = (self.direction.as_str(), self.admission.limits().share);
            let detail = format!("{direction} connections have {share} descriptors, which is the limit");
            ProxyError::new(ErrorCode::ConnectionLimit, detail)
        })?;
        let failed = |error: io::Error| ProxyError::connect(address, &error);
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.map_err(failed)?;
        if let Some(mark) = self.mark {
            SockRef::from(&socket).set_mark(mark).map_err(failed)?;
        }
        let stream = socket.connect(address).await.map_err(failed)?;
        match self.direction {
            // Who is in the same pod does not vanish without a word.
            Direction::Inbound if self.captured => no_delay(&SockRef::from(&stream)),
            Direction::Inbound | Direction::Outbound => tune(&SockRef::from(&stream)),
        }
        Ok((stream, dialled))
    }
}

/// Makes an error of what an endpoint's sidecar says of its app, unless that has taken the connection.
fn taken(status: u8, peer: SocketAddr) -> Result<(), ProxyError> {
    if status == TAKEN {
        return Ok(());
    }
    let code = ErrorCode::from_number(status).unwrap_or(ErrorCode::ConnectionTerminated);
    let what = code.info().means.trim_end_matches('.');
    let error = ProxyError::new(code, format!("the sidecar of {peer} says {code} {}: {what}", code.token()));
    // Another endpoint would be asked the same by the same caller.
    Err(if code == ErrorCode::RequestDenied { error.fate(Fate::Withheld) } else { error })
}

async fn in_time<T>(
    limit: Duration,
    address: SocketAddr,
    work: impl Future<Output = Result<T, ProxyError>>,
) -> Result<T, ProxyError> {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
        let detail = format!("{address} did not accept the connection within {} ms", limit.as_millis());
        Err(ProxyError::new(ErrorCode::ConnectionTimeout, detail))
    })
}

/// Sets what every connection of the data path has: no waiting for more to send, and a look at peers that are silent for a minute. What a
/// listener has is inherited by all that it accepts.
///
/// How long a peer may leave what it is sent unread has no limit (TCP_USER_TIMEOUT), as it has none without a mesh: an app that does something
/// else for minutes is not gone, and the side that sends to it is held up by its window.
pub(crate) fn tune(socket: &Socket) {
    no_delay(socket);
    let (time, interval) = (Duration::from_secs(30), Duration::from_secs(10));
    let _ = socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(time).with_interval(interval).with_retries(3));
}

/// Has what is written leave at once. An improvement only, as all of [`tune`]: a kernel that refuses it still carries the connection.
fn no_delay(socket: &Socket) {
    let _ = socket.set_tcp_nodelay(true);
}
