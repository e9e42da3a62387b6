//! Kubernetes Events on pods: what `kubectl describe pod` shows when a pod gets no certificate.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use outrigger_daemon::Drain;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::debug;

use super::Cluster;
use crate::objects::Workload;

/// Writes Events, a few at a time. Clones share the queue.
#[derive(Clone, Debug)]
pub(crate) struct Announcer(mpsc::Sender<Announcement>);

#[derive(Debug)]
struct Announcement {
    pod: Arc<Workload>,
    reason: &'static str,
    note: String,
}

impl Announcer {
    /// Starts the task that writes.
    pub(crate) fn start(cluster: &Cluster, drain: &Drain) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let reporter = Reporter { controller: CONTROLLER.to_owned(), instance: Some(cluster.replica.clone()) };
        let recorder = Recorder::new(cluster.client.clone(), reporter);
        let stop = drain.clone();
        drain.spawn(async move {
            tokio::select! {
                () = stop.started() => {}
                () = write(recorder, receiver) => {}
            }
        });
        Self(sender)
    }

    /// Says of a pod that something is wrong with it. When there is too much to say, some of it is not said.
    pub(crate) fn warn(&self, pod: Arc<Workload>, reason: &'static str, note: &str) {
        let note = note.chars().take(MAX_NOTE).collect();
        let _ = self.0.try_send(Announcement { pod, reason, note });
    }
}

async fn write(recorder: Recorder, mut announcements: mpsc::Receiver<Announcement>) {
    let mut last: HashMap<(Arc<str>, &'static str), Instant> = HashMap::new();
    while let Some(Announcement { pod, reason, note }) = announcements.recv().await {
        // A sidecar asks again and again; the pod's page needs to hear it only now and then.
        last.retain(|_, said| said.elapsed() < PAUSE);
        let about = (pod.meta.uid.clone(), reason);
        if last.len() >= QUEUE * 16 || last.contains_key(&about) {
            continue;
        }
        last.insert(about, Instant::now());
        let reference = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            namespace: Some(pod.meta.namespace.to_string()),
            name: Some(pod.meta.name.to_string()),
            uid: Some(pod.meta.uid.to_string()),
            ..ObjectReference::default()
        };
        let event = Event {
            type_: EventType::Warning,
            reason: reason.to_owned(),
            note: Some(note),
            action: "Certify".to_owned(),
            secondary: None,
        };
        if let Err(error) = recorder.publish(&event, &reference).await {
            debug!(pod = %pod.meta.workload_name(), %error, "cannot write an Event");
        }
    }
}

const CONTROLLER: &str = "outrigger.io/control-plane";
const QUEUE: usize = 64;

/// The API's limit is 1 KiB.
const MAX_NOTE: usize = 512;
const PAUSE: Duration = Duration::from_secs(60);
