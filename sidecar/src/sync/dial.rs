//! Connections to the control plane: mutual TLS, and the control plane must prove that it is the control plane.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use hyper_util::rt::TokioIo;
use outrigger_identity::{Credentials, Identity, TrustBundle, control_plane_client_config};
use outrigger_proto::wire::mesh_client::MeshClient;
use rustls_pki_types::ServerName;
use socket2::SockRef;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::sleep;
use tonic::transport::{Channel, Endpoint, Uri};

/// For one attempt.
const TIMEOUT: Duration = Duration::from_secs(5);

/// How long an address has to answer before the next is dialled as well.
const HEAD_START: Duration = Duration::from_millis(50);

/// A lost control plane is noticed within interval and timeout together.
const PING_INTERVAL: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// Where the control plane is, and who.
#[derive(Clone, Debug)]
pub(crate) struct ControlPlane {
    /// `HOST:PORT`.
    pub(crate) address: String,
    pub(crate) identity: Identity,
    /// Keeps our own packets out of the capture.
    pub(crate) mark: Option<u32>,
}

impl ControlPlane {
    /// Dials; without `own` only a first certificate can be asked for.
    ///
    /// # Errors
    /// When the address does not resolve, nobody answers, or the wrong one does.
    pub(crate) async fn dial(
        &self,
        own: Option<&Credentials>,
        bundle: &TrustBundle,
    ) -> Result<MeshClient<Channel>, DialError> {
        let config = Arc::new(control_plane_client_config(own, bundle, &self.identity)?);
        let this = self.clone();
        let connector = tower::service_fn(move |_: Uri| {
            let (this, config) = (this.clone(), config.clone());
            async move {
                let tcp = this.tcp().await?;
                let name = ServerName::IpAddress(tcp.peer_addr()?.ip().into());
                Ok::<_, io::Error>(TokioIo::new(outrigger_wire::tls::connect(config, name, tcp).await?))
            }
        });
        // The name is for HTTP/2's :authority only: the connector knows where to go.
        let channel = Endpoint::from_static("http://control-plane")
            .connect_timeout(TIMEOUT)
            .http2_keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .keep_alive_while_idle(true)
            .connect_with_connector(connector)
            .await
            .map_err(|source| DialError::Connect { address: self.address.clone(), source })?;
        Ok(MeshClient::new(channel))
    }

    async fn tcp(&self) -> io::Result<TcpStream> {
        first_of(tokio::net::lookup_host(&self.address).await?, |address| connect(address, self.mark)).await
    }
}

/// Dials one address after the other, without waiting long for any (RFC 8305): the first packet of a new pod may be lost in
/// its network, and TCP sends it again only after a second.
async fn first_of<T, F>(addresses: impl Iterator<Item = SocketAddr>, dial: impl Fn(SocketAddr) -> F) -> io::Result<T>
where
    F: Future<Output = io::Result<T>>,
{
    let mut addresses = addresses.peekable();
    let mut attempts = FuturesUnordered::new();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    loop {
        attempts.extend(addresses.next().map(&dial));
        tokio::select! {
            attempt = attempts.next() => match attempt {
                Some(Ok(connected)) => return Ok(connected),
                Some(Err(error)) => last = error,
                None => return Err(last),
            },
            () = sleep(HEAD_START), if addresses.peek().is_some() => {}
        }
    }
}

async fn connect(address: SocketAddr, mark: Option<u32>) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(mark) = mark {
        SockRef::from(&socket).set_mark(mark)?;
    }
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Why the control plane could not be dialled.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    #[error("set up TLS")]
    Tls(#[from] outrigger_identity::TlsError),
    #[error("connect to the control plane at {address}")]
    Connect { address: String, source: tonic::transport::Error },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses() -> impl Iterator<Item = SocketAddr> {
        (1..=3).map(|port| SocketAddr::from(([127, 0, 0, 1], port)))
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_does_not_answer_holds_up_nobody() {
        let dial = async |address: SocketAddr| match address.port() {
            1 => std::future::pending().await,
            2 => Err(io::ErrorKind::ConnectionRefused.into()),
            port => Ok(port),
        };

        let begin = tokio::time::Instant::now();
        let connected = first_of(addresses(), dial).await;

        assert_eq!(connected.ok(), Some(3));
        assert!(begin.elapsed() < Duration::from_millis(200), "{:?}", begin.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_answers_in_time_is_the_only_one_dialled() {
        let dialled = std::cell::Cell::new(0);
        let dial = async |address: SocketAddr| {
            dialled.set(dialled.get() + 1);
            sleep(Duration::from_millis(10)).await;
            Ok(address.port())
        };

        assert_eq!(first_of(addresses(), dial).await.ok(), Some(1));
        assert_eq!(dialled.get(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_error_is_told_when_nobody_answers() {
        let dial = async |_| Err::<(), _>(io::ErrorKind::ConnectionRefused.into());

        let error = first_of(addresses(), dial).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        let none = first_of(std::iter::empty(), async |_| Ok(())).await.unwrap_err();
        assert!(none.to_string().contains("no address"), "{none}");
    }
}
