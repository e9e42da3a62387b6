//! What only one replica does at a time: the holder of the Lease keeps what the control plane has written in the cluster
//! as it should be, and looks again whenever something may have changed.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::StreamExt;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{Patch, PatchParams};
use kube::runtime::{WatchStreamExt, watcher};
use outrigger_daemon::Drain;
use serde_json::json;
use tracing::warn;

use super::{CaSecret, Cluster, ClusterError, Lease, webhook};
use crate::ca::Authority;
use crate::why::why;

/// Keeps the CA, the trust bundle and the injector's certificate.
pub(crate) struct Keeper {
    /// Where.
    pub(crate) cluster: Cluster,
    /// The CA as it is kept.
    pub(crate) secret: CaSecret,
    /// The CA as it is used.
    pub(crate) authority: Arc<Authority>,
    /// What could not be done when it was tried last.
    pub(crate) failures: Vec<String>,
}

impl Keeper {
    /// Runs until the drain starts.
    pub(crate) async fn run(mut self, drain: Drain) {
        let mut held = Lease::seek(&self.cluster, LEASE, &drain);
        let mut authority = self.authority.changes();
        let api: Api<MutatingWebhookConfiguration> = Api::all(self.cluster.client.clone());
        let webhooks = watcher::watch_object(api, &self.cluster.webhook).default_backoff();
        let mut webhooks = std::pin::pin!(webhooks);
        loop {
            let pause = if *held.borrow_and_update() && !self.keep(SystemTime::now()).await { RETRY } else { LOOK };
            tokio::select! {
                () = drain.started() => return,
                changed = held.changed() => if changed.is_err() { return },
                changed = authority.changed() => if changed.is_err() { return },
                () = self.secret.gone() => {}
                // Whatever has happened to it, a look tells. A watch that fails is none.
                Some(Ok(_)) = webhooks.next() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Says whether all is as it should be. One thing that cannot be done does not stop the others.
    async fn keep(&mut self, now: SystemTime) -> bool {
        let Self { cluster, secret, authority, failures } = self;
        let done = [
            secret.renew(authority, now).await,
            publish_bundle(cluster, authority).await,
            webhook::keep_certificate(cluster, authority, now).await,
            webhook::keep_ca_bundle(cluster, authority).await,
        ];
        let failed: Vec<String> = done.iter().filter_map(|done| done.as_ref().err()).map(|error| why(error)).collect();
        // Each is told once.
        for error in failed.iter().filter(|error| !failures.contains(error)) {
            warn!(error, "failed to reconcile a mesh-owned object");
        }
        *failures = failed;
        failures.is_empty()
    }
}

/// Writes the trust anchors where the injector and operators find them.
async fn publish_bundle(cluster: &Cluster, authority: &Authority) -> Result<(), ClusterError> {
    let api: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let failed = |what: &str, source| ClusterError::Api {
        what: format!("cannot {what} ConfigMap {BUNDLE}"),
        source: Box::new(source),
    };
    let present = api.get_opt(BUNDLE).await.map_err(|error| failed("read", error))?;
    let bundle = authority.bundle_pem();
    let data = present.and_then(|present| present.data).unwrap_or_default();
    if data.get(ROOT_PEM) == Some(&bundle) {
        return Ok(());
    }
    let wanted = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": { "name": BUNDLE, "labels": super::labels() },
        "data": { ROOT_PEM: bundle },
    });
    let parameters = PatchParams::apply(MANAGER).force();
    api.patch(BUNDLE, &parameters, &Patch::Apply(wanted)).await.map_err(|error| failed("write", error))?;
    Ok(())
}

const LEASE: &str = "outrigger-issuer";
const BUNDLE: &str = "outrigger-trust-bundle";
const ROOT_PEM: &str = "root.pem";
const MANAGER: &str = "outrigger-control-plane";

/// Certificates are watched over in days.
const LOOK: Duration = Duration::from_secs(60);
const RETRY: Duration = Duration::from_secs(5);
