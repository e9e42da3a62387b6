//! The CA's Secret: made by whichever replica is first, watched by all, changed by the holder of the Lease.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::StreamExt;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use outrigger_daemon::Drain;
use outrigger_identity::TrustDomain;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::{Cluster, ClusterError};
use crate::ca::{Authority, ISSUER_PEM, Material, ROOT_KEY, ROOT_PEM};
use crate::why::why;

/// The Secret `outrigger-ca`. Clones share it.
#[derive(Clone)]
pub(crate) struct CaSecret {
    api: Api<Secret>,
    place: PathBuf,
    domain: TrustDomain,
    // What it held last, to put it back when somebody has removed it.
    last: Arc<Mutex<Material>>,
    gone: Arc<Notify>,
}

impl CaSecret {
    /// Reads the CA, or makes it. Waits for an API server that does not answer yet.
    ///
    /// # Errors
    /// When the API server refuses, or what the Secret holds cannot be understood.
    pub(crate) async fn open(
        cluster: &Cluster,
        domain: TrustDomain,
        leaf_lifetime: Duration,
    ) -> Result<(Self, Authority), ClusterError> {
        let secret = Self {
            api: Api::namespaced(cluster.client.clone(), &cluster.namespace),
            place: PathBuf::from(format!("Secret {}/{NAME}", cluster.namespace)),
            domain: domain.clone(),
            last: Arc::default(),
            gone: Arc::default(),
        };
        let deadline = Instant::now() + PATIENCE;
        let material = loop {
            match secret.read_or_make(SystemTime::now()).await {
                Ok(Some(material)) => break material,
                Ok(None) => continue, // another replica was quicker: read what it has made
                Err(error @ ClusterError::Api { .. }) if Instant::now() < deadline => {
                    warn!(error = %why(&error), "cannot open the CA yet");
                }
                Err(error) => return Err(error),
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        };
        let authority = Authority::of_material(&material, secret.place.clone(), domain, leaf_lifetime)?;
        *secret.last.lock() = material;
        Ok((secret, authority))
    }

    /// Takes up every change of the Secret, until the drain starts.
    pub(crate) async fn follow(self, authority: Arc<Authority>, drain: Drain) {
        let mut failing = false;
        let mut changes = std::pin::pin!(watcher::watch_object(self.api.clone(), NAME).default_backoff());
        loop {
            let change = tokio::select! {
                () = drain.started() => return,
                change = changes.next() => change,
            };
            let failed_before = std::mem::replace(&mut failing, matches!(change, Some(Err(_))));
            match change {
                Some(Ok(Some(secret))) => self.adopt(&authority, material(&secret)),
                Some(Ok(None)) => {
                    error!(secret = NAME, "the CA's Secret is gone: the CA in use stays in use, and is put back");
                    self.gone.notify_one();
                }
                Some(Err(_)) if failed_before => {}
                Some(Err(error)) => warn!(error = %why(&error), "cannot watch the CA's Secret"),
                None => return,
            }
        }
    }

    /// Completes when the Secret is gone.
    pub(super) async fn gone(&self) {
        self.gone.notified().await;
    }

    /// Makes the next issuer when it is due, and puts the Secret back when it is gone. For the holder of the Lease.
    ///
    /// # Errors
    /// When the API server refuses, or what is due cannot be made.
    pub(super) async fn renew(&self, authority: &Authority, now: SystemTime) -> Result<(), ClusterError> {
        let present = self.api.get_opt(NAME).await.map_err(|error| self.failed("read", error))?;
        let known = present.as_ref().map(material);
        let mut wanted = known.clone().unwrap_or_else(|| self.last.lock().clone());
        Authority::complete(&mut wanted, &self.place, &self.domain, now)?;
        if known.as_ref() != Some(&wanted) && self.write(present, &wanted).await? {
            self.adopt(authority, wanted);
        }
        Ok(())
    }

    async fn read_or_make(&self, now: SystemTime) -> Result<Option<Material>, ClusterError> {
        let present = self.api.get_opt(NAME).await.map_err(|error| self.failed("read", error))?;
        let known = present.as_ref().map(material).unwrap_or_default();
        // An issuer that is merely due is the Lease holder's to make.
        if [&known.root_pem, &known.issuer_pem].into_iter().all(Option::is_some) {
            return Ok(Some(known));
        }
        let mut wanted = known;
        Authority::complete(&mut wanted, &self.place, &self.domain, now)?;
        Ok(self.write(present, &wanted).await?.then_some(wanted))
    }

    fn adopt(&self, authority: &Authority, material: Material) {
        match authority.adopt(&material) {
            Ok(changed) => {
                *self.last.lock() = material;
                if changed {
                    info!(secret = NAME, "took up a change of the CA");
                }
            }
            Err(error) => error!(error = %why(&error), "cannot use the CA's Secret: the CA in use stays in use"),
        }
    }

    /// Says `false` when somebody else was quicker.
    async fn write(&self, present: Option<Secret>, wanted: &Material) -> Result<bool, ClusterError> {
        let parts = wanted.parts().into_iter();
        let data: BTreeMap<_, _> =
            parts.filter_map(|(name, part)| Some((name.to_owned(), ByteString(part?.as_bytes().to_vec())))).collect();
        let parameters = PostParams::default();
        let written = match present {
            Some(mut secret) => {
                secret.data.get_or_insert_default().extend(data);
                self.api.replace(NAME, &parameters, &secret).await
            }
            None => {
                let metadata =
                    ObjectMeta { name: Some(NAME.to_owned()), labels: Some(super::labels()), ..ObjectMeta::default() };
                let secret = Secret { metadata, data: Some(data), ..Secret::default() };
                self.api.create(&parameters, &secret).await
            }
        };
        match written {
            Ok(_) => {
                info!(secret = NAME, "wrote the CA");
                Ok(true)
            }
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(self.failed("write", error)),
        }
    }

    fn failed(&self, what: &str, source: kube::Error) -> ClusterError {
        ClusterError::Api { what: format!("cannot {what} the {}", self.place.display()), source: Box::new(source) }
    }
}

fn material(secret: &Secret) -> Material {
    let part = |name: &str| {
        let bytes = &secret.data.as_ref()?.get(name)?.0;
        // What is not text is not PEM either, and is reported as such.
        Some(String::from_utf8_lossy(bytes).into_owned())
    };
    Material { root_pem: part(ROOT_PEM), root_key: part(ROOT_KEY), issuer_pem: part(ISSUER_PEM) }
}

const NAME: &str = "outrigger-ca";
const PATIENCE: Duration = Duration::from_secs(60);
