//! Certificates of servers that are not workloads: DNS names, no SPIFFE id, so that nobody can pose as a workload.

use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, SanType};

use super::{Authority, AuthorityError, issue};

/// A server's certificate and key, as PEM.
pub(crate) struct ServerCertificate {
    /// The chain, leaf first.
    pub(crate) chain: String,
    /// The key, PKCS #8.
    pub(crate) key: String,
}

impl Authority {
    /// Makes a certificate for a server of these names.
    ///
    /// # Errors
    /// When a name cannot be written into a certificate.
    pub(crate) fn issue_server(
        &self,
        names: &[String],
        lifetime: Duration,
        now: SystemTime,
    ) -> Result<ServerCertificate, AuthorityError> {
        let issuing = self.issuing.load();
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for name in names {
            params.subject_alt_names.push(SanType::DnsName(name.as_str().try_into()?));
        }
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        params.serial_number = Some(issue::serial()?);
        params.not_before = (now - issue::BACKDATE).into();
        params.not_after = (now + lifetime).min(issuing.not_after).into();
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        let leaf = params.signed_by(&key, &issuing.issuer)?;
        let chain = format!("{}{}", leaf.pem(), pem(&issuing.certificate));
        Ok(ServerCertificate { chain, key: key.serialize_pem() })
    }

    /// Returns the trust anchors as PEM.
    pub(crate) fn bundle_pem(&self) -> String {
        self.bundle().anchors().iter().map(|anchor| pem(anchor)).collect()
    }
}

fn pem(der: &[u8]) -> String {
    let text = data_encoding::BASE64.encode(der);
    let mut pem = "-----BEGIN CERTIFICATE-----\n".to_owned();
    for line in text.as_bytes().chunks(64) {
        pem.extend(line.iter().map(|byte| char::from(*byte)));
        pem.push('\n');
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem
}
