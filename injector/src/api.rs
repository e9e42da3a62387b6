//! The API server, as far as Events need it: one POST, as the pod's ServiceAccount. A Kubernetes client would be ten times
//! the injector.

use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// The API server.
#[derive(Debug)]
pub(crate) struct Api {
    host: String,
    port: u16,
    account: PathBuf,
    connection: Option<SendRequest<Full<Bytes>>>,
}

impl Api {
    /// The API server of the cluster that this pod runs in.
    pub(crate) fn of_pod(account: &Path) -> Option<Self> {
        let host = env::var("KUBERNETES_SERVICE_HOST").ok().filter(|host| !host.is_empty())?;
        let port = env::var("KUBERNETES_SERVICE_PORT").ok()?.parse().ok()?;
        Some(Self { host, port, account: account.to_owned(), connection: None })
    }

    /// Creates an object.
    ///
    /// # Errors
    /// When the API server cannot be reached or refuses.
    pub(crate) async fn post(&mut self, path: &str, object: &Value) -> Result<(), ApiError> {
        match tokio::time::timeout(LIMIT, self.try_post(path, object)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                self.connection = None;
                Err(error)
            }
            Err(_) => {
                self.connection = None;
                Err(ApiError::TimedOut)
            }
        }
    }

    async fn try_post(&mut self, path: &str, object: &Value) -> Result<(), ApiError> {
        // Read each time: the kubelet renews it.
        let token = tokio::fs::read_to_string(self.account.join("token")).await?;
        let request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(HOST, &self.host)
            .header(AUTHORIZATION, format!("Bearer {}", token.trim()))
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(object.to_string())))?;
        let mut connection = match self.connection.take().filter(|connection| !connection.is_closed()) {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        connection.ready().await?;
        let answer = connection.send_request(request).await?;
        let status = answer.status();
        // To its end, so that the connection can be used again.
        let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
        if !status.is_success() {
            let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
            let message = serde_json::from_slice::<Value>(&body).unwrap_or_default()["message"].to_string();
            return Err(ApiError::Refused { status, message });
        }
        self.connection = body.is_ok().then_some(connection);
        Ok(())
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, ApiError> {
        let pem = tokio::fs::read(self.account.join("ca.crt")).await?;
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok));
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(self.host.clone()).map_err(io::Error::other)?;
        let io = TcpStream::connect((self.host.as_str(), self.port)).await?;
        let io = TlsConnector::from(Arc::new(config)).connect(name, io).await?;
        let (connection, driver) = handshake(TokioIo::new(io)).await?;
        // It ends with the connection's handle.
        tokio::spawn(driver);
        Ok(connection)
    }
}

/// Why an object was not created.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Tls(#[from] rustls::Error),
    #[error("{0}")]
    Http(#[from] hyper::Error),
    #[error("{0}")]
    Request(#[from] http::Error),
    #[error("the API server answers {status}: {message}")]
    Refused { status: StatusCode, message: String },
    #[error("the API server did not answer in time")]
    TimedOut,
}

const LIMIT: Duration = Duration::from_secs(5);
const MAX_ANSWER: usize = 256 * 1024;
