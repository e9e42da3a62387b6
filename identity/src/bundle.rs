//! The trust anchors of a mesh.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::TrustDomain;

/// The trust anchors of one trust domain. Cheap to clone.
#[derive(Clone, Debug)]
pub struct TrustBundle {
    domain: TrustDomain,
    anchors: Arc<[CertificateDer<'static>]>,
    roots: Arc<RootCertStore>,
}

impl TrustBundle {
    /// Makes a bundle of DER certificates.
    ///
    /// # Errors
    /// When there is none, or one that cannot be a trust anchor.
    pub fn new(domain: TrustDomain, anchors: Vec<CertificateDer<'static>>) -> Result<Self, BundleError> {
        if anchors.is_empty() {
            return Err(BundleError::Empty);
        }
        let mut roots = RootCertStore::empty();
        for (index, anchor) in anchors.iter().enumerate() {
            roots.add(anchor.clone()).map_err(|source| BundleError::Anchor { index, source })?;
        }
        Ok(Self { domain, anchors: anchors.into(), roots: Arc::new(roots) })
    }

    /// Reads a bundle from PEM text.
    ///
    /// # Errors
    /// When the text holds no certificate or a broken one.
    pub fn from_pem(domain: TrustDomain, pem: &[u8]) -> Result<Self, BundleError> {
        let anchors =
            CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>().map_err(|_| BundleError::Pem)?;
        Self::new(domain, anchors)
    }

    /// Returns the trust domain whose identities these anchors vouch for.
    #[must_use]
    pub fn domain(&self) -> &TrustDomain {
        &self.domain
    }

    /// Returns the anchors, DER.
    #[must_use]
    pub fn anchors(&self) -> &[CertificateDer<'static>] {
        &self.anchors
    }

    pub(crate) fn roots(&self) -> &Arc<RootCertStore> {
        &self.roots
    }
}

impl PartialEq for TrustBundle {
    fn eq(&self, other: &Self) -> bool {
        self.domain == other.domain && self.anchors == other.anchors
    }
}

/// Why a trust bundle cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// It holds no certificate.
    #[error("the trust bundle holds no certificate")]
    Empty,
    /// It is not PEM.
    #[error("the trust bundle is not PEM text of certificates")]
    Pem,
    /// One certificate cannot be an anchor.
    #[error("certificate {index} of the trust bundle cannot be a trust anchor")]
    Anchor { index: usize, source: rustls::Error },
}
