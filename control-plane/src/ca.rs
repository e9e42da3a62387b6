//! The certificate authority of a mesh, kept in a directory.
//!
//! ```text
//! root.pem      trust anchors: ours, and any that an operator adds
//! root.key      signs issuers only
//! issuer.pem    signs leaves: certificate and key, 90 days, re-made in time
//! token.key     proves join tokens
//! used-tokens   what was used up
//! ```
//! The directory is 0700 and its files 0600. Without `root.key` (kept offline) everything works until the issuer ends.

mod csr;
mod directory;
mod issue;
mod root;
mod token;
mod used;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use outrigger_identity::{Credentials, Identity, KeyPair, TrustBundle, TrustDomain};
use rustls_pki_types::CertificateDer;

use directory::Directory;
use root::Issuing;

pub use csr::{CsrError, PublicKey};
pub use issue::Subject;
pub use token::{Claims, DEFAULT_LIFETIME as TOKEN_LIFETIME, TokenError, Tokens};
pub use used::UsedTokens;

/// Signs leaves. One process at a time uses a directory.
#[derive(Debug)]
pub struct Authority {
    directory: Directory,
    domain: TrustDomain,
    leaf_lifetime: Duration,
    issuing: ArcSwap<Issuing>,
}

impl Authority {
    /// Opens the CA in `path`; makes what is missing.
    ///
    /// # Errors
    /// When the directory cannot be used, belongs to a running control plane, or holds what cannot be understood.
    pub fn open(
        path: &Path,
        domain: TrustDomain,
        leaf_lifetime: Duration,
        now: SystemTime,
    ) -> Result<Self, AuthorityError> {
        let directory = Directory::lock(path)?;
        let issuing = root::load(&directory, &domain, now)?;
        Ok(Self { directory, domain, leaf_lifetime, issuing: ArcSwap::from_pointee(issuing) })
    }

    /// Returns the trust anchors.
    #[must_use]
    pub fn bundle(&self) -> TrustBundle {
        self.issuing.load().bundle.clone()
    }

    /// Returns the trust domain.
    #[must_use]
    pub fn domain(&self) -> &TrustDomain {
        &self.domain
    }

    /// Reads the directory again (an operator may have added an anchor) and re-makes the issuer when it is due. Says
    /// whether anything changed.
    ///
    /// # Errors
    /// As [`Authority::open`]; what was in use stays in use.
    pub fn refresh(&self, now: SystemTime) -> Result<bool, AuthorityError> {
        let fresh = root::load(&self.directory, &self.domain, now)?;
        let current = self.issuing.load();
        let changed = fresh.certificate != current.certificate || fresh.bundle != current.bundle;
        if changed {
            self.issuing.store(Arc::new(fresh));
        }
        Ok(changed)
    }

    /// Signs a leaf for `subject` and returns its chain, leaf first.
    ///
    /// # Errors
    /// When the subject cannot be written into a certificate.
    pub fn issue(
        &self,
        key: &PublicKey,
        subject: &Subject,
        now: SystemTime,
    ) -> Result<Vec<CertificateDer<'static>>, AuthorityError> {
        issue::leaf(&self.issuing.load(), key, subject, self.leaf_lifetime, now)
    }

    /// Makes the control plane's own key and leaf.
    ///
    /// # Errors
    /// When there is no randomness, or its leaf cannot be signed.
    pub fn own_credentials(&self, now: SystemTime) -> Result<Credentials, AuthorityError> {
        let key = KeyPair::generate().map_err(|_| AuthorityError::Own)?;
        let csr = key.csr().map_err(|_| AuthorityError::Own)?;
        let public = PublicKey::from_csr(&csr).map_err(|_| AuthorityError::Own)?;
        let subject = Subject { identity: control_plane_identity(&self.domain)?, workload: None };
        Credentials::new(&key, self.issue(&public, &subject, now)?).map_err(|_| AuthorityError::Own)
    }

    /// Opens the list of used join tokens, which lives beside the keys.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn used_tokens(&self, now: SystemTime) -> Result<UsedTokens, AuthorityError> {
        UsedTokens::open(self.directory.path(), now)
    }
}

/// Returns the identity that every control plane of a trust domain proves.
///
/// # Errors
/// When the trust domain is too long for a SPIFFE id.
pub fn control_plane_identity(domain: &TrustDomain) -> Result<Identity, AuthorityError> {
    Identity::new(domain, "outrigger-system", "outrigger-control-plane").map_err(|_| AuthorityError::Own)
}

/// Why the authority cannot work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorityError {
    /// The directory or a file in it.
    #[error("{}: {what}", path.display())]
    File {
        /// Which file.
        path: std::path::PathBuf,
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
    /// Two processes would undo each other's work, and accept a join token twice.
    #[error("{} is in use by another control plane: stop it, or choose another --ca-dir", path.display())]
    InUse {
        /// The directory.
        path: std::path::PathBuf,
    },
    /// A file holds something else than it should.
    #[error("{}: {problem}", path.display())]
    Content {
        /// Which file.
        path: std::path::PathBuf,
        /// What is wrong with it, and what to do.
        problem: String,
    },
    /// A certificate could not be made.
    #[error("cannot make a certificate")]
    Certificate(#[from] rcgen::Error),
    /// No randomness.
    #[error("the system has no randomness")]
    Random,
    /// The control plane's own leaf.
    #[error("cannot make the control plane's own certificate")]
    Own,
}

#[cfg(test)]
mod tests;
