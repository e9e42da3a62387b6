//! Bare proxies with nothing of a mesh in them: what encryption alone costs, and what knowing requests adds.
//!
//! One program on both sides: outbound it finds out where the app wanted to go and speaks mutual TLS to the other side; inbound
//! it accepts mutual TLS and hands on to the app. No routes, no policy, no metrics, no limits on time.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use http::{Request, Response, Uri, Version};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::process::Child;
use tokio::task::LocalSet;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::{Started, authority};
use crate::echo::listen;
use crate::pods::{self, Place, Pods, User};

/// What it knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Mode {
    /// Nothing: bytes, and a TLS connection for each of the app's.
    Bytes,
    /// Requests, over kept TLS connections; gRPC over one.
    Http,
}

/// `outrigger-bench floor`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(long)]
    mode: Mode,
    /// Accepts TLS; without it, speaks TLS.
    #[arg(long)]
    inbound: bool,
    /// Where the certificates are.
    #[arg(long)]
    folder: PathBuf,
}

/// Starts both sides and takes over the pods' traffic.
pub(super) async fn start(pods: &Pods, folder: &Path, bench: &Path, mode: Mode) -> Result<Started> {
    authority::issue(folder)?;
    for file in ["client.key", "server.key"] {
        std::os::unix::fs::chown(folder.join(file), Some(pods::PROXY_UID), Some(pods::PROXY_UID))?;
    }
    authority::capture(pods, folder).await?;
    let side = |place, inbound| -> Result<Child> {
        let mut command = pods.command(place, User::Proxy, bench);
        command.args(["floor", "--mode", if mode == Mode::Bytes { "bytes" } else { "http" }, "--folder"]).arg(folder);
        command.args(if inbound { &["--inbound"][..] } else { &[] }).spawn().context("start the floor")
    };
    let sidecars = (side(Place::A, false)?, side(Place::B, true)?);
    let version = "rustls with aws-lc-rs, hyper; no mesh".to_owned();
    Ok(Started { version, sidecars: Some(sidecars), others: Vec::new() })
}

/// Serves until it is stopped.
pub(crate) async fn run(args: &Args) -> Result<()> {
    let port = if args.inbound { INBOUND } else { OUTBOUND };
    let listener = listen(SocketAddr::from(([0, 0, 0, 0], port)))?;
    let side = Rc::new(Side::new(args)?);
    let serving = async {
        loop {
            let (io, _) = listener.accept().await?;
            io.set_nodelay(true)?;
            let side = side.clone();
            // A connection that breaks off is the client's to count.
            tokio::task::spawn_local(async move { drop(side.serve(io).await) });
        }
    };
    LocalSet::new().run_until(serving).await
}

const OUTBOUND: u16 = 15001;
const INBOUND: u16 = 15006;

struct Side {
    mode: Mode,
    accept: Option<TlsAcceptor>,
    connect: TlsConnector,
    // By the port: all else is the same.
    http1: RefCell<HashMap<u16, Vec<http1::SendRequest<Incoming>>>>,
    http2: RefCell<HashMap<u16, http2::SendRequest<Incoming>>>,
}

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

impl Side {
    fn new(args: &Args) -> Result<Self> {
        let name = if args.inbound { "server" } else { "client" };
        let pem = |file: String| args.folder.join(file);
        let mut anchors = rustls::RootCertStore::empty();
        anchors.add(CertificateDer::from_pem_file(pem("anchor.pem".to_owned()))?)?;
        let anchors = Arc::new(anchors);
        let chain = vec![CertificateDer::from_pem_file(pem(format!("{name}.pem")))?];
        let key = PrivateKeyDer::from_pem_file(pem(format!("{name}.key")))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls13 = &[&rustls::version::TLS13];
        let client = rustls::ClientConfig::builder_with_provider(provider.clone()).with_protocol_versions(tls13)?;
        let client =
            client.with_root_certificates(anchors.clone()).with_client_auth_cert(chain.clone(), key.clone_key())?;
        let verifier = WebPkiClientVerifier::builder_with_provider(anchors, provider.clone()).build()?;
        let server = rustls::ServerConfig::builder_with_provider(provider).with_protocol_versions(tls13)?;
        let server = server.with_client_cert_verifier(verifier).with_single_cert(chain, key)?;
        Ok(Self {
            mode: args.mode,
            accept: args.inbound.then(|| TlsAcceptor::from(Arc::new(server))),
            connect: TlsConnector::from(Arc::new(client)),
            http1: RefCell::default(),
            http2: RefCell::default(),
        })
    }

