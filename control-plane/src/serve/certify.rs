//! `Certify`: who the caller is, is found out from a token or from its present leaf, never from its request.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use outrigger_daemon::error_chain;
use outrigger_proto::{WorkloadName, wire};
use tonic::{Code, Status};
use tracing::{error, info, warn};

use super::caller::{Caller, Leaf};
use super::known::{Known, Refused, check_address};
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
    /// Strangers by their addresses; workloads apart from them, so that no number of strangers leaves them without a place.
    strangers: Limit<IpAddr>,
    workloads: Limit<Arc<str>>,
    /// What was logged of whom lately.
    logged: Limit<(IpAddr, Refusal)>,
}

impl Certifier {
    /// Makes a certifier.
    #[must_use]
    pub(crate) fn new(authority: Arc<Authority>, proof: Proof, known: Known, metrics: Metrics) -> Self {
        Self {
            authority,
            proof,
            known,
            metrics,
            strangers: Limit::new(SECOND),
            workloads: Limit::new(SECOND),
            logged: Limit::new(LOG_PAUSE),
        }
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
            // A caller that asks again and again is one finding.
            if self.logged.count((caller.address, refusal)) == Some(1) {
                warn!(address = %caller.address, leaf = caller.name().as_deref(), reason, %message, "refused a certificate");
            }
            #[cfg(feature = "kubernetes")]
            self.proof.refused(&self.known, caller.address, refusal, &message);
            Status::new(code(refusal), message)
        })
    }

    async fn answer(&self, caller: &Caller, request: wire::CertifyRequest) -> Result<wire::CertifyResponse, Refused> {
        let (asked, whose) = match &caller.leaf {
            Some(leaf) => (self.workloads.count(leaf.name()), "workload"),
            None => (self.strangers.count(caller.address), "address"),
        };
        if asked.is_none_or(|asked| asked > PER_SECOND) {
            return Err((
                Refusal::TooMany,
                format!("at most {PER_SECOND} requests for a certificate a second and {whose}"),
            ));
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
            error!(error = %error_chain(&error), "cannot sign a leaf");
            (Refusal::Internal, String::new())
        };
        let leaf = self.authority.issue(&key, &subject, now).map_err(internal)?;
        self.metrics.issued();
        let workload = subject.workload.as_ref().map(ToString::to_string).unwrap_or_default();
        let uid = subject.uid.as_deref().unwrap_or_default();
        info!(identity = %subject.identity, %workload, uid, address = %caller.address, means, "issued a leaf");
        let anchors = self.authority.bundle();
        Ok(wire::CertifyResponse {
            chain: leaf.iter().map(|certificate| Bytes::copy_from_slice(certificate)).collect(),
            trust_anchors: anchors.anchors().iter().map(|anchor| Bytes::copy_from_slice(anchor)).collect(),
        })
    }

    /// The next leaf of a workload that still has a valid one: the same identity, if the very workload that it was issued to
    /// is still there, has it, and asks from where it is. A leaf and its key that were stolen end with the leaf.
    fn renewal(&self, caller: &Caller, now: SystemTime) -> Result<Subject, Refused> {
        let leaf = caller.valid_leaf(now).map_err(|status| (Refusal::NoProof, status.message().to_owned()))?;
        let identity = &leaf.peer.identity;
        let Some(name) = &leaf.peer.workload else {
            return Err((Refusal::WorkloadUnknown, format!("the leaf of {identity} names no workload")));
        };
        let workload = WorkloadName { namespace: identity.namespace().into(), name: name.clone() };
        let (subject, found) = self.known.subject(&workload)?;
        check_uid(leaf, &subject)?;
        check_address(&found, caller.address).map_err(|(_, message)| (Refusal::LeafElsewhere, message))?;
        if subject.identity != *identity {
            let message = format!("{workload} is now {}, no longer {identity}: join with a token", subject.identity);
            return Err((Refusal::IdentityChanged, message));
        }
        Ok(subject)
    }
}

/// Refuses to renew for a workload that has taken the name of the leaf's. A leaf of an earlier version does not tell; the next
/// one does.
fn check_uid(leaf: &Leaf, subject: &Subject) -> Result<(), Refused> {
    let (Some(issued), Some(workload)) = (&leaf.uid, &subject.workload) else { return Ok(()) };
    if subject.uid.as_ref() == Some(issued) {
        return Ok(());
    }
    let message = format!("{workload} is not the one of uid {issued}, which the leaf was issued to: join with a token");
    Err((Refusal::WorkloadReplaced, message))
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
        | Refusal::WorkloadReplaced
        | Refusal::LeafElsewhere
        | Refusal::IdentityChanged => Code::PermissionDenied,
        Refusal::Csr => Code::InvalidArgument,
        Refusal::TooMany => Code::ResourceExhausted,
        Refusal::NotReady => Code::Unavailable,
        Refusal::Internal => Code::Internal,
    }
}

/// Requests of one caller: a sidecar needs two a day.
const PER_SECOND: u32 = 10;

const SECOND: Duration = Duration::from_secs(1);

/// Between two lines about one caller and one reason.
const LOG_PAUSE: Duration = Duration::from_secs(60);
