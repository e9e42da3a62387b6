//! The root and the issuer: read from the directory, made when missing, the issuer re-made in time.

use std::time::{Duration, SystemTime};

use outrigger_identity::{TrustBundle, TrustDomain};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tracing::{info, warn};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::directory::{self, Directory};
use super::{AuthorityError, csr, issue};

/// What leaves are signed with.
pub(super) struct Issuing {
    pub(super) bundle: TrustBundle,
    pub(super) certificate: CertificateDer<'static>,
    pub(super) not_after: SystemTime,
    pub(super) issuer: Issuer<'static, KeyPair>,
}

impl std::fmt::Debug for Issuing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issuing").field("not_after", &self.not_after).finish_non_exhaustive()
    }
}

/// Reads root and issuer, and makes what is missing or due.
pub(super) fn load(directory: &Directory, domain: &TrustDomain, now: SystemTime) -> Result<Issuing, AuthorityError> {
    let (bundle, root) = load_root(directory, domain, now)?;
    if let Some(issuing) = read_issuer(directory, &bundle)? {
        let left = issuing.not_after.duration_since(now).unwrap_or_default();
        if left > ISSUER_LIFETIME / 3 {
            return Ok(issuing);
        }
        if root.is_none() {
            let seconds = left.as_secs();
            warn!(seconds_left = seconds, "the issuer ends soon, and root.key is not here to sign the next one");
            if left.is_zero() {
                let problem = "the issuer has ended: put root.key back, or a new issuer.pem and issuer.key".to_owned();
                return Err(AuthorityError::Content { path: directory.file(ISSUER_PEM), problem });
            }
            return Ok(issuing);
        }
    }
    let Some(root) = root else {
        let problem = "there is no issuer of this root, and no root.key to make one: put one of them here".to_owned();
        return Err(AuthorityError::Content { path: directory.file(ISSUER_PEM), problem });
    };
    make_issuer(directory, bundle, &root, now)
}

type Root = Issuer<'static, KeyPair>;

fn load_root(
    directory: &Directory,
    domain: &TrustDomain,
    now: SystemTime,
) -> Result<(TrustBundle, Option<Root>), AuthorityError> {
    let (pem_path, key_path) = (directory.file(ROOT_PEM), directory.file(ROOT_KEY));
    let (pem, key) = match (directory::read(&pem_path)?, directory::read(&key_path)?) {
        (Some(pem), key) => (pem, key),
        (None, Some(_)) => {
            let problem = "root.key is here without it: put it back, or remove root.key to start a new CA".to_owned();
            return Err(AuthorityError::Content { path: pem_path, problem });
        }
        (None, None) => {
            let (pem, key) = make_root(domain, now)?;
            // The certificate comes last: without it the key alone is seen and reported, never half a CA used.
            directory::write(&key_path, key.as_bytes())?;
            directory::write(&pem_path, pem.as_bytes())?;
            info!(path = %pem_path.display(), trust_domain = %domain, "made a root certificate");
            (pem, Some(key))
        }
    };
    let broken = |problem: String| AuthorityError::Content { path: pem_path.clone(), problem };
    let bundle = TrustBundle::from_pem(domain.clone(), pem.as_bytes()).map_err(|e| broken(e.to_string()))?;
    let Some(key) = key else { return Ok((bundle, None)) };
    let key = KeyPair::from_pem(&key).map_err(|_| AuthorityError::Content {
        path: key_path,
        problem: "not a PKCS #8 private key in PEM".to_owned(),
    })?;
    let own = bundle.anchors().iter().find(|anchor| public_key(anchor).as_deref() == Some(key.public_key_raw()));
    let own = own.ok_or_else(|| broken("it does not hold the certificate of root.key".to_owned()))?;
    let root = Issuer::from_ca_cert_der(&own.clone(), key)?;
    Ok((bundle, Some(root)))
}

