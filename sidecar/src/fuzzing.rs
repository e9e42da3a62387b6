//! What the fuzz targets drive of this crate: doors to what is private, with no logic of their own.

use std::fmt;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use outrigger_identity::TrustBundle;
use outrigger_proto::{WorkloadName, wire};
use outrigger_wire::http1;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::body::{Body, Replay};
use crate::detect::{Prefixed, Verdict};
use crate::sync::{Catalog, StateDir, Store};
use crate::tls::TlsState;

/// What a client's first bytes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sniffed {
    /// A request line.
    Http1,
    /// The preface of HTTP/2.
    Http2,
    /// A TLS handshake.
    Tls,
    /// None of these.
    Other,
    /// Too few to tell.
    More,
}

/// Looks at a client's first bytes.
#[must_use]
pub fn sniff(bytes: &[u8]) -> Sniffed {
    match crate::detect::sniff(bytes) {
        Verdict::Http1 => Sniffed::Http1,
        Verdict::Http2 => Sniffed::Http2,
        Verdict::Tls => Sniffed::Tls,
        Verdict::Other => Sniffed::Other,
        Verdict::More => Sniffed::More,
    }
}

/// Whether a connection begins with the ClientHello of a peer of the mesh, and what was read to find that out.
pub async fn mesh_hello<T: AsyncRead + AsyncWrite + Unpin>(io: T) -> (bool, Vec<u8>) {
    let mut io = Prefixed::new(io);
    let is_mesh = crate::detect::mesh_hello(&mut io).await;
    (is_mesh, io.seen().to_vec())
}

/// A request body that several attempts may send.
pub struct Replayed(Replay);

impl Replayed {
    /// Of a body that comes in.
    #[must_use]
    pub fn new(body: http1::Incoming) -> Self {
        Self(Replay::new(Body::http1(body)))
    }

    /// Whether another attempt could still send all of it.
    #[must_use]
    pub fn possible(&self) -> bool {
        self.0.possible()
    }

    /// The body of the next attempt.
    pub fn attempt(&mut self) -> Attempt {
        Attempt(self.0.attempt())
    }
}

impl fmt::Debug for Replayed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Replayed")
    }
}

/// The body of one attempt.
#[derive(Debug)]
pub struct Attempt(Body);

impl http_body::Body for Attempt {
    type Data = Bytes;
    type Error = String;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, String>>> {
        Pin::new(&mut self.0).poll_frame(cx).map(|frame| frame.map(|frame| frame.map_err(|error| error.to_string())))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

/// A sidecar's configuration, taken from resources.
pub struct Configuration(Catalog);

impl Configuration {
    /// Of a sidecar that has just started.
    #[must_use]
    pub fn new() -> Self {
        let own = WorkloadName { namespace: "shop".into(), name: "cart-1".into() };
        let (store, _wanted) = Store::new(own, 1);
        Self(Catalog::new(Arc::new(store), Arc::new(TlsState::new())))
    }

    /// Puts an update in force; how many of its resources are, and how many were refused.
    pub fn apply(&mut self, resources: Vec<wire::Resource>, removed: &[String]) -> (usize, usize) {
        let applied = self.0.apply(resources, removed);
        (applied.acked.len(), applied.refused.len())
    }

    /// What is held, in the order of the keys.
    #[must_use]
    pub fn resources(&self) -> Vec<wire::Resource> {
        let mut resources = self.0.resources();
        resources.sort_by(|a, b| a.key.cmp(&b.key));
        resources
    }
}

impl Default for Configuration {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Configuration")
    }
}

/// The state directory of a sidecar.
pub struct State(StateDir);

impl State {
    /// Opens it.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(path: &Path) -> std::io::Result<Self> {
        StateDir::open(path).map(Self)
    }

    /// The saved resources.
    #[must_use]
    pub fn resources(&self) -> Option<Vec<wire::Resource>> {
        self.0.load_resources()
    }

    /// Saves resources.
    pub fn save(&self, resources: Vec<wire::Resource>) {
        self.0.save_resources(resources);
    }

    /// Whether there is a saved identity.
    #[must_use]
    pub fn has_identity(&self) -> bool {
        self.0.load_identity().is_some()
    }

    /// The trust anchors to begin with.
    #[must_use]
    pub fn anchors(&self, given: TrustBundle) -> TrustBundle {
        self.0.with_saved_anchors(given)
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("State")
    }
}
