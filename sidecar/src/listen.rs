//! Listeners and their accept loops: step 1 of both paths.

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use outrigger_daemon::{Drain, Incoming};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

use crate::admission::{Admission, Place};
use crate::connect::tune;
use crate::direction::Direction;
use crate::error::ProxyError;
use crate::telemetry::Telemetry;

/// Connections that wait in the kernel to be accepted.
const BACKLOG: i32 = 4096;

/// Opens a listener that several workers may share.
///
/// # Errors
/// When the address cannot be bound.
pub(crate) fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    if address.ip() == Ipv6Addr::UNSPECIFIED {
        socket.set_only_v6(false)?;
    }
    tune(&socket);
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Opens the listeners that captured outbound connections are redirected to: loopback only, in both families where
/// the system has both.
///
/// # Errors
/// When IPv4 cannot be bound.
pub(crate) fn bind_outbound(port: u16) -> io::Result<Vec<std::net::TcpListener>> {
    let mut listeners = vec![bind((Ipv4Addr::LOCALHOST, port).into())?];
    match bind((Ipv6Addr::LOCALHOST, port).into()) {
        Ok(listener) => listeners.push(listener),
        Err(error) => tracing::info!(%error, "no IPv6 here"),
    }
    Ok(listeners)
}

/// Opens the listener that captured inbound connections are redirected to.
///
/// # Errors
/// When neither family can be bound.
pub(crate) fn bind_inbound(port: u16) -> io::Result<std::net::TcpListener> {
    bind((Ipv6Addr::UNSPECIFIED, port).into()).or_else(|_| bind((Ipv4Addr::UNSPECIFIED, port).into()))
}

/// Accepts for one listener until the process ends.
pub(crate) struct Acceptor {
    pub(crate) direction: Direction,
    pub(crate) telemetry: Arc<Telemetry>,
    pub(crate) drain: Drain,
    pub(crate) admission: Arc<Admission>,
}

impl Acceptor {
    pub(crate) async fn run<F, S>(self, listener: TcpListener, serve: S)
    where
        S: Fn(TcpStream, Arc<Place>) -> F + Clone + Send + 'static,
        F: Future<Output = Result<(), ProxyError>> + Send + 'static,
    {
        let mut incoming = Incoming::new(listener, self.direction.as_str());
        loop {
            let (stream, peer) = incoming.accept().await;
            let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
            let held = match self.admission.enter(self.direction, peer.ip()) {
                Ok(held) => held,
                Err(why) => {
                    self.telemetry.connection_refused(self.direction, peer, why);
                    continue;
                }
            };
            let telemetry = self.telemetry.clone();
            let direction = self.direction;
            let serve = serve.clone();
            let place = held.place().clone();
            // Boxed by the runtime; the place and the drain hold it to the end. What serves is made inside: a future that is
            // moved in takes its room twice.
            let task = self.drain.spawn_abortable(async move {
                if let Err(error) = serve(stream, held.place().clone()).await {
                    telemetry.connection_failed(direction, peer, &error);
                }
                drop(held);
            });
            place.is_served_by(task);
            if self.admission.is_crowded() {
                // What was closed to make room gives its descriptors back when its task comes to its turn.
                tokio::task::yield_now().await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_accepted_waits_for_nothing_and_notices_dead_peers() {
        let listener = bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        listener.set_nonblocking(false).unwrap();
        let _client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();

        let accepted = Socket::from(listener.accept().unwrap().0);

        assert!(accepted.tcp_nodelay().unwrap() && accepted.keepalive().unwrap());
        assert_eq!(accepted.tcp_keepalive_time().unwrap(), Duration::from_secs(30));
        assert_eq!(accepted.tcp_keepalive_interval().unwrap(), Duration::from_secs(10));
        assert_eq!(accepted.tcp_keepalive_retries().unwrap(), 3);
        assert_eq!(accepted.tcp_user_timeout().unwrap(), None, "a peer may read when it likes");
    }
}
