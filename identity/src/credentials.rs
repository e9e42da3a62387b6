//! A workload's own key and leaf certificate.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::provider::provider;
use crate::verify::{Peer, PeerError, peer_of};

/// A fresh private key. It leaves memory only through [`KeyPair::secret_der`].
pub struct KeyPair(rcgen::KeyPair);

impl KeyPair {
    /// Makes an ECDSA P-256 key.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn generate() -> Result<Self, CredentialsError> {
        rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map(Self).map_err(|_| CredentialsError::Generate)
    }

    /// Reads a key back from what [`KeyPair::secret_der`] gave.
    ///
    /// # Errors
    /// When it is not a PKCS #8 key of a supported kind.
    pub fn from_secret_der(der: &[u8]) -> Result<Self, CredentialsError> {
        rcgen::KeyPair::try_from(der).map(Self).map_err(|_| CredentialsError::Key)
    }

    /// Returns the private key, PKCS #8 DER: a secret, never for logs nor for unprotected disk.
    #[must_use]
    pub fn secret_der(&self) -> Vec<u8> {
        self.0.serialize_der()
    }

    /// Makes a certificate signing request (PKCS #10, DER) that proves possession of the key and asks for nothing:
    /// the identity comes from what the caller proves to the control plane, not from the request.
    ///
    /// # Errors
    /// When signing fails.
    pub fn csr(&self) -> Result<Vec<u8>, CredentialsError> {
        let request =
            rcgen::CertificateParams::default().serialize_request(&self.0).map_err(|_| CredentialsError::Generate)?;
        Ok(request.der().to_vec())
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyPair(secret)")
    }
}

/// A key with the leaf certificate that was issued for it, ready for TLS.
#[derive(Clone)]
pub struct Credentials {
    certified: Arc<CertifiedKey>,
    peer: Peer,
    not_before: SystemTime,
    not_after: SystemTime,
}

impl Credentials {
    /// Joins a key and its certificate chain (leaf first).
    ///
    /// # Errors
    /// When the leaf is not a workload's, or was not issued for this key.
    pub fn new(key: &KeyPair, chain: Vec<CertificateDer<'static>>) -> Result<Self, CredentialsError> {
        let leaf = chain.first().ok_or(CredentialsError::EmptyChain)?;
        let peer = peer_of(leaf)?;
        let (not_before, not_after) = crate::verify::validity(leaf)?;
        let secret = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.secret_der()));
        let certified = CertifiedKey::from_der(chain, secret, &provider())
            .map_err(|source| CredentialsError::Mismatch { source })?;
        Ok(Self { certified: Arc::new(certified), peer, not_before, not_after })
    }

    /// Returns who these credentials name.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Returns the chain, leaf first.
    #[must_use]
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.certified.cert
    }

    /// Returns the end of validity.
    #[must_use]
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// Returns how long the leaf is valid in all.
    #[must_use]
    pub fn lifetime(&self) -> Duration {
        self.not_after.duration_since(self.not_before).unwrap_or_default()
    }

    /// Says whether the leaf is valid at `now`.
    #[must_use]
    pub fn valid_at(&self, now: SystemTime) -> bool {
        self.not_before <= now && now < self.not_after
    }

    pub(crate) fn certified(&self) -> &Arc<CertifiedKey> {
        &self.certified
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("peer", &self.peer)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

/// Why credentials cannot be made or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// Key generation or signing failed.
    #[error("could not make a key")]
    Generate,
    /// The stored key is broken.
    #[error("not a PKCS #8 private key")]
    Key,
    /// No certificate was given.
    #[error("the certificate chain is empty")]
    EmptyChain,
    /// The leaf does not name a workload.
    #[error("the leaf certificate is not a workload's")]
    Leaf(#[from] PeerError),
    /// Key and leaf do not belong together.
    #[error("the leaf certificate was not issued for this key")]
    Mismatch { source: rustls::Error },
}