    async fn serve(self: Rc<Self>, io: TcpStream) -> Result<()> {
        let wanted = socket2::SockRef::from(&io).original_dst_v4()?;
        let port = wanted.as_socket().context("no address")?.port();
        match &self.accept {
            None => self.clone().relay(io, app_port(port)).await,
            Some(accept) => self.clone().relay(accept.accept(io).await?, port).await,
        }
    }

    async fn relay(self: Rc<Self>, mut io: impl Io + 'static, port: u16) -> Result<()> {
        if self.mode == Mode::Bytes || port == pods::BYTES.app {
            let mut next = self.dial(port).await?;
            tokio::io::copy_bidirectional_with_sizes(&mut io, &mut next, BUFFER, BUFFER).await?;
            return Ok(());
        }
        let answer = service_fn(|request| {
            let side = self.clone();
            async move {
                if port == pods::GRPC.app { side.call(request, port).await } else { side.ask(request, port).await }
            }
        });
        if port == pods::GRPC.app {
            let executor = LocalExecutor;
            hyper::server::conn::http2::Builder::new(executor).serve_connection(TokioIo::new(io), answer).await?;
        } else {
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(io), answer).await?;
        }
        Ok(())
    }

    /// Connects to the other side, or to the app.
    async fn dial(&self, port: u16) -> Result<Box<dyn Io>> {
        let io = TcpStream::connect((pods::APP, port)).await?;
        io.set_nodelay(true)?;
        if self.accept.is_some() {
            return Ok(Box::new(io));
        }
        Ok(Box::new(self.connect.connect(ServerName::try_from("server")?, io).await?))
    }

    /// HTTP/1: a kept connection, or a new one.
    async fn ask(&self, request: Request<Incoming>, port: u16) -> Result<Response<Incoming>> {
        let mut connection = match self.kept(port) {
            Some(kept) => kept,
            None => {
                let (sender, connection) = http1::handshake(TokioIo::new(self.dial(port).await?)).await?;
                tokio::task::spawn_local(connection);
                sender
            }
        };
        let (mut parts, body) = request.into_parts();
        parts.uri = parts.uri.path_and_query().map(|path| Uri::from(path.clone())).unwrap_or_default();
        let answer = connection.send_request(Request::from_parts(parts, body)).await?;
        // Ready again only once the answer is read; until then nobody takes it.
        self.http1.borrow_mut().entry(port).or_default().push(connection);
        Ok(answer)
    }

    fn kept(&self, port: u16) -> Option<http1::SendRequest<Incoming>> {
        let mut all = self.http1.borrow_mut();
        let kept = all.entry(port).or_default();
        kept.retain(|connection| !connection.is_closed());
        let ready = kept.iter().position(http1::SendRequest::is_ready)?;
        Some(kept.swap_remove(ready))
    }

    /// HTTP/2: one connection for all.
    async fn call(&self, mut request: Request<Incoming>, port: u16) -> Result<Response<Incoming>> {
        let kept = self.http2.borrow().get(&port).cloned();
        let mut connection = match kept {
            Some(kept) => kept,
            None => {
                let io = TokioIo::new(self.dial(port).await?);
                let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
                tokio::task::spawn_local(connection);
                self.http2.borrow_mut().insert(port, sender.clone());
                sender
            }
        };
        connection.ready().await?;
        *request.version_mut() = Version::HTTP_2;
        Ok(connection.send_request(request).await?)
    }
}

#[derive(Clone)]
struct LocalExecutor;

impl<F: Future + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(async move { drop(future.await) });
    }
}

/// The app's port behind one of the service's.
fn app_port(port: u16) -> u16 {
    let ports = [pods::HTTP, pods::GRPC, pods::BYTES];
    ports.iter().find(|known| known.service == port).map_or(port, |known| known.app)
}

const BUFFER: usize = 64 << 10;
