//! Asks the other replicas what their sidecars have seen, for as long as somebody looks at this one.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use outrigger_daemon::Drain;
use outrigger_proto::wire;
use tokio::task::AbortHandle;
use tonic::Status;
use tracing::debug;

use super::Cluster;
use super::replicas::{dial, found};
use crate::ca::Authority;
use crate::latest::Latest;
use crate::observed::{Look, Observed, Part};

/// Asks while somebody looks, and only then: nothing is open at rest.
pub(crate) struct Observers {
    pub(crate) cluster: Cluster,
    pub(crate) authority: Arc<Authority>,
    pub(crate) latest: Latest,
    pub(crate) observed: Observed,
}

/// Another replica that is asked, until this goes.
struct Asked {
    name: Arc<str>,
    address: SocketAddr,
    live: bool,
    task: AbortHandle,
    observed: Observed,
}

impl Observers {
    /// Runs until the drain starts.
    pub(crate) async fn run(self, drain: Drain) {
        let mut looks = self.observed.looks_here();
        let mut asked: BTreeMap<Arc<str>, Asked> = BTreeMap::new();
        loop {
            let every = *looks.borrow_and_update();
            match every {
                None => asked.clear(),
                Some(every) => self.find(&mut asked, every == Look::Live.every()),
            }
            let again = async {
                match every {
                    // Replicas come and go.
                    Some(_) => tokio::time::sleep(LOOK).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = drain.started() => return,
                changed = looks.changed() => if changed.is_err() { return },
                () = again => {}
            }
        }
    }

    fn find(&self, asked: &mut BTreeMap<Arc<str>, Asked>, live: bool) {
        let found = found(&self.latest.get(), &self.cluster.namespace, &self.cluster.replica);
        asked.retain(|name, asked| found.get(name) == Some(&asked.address));
        for (name, address) in found {
            match asked.get_mut(&name) {
                Some(asked) if asked.live == live => {}
                Some(asked) => {
                    asked.task.abort();
                    (asked.live, asked.task) = (live, self.ask(&name, address, live));
                }
                None => {
                    self.observed.ask(&name);
                    let task = self.ask(&name, address, live);
                    let observed = self.observed.clone();
                    asked.insert(name.clone(), Asked { name, address, live, task, observed });
                }
            }
        }
    }

    fn ask(&self, name: &Arc<str>, address: SocketAddr, live: bool) -> AbortHandle {
        let (name, authority, observed) = (name.clone(), self.authority.clone(), self.observed.clone());
        // Ended by `Asked`.
        let task = tokio::spawn(async move {
            loop {
                let Err(error) = follow(&name, (&authority, address), live, &observed).await;
                debug!(replica = &*name, error, "cannot ask another replica what its sidecars see");
                observed.heard(&name, None);
                tokio::time::sleep(PAUSE).await;
            }
        });
        task.abort_handle()
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.task.abort();
        self.observed.forget(&self.name);
    }
}

async fn follow(
    name: &Arc<str>,
    (authority, address): (&Authority, SocketAddr),
    live: bool,
    observed: &Observed,
) -> Result<std::convert::Infallible, String> {
    let said = |status: Status| format!("{}: {}", status.code(), status.message());
    let mut client = dial(authority, address).await?;
    let mut answers = client.observe(wire::ObserveRequest { live }).await.map_err(said)?.into_inner();
    loop {
        let answer = answers.message().await.map_err(said)?.ok_or_else(|| "it is going away".to_owned())?;
        observed.heard(name, Some(Part::of(&answer)));
    }
}

/// How often replicas that come and go are looked for.
const LOOK: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_secs(1);