fn make_root(domain: &TrustDomain, now: SystemTime) -> Result<(String, String), AuthorityError> {
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    let mut params = authority(&format!("Outrigger root of {domain}"), 1)?;
    params.not_before = (now - issue::BACKDATE).into();
    params.not_after = (now + ROOT_LIFETIME).into();
    Ok((params.self_signed(&key)?.pem(), key.serialize_pem()))
}

fn make_issuer(
    directory: &Directory,
    bundle: TrustBundle,
    root: &Root,
    now: SystemTime,
) -> Result<Issuing, AuthorityError> {
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    let mut params = authority(&format!("Outrigger issuer of {}", bundle.domain()), 0)?;
    params.not_before = (now - issue::BACKDATE).into();
    params.not_after = (now + ISSUER_LIFETIME).into();
    params.use_authority_key_identifier_extension = true;
    let certificate = params.signed_by(&key, root)?;
    // One file, so that key and certificate change together.
    let both = format!("{}{}", key.serialize_pem(), certificate.pem());
    directory::write(&directory.file(ISSUER_PEM), both.as_bytes())?;
    info!(days = ISSUER_LIFETIME.as_secs() / 86_400, "made an issuer");
    let not_after = now + ISSUER_LIFETIME;
    Ok(Issuing { bundle, certificate: certificate.der().clone(), not_after, issuer: Issuer::new(params, key) })
}

/// Reads the issuer; `None` when there is none, or one that no anchor has signed.
fn read_issuer(directory: &Directory, bundle: &TrustBundle) -> Result<Option<Issuing>, AuthorityError> {
    let path = directory.file(ISSUER_PEM);
    let Some(pem) = directory::read(&path)? else { return Ok(None) };
    let broken = |problem: &str| AuthorityError::Content { path: path.clone(), problem: problem.to_owned() };
    let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| broken("no certificate in it"))?;
    let key = KeyPair::from_pem(&pem).map_err(|_| broken("no PKCS #8 private key in it"))?;
    let (_, parsed) = X509Certificate::from_der(&certificate).map_err(|_| broken("the certificate is broken"))?;
    if parsed.public_key().subject_public_key.data != key.public_key_raw() {
        return Err(broken("its certificate is not that of its key"));
    }
    if !bundle.anchors().iter().any(|anchor| signed_by(&parsed, anchor)) {
        warn!(path = %path.display(), "no trust anchor has signed the issuer: it is replaced");
        return Ok(None);
    }
    let not_after = u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or(0);
    let not_after = SystemTime::UNIX_EPOCH + Duration::from_secs(not_after);
    let issuer = Issuer::from_ca_cert_der(&certificate, key)?;
    Ok(Some(Issuing { bundle: bundle.clone(), certificate, not_after, issuer }))
}

fn signed_by(certificate: &X509Certificate<'_>, anchor: &CertificateDer<'_>) -> bool {
    let Ok((_, anchor)) = X509Certificate::from_der(anchor) else { return false };
    let signature = &certificate.signature_value.data;
    let message = certificate.tbs_certificate.as_ref();
    csr::verify(anchor.public_key(), &certificate.signature_algorithm, message, signature).is_ok()
}

fn public_key(certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    Some(parsed.public_key().subject_public_key.data.to_vec())
}

fn authority(name: &str, below: u8) -> Result<CertificateParams, AuthorityError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    // An X.509 common name is at most 64 characters.
    params.distinguished_name.push(DnType::CommonName, name.chars().take(64).collect::<String>());
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(below));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.serial_number = Some(issue::serial()?);
    Ok(params)
}

const ROOT_PEM: &str = "root.pem";
const ROOT_KEY: &str = "root.key";
const ISSUER_PEM: &str = "issuer.pem";

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const ROOT_LIFETIME: Duration = DAY.saturating_mul(3650);
const ISSUER_LIFETIME: Duration = DAY.saturating_mul(90);
