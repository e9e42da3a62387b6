//! Join tokens: what a workload of local mode shows for its first certificate, in place of a ServiceAccount token.
//!
//! `ojt1.<payload>.<HMAC-SHA256 of "ojt1.<payload>">`, both parts base64url. A token names one workload, ends soon and
//! is good once.

use std::fmt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use aws_lc_rs::hmac;
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use outrigger_proto::WorkloadName;
use serde::{Deserialize, Serialize};

use super::{AuthorityError, directory};

/// How long a token is good for when nobody says.
pub const DEFAULT_LIFETIME: Duration = Duration::from_secs(10 * 60);

/// Mints and checks tokens of one CA directory.
pub struct Tokens(hmac::Key);

impl Tokens {
    /// Opens the token key of a CA directory; makes it when it is missing. Needs no lock: tokens are minted beside a
    /// running control plane.
    ///
    /// # Errors
    /// When the directory cannot be used, or holds a broken key.
    pub fn open(directory: &Path) -> Result<Self, AuthorityError> {
        directory::make(directory)?;
        let path = directory.join("token.key");
        if directory::read(&path)?.is_none() {
            let mut secret = [0; 32];
            aws_lc_rs::rand::fill(&mut secret).map_err(|_| AuthorityError::Random)?;
            // When another process was quicker, its key counts.
            directory::write_new(&path, HEXLOWER.encode(&secret).as_bytes())?;
        }
        let text = directory::read(&path)?.unwrap_or_default();
        match HEXLOWER.decode(text.trim().as_bytes()) {
            Ok(secret) if secret.len() >= 32 => Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &secret))),
            _ => Err(AuthorityError::Content {
                path,
                problem: "not a token key: remove it, and tokens that were minted before are void".to_owned(),
            }),
        }
    }

    /// Mints a token for a workload.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn mint(&self, workload: &WorkloadName, lifetime: Duration, now: SystemTime) -> Result<String, AuthorityError> {
        let mut nonce = [0; 16];
        aws_lc_rs::rand::fill(&mut nonce).map_err(|_| AuthorityError::Random)?;
        let payload = Payload {
            namespace: workload.namespace.to_string(),
            workload: workload.name.to_string(),
            nonce: HEXLOWER.encode(&nonce),
            expires: seconds(now + lifetime),
        };
        let json = serde_json::to_vec(&payload).unwrap_or_default(); // plain fields: it cannot fail
        let signed = format!("{VERSION}.{}", BASE64URL_NOPAD.encode(&json));
        let tag = hmac::sign(&self.0, signed.as_bytes());
        Ok(format!("{signed}.{}", BASE64URL_NOPAD.encode(tag.as_ref())))
    }

    /// Checks a token, but not whether it was used before.
    ///
    /// # Errors
    /// When it is no token, not one of this CA, or too old.
    pub fn check(&self, token: &str, now: SystemTime) -> Result<Claims, TokenError> {
        if token.len() > MAX_TOKEN {
            return Err(TokenError::Malformed);
        }
        let (signed, tag) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let payload =
            signed.strip_prefix(VERSION).and_then(|rest| rest.strip_prefix('.')).ok_or(TokenError::Malformed)?;
        let tag = BASE64URL_NOPAD.decode(tag.as_bytes()).map_err(|_| TokenError::Malformed)?;
        // The payload is not looked at before the tag has been verified.
        hmac::verify(&self.0, signed.as_bytes(), &tag).map_err(|_| TokenError::Forged)?;
        let json = BASE64URL_NOPAD.decode(payload.as_bytes()).map_err(|_| TokenError::Malformed)?;
        let payload: Payload = serde_json::from_slice(&json).map_err(|_| TokenError::Malformed)?;
        let workload = format!("{}/{}", payload.namespace, payload.workload);
        let workload = workload.parse().map_err(|_| TokenError::Malformed)?;
        if seconds(now) >= payload.expires {
            return Err(TokenError::Expired);
        }
        Ok(Claims { workload, nonce: payload.nonce, expires: payload.expires })
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tokens(secret)")
    }
}

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// For whom it was minted.
    pub workload: WorkloadName,
    /// Tells it from all others.
    pub nonce: String,
    /// When it ends, in seconds since 1970.
    pub expires: u64,
}

/// Why a token is refused. The words are stable: sidecars, tests and runbooks look for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// Not a token at all.
    #[error("token malformed")]
    Malformed,
    /// Signed with another key, or changed.
    #[error("token forged: it was not minted with this CA directory's token.key")]
    Forged,
    /// Too old.
    #[error("token expired: mint another one")]
    Expired,
}

#[derive(Serialize, Deserialize)]
struct Payload {
    #[serde(rename = "ns")]
    namespace: String,
    #[serde(rename = "wl")]
    workload: String,
    nonce: String,
    #[serde(rename = "exp")]
    expires: u64,
}

pub(super) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

const VERSION: &str = "ojt1";
const MAX_TOKEN: usize = 2048;
