//! Our streams against tokio-rustls and against each other.

mod close;
mod faults;
mod flow;
mod handshake;
mod records;

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, ready};

use parking_lot::Mutex;
use rcgen::{CertificateParams, CertifiedIssuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::TlsStream;

/// Who provides a side of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Us,
    TokioRustls,
}

/// Client and server.
const PAIRS: [(Who, Who); 3] = [(Who::Us, Who::Us), (Who::Us, Who::TokioRustls), (Who::TokioRustls, Who::Us)];

trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

async fn connect(who: Who, config: ClientConfig, io: impl Io + 'static) -> io::Result<Box<dyn Io>> {
    Ok(match who {
        Who::Us => Box::new(super::connect(Arc::new(config), name(), io).await?),
        Who::TokioRustls => Box::new(TlsConnector::from(Arc::new(config)).connect(name(), io).await?),
    })
}

async fn accept(who: Who, config: ServerConfig, io: impl Io + 'static) -> io::Result<Box<dyn Io>> {
    Ok(match who {
        Who::Us => Box::new(super::accept(Arc::new(config), io).await?),
        Who::TokioRustls => Box::new(TlsAcceptor::from(Arc::new(config)).accept(io).await?),
    })
}

/// A connection between `who` over `client` and `server`, which carry each other's bytes.
async fn pair(who: (Who, Who), client: impl Io + 'static, server: impl Io + 'static) -> (Box<dyn Io>, Box<dyn Io>) {
    tokio::try_join!(connect(who.0, client_config(), client), accept(who.1, server_config(), server))
        .expect("handshake")
}

/// As [`pair`], both ours and with their types.
async fn our_pair<C: Io, S: Io>(client: C, server: S) -> (TlsStream<C>, TlsStream<S>) {
    tokio::try_join!(
        super::connect(Arc::new(client_config()), name(), client),
        super::accept(Arc::new(server_config()), server)
    )
    .expect("handshake")
}

fn name() -> ServerName<'static> {
    ServerName::try_from("workload.test").expect("a DNS name")
}

/// A config that trusts, and has a certificate of, the mesh; mutual TLS.
fn client_config() -> ClientConfig {
    let (chain, key) = certificate(&MESH);
    client_config_with(&MESH, chain, key)
}

fn client_config_with(
    trusts: &Authority,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> ClientConfig {
    let mut config = ClientConfig::builder()
        .with_root_certificates(roots(trusts))
        .with_client_auth_cert(chain, key)
        .expect("a certificate with its key");
    config.alpn_protocols = vec![b"outrigger".to_vec()];
    config
}

fn server_config() -> ServerConfig {
    let (chain, key) = certificate(&MESH);
    let verifier = WebPkiClientVerifier::builder(roots(&MESH)).build().expect("a verifier");
    let mut config = ServerConfig::builder()
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .expect("a certificate with its key");
    config.alpn_protocols = vec![b"outrigger".to_vec()];
    config
}

type Authority = CertifiedIssuer<'static, KeyPair>;

static MESH: LazyLock<Authority> = LazyLock::new(|| authority("mesh"));
static STRANGER: LazyLock<Authority> = LazyLock::new(|| authority("stranger"));

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a root")
}

fn certificate(issuer: &Authority) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["workload.test".to_owned()]).expect("a DNS name");
    let leaf = params.signed_by(&key, issuer).expect("a certificate");
    (vec![leaf.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
}

fn roots(authority: &Authority) -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.der().clone()).expect("a root");
    Arc::new(roots)
}

/// The TLS error inside an I/O error.
fn tls_error_of(error: &io::Error) -> &rustls::Error {
    error.get_ref().and_then(|inner| inner.downcast_ref()).unwrap_or_else(|| panic!("not a TLS error: {error:?}"))
}

/// `length` bytes that show when one is lost or twice there.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i % 251) as u8 ^ (i / 251) as u8).collect()
}

/// Watches what passes to and from `I`, and can spoil it.
struct Watched<I> {
    io: I,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    /// All that was written.
    written: Mutex<Vec<u8>>,
    writes: AtomicUsize,
    reads: AtomicUsize,
    /// Flip a bit in the last byte of what is read next.
    tamper: AtomicBool,
}

impl Seen {
    /// The lengths of the records written since the last call.
    fn records(&self) -> Vec<usize> {
        let written = std::mem::take(&mut *self.written.lock());
        let mut rest = &written[..];
        let mut lengths = Vec::new();
        while !rest.is_empty() {
            let length = usize::from(u16::from_be_bytes([rest[3], rest[4]]));
            lengths.push(length);
            rest = &rest[5 + length..];
        }
        lengths
    }
}

fn watched<I>(io: I) -> (Watched<I>, Arc<Seen>) {
    let seen = Arc::new(Seen::default());
    (Watched { io, seen: seen.clone() }, seen)
}

impl<I: AsyncRead + Unpin> AsyncRead for Watched<I> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        self.seen.reads.fetch_add(1, Ordering::Relaxed);
        if self.seen.tamper.load(Ordering::Relaxed)
            && let Some(last) = buf.filled_mut().last_mut()
        {
            *last ^= 1;
        }
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Watched<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.io).poll_write(cx, buf))?;
        self.seen.writes.fetch_add(1, Ordering::Relaxed);
        self.seen.written.lock().extend_from_slice(&buf[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_write_vectored(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        panic!("a stream of ours writes one slice");
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
