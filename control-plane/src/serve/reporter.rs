//! `Progress`: tells the replica that writes the status of routes how far the sidecars of this one are.

use std::time::{Duration, SystemTime};

use futures_util::stream::unfold;
use outrigger_daemon::Drain;
use outrigger_identity::TrustDomain;
use outrigger_proto::{Key, wire};
use tokio::sync::watch;
use tonic::Status;
use tracing::debug;

use super::call::{Answer, Encoded};
use super::caller::Caller;
use super::progress::Progress;
use crate::ca::control_plane_identity;
use crate::latest::Latest;
use crate::resource::{Published, resource};

/// Answers `Progress`, and the same question when this replica asks itself.
#[derive(Clone, Debug)]
pub(crate) struct Reporter {
    /// What is served.
    pub(crate) latest: Latest,
    /// What sidecars acked.
    pub(crate) progress: Progress,
    /// Ends all answers when it starts.
    pub(crate) drain: Drain,
    /// Whose control planes may ask.
    pub(crate) domain: TrustDomain,
}

impl Reporter {
    /// Refuses whoever is no control plane.
    pub(super) fn may_ask(&self, caller: &Caller) -> Result<(), Status> {
        let peer = &caller.valid_leaf(SystemTime::now())?.peer;
        let own = control_plane_identity(&self.domain).map_err(|error| Status::internal(error.to_string()))?;
        // A pod with the control plane's ServiceAccount has its identity, but is a workload.
        if peer.identity != own || peer.workload.is_some() {
            return Err(Status::permission_denied(format!("{} is no control plane", peer.identity)));
        }
        Ok(())
    }

    pub(super) fn open(&self, caller: &Caller, request: wire::ProgressRequest) -> Result<Answer, Status> {
        if request.carriers.len() > MAX_CARRIERS {
            return Err(Status::resource_exhausted(format!("more than {MAX_CARRIERS} questions at once")));
        }
        debug!(questions = request.carriers.len(), address = %caller.address, "another replica asks for progress");
        let telling = Telling { reporter: self.clone(), changes: self.progress.changes(), request, told: None };
        Ok(Answer::stream(unfold(telling, |mut telling| async move {
            Some((Ok(Encoded::new(&telling.next().await?)), telling))
        })))
    }

    /// Answers from what is known now.
    pub(crate) fn report(&self, snapshot: &Published, request: &wire::ProgressRequest) -> wire::ProgressResponse {
        let current = |held: &wire::Held| {
            let resource = held.key.parse::<Key>().ok().and_then(|key| resource(snapshot, &key));
            resource.is_some_and(|resource| resource.version == held.version)
        };
        let one = |carriers: &wire::Carriers| wire::Progress {
            current: carriers.resources.iter().all(current),
            ..self.progress.of(&carriers.resources)
        };
        wire::ProgressResponse { progress: request.carriers.iter().map(one).collect() }
    }
}

/// One answer.
struct Telling {
    reporter: Reporter,
    changes: watch::Receiver<()>,
    request: wire::ProgressRequest,
    told: Option<wire::ProgressResponse>,
}

impl Telling {
    /// Waits until there is something new to tell; `None` when that is over.
    async fn next(&mut self) -> Option<wire::ProgressResponse> {
        let drain = self.reporter.drain.clone();
        tokio::select! {
            report = self.news() => report,
            () = drain.started() => None,
        }
    }

    async fn news(&mut self) -> Option<wire::ProgressResponse> {
        loop {
            if self.told.is_some() {
                let changed = tokio::select! {
                    changed = self.changes.changed() => changed.is_ok(),
                    changed = self.reporter.latest.changed() => changed,
                };
                if !changed {
                    return None;
                }
                // A thousand acks that come together are told together.
                tokio::time::sleep(GATHER).await;
            }
            self.changes.mark_unchanged();
            let snapshot = self.reporter.latest.take();
            let report = self.reporter.report(&snapshot, &self.request);
            if self.told.as_ref() != Some(&report) {
                self.told = Some(report.clone());
                return Some(report);
            }
        }
    }
}

/// One is some 50 bytes: they fit into a request.
pub(crate) const MAX_CARRIERS: usize = 16 * 1024;

const GATHER: Duration = Duration::from_millis(20);
