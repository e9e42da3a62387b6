//! The one task that changes the state: takes events, makes a snapshot, publishes it.

use std::collections::BTreeSet;
use std::sync::Arc;

use outrigger_daemon::Drain;
use outrigger_identity::TrustBundle;
use tokio::sync::{mpsc, watch};
use tokio::time::{Duration, Instant};
use tracing::{debug, info, warn};

use crate::resource::{Problem, Published, problems};
use crate::serve::Metrics;
use crate::state::{Event, Settings, State};

/// Takes in what sources tell and what the CA trusts.
#[derive(Debug)]
pub(crate) struct Writer {
    /// What the sources tell.
    pub(crate) events: mpsc::Receiver<Vec<Event>>,
    /// What the CA trusts.
    pub(crate) bundle: watch::Receiver<TrustBundle>,
    /// Where snapshots go.
    pub(crate) snapshots: watch::Sender<Arc<Published>>,
    /// What is counted.
    pub(crate) metrics: Metrics,
}

impl Writer {
    /// Runs until the drain starts or all sources are gone.
    pub(crate) async fn run(mut self, drain: Drain) {
        let mut state = self.snapshots.borrow().state.clone();
        let mut known: BTreeSet<Problem> = BTreeSet::new();
        loop {
            tokio::select! {
                () = drain.started() => return,
                batch = self.events.recv() => {
                    let Some(batch) = batch else { return };
                    let mut changed = take(&mut state, batch);
                    // Whatever else has come meanwhile goes into the same snapshot.
                    while let Ok(batch) = self.events.try_recv() {
                        changed |= take(&mut state, batch);
                    }
                    if !changed {
                        continue; // most of what happens to a pod is nothing to the mesh
                    }
                }
                changed = self.bundle.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let bundle = self.bundle.borrow_and_update().clone();
                    state.set(Settings { bundle, ..state.settings.clone() });
                }
            }
            let started = Instant::now();
            known = self.publish(&state, &known);
            // A storm of changes gets fewer and larger snapshots, never all of our time.
            tokio::select! {
                () = drain.started() => return,
                () = tokio::time::sleep((started.elapsed() * 4).min(MAX_PAUSE)) => {}
            }
        }
    }

    fn publish(&self, state: &State, known: &BTreeSet<Problem>) -> BTreeSet<Problem> {
        let snapshot = Published::new(state.clone(), Some(&*self.snapshots.borrow()));
        let problems: BTreeSet<Problem> = problems(&snapshot).into_iter().collect();
        for problem in problems.difference(known) {
            warn!(object = problem.object, reason = problem.reason, "an object is not in force as written");
        }
        self.metrics.snapshot(&snapshot, problems.len());
        let (services, workloads, pods) = (state.services.len(), state.workloads.len(), state.pods.len());
        // A cluster changes all the time.
        if pods == 0 {
            info!(version = snapshot.version, services, workloads, problems = problems.len(), "new snapshot");
        } else {
            debug!(version = snapshot.version, services, workloads, pods, problems = problems.len(), "new snapshot");
        }
        self.snapshots.send_replace(Arc::new(snapshot));
        problems
    }
}

/// Says whether any event has changed anything.
fn take(state: &mut State, batch: Vec<Event>) -> bool {
    batch.into_iter().fold(false, |changed, event| state.apply(event) | changed)
}

const MAX_PAUSE: Duration = Duration::from_millis(500);
