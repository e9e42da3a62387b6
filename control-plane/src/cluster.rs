//! What a control plane does in a cluster beside discovery: keeps the CA in a Secret that all replicas share, rotates its
//! issuer under a Lease, publishes the trust anchors, keeps the injector's certificate, reviews tokens, writes Events.
//!
//! ```text
//! every replica   watches the Secret ─▶ Authority
//! Lease holder    keeper: Secret ▸ ConfigMap ▸ the injector's Secret ▸ caBundle of its webhooks
//! Lease holder    status: what became of each route and policy; replicas: which sidecars have the routes
//! ```

mod announce;
mod keeper;
mod lease;
mod observers;
mod pem;
mod policy_status;
mod replicas;
mod secret;
mod status;
mod webhook;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};

use crate::ca::AuthorityError;
use crate::config::Config;

pub(crate) use announce::Announcer;
pub(crate) use keeper::Keeper;
pub(crate) use lease::Lease;
pub(crate) use observers::Observers;
pub(crate) use secret::CaSecret;
pub(crate) use status::StatusWriter;

/// The cluster, and who we are in it.
#[derive(Clone)]
pub(crate) struct Cluster {
    /// Speaks to the API server.
    pub(crate) client: Client,
    /// Where the control plane lives.
    pub(crate) namespace: String,
    /// Which replica this is.
    pub(crate) replica: String,
    /// The name of the injector's MutatingWebhookConfiguration.
    pub(crate) webhook: String,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("namespace", &self.namespace).field("replica", &self.replica).finish()
    }
}

impl Cluster {
    /// Finds the API server: by the service account in a pod, else by KUBECONFIG.
    ///
    /// # Errors
    /// When nothing says where it is.
    pub(crate) async fn connect(config: &Config) -> Result<Self, ClusterError> {
        let Config { kubeconfig, namespace, replica, injector_webhook, .. } = config;
        let lost = |error| ClusterError::Connect(Box::new(error));
        let mut config = match kubeconfig {
            Some(path) => match Kubeconfig::read_from(path) {
                Ok(read) => kube::Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await,
                Err(error) => Err(error),
            }
            .map_err(|source| ClusterError::Kubeconfig { path: path.clone(), source: Box::new(source) })?,
            None => kube::Config::infer().await.map_err(|error| lost(kube::Error::InferConfig(error)))?,
        };
        config.connect_timeout = Some(Duration::from_secs(5));
        let client = Client::try_from(config).map_err(lost)?;
        let replica = match replica {
            Some(replica) => replica.clone(),
            None => random_name()?,
        };
        Ok(Self { client, namespace: namespace.clone(), replica, webhook: injector_webhook.clone() })
    }
}

/// Labels of all objects that the control plane makes.
fn labels() -> BTreeMap<String, String> {
    let labels =
        [("app.kubernetes.io/part-of", "outrigger"), ("app.kubernetes.io/managed-by", "outrigger-control-plane")];
    labels.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn random_name() -> Result<String, ClusterError> {
    let mut bytes = [0; 8];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| AuthorityError::Random)?;
    Ok(format!("control-plane-{}", data_encoding::HEXLOWER.encode(&bytes)))
}

/// Why the cluster is of no use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterError {
    /// No API server.
    #[error("cannot find the Kubernetes API server: run in a pod with a ServiceAccount, or set KUBECONFIG")]
    Connect(#[source] Box<kube::Error>),
    /// The file cannot be used.
    #[error("{}: not a kubeconfig that can be used", path.display())]
    Kubeconfig {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: Box<kube::config::KubeconfigError>,
    },
    /// The API server has refused something, or is away.
    #[error("{what}")]
    Api {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: Box<kube::Error>,
    },
    /// The CA cannot be used.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
}
