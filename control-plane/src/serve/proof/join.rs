//! Join tokens: each names one workload and is good once, from that workload's address.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use tracing::error;

use outrigger_daemon::error_chain;

use crate::ca::{Claims, Subject, TokenError, Tokens, UsedTokens};
use crate::serve::known::{Known, Refused, check_address};
use crate::serve::metrics::Refusal;

/// Checks join tokens of one CA directory.
#[derive(Debug)]
pub(crate) struct JoinTokens {
    tokens: Tokens,
    used: Arc<Mutex<UsedTokens>>,
}

impl JoinTokens {
    /// Checks with this key and against this list.
    pub(crate) fn new(tokens: Tokens, used: UsedTokens) -> Self {
        Self { tokens, used: Arc::new(Mutex::new(used)) }
    }

    pub(super) async fn check(
        &self,
        known: &Known,
        from: IpAddr,
        token: &str,
        now: SystemTime,
    ) -> Result<Subject, Refused> {
        let claims = self.tokens.check(token, now).map_err(|error| match error {
            TokenError::Malformed => (Refusal::TokenMalformed, String::new()),
            TokenError::Forged => (Refusal::TokenForged, "not minted by this control plane's CA directory".to_owned()),
            TokenError::Expired => (Refusal::TokenExpired, "mint another one".to_owned()),
        })?;
        let (subject, workload) = known.subject(&claims.workload)?;
        check_address(&workload, from)?;
        self.use_up(claims, now).await?;
        Ok(subject)
    }

    async fn use_up(&self, claims: Claims, now: SystemTime) -> Result<(), Refused> {
        let used = self.used.clone();
        // It waits for the disk.
        let claimed = tokio::task::spawn_blocking(move || used.lock().claim(&claims, now)).await;
        match claimed {
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false)) => Err((Refusal::TokenReplayed, "a token is good once: mint another one".to_owned())),
            Ok(Err(error)) => {
                error!(error = %error_chain(&error), "cannot write down that a token was used");
                Err((Refusal::Internal, String::new()))
            }
            Err(_) => Err((Refusal::NotReady, "the control plane is going away".to_owned())),
        }
    }
}
