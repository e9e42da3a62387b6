//! Writes what became of each route into its status, where `kubectl describe`, canary tools and people look.
//!
//! One replica at a time writes, the holder of a Lease. Entries of other controllers stay as they are, and what says
//! already what it should is not written again.

use std::collections::BTreeMap;
use std::time::Duration;

use kube::api::{DynamicObject, PostParams};
use kube::core::ApiResource;
use kube::{Api, ResourceExt};
use outrigger_daemon::Drain;
use outrigger_proto::model::RouteKind;
use serde_json::{Value, json};
use tracing::{debug, warn};

use super::policy_status::PolicyStatusWriter;
use super::{Cluster, Lease, why};
use crate::objects::{ObjectId, Route};
use crate::resource::{Condition, ParentConditions, conditions};
use crate::snapshot::{Latest, Snapshot};
use crate::source::kubernetes::route_resource;

/// Keeps the status of all routes.
pub(crate) struct StatusWriter {
    /// Where.
    pub(crate) cluster: Cluster,
    /// What is in force.
    pub(crate) latest: Latest,
}

impl StatusWriter {
    /// Runs until the drain starts.
    pub(crate) async fn run(mut self, drain: Drain) {
        let mut held = Lease::seek(&self.cluster, LEASE, &drain);
        let policies =
            PolicyStatusWriter { cluster: self.cluster.clone(), latest: self.latest.clone(), held: held.clone() };
        drain.spawn(policies.run(drain.clone()));
        let mut written = Written::default();
        loop {
            let mut pause = LOOK;
            if *held.borrow_and_update() {
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
                changed = held.changed() => if changed.is_err() { return },
                changed = self.latest.changed() => if !changed { return },
                () = tokio::time::sleep(pause) => if pause == LOOK { written = Written::default() },
            }
        }
    }

    /// Says whether every route's status is as it should be.
    async fn write(&self, snapshot: &Snapshot, written: &mut Written) -> bool {
        let routes = snapshot.state.routes.values().flat_map(|routes| routes.iter());
        let mut fine = true;
        let mut stay = BTreeMap::new();
        for prepared in routes {
            let route = &prepared.route;
            let id = route.id();
            let said = Said {
                uid: route.meta.uid.clone(),
                generation: route.meta.generation,
                parents: conditions(snapshot, prepared),
            };
            if written.routes.get(&id) != Some(&said) {
                match self.put(route, &said, written).await {
                    Ok(()) => {}
                    Err(error) => {
                        fine = false;
                        // A conflict means that the route has changed: it will be told of again.
                        if !matches!(&error, kube::Error::Api(status) if status.code == 409) {
                            warn!(route = %id, error = %why(&error), "cannot write the status of a route");
                        }
                        continue;
                    }
                }
            }
            stay.insert(id, said);
        }
        written.routes = stay;
        fine
    }

    async fn put(&self, route: &Route, said: &Said, written: &mut Written) -> Result<(), kube::Error> {
        let resource = match written.resources.get(&route.kind) {
            Some(resource) => resource.clone(),
            None => {
                let Some(found) = route_resource(&self.cluster.client, route.kind).await? else { return Ok(()) };
                written.resources.insert(route.kind, found.clone());
                found
            }
        };
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.cluster.client.clone(), &route.meta.namespace, &resource);
        let Some(mut object) = api.get_opt(&route.meta.name).await? else { return Ok(()) };
        if object.uid().as_deref() != Some(&*route.meta.uid) || object.metadata.generation != Some(said.generation) {
            return Ok(()); // another one by now, which the watch will tell of
        }
        let present = object.data["status"]["parents"].as_array().cloned().unwrap_or_default();
        let wanted = merged(&present, said, &jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
        if wanted != present {
            object.data["status"]["parents"] = Value::Array(wanted);
            api.replace_status(&route.meta.name, &PostParams::default(), &object).await?;
            debug!(route = %route.id(), "wrote its status");
        }
        Ok(())
    }
}

/// What was written, so that nothing is read or written twice.
#[derive(Default)]
struct Written {
    routes: BTreeMap<ObjectId, Said>,
    resources: BTreeMap<RouteKind, ApiResource>,
}

