//! Proof of a peer's identity: the chain must lead to a trust anchor, the leaf must name exactly one workload of the
//! trust domain, and where the control plane named an identity, that one. DNS names and CNs play no part.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, OtherError, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::provider::provider;
use crate::{IdError, Identity, TrustBundle};

/// Who the other side of a mutual TLS connection has proved to be.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Peer {
    /// The SPIFFE id.
    pub identity: Identity,
    /// The workload's (pod's) name, when the leaf tells it.
    pub workload: Option<Arc<str>>,
}

/// Reads who a leaf certificate names. It proves nothing by itself: the handshake does.
///
/// # Errors
/// When the certificate cannot be read, or has not exactly one URI SAN that is a workload's id.
pub fn peer_of(leaf: &CertificateDer<'_>) -> Result<Peer, PeerError> {
    let leaf = webpki::EndEntityCert::try_from(leaf).map_err(|_| PeerError::Malformed)?;
    let mut uris = leaf.valid_uri_names();
    let (Some(uri), None) = (uris.next(), uris.next()) else {
        return Err(PeerError::Uris);
    };
    let identity: Identity = uri.parse()?;
    // The issuer writes one DNS SAN, `<workload>.<namespace>.workload`, beside the id.
    let suffix = format!(".{}.workload", identity.namespace());
    let workload = leaf.valid_dns_names().find_map(|name| name.strip_suffix(suffix.as_str()).map(Arc::from));
    Ok(Peer { identity, workload })
}

/// Why a certificate does not name a workload.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PeerError {
    /// It is not an X.509 certificate.
    #[error("the certificate cannot be read")]
    Malformed,
    /// No URI SAN, or several.
    #[error("the certificate must have exactly one URI SAN")]
    Uris,
    /// The URI is not a workload's id.
    #[error(transparent)]
    Id(#[from] IdError),
    /// The identity belongs to another mesh.
    #[error("{seen} is not of the trust domain {expected}")]
    TrustDomain { seen: Identity, expected: String },
    /// A valid identity, but not the expected one.
    #[error("expected {expected}, but the peer is {seen}")]
    Unexpected { expected: Identity, seen: Identity },
}

/// Finds the reason of ours in a TLS failure, for error messages that name both identities.
#[must_use]
pub fn verify_failure(error: &rustls::Error) -> Option<&PeerError> {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(inner))) => {
            inner.downcast_ref::<PeerError>()
        }
        _ => None,
    }
}

fn refused(error: PeerError) -> rustls::Error {
    rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(error))))
}

fn check_domain(peer: &Peer, bundle: &TrustBundle) -> Result<(), PeerError> {
    if peer.identity.trust_domain() == bundle.domain().as_str() {
        return Ok(());
    }
    Err(PeerError::TrustDomain { seen: peer.identity.clone(), expected: bundle.domain().to_string() })
}

/// Accepts a server only when it proves the one expected identity.
#[derive(Debug)]
pub(crate) struct ExactServer {
    expected: Identity,
    bundle: TrustBundle,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ExactServer {
    pub(crate) fn new(expected: Identity, bundle: TrustBundle) -> Self {
        Self { expected, bundle, algorithms: provider().signature_verification_algorithms }
    }
}

impl ServerCertVerifier for ExactServer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>, // an address: the identity is what counts
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let parsed = ParsedCertificate::try_from(end_entity)?;
        verify_server_cert_signed_by_trust_anchor(
            &parsed,
            self.bundle.roots(),
            intermediates,
            now,
            self.algorithms.all,
        )?;
        let peer = peer_of(end_entity).map_err(refused)?;
        check_domain(&peer, &self.bundle).map_err(refused)?;
        if peer.identity != self.expected {
            return Err(refused(PeerError::Unexpected { expected: self.expected.clone(), seen: peer.identity }));
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::PeerIncompatible(rustls::PeerIncompatible::Tls13RequiredForQuic))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Accepts clients that prove any identity of the trust domain; what they may do is policy.
#[derive(Debug)]
pub(crate) struct AnyClient {
    bundle: TrustBundle,
    chain: Arc<dyn ClientCertVerifier>,
    mandatory: bool,
}

impl AnyClient {
    pub(crate) fn new(bundle: TrustBundle, mandatory: bool) -> Result<Self, rustls::server::VerifierBuilderError> {
        let chain = WebPkiClientVerifier::builder_with_provider(bundle.roots().clone(), provider()).build()?;
        Ok(Self { bundle, chain, mandatory })
    }
}

impl ClientCertVerifier for AnyClient {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[] // one mesh, one bundle: hints would only cost bytes
    }

    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.chain.verify_client_cert(end_entity, intermediates, now)?;
        let peer = peer_of(end_entity).map_err(refused)?;
        check_domain(&peer, &self.bundle).map_err(refused)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

/// Reads the validity dates of a certificate.
pub(crate) fn validity(leaf: &CertificateDer<'_>) -> Result<(SystemTime, SystemTime), PeerError> {
    let (_, certificate) = x509_parser::parse_x509_certificate(leaf).map_err(|_| PeerError::Malformed)?;
    let at = |time: x509_parser::time::ASN1Time| -> Result<SystemTime, PeerError> {
        let seconds = u64::try_from(time.timestamp()).map_err(|_| PeerError::Malformed)?;
        Ok(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
    };
    let validity = certificate.validity();
    Ok((at(validity.not_before)?, at(validity.not_after)?))
}
