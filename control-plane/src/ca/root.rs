//! The root and the issuer: read from where they are kept, made when missing, the issuer re-made in time.

use std::path::Path;
use std::time::{Duration, SystemTime};

use outrigger_identity::{TrustBundle, TrustDomain};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tracing::{info, warn};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::{ASN1Time, FromDer};

use super::material::{ISSUER_PEM, ROOT_KEY, ROOT_PEM};
use super::{AuthorityError, Material, csr, issue};

/// What leaves are signed with.
pub(super) struct Issuing {
    pub(super) bundle: TrustBundle,
    pub(super) certificate: CertificateDer<'static>,
    /// When leaves of this issuer stop being valid: it ends, or the root that signed it.
    pub(super) not_after: SystemTime,
    /// From its start to `not_after`.
    lifetime: Duration,
    /// Its certificate names an end beyond the root's.
    outlives_root: bool,
    pub(super) issuer: Issuer<'static, KeyPair>,
}

impl std::fmt::Debug for Issuing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issuing").field("not_after", &self.not_after).finish_non_exhaustive()
    }
}

/// Reads root and issuer, and makes what is missing or due. `place` says in errors where they are kept.
pub(super) fn load(
    material: &mut Material,
    place: &Path,
    domain: &TrustDomain,
    now: SystemTime,
) -> Result<Issuing, AuthorityError> {
    if material.root_pem.is_none() && material.root_key.is_none() {
        let (pem, key) = make_root(domain, now)?;
        info!(place = %place.display(), trust_domain = %domain, "made a root certificate");
        (material.root_pem, material.root_key) = (Some(pem), Some(key));
    }
    let (bundle, root) = read_root(material, place, domain)?;
    if let Some(issuing) = read_issuer(material, place, &bundle)? {
        let left = issuing.not_after.duration_since(now).unwrap_or_default();
        let replaceable = root.as_ref().is_some_and(|root| issuing.outlives_root || root.not_after > issuing.not_after);
        if left > issuing.lifetime / 3 && !(issuing.outlives_root && replaceable) {
            return Ok(issuing);
        }
        if !replaceable {
            let (seconds, has_root_key) = (left.as_secs(), root.is_some());
            // With root.key, it is the root that ends: the next issuer could not be valid for longer.
            warn!(seconds_left = seconds, has_root_key, "issuer expires soon and cannot be renewed; replace the root");
            if left.is_zero() {
                let problem = match root {
                    Some(_) => "the root certificate has expired: replace root.pem and root.key",
                    None => "the issuer has expired: put root.key back, or a new issuer.pem",
                };
                return Err(AuthorityError::Content { path: place.join(ISSUER_PEM), problem: problem.to_owned() });
            }
            return Ok(issuing);
        }
    }
    let Some(root) = root else {
        let problem = "there is no issuer of this root, and no root.key to make one: put one of them here".to_owned();
        return Err(AuthorityError::Content { path: place.join(ISSUER_PEM), problem });
    };
    make_issuer(material, bundle, &root, now)
}

/// Reads root and issuer as they are.
#[cfg(feature = "kubernetes")]
pub(super) fn read(material: &Material, place: &Path, domain: &TrustDomain) -> Result<Issuing, AuthorityError> {
    let (bundle, _) = read_root(material, place, domain)?;
    read_issuer(material, place, &bundle)?.ok_or_else(|| {
        let problem = "there is no issuer that a trust anchor has signed".to_owned();
        AuthorityError::Content { path: place.join(ISSUER_PEM), problem }
    })
}

/// What issuers are signed with.
struct Root {
    issuer: Issuer<'static, KeyPair>,
    not_after: SystemTime,
}

fn read_root(
    material: &Material,
    place: &Path,
    domain: &TrustDomain,
) -> Result<(TrustBundle, Option<Root>), AuthorityError> {
    let (pem_path, key_path) = (place.join(ROOT_PEM), place.join(ROOT_KEY));
    let Some(pem) = &material.root_pem else {
        let problem = match &material.root_key {
            Some(_) => "root.key is here without it: put it back, or remove root.key to start a new CA",
            None => "there is no root certificate",
        };
        return Err(AuthorityError::Content { path: pem_path, problem: problem.to_owned() });
    };
    let broken = |problem: String| AuthorityError::Content { path: pem_path.clone(), problem };
    let bundle = TrustBundle::from_pem(domain.clone(), pem.as_bytes()).map_err(|e| broken(e.to_string()))?;
    let Some(key) = &material.root_key else { return Ok((bundle, None)) };
    let key = KeyPair::from_pem(key).map_err(|_| AuthorityError::Content {
        path: key_path,
        problem: "not a PKCS #8 private key in PEM".to_owned(),
    })?;
    let own = bundle.anchors().iter().find(|anchor| public_key(anchor).as_deref() == Some(key.public_key_raw()));
    let own = own.ok_or_else(|| broken("it does not hold the certificate of root.key".to_owned()))?;
    let not_after = not_after(own).ok_or_else(|| broken("the certificate of root.key is broken".to_owned()))?;
    let issuer = Issuer::from_ca_cert_der(&own.clone(), key)?;
    Ok((bundle, Some(Root { issuer, not_after })))
}