/// What a route's status says.
#[derive(Clone, Debug, PartialEq)]
struct Said {
    uid: std::sync::Arc<str>,
    generation: i64,
    parents: Vec<ParentConditions>,
}

/// Returns the entries of other controllers as they are, and then ours.
fn merged(present: &[Value], said: &Said, now: &str) -> Vec<Value> {
    let (ours, others): (Vec<_>, Vec<_>) = present.iter().partition(|entry| entry["controllerName"] == CONTROLLER);
    let mut merged: Vec<Value> = others.into_iter().cloned().collect();
    for ParentConditions { parent, conditions } in &said.parents {
        let parent = json!(parent);
        let before = ours.iter().find(|entry| entry["parentRef"] == parent).and_then(|e| e["conditions"].as_array());
        let before = before.map(Vec::as_slice).unwrap_or_default();
        let told = conditions.iter().map(|condition| entry(condition, said.generation, before, now));
        // A condition of a name that is not ours is somebody else's note.
        let foreign = before.iter().filter(|c| !OURS.iter().any(|ours| c["type"] == *ours)).cloned();
        merged.push(json!({
            "parentRef": parent,
            "controllerName": CONTROLLER,
            "conditions": told.chain(foreign).collect::<Vec<_>>(),
        }));
    }
    merged
}

fn entry(condition: &Condition, generation: i64, before: &[Value], now: &str) -> Value {
    let status = if condition.holds { "True" } else { "False" };
    let same = before.iter().find(|c| c["type"] == condition.kind && c["status"] == status);
    let since = same.and_then(|same| same["lastTransitionTime"].as_str()).unwrap_or(now);
    let message: String = condition.message.chars().take(MAX_MESSAGE).collect();
    json!({
        "type": condition.kind,
        "status": status,
        "reason": condition.reason,
        "message": message,
        "observedGeneration": generation,
        "lastTransitionTime": since,
    })
}

pub(super) const CONTROLLER: &str = "outrigger.io/mesh";
const LEASE: &str = "outrigger-status";
const OURS: [&str; 3] = ["Accepted", "ResolvedRefs", "PartiallyInvalid"];

/// Somebody may have changed a status behind our back.
const LOOK: Duration = Duration::from_secs(600);
const RETRY: Duration = Duration::from_secs(2);

/// The API's limit is 32 KiB.
pub(super) const MAX_MESSAGE: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn said(generation: i64, holds: bool) -> Said {
        let parent = serde_json::from_value(json!({"group": "core", "kind": "Service", "name": "web"})).unwrap();
        let accepted = Condition { kind: "Accepted", holds, reason: "Accepted", message: String::new() };
        Said { uid: "u".into(), generation, parents: vec![ParentConditions { parent, conditions: vec![accepted] }] }
    }

    #[test]
    fn the_parent_is_named_as_written_and_a_time_stays_while_nothing_changes() {
        let first = merged(&[], &said(1, true), "2026-01-01T00:00:00Z");

        assert_eq!(first[0]["parentRef"], json!({"group": "core", "kind": "Service", "name": "web"}));
        assert_eq!(first[0]["conditions"][0]["observedGeneration"], 1);
        assert_eq!(merged(&first, &said(1, true), "2026-01-02T00:00:00Z"), first, "nothing to write");
        let second = merged(&first, &said(2, true), "2026-01-02T00:00:00Z");
        assert_eq!(second[0]["conditions"][0]["lastTransitionTime"], "2026-01-01T00:00:00Z");
        let third = merged(&second, &said(3, false), "2026-01-03T00:00:00Z");
        assert_eq!(third[0]["conditions"][0]["lastTransitionTime"], "2026-01-03T00:00:00Z");
    }

    #[test]
    fn what_others_say_stays() {
        let gateway = json!({"parentRef": {"name": "edge"}, "controllerName": "example.com/gateway", "conditions": []});
        let old = json!({"parentRef": {"name": "gone"}, "controllerName": CONTROLLER, "conditions": []});

        let merged = merged(&[gateway.clone(), old], &said(1, true), "2026-01-01T00:00:00Z");

        assert_eq!(merged[0], gateway);
        assert_eq!(merged.len(), 2, "ours of a parent that is named no more goes");
    }
}
