//! The certificate authority of a mesh, kept in a directory or, in Kubernetes, in a Secret.
//!
//! ```text
//! root.pem      trust anchors: ours, and any that an operator adds
//! root.key      signs issuers only
//! issuer.pem    signs leaves: certificate and key, 90 days, re-made in time
//! token.key     proves join tokens
//! used-tokens   what was used up
//! ```
//! The first three are also the keys of the Secret. The directory is 0700 and its files 0600. Without `root.key` (kept offline) everything works until the issuer ends.

mod csr;
mod directory;
mod issue;
mod material;
mod root;
#[cfg(feature = "kubernetes")]
mod server;
mod token;
mod used;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use outrigger_identity::{Credentials, Identity, KeyPair, TrustBundle, TrustDomain};
use rustls_pki_types::CertificateDer;
use tokio::sync::watch;

use directory::Directory;
use root::Issuing;

pub use csr::{CsrError, PublicKey};
pub use issue::Subject;
pub(crate) use issue::uid_of;
pub use material::Material;
#[cfg(feature = "kubernetes")]
pub(crate) use material::{ISSUER_PEM, ROOT_KEY, ROOT_PEM};
pub use token::{Claims, DEFAULT_LIFETIME as TOKEN_LIFETIME, TokenError, Tokens};
pub use used::UsedTokens;

/// Signs leaves. One process at a time uses a directory; any number use a Secret.
#[derive(Debug)]
pub struct Authority {
    kept: Kept,
    domain: TrustDomain,
    leaf_lifetime: Duration,
    issuing: ArcSwap<Issuing>,
    changed: watch::Sender<()>,
}

/// Where the CA is kept.
#[derive(Debug)]
enum Kept {
    Directory(Directory),
    // Whoever keeps it tells of changes by `adopt`. The path says in errors where that is.
    #[cfg(feature = "kubernetes")]
    Elsewhere(PathBuf),
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
        let issuing = of_directory(&directory, &domain, now)?;
        Ok(Self {
            kept: Kept::Directory(directory),
            domain,
            leaf_lifetime,
            issuing: ArcSwap::from_pointee(issuing),
            changed: watch::Sender::new(()),
        })
    }

    /// Makes an authority of what is kept elsewhere; `place` says in errors where.
    ///
    /// # Errors
    /// When it cannot be understood, or something is missing.
    #[cfg(feature = "kubernetes")]
    pub(crate) fn of_material(
        material: &Material,
        place: PathBuf,
        domain: TrustDomain,
        leaf_lifetime: Duration,
    ) -> Result<Self, AuthorityError> {
        let issuing = root::read(material, &place, &domain)?;
        Ok(Self {
            kept: Kept::Elsewhere(place),
            domain,
            leaf_lifetime,
            issuing: ArcSwap::from_pointee(issuing),
            changed: watch::Sender::new(()),
        })
    }

    /// Takes what is kept elsewhere in place of what is in use. Says whether anything changed.
    ///
    /// # Errors
    /// As [`Authority::of_material`]; what was in use stays in use.
    #[cfg(feature = "kubernetes")]
    pub(crate) fn adopt(&self, material: &Material) -> Result<bool, AuthorityError> {
        let place = match &self.kept {
            Kept::Directory(directory) => directory.path(),
            Kept::Elsewhere(place) => place,
        };
        Ok(self.take(root::read(material, place, &self.domain)?))
    }

    /// Makes what is missing or due of what is kept elsewhere.
    ///
    /// # Errors
    /// When it cannot be understood, or what is due cannot be made.
    #[cfg(feature = "kubernetes")]
    pub(crate) fn complete(
        material: &mut Material,
        place: &Path,
        domain: &TrustDomain,
        now: SystemTime,
    ) -> Result<(), AuthorityError> {
        root::load(material, place, domain, now).map(drop)
    }

    /// Tells when the issuer or the trust anchors have changed.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
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
        match &self.kept {
            Kept::Directory(directory) => Ok(self.take(of_directory(directory, &self.domain, now)?)),
            #[cfg(feature = "kubernetes")]
            Kept::Elsewhere(_) => Ok(false),
        }
    }

    fn take(&self, fresh: Issuing) -> bool {
        let current = self.issuing.load();
        let changed = fresh.certificate != current.certificate || fresh.bundle != current.bundle;
        if changed {
            self.issuing.store(Arc::new(fresh));
            self.changed.send_replace(());
        }
        changed
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
        let subject = Subject { identity: control_plane_identity(&self.domain)?, workload: None, uid: None };
        Credentials::new(&key, self.issue(&public, &subject, now)?).map_err(|_| AuthorityError::Own)
    }
}

fn of_directory(directory: &Directory, domain: &TrustDomain, now: SystemTime) -> Result<Issuing, AuthorityError> {
    let here = directory.load()?;
    let mut wanted = here.clone();
    let issuing = root::load(&mut wanted, directory.path(), domain, now)?;
    directory.save(&here, &wanted)?;
    Ok(issuing)
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
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
    /// Two processes would undo each other's work, and accept a join token twice.
    #[error("{} is in use by another control plane: stop it, or choose another --ca-dir", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// A file holds something else than it should.
    #[error("{}: {problem}", path.display())]
    Content {
        /// Which file.
        path: PathBuf,
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
