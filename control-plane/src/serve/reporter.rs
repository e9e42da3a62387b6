//! `Progress`: tells the replica that writes the status of routes how far the sidecars of this one are.

use std::time::{Duration, SystemTime};

use outrigger_daemon::Drain;
use outrigger_identity::TrustDomain;
use outrigger_proto::{Key, wire};
use tokio::sync::mpsc;
use tonic::Status;
use tracing::debug;

use super::call::{Answer, Encoded, Next};
use super::caller::Caller;
use super::progress::Progress;
use crate::ca::control_plane_identity;
use crate::resource::resource;
use crate::snapshot::{Latest, Snapshot};

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
    pub(super) fn open(&self, caller: &Caller, request: wire::ProgressRequest) -> Result<Answer, Status> {
        let peer = &caller.valid_leaf(SystemTime::now())?.peer;
        let own = control_plane_identity(&self.domain).map_err(|error| Status::internal(error.to_string()))?;
        // A pod with the control plane's ServiceAccount has its identity, but is a workload.
        if peer.identity != own || peer.workload.is_some() {
            return Err(Status::permission_denied(format!("{} is no control plane", peer.identity)));
        }
        if request.carriers.len() > MAX_CARRIERS {
            return Err(Status::resource_exhausted(format!("more than {MAX_CARRIERS} questions at once")));
        }
        debug!(questions = request.carriers.len(), address = %caller.address, "another replica asks for progress");
        let (responses, answer) = Answer::stream();
        let (reporter, drain) = (self.clone(), self.drain.clone());
        self.drain.spawn(async move {
            tokio::select! {
                () = reporter.tell(request, &responses) => {}
                () = responses.closed() => {}
                () = drain.started() => {}
            }
        });
        Ok(answer)
    }

    async fn tell(mut self, request: wire::ProgressRequest, responses: &mpsc::Sender<Next>) {
        let mut changes = self.progress.changes();
        let mut told = None;
        loop {
            changes.mark_unchanged();
            let snapshot = self.latest.take();
            let report = self.report(&snapshot, &request);
            if told.as_ref() != Some(&report) {
                if responses.send(Box::new(Ok(Encoded::new(&report)))).await.is_err() {
                    return;
                }
                told = Some(report);
            }
            let changed = tokio::select! {
                changed = changes.changed() => changed.is_ok(),
                changed = self.latest.changed() => changed,
            };
            if !changed {
                return;
            }
            // A thousand acks that come together are told together.
            tokio::time::sleep(GATHER).await;
        }
    }

    /// Answers from what is known now.
    pub(crate) fn report(&self, snapshot: &Snapshot, request: &wire::ProgressRequest) -> wire::ProgressResponse {
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

/// One is some 50 bytes: they fit into a request.
pub(crate) const MAX_CARRIERS: usize = 16 * 1024;

const GATHER: Duration = Duration::from_millis(20);
