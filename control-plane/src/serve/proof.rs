//! How a workload without a leaf proves who it is: by a join token in local mode, by its ServiceAccount's token in
//! Kubernetes.

mod join;
#[cfg(feature = "kubernetes")]
mod service_account;

use std::net::IpAddr;
use std::time::SystemTime;

use super::known::{Known, Refused};
#[cfg(feature = "kubernetes")]
use super::metrics::Refusal;
use crate::ca::Subject;

pub(crate) use join::JoinTokens;
#[cfg(feature = "kubernetes")]
pub(crate) use service_account::ServiceAccountTokens;

/// A way to prove it.
#[derive(Debug)]
pub(crate) enum Proof {
    /// Minted by the operator, good once.
    Join(Box<JoinTokens>),
    /// Projected by the kubelet, reviewed by the API server.
    #[cfg(feature = "kubernetes")]
    ServiceAccount(Box<ServiceAccountTokens>),
}

impl Proof {
    /// Finds out whom a token speaks for, and uses it up if it is good only once.
    pub(super) async fn check(
        &self,
        known: &Known,
        from: IpAddr,
        token: &str,
        now: SystemTime,
    ) -> Result<Subject, Refused> {
        match self {
            Self::Join(tokens) => tokens.check(known, from, token, now).await,
            #[cfg(feature = "kubernetes")]
            Self::ServiceAccount(tokens) => tokens.check(known, from, token, now).await,
        }
    }

    /// Tells whoever looks after the caller that it was refused.
    #[cfg(feature = "kubernetes")]
    pub(super) fn refused(&self, known: &Known, from: IpAddr, refusal: Refusal, message: &str) {
        match self {
            Self::Join(_) => {}
            Self::ServiceAccount(tokens) => tokens.refused(known, from, refusal, message),
        }
    }
}
