//! Writes what became of each policy into its status (GEP-713), for each Service that it names. Entries of other
//! controllers stay as they are, and what says already what it should is not written again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kube::api::{DynamicObject, PostParams};
use kube::core::ApiResource;
use kube::{Api, ResourceExt};
use outrigger_daemon::Drain;
use serde_json::{Value, json};
use tokio::sync::watch;
use tracing::{debug, warn};

use super::Cluster;
use super::status::{CONTROLLER, MAX_MESSAGE};
use crate::latest::Latest;
use crate::objects::{Kind, ObjectId, PolicyKind, TargetRef, TrafficPolicy};
use crate::resource::ancestors;
use crate::snapshot::Snapshot;
use crate::source::kubernetes::resource_of;
use crate::state::PreparedPolicy;
use crate::why::why;

/// Keeps the status of all policies.
pub(super) struct PolicyStatusWriter {
    /// Where.
    pub(super) cluster: Cluster,
    /// What is in force.
    pub(super) latest: Latest,
    /// Whether this replica writes.
    pub(super) held: watch::Receiver<bool>,
}

impl PolicyStatusWriter {
    /// Runs until the drain starts.
    pub(super) async fn run(mut self, drain: Drain) {
        let mut written = Written::default();
        loop {
            let mut pause = LOOK;
            if *self.held.borrow_and_update() {
                let snapshot = self.latest.take();
                if snapshot.state.synced() && !self.write(&snapshot, &mut written).await {
                    pause = RETRY;
                }
            } else {
                // Whoever holds the Lease meanwhile may write something else.
                written = Written::default();
            }
            tokio::select! {
                () = drain.started() => return,
                changed = self.held.changed() => if changed.is_err() { return },
                changed = self.latest.changed() => if !changed { return },
                () = tokio::time::sleep(pause) => if pause == LOOK { written = Written::default() },
            }
        }
    }

    /// Says whether every policy's status is as it should be.
    async fn write(&self, snapshot: &Snapshot, written: &mut Written) -> bool {
        let mut fine = true;
        let mut stay = BTreeMap::new();
        for prepared in snapshot.state.policies.values().flat_map(|policies| policies.iter()) {
            let policy = &prepared.policy;
            let (id, said) = (policy.id(), Said::of(snapshot, prepared));
            if written.policies.get(&id) != Some(&said) {
                match self.put(policy, &said, written).await {
                    Ok(()) => {}
                    Err(error) => {
                        fine = false;
                        // A conflict means that the policy has changed: it will be told of again.
                        if !matches!(&error, kube::Error::Api(status) if status.code == 409) {
                            warn!(policy = %id, error = %why(&error), "cannot write the status of a policy");
                        }
                        continue;
                    }
                }
            }
            stay.insert(id, said);
        }
        written.policies = stay;
        fine
    }

    async fn put(&self, policy: &TrafficPolicy, said: &Said, written: &mut Written) -> Result<(), kube::Error> {
        let resource = match written.resources.get(&policy.kind) {
            Some(resource) => resource.clone(),
            None => {
                let found = resource_of(&self.cluster.client, Kind::Policy(policy.kind)).await?;
                let Some(found) = found else { return Ok(()) };
                written.resources.insert(policy.kind, found.clone());
                found
            }
        };
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.cluster.client.clone(), &policy.meta.namespace, &resource);
        let Some(mut object) = api.get_opt(&policy.meta.name).await? else { return Ok(()) };
        if object.uid().as_deref() != Some(&*policy.meta.uid) || object.metadata.generation != Some(said.generation) {
            return Ok(()); // another one by now, which the watch will tell of
        }
        let present = object.data["status"]["ancestors"].as_array().cloned().unwrap_or_default();
        let wanted = merged(&present, said, &jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
        if wanted != present {
            object.data["status"]["ancestors"] = Value::Array(wanted);
            api.replace_status(&policy.meta.name, &PostParams::default(), &object).await?;
            debug!(policy = %policy.id(), "wrote its status");
        }
        Ok(())
    }
}

/// What was written, so that nothing is read or written twice.
#[derive(Default)]
struct Written {
    policies: BTreeMap<ObjectId, Said>,
    resources: BTreeMap<PolicyKind, ApiResource>,
}

/// What a policy's status says.
#[derive(Clone, Debug, PartialEq)]
struct Said {
    uid: Arc<str>,
    generation: i64,
    ancestors: Vec<Ancestor>,
}

