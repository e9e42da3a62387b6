//! Who is at the other end of a connection.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

use outrigger_identity::{Peer, PeerError, peer_of};
use rustls_pki_types::CertificateDer;
use tonic::Status;

/// The other end: where it is, and who it has proved to be.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) address: IpAddr,
    pub(super) leaf: Option<Leaf>,
}

/// The leaf that the TLS handshake has verified.
#[derive(Clone, Debug)]
pub(super) struct Leaf {
    pub(super) peer: Peer,
    not_after: SystemTime,
}

impl Caller {
    /// Reads the leaf that the handshake has accepted.
    pub(super) fn new(address: SocketAddr, leaf: Option<&CertificateDer<'_>>) -> Result<Self, PeerError> {
        let leaf = match leaf {
            Some(leaf) => Some(Leaf { peer: peer_of(leaf)?, not_after: not_after(leaf)? }),
            None => None,
        };
        Ok(Self { address: address.ip().to_canonical(), leaf })
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

fn not_after(leaf: &CertificateDer<'_>) -> Result<SystemTime, PeerError> {
    let (_, parsed) = x509_parser::parse_x509_certificate(leaf).map_err(|_| PeerError::Malformed)?;
    let seconds = u64::try_from(parsed.validity().not_after.timestamp()).map_err(|_| PeerError::Malformed)?;
    Ok(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

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
