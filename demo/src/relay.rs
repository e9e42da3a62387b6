//! Bytes between the host's network and the sandbox's, by way of unix sockets in the demo's folder.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::task::JoinSet;

/// Tells whether something listens where OTLP receivers do.
pub(crate) async fn otlp_answers() -> bool {
    matches!(tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(OTLP)).await, Ok(Ok(_)))
}

/// Leads connections of a unix socket to the host's OTLP receiver, until dropped.
pub(crate) async fn to_otlp(socket: PathBuf) -> anyhow::Result<()> {
    let listener = UnixListener::bind(&socket).with_context(|| format!("listen on {}", socket.display()))?;
    let mut connections = JoinSet::new();
    loop {
        let (mut inner, _) = listener.accept().await.context("accept on the OTLP relay")?;
        connections.spawn(async move {
            let mut host = TcpStream::connect(OTLP).await?;
            tokio::io::copy_bidirectional(&mut inner, &mut host).await
        });
        while connections.try_join_next().is_some() {}
    }
}

/// Listens on the host for connections to the frontend; the asked port, or any when another program has it.
pub async fn listen(port: u16) -> io::Result<TcpListener> {
    match TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await,
        bound => bound,
    }
}

/// Leads the host's connections to a unix socket, until dropped.
pub async fn from_host(listener: TcpListener, socket: PathBuf) -> io::Result<()> {
    let mut connections = JoinSet::new();
    loop {
        let (mut host, _) = listener.accept().await?;
        let socket = socket.clone();
        connections.spawn(async move {
            let mut inner = UnixStream::connect(&socket).await?;
            tokio::io::copy_bidirectional(&mut host, &mut inner).await
        });
        while connections.try_join_next().is_some() {}
    }
}

const OTLP: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 4317);
