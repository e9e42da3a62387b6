//! `Certify`: who the caller is, is found out from a token or from its present leaf, never from its request.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use outrigger_proto::{WorkloadName, wire};
use tonic::{Code, Status};
use tracing::{error, info, warn};

use super::caller::Caller;
use super::known::{Known, Refused};
use super::limit::Limit;
use super::metrics::{Metrics, Refusal};
use super::proof::Proof;
use crate::ca::{Authority, PublicKey, Subject};

/// Answers `Certify`.
#[derive(Debug)]
pub(crate) struct Certifier {
    authority: Arc<Authority>,
    proof: Proof,
    known: Known,
    metrics: Metrics,
    limit: Limit,
}

impl Certifier {
    /// Makes a certifier.
    #[must_use]
    pub(crate) fn new(authority: Arc<Authority>, proof: Proof, known: Known, metrics: Metrics) -> Self {
        Self { authority, proof, known, metrics, limit: Limit::default() }
    }

    pub(super) async fn certify(
        &self,
        caller: &Caller,
        request: wire::CertifyRequest,
    ) -> Result<wire::CertifyResponse, Status> {
        self.answer(caller, request).await.map_err(|(refusal, message)| {
            self.metrics.refused(refusal);
            let reason = refusal.reason();
            let message = if message.is_empty() { reason.to_owned() } else { format!("{reason}: {message}") };
            warn!(address = %caller.address, reason, %message, "refused a certificate");
            #[cfg(feature = "kubernetes")]
            self.proof.refused(&self.known, caller.address, refusal, &message);
            Status::new(code(refusal), message)
        })
    }

    async fn answer(&self, caller: &Caller, request: wire::CertifyRequest) -> Result<wire::CertifyResponse, Refused> {
        if !self.limit.admit(caller.address) {
            return Err((Refusal::TooMany, "at most 10 requests a second".to_owned()));
        }
        if !self.known.synced() {
            return Err((Refusal::NotReady, "the objects are still being read".to_owned()));
        }
        let now = SystemTime::now();
        // First what costs the caller nothing: a broken request must not use up its token.
        let key = PublicKey::from_csr(&request.csr).map_err(|e| (Refusal::Csr, e.to_string()))?;
        let (subject, means) = if request.token.is_empty() {
            (self.renewal(caller, now)?, "leaf")
        } else {
            (self.proof.check(&self.known, caller.address, &request.token, now).await?, "token")
        };
        let internal = |error| {
            error!(error = %chain(&error), "cannot sign a leaf");
            (Refusal::Internal, String::new())
        };
        let leaf = self.authority.issue(&key, &subject, now).map_err(internal)?;
        self.metrics.issued();
        let workload = subject.workload.as_ref().map(ToString::to_string).unwrap_or_default();
        info!(identity = %subject.identity, %workload, address = %caller.address, means, "issued a leaf");
        let anchors = self.authority.bundle();
        Ok(wire::CertifyResponse {
            chain: leaf.iter().map(|certificate| Bytes::copy_from_slice(certificate)).collect(),
            trust_anchors: anchors.anchors().iter().map(|anchor| Bytes::copy_from_slice(anchor)).collect(),
        })
    }

    /// The next leaf of a workload that still has a valid one: the same identity, if the workload still has it.
    fn renewal(&self, caller: &Caller, now: SystemTime) -> Result<Subject, Refused> {
        let leaf = caller.valid_leaf(now).map_err(|status| (Refusal::NoProof, status.message().to_owned()))?;
        let identity = &leaf.peer.identity;
        let Some(name) = &leaf.peer.workload else {
            return Err((Refusal::WorkloadUnknown, format!("the leaf of {identity} names no workload")));
        };
        let workload = WorkloadName { namespace: identity.namespace().into(), name: name.clone() };
        let (subject, _) = self.known.subject(&workload)?;
        if subject.identity != *identity {
            let message = format!("{workload} is now {}, no longer {identity}: join with a token", subject.identity);
            return Err((Refusal::IdentityChanged, message));
        }
        Ok(subject)
    }
}

fn code(refusal: Refusal) -> Code {
    match refusal {
        Refusal::TokenMalformed
        | Refusal::TokenForged
        | Refusal::TokenExpired
        | Refusal::TokenAudience
        | Refusal::TokenRefused
        | Refusal::NoProof => Code::Unauthenticated,
        Refusal::TokenReplayed
        | Refusal::TokenUnbound
        | Refusal::OtherAddress
        | Refusal::WorkloadUnknown
        | Refusal::IdentityChanged => Code::PermissionDenied,
        Refusal::Csr => Code::InvalidArgument,
        Refusal::TooMany => Code::ResourceExhausted,
        Refusal::NotReady => Code::Unavailable,
        Refusal::Internal => Code::Internal,
    }
}

/// An error with its causes, for the log.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}
