//! Leaves: who the control plane says the caller is, and nothing that the caller said.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use outrigger_identity::Identity;
use outrigger_proto::WorkloadName;
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, SanType, SerialNumber};
use rustls_pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

use super::root::Issuing;
use super::{AuthorityError, PublicKey};

/// Whom a leaf names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The SPIFFE id, in the URI SAN.
    pub identity: Identity,
    /// The workload, in the DNS SAN `<workload>.<namespace>.workload`.
    pub workload: Option<WorkloadName>,
    /// Which workload of that name: the pod's uid, in the DNS SAN `<uid>.uid`. Outside Kubernetes there is none.
    pub uid: Option<Arc<str>>,
}

/// Reads which workload of its name a leaf was issued to; `None` for leaves of earlier versions, and outside Kubernetes.
pub(crate) fn uid_of(leaf: &X509Certificate<'_>) -> Option<Arc<str>> {
    let names = &leaf.subject_alternative_name().ok()??.value.general_names;
    names.iter().find_map(|name| match name {
        GeneralName::DNSName(name) => name.strip_suffix(UID).map(Arc::from),
        _ => None,
    })
}

pub(super) fn leaf(
    issuing: &Issuing,
    key: &PublicKey,
    subject: &Subject,
    lifetime: Duration,
    now: SystemTime,
) -> Result<Vec<CertificateDer<'static>>, AuthorityError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.subject_alt_names.push(SanType::URI(subject.identity.as_str().try_into()?));
    if let Some(workload) = &subject.workload {
        let name = format!("{}.{}.workload", workload.name, workload.namespace);
        params.subject_alt_names.push(SanType::DnsName(name.try_into()?));
    }
    if let Some(uid) = &subject.uid {
        // After the workload's name, which whoever verifies a peer looks for. No name of a workload ends like this.
        params.subject_alt_names.push(SanType::DnsName(format!("{uid}{UID}").try_into()?));
    }
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    params.serial_number = Some(serial()?);
    params.not_before = (now - BACKDATE).into();
    // A leaf that outlives its issuer would be valid by its own word only.
    params.not_after = (now + lifetime).min(issuing.not_after).into();
    let leaf = params.signed_by(&key.0, &issuing.issuer)?;
    Ok(vec![leaf.der().clone(), issuing.certificate.clone()])
}

/// 126 random bits: the first one is cleared for the sign, the second set so that the length never varies.
pub(super) fn serial() -> Result<SerialNumber, AuthorityError> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| AuthorityError::Random)?;
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

/// For peers whose clocks are behind: 20 s of skew are to be expected, a minute costs nothing.
pub(super) const BACKDATE: Duration = Duration::from_secs(60);

/// What the DNS SAN with the uid ends with.
const UID: &str = ".uid";
