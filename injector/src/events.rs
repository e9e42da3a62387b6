//! Kubernetes Events: what became of a pod, told on whatever made it, where `kubectl describe` shows it.
//!
//! Best effort: a pod is never kept waiting for them, and what was told of an owner is not told again for a while.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::{debug, info};

use crate::api::Api;
use crate::review::Decision;

/// Takes events and writes them by and by. Clones share it; without an API server it takes them and forgets them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Events {
    queue: Option<mpsc::Sender<Event>>,
}

/// One thing to tell.
#[derive(Debug)]
struct Event {
    namespace: String,
    object: Value,
}

impl Events {
    /// Starts the task that writes; it ends with the last clone. `account` is the folder that Kubernetes mounts into pods.
    pub(crate) fn start(account: &Path) -> Self {
        let Some(api) = Api::of_pod(account) else {
            info!("not in a pod: no Events");
            return Self::default();
        };
        let (queue, events) = mpsc::channel(QUEUE);
        tokio::spawn(write(api, events));
        Self { queue: Some(queue) }
    }

    /// Tells what was decided about the pod of a review.
    pub(crate) fn tell(&self, request: &Value, decision: &Decision) {
        let Some(queue) = &self.queue else { return };
        // A dry run leaves nothing behind.
        if request["dryRun"] == true {
            return;
        }
        if let Some(event) = event(request, decision)
            && queue.try_send(event).is_err()
        {
            debug!("too many Events wait; one is dropped");
        }
    }
}

async fn write(mut api: Api, mut events: mpsc::Receiver<Event>) {
    let mut told = Told::default();
    while let Some(Event { namespace, mut object }) = events.recv().await {
        if !told.is_new(&object, Instant::now()) {
            continue;
        }
        let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        object["firstTimestamp"] = json!(now);
        object["lastTimestamp"] = json!(now);
        if let Err(error) = api.post(&format!("/api/v1/namespaces/{namespace}/events"), &object).await {
            debug!(%error, "an Event was not written");
        }
    }
}

/// What is to be told about it, if there is somebody to tell.
fn event(request: &Value, decision: &Decision) -> Option<Event> {
    let namespace = request["namespace"].as_str()?;
    let metadata = &request["object"]["metadata"];
    let owners = metadata["ownerReferences"].as_array().into_iter().flatten();
    let involved = match owners.clone().find(|owner| owner["controller"] == true) {
        Some(owner) => json!({
            "apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": owner["name"], "uid": owner["uid"],
            "namespace": namespace,
        }),
        None => json!({
            "apiVersion": "v1", "kind": "Pod", "name": metadata["name"].as_str()?, "uid": metadata["uid"],
            "namespace": namespace,
        }),
    };
    let (kind, reason) = match (decision.injected, decision.surprising) {
        (true, _) => ("Normal", "Injected"),
        (false, true) => ("Warning", "InjectionSkipped"),
        (false, false) => return None,
    };
    let name = involved["name"].as_str()?;
    let object = json!({
        "apiVersion": "v1", "kind": "Event",
        "metadata": {"generateName": format!("{name}."), "namespace": namespace},
        "involvedObject": involved, "type": kind, "reason": reason, "message": decision.message, "count": 1,
        "source": {"component": COMPONENT}, "reportingComponent": COMPONENT, "reportingInstance": "",
    });
    Some(Event { namespace: namespace.to_owned(), object })
}

/// What was told lately, so that a Deployment of a hundred pods has one Event and not a hundred.
#[derive(Default)]
struct Told {
    when: HashMap<String, Instant>,
}

impl Told {
    fn is_new(&mut self, object: &Value, now: Instant) -> bool {
        if self.when.len() >= REMEMBERED {
            self.when.retain(|_, when| now.duration_since(*when) < AGAIN);
        }
        // Many owners at once: better to tell too much than to remember without bound.
        if self.when.len() >= REMEMBERED {
            self.when.clear();
        }
        let key = format!("{} {}", object["involvedObject"], object["message"]);
        match self.when.get(&key) {
            Some(when) if now.duration_since(*when) < AGAIN => false,
            _ => {
                self.when.insert(key, now);
                true
            }
        }
    }
}

const COMPONENT: &str = "outrigger-injector";
const QUEUE: usize = 256;
const REMEMBERED: usize = 1000;
/// The API server forgets Events after an hour.
const AGAIN: Duration = Duration::from_secs(10 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    fn decision(injected: bool, surprising: bool) -> Decision {
        Decision { response: Value::Null, reason: "x", injected, surprising, message: "why".into() }
    }

    fn request() -> Value {
        json!({"namespace": "shop", "object": {"metadata": {"generateName": "web-", "ownerReferences": [
            {"apiVersion": "v1", "kind": "Other", "name": "o", "uid": "1"},
            {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-1", "uid": "2", "controller": true},
        ]}}})
    }

    #[test]
    fn the_owner_is_told() {
        let Event { namespace, object } = event(&request(), &decision(false, true)).unwrap();

        assert_eq!(namespace, "shop");
        let involved = &object["involvedObject"];
        assert_eq!(
            (&involved["kind"], &involved["name"], &involved["uid"]),
            (&"ReplicaSet".into(), &"web-1".into(), &"2".into())
        );
        assert_eq!((&object["type"], &object["reason"]), (&"Warning".into(), &"InjectionSkipped".into()));
        assert_eq!(event(&request(), &decision(true, false)).unwrap().object["reason"], "Injected");
    }

    #[test]
    fn what_was_asked_for_is_no_news() {
        assert!(event(&request(), &decision(false, false)).is_none(), "a pod that was labelled so");
        let nameless = json!({"namespace": "shop", "object": {"metadata": {"generateName": "web-"}}});
        assert!(event(&nameless, &decision(true, false)).is_none(), "nobody to tell");
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_is_told_again_after_a_while() {
        let mut told = Told::default();
        let object = event(&request(), &decision(true, false)).unwrap().object;

        assert!(told.is_new(&object, Instant::now()));
        assert!(!told.is_new(&object, Instant::now()));
        tokio::time::advance(AGAIN).await;
        assert!(told.is_new(&object, Instant::now()));
    }
}
