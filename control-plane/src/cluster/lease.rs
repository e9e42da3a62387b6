//! A Lease: of all replicas one holds it, and does what must be done once. Whether a holder is gone is judged by how long
//! its record has not changed on our own clock, so clocks need not agree.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease as Object, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Resource};
use outrigger_daemon::Drain;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::Cluster;
use crate::why::why;

/// One replica's part in a Lease.
pub(crate) struct Lease {
    api: Api<Object>,
    name: &'static str,
    holder: String,
    // The record of another holder, and since when it is as it is.
    seen: Option<(String, Instant)>,
}

impl Lease {
    /// Starts to seek the Lease; the receiver tells whether it is held.
    pub(crate) fn seek(cluster: &Cluster, name: &'static str, drain: &Drain) -> watch::Receiver<bool> {
        let api = Api::namespaced(cluster.client.clone(), &cluster.namespace);
        let lease = Self { api, name, holder: cluster.replica.clone(), seen: None };
        let (held, receiver) = watch::channel(false);
        let stop = drain.clone();
        drain.spawn(lease.run(held, stop));
        receiver
    }

    async fn run(mut self, held: watch::Sender<bool>, drain: Drain) {
        let mut renewed = Instant::now();
        loop {
            let attempt = tokio::time::timeout(LIMIT, self.attempt()).await;
            // What is held stays held while the API server is away, but no longer than the others wait.
            let still = *held.borrow() && renewed.elapsed() < GIVE_UP;
            let holds = match attempt {
                Ok(Ok(holds)) => {
                    renewed = Instant::now();
                    holds
                }
                Ok(Err(error)) => {
                    warn!(lease = self.name, error = %why(&error), "cannot renew the Lease");
                    still
                }
                Err(_) => {
                    warn!(lease = self.name, limit = ?LIMIT, "cannot renew the Lease: no answer");
                    still
                }
            };
            if *held.borrow() != holds {
                info!(lease = self.name, holder = self.holder, holds, "the Lease has changed hands");
                held.send_replace(holds);
            }
            tokio::select! {
                () = drain.started() => break,
                () = tokio::time::sleep(RENEW) => {}
            }
        }
        if *held.borrow() {
            held.send_replace(false);
            // The next one need not wait until ours has run out.
            let released = tokio::time::timeout(LIMIT, self.release()).await;
            debug!(lease = self.name, ?released, "released the Lease");
        }
    }

    /// Renews the Lease or takes it, if it may be taken. Says whether it is held.
    async fn attempt(&mut self) -> Result<bool, kube::Error> {
        let Some(current) = self.api.get_opt(self.name).await? else {
            let meta = ObjectMeta { name: Some(self.name.to_owned()), ..ObjectMeta::default() };
            let lease = Object { metadata: meta, spec: Some(self.spec(None)) };
            return won(self.api.create(&PostParams::default(), &lease).await);
        };
        let spec = current.spec.as_ref();
        let holder = spec.and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default();
        if holder != self.holder && !holder.is_empty() {
            let version = current.meta().resource_version.clone().unwrap_or_default();
            let since = match &self.seen {
                Some((seen, since)) if *seen == version => *since,
                _ => self.seen.insert((version, Instant::now())).1,
            };
            let seconds = spec.and_then(|spec| spec.lease_duration_seconds).unwrap_or(DURATION_SECONDS);
            if since.elapsed() < Duration::from_secs(u64::try_from(seconds).unwrap_or(0)) {
                return Ok(false);
            }
        }
        self.seen = None;
        let spec = Some(self.spec(spec));
        // The version in the metadata makes the API server refuse it when somebody was quicker.
        won(self.api.replace(self.name, &PostParams::default(), &Object { spec, ..current }).await)
    }

    async fn release(&self) -> Result<bool, kube::Error> {
        let Some(current) = self.api.get_opt(self.name).await? else { return Ok(true) };
        let spec = LeaseSpec {
            holder_identity: Some(String::new()),
            lease_duration_seconds: Some(1),
            ..current.spec.clone().unwrap_or_default()
        };
        won(self.api.replace(self.name, &PostParams::default(), &Object { spec: Some(spec), ..current }).await)
    }

    fn spec(&self, before: Option<&LeaseSpec>) -> LeaseSpec {
        let now = Some(MicroTime(jiff::Timestamp::now()));
        let ours = before.filter(|before| before.holder_identity.as_deref() == Some(&self.holder));
        let transitions = before.and_then(|before| before.lease_transitions).unwrap_or(0);
        LeaseSpec {
            holder_identity: Some(self.holder.clone()),
            lease_duration_seconds: Some(DURATION_SECONDS),
            renew_time: now.clone(),
            acquire_time: ours.map_or(now, |ours| ours.acquire_time.clone()),
            lease_transitions: Some(if ours.is_some() || before.is_none() { transitions } else { transitions + 1 }),
            ..LeaseSpec::default()
        }
    }
}

/// A conflict means that another one was quicker.
fn won<T>(answer: Result<T, kube::Error>) -> Result<bool, kube::Error> {
    match answer {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(error) => Err(error),
    }
}

const DURATION_SECONDS: i32 = 15;
const RENEW: Duration = Duration::from_secs(4);
const LIMIT: Duration = Duration::from_secs(3);

/// Before the others may take it, with room for one attempt.
const GIVE_UP: Duration = Duration::from_secs(10);