fn make_root(domain: &TrustDomain, now: SystemTime) -> Result<(String, String), AuthorityError> {
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    let mut params = authority(&format!("Outrigger root of {domain}"), 1)?;
    params.not_before = (now - issue::BACKDATE).into();
    params.not_after = (now + ROOT_LIFETIME).into();
    Ok((params.self_signed(&key)?.pem(), key.serialize_pem()))
}

fn make_issuer(
    material: &mut Material,
    bundle: TrustBundle,
    root: &Root,
    now: SystemTime,
) -> Result<Issuing, AuthorityError> {
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    let mut params = authority(&format!("Outrigger issuer of {}", bundle.domain()), 0)?;
    let (not_before, not_after) = (now - issue::BACKDATE, (now + ISSUER_LIFETIME).min(root.not_after));
    let lifetime = not_after.duration_since(not_before).unwrap_or_default();
    if not_after <= now {
        let problem = "the root certificate has expired: replace root.pem and root.key".to_owned();
        return Err(AuthorityError::Content { path: ROOT_PEM.into(), problem });
    }
    params.not_before = not_before.into();
    params.not_after = not_after.into();
    params.use_authority_key_identifier_extension = true;
    let certificate = params.signed_by(&key, &root.issuer)?;
    // One part, so that key and certificate change together.
    material.issuer_pem = Some(format!("{}{}", key.serialize_pem(), certificate.pem()));
    info!(hours = lifetime.as_secs() / 3600, "created an issuer");
    let (certificate, issuer) = (certificate.der().clone(), Issuer::new(params, key));
    Ok(Issuing { bundle, certificate, not_after, lifetime, outlives_root: false, issuer })
}

/// Reads the issuer; `None` when there is none, or one that no anchor has signed.
fn read_issuer(material: &Material, place: &Path, bundle: &TrustBundle) -> Result<Option<Issuing>, AuthorityError> {
    let path = place.join(ISSUER_PEM);
    let Some(pem) = &material.issuer_pem else { return Ok(None) };
    let broken = |problem: &str| AuthorityError::Content { path: path.clone(), problem: problem.to_owned() };
    let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| broken("no certificate in it"))?;
    let key = KeyPair::from_pem(pem).map_err(|_| broken("no PKCS #8 private key in it"))?;
    let (_, parsed) = X509Certificate::from_der(&certificate).map_err(|_| broken("the certificate is broken"))?;
    if parsed.public_key().subject_public_key.data != key.public_key_raw() {
        return Err(broken("its certificate is not that of its key"));
    }
    let roots = bundle.anchors().iter().filter(|anchor| signed_by(&parsed, anchor)).filter_map(not_after);
    let Some(root_end) = roots.max() else {
        warn!(path = %path.display(), "no trust anchor has signed the issuer: it is replaced");
        return Ok(None);
    };
    let validity = parsed.validity();
    let (start, end) = (time(validity.not_before), time(validity.not_after));
    let not_after = end.min(root_end);
    let lifetime = not_after.duration_since(start).unwrap_or_default();
    let issuer = Issuer::from_ca_cert_der(&certificate, key)?;
    let outlives_root = end > root_end;
    Ok(Some(Issuing { bundle: bundle.clone(), certificate, not_after, lifetime, outlives_root, issuer }))
}

fn not_after(certificate: &CertificateDer<'_>) -> Option<SystemTime> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    Some(time(parsed.validity().not_after))
}

/// What was before 1970 is over all the same.
fn time(time: ASN1Time) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(time.timestamp()).unwrap_or(0))
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

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const ROOT_LIFETIME: Duration = DAY.saturating_mul(3650);
const ISSUER_LIFETIME: Duration = DAY.saturating_mul(90);
