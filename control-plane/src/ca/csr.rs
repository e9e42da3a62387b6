//! Certificate signing requests (PKCS #10). Only the public key is taken from one, and only when the request proves
//! possession of the private key. Names, extensions and CA wishes in it are not even looked at.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, ED25519, UnparsedPublicKey, VerificationAlgorithm,
};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::oid_registry::{
    OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_SIG_ECDSA_WITH_SHA256, OID_SIG_ECDSA_WITH_SHA384,
    OID_SIG_ED25519,
};
use x509_parser::prelude::FromDer;
use x509_parser::x509::{AlgorithmIdentifier, SubjectPublicKeyInfo};

/// A public key whose private half the caller has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey(pub(super) rcgen::SubjectPublicKeyInfo);

impl PublicKey {
    /// Takes the public key out of a request.
    ///
    /// # Errors
    /// When the request cannot be read, its own signature is wrong, or the key is of a kind that is not allowed.
    pub fn from_csr(der: &[u8]) -> Result<Self, CsrError> {
        if der.len() > MAX_CSR {
            return Err(CsrError::TooLarge);
        }
        let (rest, request) = X509CertificationRequest::from_der(der).map_err(|_| CsrError::Malformed)?;
        if !rest.is_empty() {
            return Err(CsrError::Malformed);
        }
        let info = &request.certification_request_info;
        verify(&info.subject_pki, &request.signature_algorithm, info.raw, &request.signature_value.data)?;
        rcgen::SubjectPublicKeyInfo::from_der(info.subject_pki.raw).map(Self).map_err(|_| CsrError::Key)
    }
}

/// Verifies a signature by one of the few allowed algorithms.
pub(super) fn verify(
    key: &SubjectPublicKeyInfo<'_>,
    signed_with: &AlgorithmIdentifier<'_>,
    message: &[u8],
    signature: &[u8],
) -> Result<(), CsrError> {
    let curve = key.algorithm.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
    let is_ec = key.algorithm.algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY;
    let (algorithm, oid): (&'static dyn VerificationAlgorithm, _) = match curve {
        Some(curve) if is_ec && curve == OID_EC_P256 => (&ECDSA_P256_SHA256_ASN1, OID_SIG_ECDSA_WITH_SHA256),
        Some(curve) if is_ec && curve == OID_NIST_EC_P384 => (&ECDSA_P384_SHA384_ASN1, OID_SIG_ECDSA_WITH_SHA384),
        None if key.algorithm.algorithm == OID_SIG_ED25519 => (&ED25519, OID_SIG_ED25519),
        _ => return Err(CsrError::Key),
    };
    if signed_with.algorithm != oid {
        return Err(CsrError::Signature);
    }
    let key = UnparsedPublicKey::new(algorithm, &key.subject_public_key.data);
    key.verify(message, signature).map_err(|_| CsrError::Signature)
}

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CsrError {
    /// No honest request is as long.
    #[error("the request is longer than {MAX_CSR} bytes")]
    TooLarge,
    /// Not PKCS #10, or with something behind it.
    #[error("the request is not PKCS #10 in DER")]
    Malformed,
    /// The caller does not have the private key.
    #[error("the request's signature is wrong")]
    Signature,
    /// Weak or unknown.
    #[error("the key is neither ECDSA P-256, ECDSA P-384 nor Ed25519")]
    Key,
}

const MAX_CSR: usize = 16 * 1024;
