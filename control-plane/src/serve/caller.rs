//! Who is at the other end of a connection.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use outrigger_identity::{Peer, PeerError, peer_of};
use rustls_pki_types::CertificateDer;
use tonic::Status;

use super::share::{Excess, Place, Share, Shares};
use crate::ca::uid_of;

/// The other end: where it is, and who it has proved to be.
#[derive(Debug)]
pub(super) struct Caller {
    pub(super) address: IpAddr,
    pub(super) leaf: Option<Leaf>,
    /// What its workload uses; absent without a leaf.
    place: Option<Result<Place, Excess>>,
}

/// The leaf that the TLS handshake has verified.
#[derive(Clone, Debug)]
pub(super) struct Leaf {
    pub(super) peer: Peer,
    /// Which workload of the peer's name it was issued to, when it tells.
    pub(super) uid: Option<Arc<str>>,
    not_after: SystemTime,
}

impl Caller {
    /// Reads the leaf that the handshake has accepted.
    pub(super) fn new(address: SocketAddr, leaf: Option<&CertificateDer<'_>>) -> Result<Self, PeerError> {
        let leaf = match leaf {
            Some(leaf) => Some(Leaf::read(leaf)?),
            None => None,
        };
        Ok(Self { address: address.ip().to_canonical(), leaf, place: None })
    }

    /// Counts the connection among those of its workload; says whether it has a place there.
    pub(super) fn admit(&mut self, shares: &Shares) -> bool {
        self.place = self.leaf.as_ref().map(|leaf| shares.connect(leaf));
        matches!(self.place, Some(Ok(_)))
    }

    /// Returns what its workload uses.
    pub(super) fn share(&self) -> Result<&Arc<Share>, Status> {
        match &self.place {
            Some(Ok(place)) => Ok(place.share()),
            Some(Err(excess)) => Err(excess.clone().into()),
            None => Err(Status::unauthenticated("no leaf: mutual TLS is needed")),
        }
    }

    /// Returns the workload that it has proved to be, for the log.
    pub(super) fn name(&self) -> Option<Arc<str>> {
        self.leaf.as_ref().map(Leaf::name)
    }

    /// Returns the leaf if it is still valid: connections outlive the handshake that checked it.
    pub(super) fn valid_leaf(&self, now: SystemTime) -> Result<&Leaf, Status> {
        let leaf = self.leaf.as_ref().ok_or_else(|| Status::unauthenticated("no leaf: mutual TLS is needed"))?;
        if now >= leaf.not_after {
            return Err(Status::unauthenticated("leaf expired: connect anew with the next one"));
        }
        Ok(leaf)
    }
}

impl Leaf {
    /// Returns the workload, `NAMESPACE/NAME`; the identity where the leaf names none, which only a control plane's does not.
    pub(super) fn name(&self) -> Arc<str> {
        match &self.peer.workload {
            Some(workload) => format!("{}/{workload}", self.peer.identity.namespace()).into(),
            None => self.peer.identity.as_str().into(),
        }
    }

    fn read(leaf: &CertificateDer<'_>) -> Result<Self, PeerError> {
        let peer = peer_of(leaf)?;
        let (_, parsed) = x509_parser::parse_x509_certificate(leaf).map_err(|_| PeerError::Malformed)?;
        let seconds = u64::try_from(parsed.validity().not_after.timestamp()).map_err(|_| PeerError::Malformed)?;
        Ok(Self { peer, uid: uid_of(&parsed), not_after: SystemTime::UNIX_EPOCH + Duration::from_secs(seconds) })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A leaf of a pod of the namespace `shop`.
    pub(in crate::serve) fn leaf(account: &str, pod: &str) -> Leaf {
        let identity = format!("spiffe://mesh.local/ns/shop/sa/{account}").parse().unwrap();
        let peer = Peer { identity, workload: Some(pod.into()) };
        Leaf { peer, uid: None, not_after: SystemTime::now() + Duration::from_secs(3600) }
    }

    #[test]
    fn a_leaf_that_has_ended_since_the_handshake_proves_nothing() {
        let end = SystemTime::UNIX_EPOCH + Duration::from_secs(2_000_000_000);
        let mut params = rcgen::CertificateParams::default();
        params.subject_alt_names.push(rcgen::SanType::URI("spiffe://mesh.local/ns/a/sa/b".try_into().unwrap()));
        params.not_after = end.into();
        let leaf = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
        let caller = Caller::new(([127, 0, 0, 1], 1).into(), Some(leaf.der())).unwrap();

        assert!(caller.valid_leaf(end - Duration::from_secs(1)).is_ok());
        assert_eq!(caller.valid_leaf(end).unwrap_err().code(), tonic::Code::Unauthenticated);
        let nobody = Caller::new(([127, 0, 0, 1], 1).into(), None).unwrap();
        assert!(nobody.valid_leaf(end).is_err());
    }
}
