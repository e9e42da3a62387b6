//! What a control plane does in a cluster beside discovery: keeps the CA in a Secret that all replicas share, rotates its
//! issuer under a Lease, publishes the trust anchors, keeps the injector's certificate, reviews tokens, writes Events.
//!
//! ```text
//! every replica   watches the Secret ─▶ Authority
//! Lease holder    keeper: Secret ▸ ConfigMap ▸ the injector's Secret ▸ caBundle of its webhooks
//! ```

mod announce;
mod keeper;
mod lease;
mod pem;
mod secret;
mod webhook;

use std::collections::BTreeMap;
use std::time::Duration;

use kube::Client;

use crate::ca::AuthorityError;

pub(crate) use announce::Announcer;
pub(crate) use keeper::Keeper;
pub(crate) use lease::Lease;
pub(crate) use secret::CaSecret;

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
    pub(crate) async fn connect(
        namespace: String,
        replica: Option<String>,
        webhook: String,
    ) -> Result<Self, ClusterError> {
        let lost = |error| ClusterError::Connect(Box::new(error));
        let mut config = kube::Config::infer().await.map_err(kube::Error::InferConfig).map_err(lost)?;
        config.connect_timeout = Some(Duration::from_secs(5));
        let client = Client::try_from(config).map_err(lost)?;
        let replica = match replica {
            Some(replica) => replica,
            None => random_name()?,
        };
        Ok(Self { client, namespace, replica, webhook })
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
