//! Asks all replicas of the control plane how far their sidecars are, this one included.
//!
//! The others are found where sidecars find them, in the EndpointSlices of the control plane's Service. One task and one
//! connection each, which carry nothing while there is nothing to ask.

mod ask;
mod dial;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use outrigger_proto::wire;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::ca::Authority;
use crate::resource::Published;
use crate::serve::Reporter;
use crate::snapshot::Snapshot;

pub(super) use dial::dial;

use ask::Asker;

/// The replicas, and what they answered.
pub(super) struct Replicas {
    authority: Arc<Authority>,
    reporter: Reporter,
    namespace: String,
    own: String,
    question: watch::Sender<Arc<Question>>,
    others: BTreeMap<Arc<str>, Other>,
    answers: watch::Sender<()>,
    answered: watch::Receiver<()>,
    own_changes: watch::Receiver<()>,
}

/// What is asked; one that replaces another has another number.
#[derive(Debug, Default)]
pub(super) struct Question {
    number: u64,
    request: wire::ProgressRequest,
}

struct Other {
    address: SocketAddr,
    answer: Arc<Mutex<Answer>>,
    task: AbortHandle,
}

/// What another replica said last.
#[derive(Debug, Default)]
struct Answer {
    /// To which question.
    question: u64,
    progress: Vec<wire::Progress>,
}

/// How far all sidecars are with some resources.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Total {
    pub(super) subscribed: u32,
    pub(super) acked: u32,
    /// The words of one that refused them.
    pub(super) refused: Option<String>,
    /// A replica that has not answered, or does not serve these versions yet.
    pub(super) waiting_for: Option<Arc<str>>,
}

impl Replicas {
    pub(super) fn new(authority: Arc<Authority>, reporter: Reporter, namespace: String, own: String) -> Self {
        let (answers, answered) = watch::channel(());
        let own_changes = reporter.progress.changes();
        let question = watch::Sender::new(Arc::default());
        let others = BTreeMap::new();
        Self { authority, reporter, namespace, own, question, others, answers, answered, own_changes }
    }

    /// Follows the replicas that come and go.
    pub(super) fn find(&mut self, snapshot: &Snapshot) {
        let found = found(snapshot, &self.namespace, &self.own);
        self.others.retain(|name, other| found.get(name) == Some(&other.address));
        for (name, address) in found {
            if self.others.contains_key(&name) {
                continue;
            }
            let answer = Arc::new(Mutex::new(Answer::default()));
            let asker = Asker {
                name: name.clone(),
                address,
                authority: self.authority.clone(),
                question: self.question.subscribe(),
                answer: answer.clone(),
                answers: self.answers.clone(),
            };
            let task = tokio::spawn(asker.run()).abort_handle();
            self.others.insert(name, Other { address, answer, task });
        }
    }

    /// Asks all for this from now on. It is no other question while it is the same.
    pub(super) fn ask(&mut self, carriers: Vec<wire::Carriers>) {
        self.question.send_if_modified(|question| {
            let changed = question.request.carriers != carriers;
            if changed {
                *question =
                    Arc::new(Question { number: question.number + 1, request: wire::ProgressRequest { carriers } });
            }
            changed
        });
    }

    /// Adds up what is known, for each part of the question.
    pub(super) fn totals(&self, snapshot: &Published) -> Vec<Total> {
        let question = self.question.borrow().clone();
        let own = self.reporter.report(snapshot, &question.request);
        let mut totals: Vec<Total> =
            own.progress.iter().map(|progress| with(Total::default(), progress, None)).collect();
        for (name, other) in &self.others {
            let answer = other.answer.lock();
            let fits = answer.question == question.number && answer.progress.len() == totals.len();
            for (index, total) in totals.iter_mut().enumerate() {
                match answer.progress.get(index).filter(|_| fits) {
                    Some(progress) => *total = with(std::mem::take(total), progress, Some(name)),
                    None => total.waiting_for = Some(name.clone()),
                }
            }
        }
        totals
    }

