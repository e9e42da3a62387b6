//! TokenReviews: each costs the API server a signature check and more, so strangers must not have as many as they like.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus};
use kube::api::PostParams;
use kube::{Api, Client};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::warn;

use super::AUDIENCE;
use crate::serve::bucket::{Bucket, Budget};
use crate::serve::known::Refused;
use crate::serve::metrics::{Metrics, Refusal};
use crate::serve::turns::{Full, Turns};
use crate::why::why;

/// Asks the API server about tokens: a few at a time, so many a second, caller by caller.
pub(super) struct Reviews {
    client: Client,
    metrics: Metrics,
    likely: Share,
    unlikely: Share,
    refused: Mutex<HashMap<Hash, (Instant, Refused)>>,
}

/// How likely it is that a token is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chance {
    /// The pod that it names is known, and is where the token came from.
    Likely,
    /// The watch has not told of that pod yet, or nobody ever will: anybody can make such a name up.
    Unlikely,
}

/// What the tokens of one chance may cost.
struct Share {
    turns: Turns,
    pace: Mutex<Bucket>,
}

type Hash = [u8; 32];

impl Reviews {
    pub(super) fn new(client: Client, metrics: Metrics) -> Self {
        let share = |at_a_time, budget| Share { turns: Turns::new(at_a_time), pace: Mutex::new(Bucket::new(budget)) };
        Self {
            client,
            metrics,
            likely: share(LIKELY_AT_A_TIME, LIKELY),
            unlikely: share(UNLIKELY_AT_A_TIME, UNLIKELY),
            refused: Mutex::default(),
        }
    }

    /// Has a token reviewed; `read` makes of the answer what it says.
    pub(super) async fn review<T>(
        &self,
        token: &str,
        from: IpAddr,
        chance: Chance,
        read: impl Fn(TokenReviewStatus) -> Result<T, Refused>,
    ) -> Result<T, Refused> {
        let hash = hash(token);
        self.not_refused(&hash)?;
        let share = match chance {
            Chance::Likely => &self.likely,
            Chance::Unlikely => &self.unlikely,
        };
        let waited = timeout(PATIENCE, async {
            let turn = share.turns.take(from).await?;
            let ready = share.pace.lock().ready_at();
            sleep_until(ready).await;
            Ok(turn)
        });
        let busy = |whose: &str| (Refusal::TooMany, format!("too many tokens wait for their review{whose}"));
        let _turn = match waited.await {
            Ok(Ok(turn)) => turn,
            Ok(Err(Full::Caller)) => return Err(busy(", of this address")),
            Ok(Err(Full::All)) | Err(_) => return Err(busy("")),
        };
        // Somebody else may have had the same one reviewed meanwhile.
        self.not_refused(&hash)?;
        share.pace.lock().pay(1);
        self.metrics.reviewed();
        read(self.ask(token).await?).inspect_err(|refused| self.refuse(hash, refused))
    }

    async fn ask(&self, token: &str) -> Result<TokenReviewStatus, Refused> {
        let review = TokenReview {
            spec: TokenReviewSpec { token: token.to_owned(), audiences: Some(vec![AUDIENCE.to_owned()]) },
            ..TokenReview::default()
        };
        let api: Api<TokenReview> = Api::all(self.client.clone());
        match timeout(LIMIT, api.create(&PostParams::default(), &review)).await {
            Ok(Ok(review)) => Ok(review.status.unwrap_or_default()),
            Ok(Err(error)) => {
                warn!(error = %why(&error), "cannot have a token reviewed");
                Err((Refusal::NotReady, "the API server cannot review tokens now".to_owned()))
            }
            Err(_) => Err((Refusal::NotReady, format!("the API server took more than {LIMIT:?}"))),
        }
    }

    fn not_refused(&self, hash: &Hash) -> Result<(), Refused> {
        match self.refused.lock().get(hash) {
            Some((at, refused)) if at.elapsed() < REMEMBERED => Err(refused.clone()),
            _ => Ok(()),
        }
    }

    fn refuse(&self, hash: Hash, refused: &Refused) {
        let mut all = self.refused.lock();
        if all.len() >= MAX_REMEMBERED {
            all.retain(|_, (at, _)| at.elapsed() < REMEMBERED);
        }
        if all.len() < MAX_REMEMBERED {
            all.insert(hash, (Instant::now(), refused.clone()));
        }
    }
}

/// What stands for a token that is not to be kept.
fn hash(token: &str) -> Hash {
    let mut hash = Hash::default();
    hash.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    hash
}

/// Two hundred pods that start in the same moment do not wait; a token of a pod that is there costs the API server little.
const LIKELY: Budget = Budget { at_once: 200, per_second: 100 };
const LIKELY_AT_A_TIME: usize = 16;

/// A pod starts its sidecar seconds after it was made, and the watch takes milliseconds to tell of it.
const UNLIKELY: Budget = Budget { at_once: 20, per_second: 10 };
const UNLIKELY_AT_A_TIME: usize = 2;

/// Short: a token that the API server does not know yet may be good a moment later.
const REMEMBERED: Duration = Duration::from_secs(2);
/// A KiB each, at most.
const MAX_REMEMBERED: usize = 1024;

/// A sidecar asks again; whoever waits for longer waits for nothing.
const PATIENCE: Duration = Duration::from_secs(5);
const LIMIT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
