//! Where a captured connection was going before the kernel redirected it to the proxy.
//!
//! Step 2 of both request paths. A connection that nobody redirected was made to the proxy's own port on purpose or
//! by mistake; it has no destination to be forwarded to, and forwarding it would loop.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;

use socket2::SockRef;

/// The address that the client dialled. IPv4 is always IPv4, also on a socket that speaks both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct OrigDst(pub(crate) SocketAddr);

impl fmt::Display for OrigDst {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why a connection has no original destination.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OrigDstError {
    /// The client dialled the proxy itself: close the connection and say so, never forward it.
    #[error("the connection was made to the proxy's own address {listener}, not captured on its way elsewhere")]
    NotRedirected {
        /// The address that was dialled.
        listener: SocketAddr,
    },
    /// The kernel did not answer: the client may have gone already.
    #[error("read the original destination")]
    Unreadable(#[source] io::Error),
}

/// Reads where the accepted connection `stream` was going.
///
/// # Errors
/// [`OrigDstError::NotRedirected`] when it was going to the proxy itself.
pub(crate) fn original_destination(stream: &impl AsFd) -> Result<OrigDst, OrigDstError> {
    let socket = SockRef::from(stream);
    let local = address(socket.local_addr())?;
    // The option follows the address family on the wire: a v4-mapped connection has its entry under IPv4.
    let answer = if local.is_ipv4() { socket.original_dst_v4() } else { socket.original_dst_v6() };
    let dialled = match answer {
        // ENOENT: conntrack does not know the connection. ENOPROTOOPT: conntrack is not even loaded.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOPROTOOPT)) => local,
        answer => address(answer)?,
    };
    // Without the scope of a link-local address, which only one of the two may carry.
    if (dialled.ip(), dialled.port()) == (local.ip(), local.port()) {
        return Err(OrigDstError::NotRedirected { listener: local });
    }
    Ok(OrigDst(dialled))
}

/// Whether the connected socket `stream` ends in this very workload. Such a connection runs over `lo`, where nothing
/// is captured, so that no proxy waits at its other end: it is the app itself, and expects the app's own bytes.
///
/// # Errors
/// When the socket is no longer connected.
pub(crate) fn reaches_own_workload(stream: &impl AsFd) -> io::Result<bool> {
    let socket = SockRef::from(stream);
    let ip = |address: socket2::SockAddr| address.as_socket().map(|address| address.ip().to_canonical());
    let (local, peer) = (ip(socket.local_addr()?), ip(socket.peer_addr()?));
    // The kernel gives a connection to an address of this host that same address as its source, except that all of
    // 127.0.0.0/8 may be mixed.
    Ok(local == peer || peer.is_some_and(|peer: IpAddr| peer.is_loopback()))
}

fn address(answer: io::Result<socket2::SockAddr>) -> Result<SocketAddr, OrigDstError> {
    let address = answer.map_err(OrigDstError::Unreadable)?.as_socket();
    let address = address.ok_or_else(|| OrigDstError::Unreadable(io::ErrorKind::Unsupported.into()))?;
    Ok(SocketAddr::new(address.ip().to_canonical(), address.port()))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn accepted(listen: &str, dial: &str) -> TcpStream {
        let listener = TcpListener::bind((listen, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let _client = TcpStream::connect((dial, port)).unwrap();
        listener.accept().unwrap().0
    }

    #[test]
    fn recognises_a_direct_dial_of_the_proxy_in_every_family() {
        for (listen, dial) in [("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("::", "127.0.0.1")] {
            let stream = accepted(listen, dial);
            match original_destination(&stream) {
                Err(OrigDstError::NotRedirected { listener }) => {
                    assert_eq!(listener.ip().to_string(), dial);
                    assert_eq!(listener.port(), stream.local_addr().unwrap().port());
                }
                other => panic!("{listen}: {other:?}"),
            }
        }
    }

    #[test]
    fn knows_a_connection_to_itself() {
        assert!(reaches_own_workload(&accepted("127.0.0.1", "127.0.0.1")).unwrap());
        assert!(reaches_own_workload(&accepted("::", "127.0.0.1")).unwrap());
    }
}
