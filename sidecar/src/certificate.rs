//! The sidecar's own certificate: asked for at start, renewed for as long as the process lives.
//!
//! The key is made here. The first request shows a token; a renewal shows the leaf that is in force. A renewal that
//! fails is tried again while the old leaf serves; open connections are never cut.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use outrigger_daemon::error_chain;
use outrigger_identity::{Credentials, KeyPair, TrustBundle};
use outrigger_proto::wire;
use rustls_pki_types::CertificateDer;
use tokio::time::sleep;

use crate::random::random;
use crate::sync::{ControlPlane, StateDir};
use crate::tls::TlsState;

/// The wait after a first failure; it doubles.
const BACKOFF: Duration = Duration::from_millis(200);
const MAX_BACKOFF: Duration = Duration::from_secs(30);

/// Certificates in a chain at most.
const MAX_CHAIN: usize = 8;

/// Keeps [`TlsState`] supplied.
pub(crate) struct Certificate {
    pub(crate) control_plane: ControlPlane,
    pub(crate) tls: Arc<TlsState>,
    /// Trusted until the control plane streams a newer bundle.
    pub(crate) bundle: TrustBundle,
    pub(crate) token_file: Option<PathBuf>,
    pub(crate) state: Option<StateDir>,
}

impl Certificate {
    /// Takes up the certificate that a former process saved, if it is still good.
    pub(crate) fn restore(&self) -> bool {
        let Some((_, credentials)) = self.state.as_ref().and_then(StateDir::load_identity) else { return false };
        if !credentials.valid_at(SystemTime::now()) {
            return false;
        }
        tracing::info!(identity = %credentials.peer().identity, "restored the certificate");
        self.tls.set(credentials, self.bundle.clone()).is_ok()
    }

    /// Obtains and renews, for as long as the process lives.
    pub(crate) async fn run(self) {
        let mut failures = 0_u32;
        loop {
            if let Some(tls) = self.tls.get()
                && failures == 0
            {
                sleep(until_renewal(tls.credentials.not_after())).await;
            }
            match self.certify().await {
                Ok(()) => failures = 0,
                Err(error) => {
                    let valid = self.tls.get().map(|tls| tls.credentials.not_after());
                    let left = valid.and_then(|end| end.duration_since(SystemTime::now()).ok());
                    let pause = until_retry(failures, left);
                    failures += 1;
                    let left = left.map(|left| left.as_secs());
                    tracing::warn!(
                        error,
                        retry_ms = pause.as_millis() as u64,
                        old_leaf_valid_s = left,
                        "no new certificate"
                    );
                    sleep(pause).await;
                }
            }
        }
    }

    async fn certify(&self) -> Result<(), String> {
        let key = KeyPair::generate().map_err(|error| error_chain(&error))?;
        let csr = key.csr().map_err(|error| error_chain(&error))?.into();
        let present = self.tls.get().filter(|tls| tls.credentials.valid_at(SystemTime::now()));
        let (own, bundle, token) = match &present {
            Some(tls) => (Some(&tls.credentials), &tls.bundle, String::new()),
            None => (None, &self.bundle, self.token()?),
        };
        let mut client = self.control_plane.dial(own, bundle).await.map_err(|error| error_chain(&error))?;
        let signed = client.certify(wire::CertifyRequest { csr, token }).await;
        let signed = signed.map_err(|status| format!("the control plane refused: {}", status.message()))?.into_inner();
        if signed.chain.len() > MAX_CHAIN {
            return Err("the control plane sent an endless certificate chain".to_owned());
        }
        let leaf_first = signed.chain.into_iter().map(|der| CertificateDer::from(der.to_vec())).collect();
        let credentials = Credentials::new(&key, leaf_first).map_err(|error| error_chain(&error))?;
        if let Some(state) = &self.state {
            state.save_identity(&key, &credentials);
        }
        let identity = credentials.peer().identity.clone();
        let lifetime = credentials.lifetime();
        // A bundle that was streamed meanwhile is newer than the one this began with.
        let bundle = self.tls.get().map_or_else(|| self.bundle.clone(), |tls| tls.bundle.clone());
        self.tls.set(credentials, bundle).map_err(|error| error_chain(&error))?;
        tracing::info!(%identity, lifetime_s = lifetime.as_secs(), "certificate in force");
        Ok(())
    }

    fn token(&self) -> Result<String, String> {
        let Some(path) = &self.token_file else {
            return Err("there is no valid certificate, and no --token-file to ask for one with".to_owned());
        };
        let token = std::fs::read_to_string(path).map_err(|error| format!("read {}: {error}", path.display()))?;
        Ok(token.trim().to_owned())
    }
}

/// The wait after so many failures: longer each time, but short enough that a leaf with so much life left is renewed within it; spread, so
/// that a control plane that returns does not meet all sidecars at once.
fn until_retry(failures: u32, left: Option<Duration>) -> Duration {
    let most = left.map_or(MAX_BACKOFF, |left| (left / 8).clamp(Duration::from_secs(1), MAX_BACKOFF));
    let pause = BACKOFF.saturating_mul(1 << failures.min(10)).min(most);
    pause.mul_f64(0.5 + (random() % 1000) as f64 / 1000.0)
}

/// A random point near half of what is left of the leaf's life, so that sidecars that started together do not renew
/// together. Counted from now: the leaf's own start is back-dated.
fn until_renewal(not_after: SystemTime) -> Duration {
    let left = not_after.duration_since(SystemTime::now()).unwrap_or_default();
    left.mul_f64(0.4 + (random() % 1000) as f64 / 5000.0).max(Duration::from_secs(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_often_enough_for_what_is_left_of_a_life() {
        let most = |left| (0..100).map(|_| until_retry(20, left)).max().unwrap();
        assert!(most(None) > Duration::from_secs(30) && most(None) <= Duration::from_secs(45));
        assert!(most(Some(Duration::from_secs(40))) <= Duration::from_millis(7500));
        assert!(most(Some(Duration::ZERO)) <= Duration::from_millis(1500));
        assert!(until_retry(0, Some(Duration::from_secs(3600))) < Duration::from_secs(1));
    }

    #[test]
    fn renews_near_half_life_and_never_in_a_tight_loop() {
        let in_an_hour = until_renewal(SystemTime::now() + Duration::from_secs(3600)).as_secs();
        assert!((1430..=2170).contains(&in_an_hour), "{in_an_hour}");
        assert_eq!(until_renewal(SystemTime::UNIX_EPOCH), Duration::from_secs(1));
    }
}
