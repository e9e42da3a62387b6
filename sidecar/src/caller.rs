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
    /// Where its requests are counted, found once.
    edge: OnceLock<Arc<Edge>>,
}

impl Caller {
    pub(crate) fn new(peer: Option<Peer>, address: SocketAddr, place: Arc<Place>) -> Self {
        Self { peer, address, place, edge: OnceLock::new() }
    }

    /// Returns where what it sends is counted.
    pub(crate) fn edge(&self, edges: &Edges) -> &Arc<Edge> {
        self.edge.get_or_init(|| {
            let peer = self.peer.as_ref().map(|peer| peer.identity.clone());
            edges.find(&EdgeName { peer, ..EdgeName::unknown(Direction::Inbound) })
        })
    }
}
