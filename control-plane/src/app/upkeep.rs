//! Renews our own leaf and the issuer, and picks up new trust anchors; the listener stays as it is.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use outrigger_daemon::Drain;
use outrigger_identity::{Credentials, TrustBundle, control_plane_server_config};
use tokio::sync::watch;
use tracing::{error, info};

use super::StartError;
use crate::ca::Authority;

pub(super) struct Upkeep {
    pub(super) authority: Arc<Authority>,
    pub(super) own: Credentials,
    pub(super) tls: Arc<ArcSwap<rustls::ServerConfig>>,
    pub(super) bundles: watch::Sender<TrustBundle>,
    pub(super) leaf_lifetime: Duration,
}

impl Upkeep {
    pub(super) async fn run(mut self, drain: Drain) {
        // Wall clock time may jump, and a laptop sleeps: look often instead of sleeping long.
        let tick = LOOK.min(self.leaf_lifetime / 10);
        let mut next_refresh = tokio::time::Instant::now() + REFRESH;
        let mut changes = self.authority.changes();
        loop {
            let mut changed = tokio::select! {
                () = drain.started() => return,
                () = tokio::time::sleep(tick) => false,
                changed = changes.changed() => changed.is_ok(),
            };
            let now = SystemTime::now();
            if tokio::time::Instant::now() >= next_refresh {
                next_refresh = tokio::time::Instant::now() + REFRESH;
                match self.authority.refresh(now) {
                    Ok(refreshed) => changed |= refreshed,
                    Err(error) => error!(%error, "cannot refresh the CA: what was in use stays in use"),
                }
            }
            if changed || self.own.not_after().duration_since(now).unwrap_or_default() < self.own.lifetime() / 2 {
                self.renew(now);
            }
        }
    }

    fn renew(&mut self, now: SystemTime) {
        let bundle = self.authority.bundle();
        let renewed = self.authority.own_credentials(now).map_err(StartError::from).and_then(|own| {
            let config = control_plane_server_config(&own, &bundle)?;
            Ok((own, config))
        });
        match renewed {
            Ok((own, config)) => {
                self.tls.store(Arc::new(config));
                self.own = own;
                self.bundles.send_if_modified(|current| {
                    let changed = *current != bundle;
                    *current = bundle;
                    changed
                });
                info!("renewed the control plane's own leaf");
            }
            Err(error) => error!(%error, "cannot renew the control plane's own leaf"),
        }
    }
}

/// How often certificates are looked at.
const LOOK: Duration = Duration::from_secs(60);

/// How often the CA directory is read.
const REFRESH: Duration = Duration::from_secs(60 * 60);
