//! What differs between the two ways to run: where objects come from, where the CA is kept, and what proves an identity.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use outrigger_daemon::Drain;
use tokio::sync::mpsc;

use super::StartError;
use crate::ca::{Authority, Tokens, UsedTokens};
#[cfg(feature = "kubernetes")]
use crate::cluster::{Announcer, CaSecret, Cluster, Keeper, Observers, StatusWriter};
use crate::config::{Config, Source};
use crate::observed::Observed;
#[cfg(feature = "kubernetes")]
use crate::serve::ServiceAccountTokens;
use crate::serve::{JoinTokens, Metrics, Proof, Reporter};
use crate::source;
use crate::state::Event;

/// What the rest stands on.
pub(super) struct Ground {
    pub(super) authority: Arc<Authority>,
    pub(super) proof: Proof,
    pub(super) source: Objects,
}

/// Where objects come from.
pub(super) enum Objects {
    Folder(PathBuf),
    #[cfg(feature = "kubernetes")]
    Cluster(Box<Cluster>),
}

impl Ground {
    /// Opens the CA and starts what keeps it.
    pub(super) async fn new(config: &Config, metrics: &Metrics, drain: &Drain) -> Result<Self, StartError> {
        match config.source() {
            Source::Files => Self::of_folders(config),
            Source::Kubernetes => Self::of_cluster(config, metrics, drain).await,
        }
    }

    fn of_folders(config: &Config) -> Result<Self, StartError> {
        let missing = |option| StartError::Missing { option };
        let folder = config.config_dir.clone().ok_or_else(|| missing("--config-dir"))?;
        let ca_dir = config.ca_dir.as_ref().ok_or_else(|| missing("--ca-dir"))?;
        if !folder.is_dir() {
            return Err(StartError::ConfigDir { path: folder });
        }
        let now = SystemTime::now();
        let authority = Authority::open(ca_dir, config.trust_domain.clone(), config.leaf_lifetime, now)?;
        let tokens = JoinTokens::new(Tokens::open(ca_dir)?, UsedTokens::open(ca_dir, now)?);
        Ok(Self { authority: authority.into(), proof: Proof::Join(Box::new(tokens)), source: Objects::Folder(folder) })
    }

    #[cfg(feature = "kubernetes")]
    async fn of_cluster(config: &Config, metrics: &Metrics, drain: &Drain) -> Result<Self, StartError> {
        let cluster = Cluster::connect(config).await?;
        let (secret, authority) = CaSecret::open(&cluster, config.trust_domain.clone(), config.leaf_lifetime).await?;
        let authority = Arc::new(authority);
        let announcer = Announcer::start(&cluster, drain);
        let proof = ServiceAccountTokens::new(cluster.client.clone(), announcer, metrics.clone());
        let here = Box::new(cluster.clone());
        drain.spawn(secret.clone().follow(authority.clone(), drain.clone()));
        drain.spawn(Keeper { cluster, secret, authority: authority.clone(), failures: Vec::new() }.run(drain.clone()));
        Ok(Self { authority, proof: Proof::ServiceAccount(Box::new(proof)), source: Objects::Cluster(here) })
    }

    #[cfg(not(feature = "kubernetes"))]
    #[expect(clippy::unused_async, reason = "as its other form")]
    async fn of_cluster(_: &Config, _: &Metrics, _: &Drain) -> Result<Self, StartError> {
        Err(StartError::NoKubernetes)
    }
}

impl Objects {
    /// Starts to tell of objects, and in a cluster to write what became of them.
    #[cfg_attr(not(feature = "kubernetes"), expect(unused_variables, reason = "a folder's routes have no status"))]
    pub(super) fn start(
        self,
        events: mpsc::Sender<Vec<Event>>,
        authority: &Arc<Authority>,
        (reporter, observed): (&Reporter, &Observed),
        drain: &Drain,
    ) {
        match self {
            Self::Folder(path) => drain.spawn(source::files::run(path, events, drain.clone())),
            #[cfg(feature = "kubernetes")]
            Self::Cluster(cluster) => {
                drain.spawn(source::kubernetes::run(cluster.client.clone(), events, drain.clone()));
                let observers = Observers {
                    cluster: (*cluster).clone(),
                    authority: authority.clone(),
                    latest: reporter.latest.clone(),
                    observed: observed.clone(),
                };
                drain.spawn(observers.run(drain.clone()));
                drain.spawn(StatusWriter::new(*cluster, authority.clone(), reporter.clone()).run(drain.clone()));
            }
        }
    }
}
