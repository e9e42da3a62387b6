//! The sidecar's own credentials and the mesh's trust bundle, replaced while it runs. New connections use the new
//! ones; open connections go on.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use outrigger_identity::{Credentials, TlsError, TrustBundle, server_config};
use outrigger_proto::ErrorCode;
use rustls::ServerConfig;
use tokio::sync::watch;

use crate::error::ProxyError;

/// How long a connection waits for the first certificate after start-up.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a connection needs for mesh TLS.
pub(crate) struct Tls {
    pub(crate) credentials: Credentials,
    pub(crate) bundle: TrustBundle,
    pub(crate) server: Arc<ServerConfig>,
}

/// The present [`Tls`], none before the first certificate.
pub(crate) struct TlsState {
    current: ArcSwapOption<Tls>,
    changed: watch::Sender<()>,
}

impl TlsState {
    pub(crate) fn new() -> Self {
        Self { current: ArcSwapOption::empty(), changed: watch::Sender::new(()) }
    }

    /// Puts new credentials or a new bundle in force.
    pub(crate) fn set(&self, credentials: Credentials, bundle: TrustBundle) -> Result<(), TlsError> {
        let server = Arc::new(server_config(&credentials, &bundle)?);
        self.current.store(Some(Arc::new(Tls { credentials, bundle, server })));
        self.changed.send_replace(());
        Ok(())
    }

    /// Puts a new bundle in force beside the present credentials.
    pub(crate) fn set_bundle(&self, bundle: TrustBundle) -> Result<(), TlsError> {
        match self.get() {
            Some(tls) if tls.bundle != bundle => self.set(tls.credentials.clone(), bundle),
            _ => Ok(()),
        }
    }

    pub(crate) fn get(&self) -> Option<Arc<Tls>> {
        self.current.load_full()
    }

    /// Returns the present credentials, or waits a little for the first ones.
    pub(crate) async fn ready(&self) -> Result<Arc<Tls>, ProxyError> {
        let mut changed = self.changed.subscribe();
        let wait = async {
            loop {
                if let Some(tls) = self.get() {
                    return tls;
                }
                if changed.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.map_err(|_| {
            let detail =
                "this sidecar has no certificate yet: the control plane is unreachable or rejected the request";
            ProxyError::new(ErrorCode::ProxyConfiguration, detail)
        })
    }
}

impl fmt::Debug for TlsState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsState")
    }
}
