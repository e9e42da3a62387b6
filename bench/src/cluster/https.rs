//! One HTTP/2 connection over TLS, as the API server has one to a webhook.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio_rustls::TlsConnector;

/// A connection, dialled again when the other side has ended it; clones share it.
#[derive(Clone)]
pub(super) struct Https {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    authority: String,
    sender: Arc<Mutex<Sender>>,
}

type Sender = SendRequest<Full<Bytes>>;

impl std::fmt::Debug for Https {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Https").field("authority", &self.authority).finish_non_exhaustive()
    }
}

impl Https {
    /// Dials `address`, which must prove with a certificate of `roots` that it is `name`. `own`: certificate and key, PEM.
    pub(super) async fn dial(address: &str, name: &str, roots: &[u8], own: Option<(&[u8], &[u8])>) -> Result<Self> {
        let mut store = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(roots) {
            store.add(root?)?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let builder = builder.with_root_certificates(store);
        let mut config = match own {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = CertificateDer::pem_slice_iter(certificate).collect::<Result<_, _>>()?;
                builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key)?)?
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        let (config, name) = (Arc::new(config), ServerName::try_from(name.to_owned())?);
        let sender = connect(address, &name, &config).await?;
        Ok(Self { config, name, authority: address.to_owned(), sender: Arc::new(Mutex::new(sender)) })
    }

    /// The connection, or a new one when that has ended.
    async fn sender(&self) -> Result<Sender> {
        let mut shared = self.sender.lock().await;
        if shared.ready().await.is_err() {
            *shared = connect(&self.authority, &self.name, &self.config).await?;
            shared.ready().await?;
        }
        Ok(shared.clone())
    }

    /// Sends a request with a JSON body, and returns the answer's.
    pub(super) async fn send(&self, method: Method, path: &str, body: Bytes) -> Result<(StatusCode, Bytes)> {
        let kind = if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
        let request = Request::builder().method(method).uri(format!("https://{}{path}", self.authority));
        let request = request.header("content-type", kind).body(Full::new(body))?;
        let response = self.sender().await?.send_request(request).await?;
        let status = response.status();
        Ok((status, response.into_body().collect().await?.to_bytes()))
    }

    /// As [`Self::send`]; anything but a success is an error.
    pub(super) async fn succeeds(&self, method: Method, path: &str, body: Bytes) -> Result<Bytes> {
        let (status, answer) = self.send(method.clone(), path, body).await?;
        ensure!(status.is_success(), "{method} {path}: {status}: {}", String::from_utf8_lossy(&answer));
        Ok(answer)
    }
}

async fn connect(address: &str, name: &ServerName<'static>, config: &Arc<ClientConfig>) -> Result<Sender> {
    let io = TcpStream::connect(address).await.with_context(|| format!("connect to {address}"))?;
    io.set_nodelay(true)?;
    let io = TlsConnector::from(config.clone()).connect(name.clone(), io).await.context("TLS")?;
    let (sender, driver) = handshake(TokioExecutor::new(), TokioIo::new(io)).await?;
    tokio::spawn(driver);
    Ok(sender)
}
