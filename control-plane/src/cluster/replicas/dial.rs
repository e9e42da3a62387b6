//! A connection to another replica: mutual TLS, and both sides prove that they are the control plane.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hyper_util::rt::TokioIo;
use outrigger_identity::control_plane_client_config;
use outrigger_proto::wire::mesh_client::MeshClient;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::ca::{Authority, control_plane_identity};
use crate::why::why;

/// Dials a replica.
pub(in crate::cluster) async fn dial(
    authority: &Authority,
    address: SocketAddr,
) -> Result<MeshClient<Channel>, String> {
    let identity = control_plane_identity(authority.domain()).map_err(|error| why(&error))?;
    let own = authority.own_credentials(SystemTime::now()).map_err(|error| why(&error))?;
    let config = control_plane_client_config(Some(&own), &authority.bundle(), &identity);
    let config = Arc::new(config.map_err(|error| why(&error))?);
    let connector = tower::service_fn(move |_: Uri| {
        let config = config.clone();
        async move {
            let tcp = TcpStream::connect(address).await?;
            tcp.set_nodelay(true)?;
            let name = ServerName::IpAddress(address.ip().into());
            Ok::<_, io::Error>(TokioIo::new(TlsConnector::from(config).connect(name, tcp).await?))
        }
    });
    // The name is for HTTP/2's :authority only: the connector knows where to go.
    let endpoint = Endpoint::from_static("http://control-plane")
        .connect_timeout(LIMIT)
        .http2_keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(LIMIT);
    let channel = endpoint.connect_with_connector(connector).await.map_err(|error| why(&error))?;
    Ok(MeshClient::new(channel).max_decoding_message_size(MAX_ANSWER))
}

const LIMIT: Duration = Duration::from_secs(3);
const PING_INTERVAL: Duration = Duration::from_secs(10);

/// One answer for each part of the largest question, with words of sidecars; or all edges that a replica keeps.
const MAX_ANSWER: usize = 16 * 1024 * 1024;
