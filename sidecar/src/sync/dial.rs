//! Connections to the control plane: mutual TLS, and the control plane must prove that it is the control plane.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use outrigger_identity::{Credentials, Identity, TrustBundle, control_plane_client_config};
use outrigger_proto::wire::mesh_client::MeshClient;
use rustls_pki_types::ServerName;
use socket2::SockRef;
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint, Uri};

/// For one attempt.
const TIMEOUT: Duration = Duration::from_secs(5);

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
                Ok::<_, io::Error>(TokioIo::new(TlsConnector::from(config).connect(name, tcp).await?))
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
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in tokio::net::lookup_host(&self.address).await? {
            let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
            if let Some(mark) = self.mark {
                SockRef::from(&socket).set_mark(mark)?;
            }
            match socket.connect(address).await {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    return Ok(stream);
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

/// Why the control plane could not be dialled.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    #[error("set up TLS")]
    Tls(#[from] outrigger_identity::TlsError),
    #[error("connect to the control plane at {address}")]
    Connect { address: String, source: tonic::transport::Error },
}

/// Writes an error with all its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
