//! `Certify`: who the caller is, is found out from a join token or from its present leaf, never from its request.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use outrigger_identity::{Identity, TrustDomain};
use outrigger_proto::{WorkloadName, wire};
use parking_lot::Mutex;
use tonic::{Code, Status};
use tracing::{error, info, warn};

use super::caller::Caller;
use super::limit::Limit;
use super::metrics::{Metrics, Refusal};
use crate::ca::{Authority, Claims, PublicKey, Subject, TokenError, Tokens, UsedTokens};
use crate::snapshot::Latest;
use crate::state::Reading;

/// Answers `Certify`.
#[derive(Debug)]
pub(crate) struct Certifier {
    authority: Arc<Authority>,
    tokens: Tokens,
    used: Arc<Mutex<UsedTokens>>,
    latest: Latest,
    metrics: Metrics,
    limit: Limit,
}

impl Certifier {
    /// Makes a certifier.
    #[must_use]
    pub(crate) fn new(
        authority: Arc<Authority>,
        tokens: Tokens,
        used: UsedTokens,
        latest: Latest,
        metrics: Metrics,
    ) -> Self {
        Self { authority, tokens, used: Arc::new(Mutex::new(used)), latest, metrics, limit: Limit::default() }
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
            Status::new(code(refusal), message)
        })
    }

    async fn answer(
        &self,
        caller: &Caller,
        request: wire::CertifyRequest,
    ) -> Result<wire::CertifyResponse, (Refusal, String)> {
        if !self.limit.admit(caller.address) {
            return Err((Refusal::TooMany, "at most 10 requests a second".to_owned()));
        }
        if !self.latest.get().state.synced() {
            return Err((Refusal::NotReady, "the objects are still being read".to_owned()));
        }
        let now = SystemTime::now();
        // First what costs the caller nothing: a broken request must not use up its token.
        let key = PublicKey::from_csr(&request.csr).map_err(|e| (Refusal::Csr, e.to_string()))?;
        let (subject, means) = if request.token.is_empty() {
            (self.renewal(caller, now)?, "leaf")
        } else {
            let (claims, subject) = self.join(caller.address, &request.token, now)?;
            self.use_up(claims, now).await?;
            (subject, "token")
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

    /// The first leaf of a workload: for whom the token was minted.
    fn join(&self, from: IpAddr, token: &str, now: SystemTime) -> Result<(Claims, Subject), (Refusal, String)> {
        let claims = self.tokens.check(token, now).map_err(|error| match error {
            TokenError::Malformed => (Refusal::TokenMalformed, String::new()),
            TokenError::Forged => (Refusal::TokenForged, "not minted by this control plane's CA directory".to_owned()),
            TokenError::Expired => (Refusal::TokenExpired, "mint another one".to_owned()),
        })?;
        let (subject, address) = self.subject(&claims.workload)?;
        // A token that was stolen is no good anywhere else. On loopback every process has the same address.
        if !address.is_loopback() && address.to_canonical() != from {
            let workload = &claims.workload;
            let message = format!("{workload} is at {address}, and this came from {from}");
            return Err((Refusal::OtherAddress, message));
        }
        Ok((claims, subject))
    }

    /// The next leaf of a workload that still has a valid one: the same identity, if the workload still has it.
    fn renewal(&self, caller: &Caller, now: SystemTime) -> Result<Subject, (Refusal, String)> {
        let leaf = caller.valid_leaf(now).map_err(|status| (Refusal::NoProof, status.message().to_owned()))?;
        let identity = &leaf.peer.identity;
        let Some(name) = &leaf.peer.workload else {
            return Err((Refusal::WorkloadUnknown, format!("the leaf of {identity} names no workload")));
        };
        let workload = WorkloadName { namespace: identity.namespace().into(), name: name.clone() };
        let (subject, _) = self.subject(&workload)?;
        if subject.identity != *identity {
            let message = format!("{workload} is now {}, no longer {identity}: join with a token", subject.identity);
            return Err((Refusal::IdentityChanged, message));
        }
        Ok(subject)
    }

    fn subject(&self, name: &WorkloadName) -> Result<(Subject, IpAddr), (Refusal, String)> {
        let snapshot = self.latest.get();
        let Some(workload) = snapshot.state.workloads.get(&name.namespace, &name.name) else {
            let refusal = match snapshot.state.reading() {
                Reading::Wholly => Refusal::WorkloadUnknown,
                // It may be in what cannot be read.
                Reading::Started | Reading::Partly => Refusal::NotReady,
            };
            return Err((refusal, format!("there is no Workload {name}")));
        };
        let identity = identity(self.authority.domain(), name, &workload.service_account)?;
        Ok((Subject { identity, workload: Some(name.clone()) }, workload.address))
    }

    async fn use_up(&self, claims: Claims, now: SystemTime) -> Result<(), (Refusal, String)> {
        let used = self.used.clone();
        // It waits for the disk.
        let claimed = tokio::task::spawn_blocking(move || used.lock().claim(&claims, now)).await;
        match claimed {
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false)) => Err((Refusal::TokenReplayed, "a token is good once: mint another one".to_owned())),
            Ok(Err(error)) => {
                error!(error = %chain(&error), "cannot write down that a token was used");
                Err((Refusal::Internal, String::new()))
            }
            Err(_) => Err((Refusal::NotReady, "the control plane is going away".to_owned())),
        }
    }
}

fn identity(domain: &TrustDomain, workload: &WorkloadName, account: &str) -> Result<Identity, (Refusal, String)> {
    Identity::new(domain, &workload.namespace, account).map_err(|error| (Refusal::Internal, error.to_string()))
}

fn code(refusal: Refusal) -> Code {
    match refusal {
        Refusal::TokenMalformed | Refusal::TokenForged | Refusal::TokenExpired | Refusal::NoProof => {
            Code::Unauthenticated
        }
        Refusal::TokenReplayed | Refusal::OtherAddress | Refusal::WorkloadUnknown | Refusal::IdentityChanged => {
            Code::PermissionDenied
        }
        Refusal::Csr => Code::InvalidArgument,
        Refusal::TooMany => Code::ResourceExhausted,
        Refusal::NotReady => Code::Unavailable,
        Refusal::Internal => Code::Internal,
    }
}

/// An error with its causes, for the log.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}
