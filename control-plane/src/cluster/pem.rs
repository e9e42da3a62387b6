//! Looks at a certificate that was made earlier.

use std::time::{Duration, SystemTime};

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::extensions::GeneralName;

/// Says whether a chain's leaf has these names and more than a third of its life before it.
pub(super) fn is_good(chain: &[u8], names: &[String], now: SystemTime) -> bool {
    let Ok(leaf) = CertificateDer::from_pem_slice(chain) else { return false };
    let Ok((_, leaf)) = x509_parser::parse_x509_certificate(&leaf) else { return false };
    let at = |time: x509_parser::time::ASN1Time| {
        SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(time.timestamp()).unwrap_or(0))
    };
    let (start, end) = (at(leaf.validity().not_before), at(leaf.validity().not_after));
    let life = end.duration_since(start).unwrap_or_default();
    let left = end.duration_since(now).unwrap_or_default();
    let Ok(Some(alternatives)) = leaf.subject_alternative_name() else { return false };
    let has = |name: &String| {
        let is_it = |other: &GeneralName<'_>| matches!(other, GeneralName::DNSName(other) if other == name);
        alternatives.value.general_names.iter().any(is_it)
    };
    left > life / 3 && names.iter().all(has)
}
