//! The app behind the callee's sidecar: HTTP/1, gRPC and plain bytes on a port each, and as cheap as it can be.

mod bytes;
mod grpc;
pub(crate) mod http1;

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, Result};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

pub(crate) use bytes::{DOWNLOAD, ECHO, MESSAGE, MIB, UPLOAD};

use crate::pods;

/// `outrigger-bench echo`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where it listens, on the ports of the bench's pods.
    #[arg(long)]
    listen: IpAddr,
}

/// Serves until it is stopped.
pub(crate) async fn run(args: &Args) -> Result<()> {
    let http = listen(SocketAddr::new(args.listen, pods::HTTP.app))?;
    let grpc = listen(SocketAddr::new(args.listen, pods::GRPC.app))?;
    let bytes = listen(SocketAddr::new(args.listen, pods::BYTES.app))?;
    tokio::try_join!(accept(http, http1::serve), accept(grpc, grpc::serve), accept(bytes, bytes::serve))?;
    Ok(())
}

/// Listens with a queue for thousands of connections that come at once, as in the idle case.
pub(crate) fn listen(address: SocketAddr) -> Result<TcpListener> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into()).with_context(|| format!("bind {address}"))?;
    socket.listen(4096)?;
    Ok(TcpListener::from_std(socket.into())?)
}

/// Serves every connection that comes.
pub(crate) async fn accept<F>(listener: TcpListener, serve: impl Fn(TcpStream) -> F) -> Result<()>
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (io, _) = accepted?;
                io.set_nodelay(true)?;
                let serving = serve(io);
                // A client that went away is its own affair; it counts the error.
                connections.spawn(async move { drop(serving.await) });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}
