//! Who is at the other end of an inbound connection.

use std::net::SocketAddr;
use std::sync::Arc;

use outrigger_identity::Peer;

use crate::admission::Place;

/// Who is at the other end of an inbound connection.
pub(crate) struct Caller {
    /// `None`: plaintext, from outside the mesh.
    pub(crate) peer: Option<Peer>,
    pub(crate) address: SocketAddr,
    pub(crate) place: Arc<Place>,
}