    /// Completes when a replica has said something new.
    pub(super) async fn changed(&mut self) {
        // Both senders live as long as this does.
        tokio::select! {
            _ = self.answered.changed() => {}
            _ = self.own_changes.changed(), if !self.question.borrow().request.carriers.is_empty() => {}
        }
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn with(total: Total, progress: &wire::Progress, replica: Option<&Arc<str>>) -> Total {
    let wire::Progress { current, subscribed, acked, refused } = progress;
    let words = (!refused.is_empty()).then(|| refused.clone());
    Total {
        subscribed: total.subscribed.saturating_add(*subscribed),
        acked: total.acked.saturating_add(*acked),
        refused: total.refused.or(words),
        // Our own answer is by the snapshot that made the question.
        waiting_for: total.waiting_for.or_else(|| replica.filter(|_| !current).cloned()),
    }
}

/// The other replicas that sidecars may be connected to. One that is on its way out has ended its streams.
pub(super) fn found(snapshot: &Snapshot, namespace: &str, own: &str) -> BTreeMap<Arc<str>, SocketAddr> {
    let Some(service) = snapshot.state.services.get(namespace, SERVICE) else { return BTreeMap::new() };
    let mut found = BTreeMap::new();
    for slice in snapshot.slices_of(service) {
        let port = slice.ports.iter().find(|port| &*port.name == PORT).and_then(|port| port.port);
        let Some(port) = port else { continue };
        for endpoint in slice.endpoints.iter().filter(|endpoint| endpoint.ready && !endpoint.terminating) {
            if let Some(pod) = endpoint.pod.clone().filter(|pod| **pod != *own) {
                found.entry(pod).or_insert_with(|| SocketAddr::new(endpoint.address, port.get()));
            }
        }
    }
    found
}

const SERVICE: &str = "outrigger-control-plane";
const PORT: &str = "grpc";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::snapshot;

    #[test]
    fn others_are_the_ready_pods_of_the_service() {
        let endpoint = |address: &str, pod: &str, conditions: &str| {
            format!(
                "\n- {{addresses: ['{address}'], conditions: {{{conditions}}}, targetRef: {{kind: Pod, name: {pod}}}}}"
            )
        };
        let yaml = format!(
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: outrigger-control-plane, namespace: mesh}}\n\
             spec: {{clusterIP: 10.96.0.9, ports: [{{name: grpc, port: 4180}}]}}\n---\n\
             apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: s, namespace: mesh, \
             labels: {{kubernetes.io/service-name: outrigger-control-plane}}}}\naddressType: IPv4\n\
             ports: [{{name: grpc, port: 4180, protocol: TCP}}]\nendpoints:{}{}{}{}\n",
            endpoint("10.1.0.1", "own", "ready: true"),
            endpoint("10.1.0.2", "other", "ready: true"),
            endpoint("10.1.0.3", "starting", "ready: false"),
            endpoint("10.1.0.4", "leaving", "ready: true, terminating: true"),
        );

        let found = found(&snapshot(&yaml), "mesh", "own");

        let found: Vec<_> = found.iter().map(|(pod, address)| format!("{pod} {address}")).collect();
        assert_eq!(found, ["other 10.1.0.2:4180"]);
    }

    #[test]
    fn a_replica_that_serves_another_version_is_waited_for() {
        let progress = |current, acked| wire::Progress { current, subscribed: 2, acked, refused: String::new() };
        let name: Arc<str> = "other".into();

        let total = with(Total::default(), &progress(true, 2), None);
        let behind = with(total.clone(), &progress(false, 0), Some(&name));
        let level = with(total, &progress(true, 2), Some(&name));

        assert_eq!((behind.subscribed, behind.acked, behind.waiting_for), (4, 2, Some(name)));
        assert_eq!((level.subscribed, level.acked, level.waiting_for), (4, 4, None));
    }
}
