//! Listening on all addresses of a pod, whichever families it has.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::{TcpListener, TcpSocket};

/// Connections that wait in the kernel to be accepted: what a rollout of the whole mesh makes in a moment, and more than a
/// few clients that say nothing can fill. The kernel's own limit (`net.core.somaxconn`) holds as well.
const BACKLOG: u32 = 4096;

/// Listens; `[::]` means IPv4 as well, and IPv4 alone where the kernel has no IPv6.
///
/// # Errors
/// When the address cannot be bound.
pub async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    match bind(address) {
        Err(error) if address.ip() == Ipv6Addr::UNSPECIFIED && without_ipv6(&error) => {
            bind((Ipv4Addr::UNSPECIFIED, address.port()).into())
        }
        bound => bound,
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // So that a restart need not wait for the old connections' end.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// `ipv6.disable=1` of the kernel, or `disable_ipv6` of the network.
fn without_ipv6(error: &io::Error) -> bool {
    // EAFNOSUPPORT has no kind of its own.
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(EAFNOSUPPORT)
}

const EAFNOSUPPORT: i32 = 97;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_addresses_are_those_of_ipv4_too() {
        let listener = listen((Ipv6Addr::UNSPECIFIED, 0).into()).await.unwrap();
        let port = listener.local_addr().unwrap().port();

        tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
    }

    #[test]
    fn a_kernel_without_ipv6_is_told_from_a_port_that_is_taken() {
        assert!(without_ipv6(&io::Error::from_raw_os_error(EAFNOSUPPORT)));
        assert!(!without_ipv6(&io::ErrorKind::AddrInUse.into()));
    }
}