#[derive(Clone, Debug, PartialEq)]
struct Ancestor {
    target: TargetRef,
    accepted: bool,
    reason: &'static str,
    message: String,
}

impl Said {
    fn of(snapshot: &Snapshot, prepared: &PreparedPolicy) -> Self {
        let ancestor = |(target, verdict): (&TargetRef, Result<String, crate::resource::Refusal>)| {
            let (accepted, reason, message) = match verdict {
                Ok(message) => (true, "Accepted", message),
                Err(refusal) => (false, refusal.reason, refusal.message),
            };
            Ancestor { target: target.clone(), accepted, reason, message }
        };
        let meta = &prepared.policy.meta;
        Self {
            uid: meta.uid.clone(),
            generation: meta.generation,
            ancestors: ancestors(snapshot, prepared).map(ancestor).collect(),
        }
    }
}

/// Returns the entries of other controllers as they are, and then ours.
fn merged(present: &[Value], said: &Said, now: &str) -> Vec<Value> {
    let (ours, others): (Vec<_>, Vec<_>) = present.iter().partition(|entry| entry["controllerName"] == CONTROLLER);
    let mut merged: Vec<Value> = others.into_iter().cloned().collect();
    for ancestor in &said.ancestors {
        let reference = json!(ancestor.target);
        let before = ours.iter().find(|entry| entry["ancestorRef"] == reference);
        let before = before.and_then(|entry| entry["conditions"].as_array()).map(Vec::as_slice).unwrap_or_default();
        let status = if ancestor.accepted { "True" } else { "False" };
        let same = before.iter().find(|c| c["type"] == ACCEPTED && c["status"] == status);
        let since = same.and_then(|same| same["lastTransitionTime"].as_str()).unwrap_or(now);
        let accepted = json!({
            "type": ACCEPTED,
            "status": status,
            "reason": ancestor.reason,
            "message": ancestor.message.chars().take(MAX_MESSAGE).collect::<String>(),
            "observedGeneration": said.generation,
            "lastTransitionTime": since,
        });
        // A condition of a name that is not ours is somebody else's note.
        let foreign = before.iter().filter(|c| c["type"] != ACCEPTED).cloned();
        merged.push(json!({
            "ancestorRef": reference,
            "controllerName": CONTROLLER,
            "conditions": std::iter::once(accepted).chain(foreign).collect::<Vec<_>>(),
        }));
    }
    merged.truncate(MAX_ANCESTORS);
    merged
}

const ACCEPTED: &str = "Accepted";

/// The API's limit.
const MAX_ANCESTORS: usize = 16;

/// Somebody may have changed a status behind our back.
const LOOK: Duration = Duration::from_secs(600);
const RETRY: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    fn said(generation: i64, accepted: bool) -> Said {
        let target =
            TargetRef { group: String::new(), kind: "Service".to_owned(), name: "web".to_owned(), section_name: None };
        let ancestor = Ancestor { target, accepted, reason: "Accepted", message: String::new() };
        Said { uid: "u".into(), generation, ancestors: vec![ancestor] }
    }

    #[test]
    fn the_target_is_named_as_written_and_a_time_stays_while_nothing_changes() {
        let first = merged(&[], &said(1, true), "2026-01-01T00:00:00Z");

        assert_eq!(first[0]["ancestorRef"], json!({"group": "", "kind": "Service", "name": "web"}));
        assert_eq!(merged(&first, &said(1, true), "2026-01-02T00:00:00Z"), first, "nothing to write");
        let second = merged(&first, &said(2, false), "2026-01-03T00:00:00Z");
        assert_eq!(second[0]["conditions"][0]["lastTransitionTime"], "2026-01-03T00:00:00Z");
        assert_eq!(second[0]["conditions"][0]["observedGeneration"], 2);
    }

    #[test]
    fn what_others_say_stays() {
        let other = json!({"ancestorRef": {"name": "web"}, "controllerName": "example.com/a", "conditions": []});
        let old = json!({"ancestorRef": {"name": "gone"}, "controllerName": CONTROLLER, "conditions": []});

        let merged = merged(&[other.clone(), old], &said(1, true), "2026-01-01T00:00:00Z");

        assert_eq!(merged[0], other);
        assert_eq!(merged.len(), 2, "ours of a target that is named no more goes");
    }
}
