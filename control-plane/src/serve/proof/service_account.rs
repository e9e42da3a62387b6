//! ServiceAccount tokens: projected into the pod for our audience only, bound to that pod, and reviewed by the API
//! server. What the token says is then compared with the pod itself.
//!
//! ```text
//! what it says of itself ─▶ the pod that it names is where it came from? ─▶ TokenReview ─▶ the pod itself
//! unverified                (what is known)                                 reviews
//! ```

mod reviews;
mod unverified;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use k8s_openapi::api::authentication::v1::TokenReviewStatus;
use kube::Client;
use serde_json::Value;
use tracing::warn;

use crate::ca::Subject;
use crate::cluster::Announcer;
use crate::objects::{self, Kind, Object, Workload};
use crate::serve::known::{Known, Refused, check_address};
use crate::serve::metrics::{Metrics, Refusal};
use crate::why::why;

use reviews::{Chance, Reviews};
use unverified::Claimed;

/// Checks ServiceAccount tokens.
pub(crate) struct ServiceAccountTokens {
    client: Client,
    reviews: Reviews,
    announcer: Announcer,
}

impl std::fmt::Debug for ServiceAccountTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ServiceAccountTokens")
    }
}

impl ServiceAccountTokens {
    /// Has the API server review tokens.
    pub(crate) fn new(client: Client, announcer: Announcer, metrics: Metrics) -> Self {
        Self { reviews: Reviews::new(client.clone(), metrics), client, announcer }
    }

    pub(super) async fn check(
        &self,
        known: &Known,
        from: IpAddr,
        token: &str,
        now: SystemTime,
    ) -> Result<Subject, Refused> {
        let chance = chance(known, from, &unverified::read(token, now)?)?;
        let claims = self.reviews.review(token, from, chance, Claims::of).await?;
        let pod = self.pod(known, &claims).await?;
        if *pod.service_account != *claims.account {
            let message = format!("{} runs as {}, not as {}", claims.pod(), pod.service_account, claims.account);
            return Err((Refusal::IdentityChanged, message));
        }
        if pod.ended {
            return Err((Refusal::WorkloadUnknown, format!("{} has run to its end", claims.pod())));
        }
        check_address(&pod, from)?;
        known.subject_of(&pod)
    }

    /// Writes an Event on the pod from which the request came: what a refused token says is nobody's word.
    pub(super) fn refused(&self, known: &Known, from: IpAddr, refusal: Refusal, message: &str) {
        let passing = matches!(refusal, Refusal::TooMany | Refusal::NotReady | Refusal::Internal);
        if let Some(pod) = known.at(from).filter(|pod| !passing && !pod.meta.uid.is_empty()) {
            self.announcer.warn(pod, "CertificateRefused", message);
        }
    }

    /// Finds the very pod of the token: the watch may be a moment behind.
    async fn pod(&self, known: &Known, claims: &Claims) -> Result<Arc<Workload>, Refused> {
        let is_it = |pod: &Arc<Workload>| *pod.meta.uid == *claims.pod_uid;
        if let Some(pod) = known.pod(&claims.namespace, &claims.pod_name).filter(is_it) {
            return Ok(pod);
        }
        let path = format!("/api/v1/namespaces/{}/pods/{}", claims.namespace, claims.pod_name);
        let request = http::Request::get(path).body(Vec::new());
        let request = request.map_err(|error| (Refusal::Internal, error.to_string()))?;
        let answer = tokio::time::timeout(LIMIT, self.client.request::<Value>(request)).await;
        let unknown = || (Refusal::WorkloadUnknown, format!("there is no pod {} any more", claims.pod()));
        match answer {
            Ok(Ok(value)) => match objects::from_json(Kind::Pod, value) {
                Ok(Object::Pod(pod)) if is_it(&pod) => Ok(pod),
                Ok(_) => Err(unknown()),
                Err(error) => Err((Refusal::Internal, error.to_string())),
            },
            Ok(Err(kube::Error::Api(status))) if status.is_not_found() => Err(unknown()),
            Ok(Err(error)) => {
                warn!(error = %why(&error), "cannot look a pod up");
                Err((Refusal::NotReady, "the API server does not answer now".to_owned()))
            }
            Err(_) => Err((Refusal::NotReady, format!("the API server took more than {LIMIT:?}"))),
        }
    }
}

/// Refuses a token that names a pod which is somewhere else. Nobody has proved anything yet: the answer does not say where.
fn chance(known: &Known, from: IpAddr, claimed: &Claimed) -> Result<Chance, Refused> {
    let Claimed { namespace, pod, uid } = claimed;
    match known.pod(namespace, pod).filter(|pod| *pod.meta.uid == **uid) {
        Some(found) if check_address(&found, from).is_ok() => Ok(Chance::Likely),
        Some(_) => Err((Refusal::OtherAddress, format!("{from} is no address of {namespace}/{pod}"))),
        None => Ok(Chance::Unlikely),
    }
}

/// What a token that was found good says.
#[derive(Debug, PartialEq, Eq)]
struct Claims {
    namespace: String,
    account: String,
    pod_name: String,
    pod_uid: String,
}

impl Claims {
    fn of(status: TokenReviewStatus) -> Result<Self, Refused> {
        if status.authenticated != Some(true) {
            let error = status.error.unwrap_or_default();
            let refusal = if error.contains("audience") { Refusal::TokenAudience } else { Refusal::TokenRefused };
            return Err((refusal, error.chars().take(MAX_WORDS).collect()));
        }
        // An API server that knows nothing of audiences would let any token pass.
        if !status.audiences.unwrap_or_default().iter().any(|audience| audience == AUDIENCE) {
            return Err((Refusal::TokenAudience, format!("the audience must be {AUDIENCE}")));
        }
        let user = status.user.unwrap_or_default();
        let mut extra = user.extra.unwrap_or_default();
        let mut extra = |key: &str| extra.remove(key).and_then(|values| values.into_iter().next());
        let name = user.username.unwrap_or_default();
        let account = name.strip_prefix("system:serviceaccount:").and_then(|name| name.split_once(':'));
        let (Some((namespace, account)), Some(pod_name), Some(pod_uid)) = (account, extra(POD_NAME), extra(POD_UID))
        else {
            return Err((Refusal::TokenUnbound, format!("{name} must show a token that is bound to a pod")));
        };
        Ok(Self { namespace: namespace.to_owned(), account: account.to_owned(), pod_name, pod_uid })
    }

    fn pod(&self) -> String {
        format!("{}/{}", self.namespace, self.pod_name)
    }
}

/// What tokens are projected for.
const AUDIENCE: &str = "outrigger";
const POD_NAME: &str = "authentication.kubernetes.io/pod-name";
const POD_UID: &str = "authentication.kubernetes.io/pod-uid";

/// Of what the API server has to say about a token.
const MAX_WORDS: usize = 512;

const LIMIT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
