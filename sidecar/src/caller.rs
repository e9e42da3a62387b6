//! Who is at the other end of an inbound connection.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use outrigger_identity::Peer;

use crate::admission::Place;
use crate::direction::Direction;
use crate::edges::{Edge, EdgeName, Edges};

/// Who is at the other end of an inbound connection.
pub(crate) struct Caller {
    /// `None`: plaintext, from outside the mesh.
    pub(crate) peer: Option<Peer>,
    pub(crate) address: SocketAddr,
    pub(crate) place: Arc<Place>,
    pub(crate) reach: Reach,
    /// Where its requests are counted, found once.
    edge: OnceLock<Arc<Edge>>,
}

/// What a caller may request.
#[derive(Clone, Debug)]
pub(crate) enum Reach {
    /// Anything of the application.
    Application,
    /// These paths of the application, to read them: it came in plaintext to a port whose mode is strict.
    Pages(Arc<[Arc<str>]>),
    /// The sidecar's own metrics: no traffic of the application, and not counted as such.
    Metrics,
}

impl Caller {
    /// A caller who may request anything of the application.
    pub(crate) fn new(peer: Option<Peer>, address: SocketAddr, place: Arc<Place>) -> Self {
        Self { peer, address, place, reach: Reach::Application, edge: OnceLock::new() }
    }

    /// It has proved who it is.
    #[must_use]
    pub(crate) fn proved(self, peer: Peer) -> Self {
        Self { peer: Some(peer), ..self }
    }

    /// It may request no more than this.
    #[must_use]
    pub(crate) fn limited(self, reach: Reach) -> Self {
        Self { reach, ..self }
    }

    /// Returns where what it sends is counted.
    pub(crate) fn edge(&self, edges: &Edges) -> &Arc<Edge> {
        self.edge.get_or_init(|| {
            let peer = self.peer.as_ref().map(|peer| peer.identity.clone());
            edges.find(&EdgeName { peer, ..EdgeName::unknown(Direction::Inbound) })
        })
    }
}
