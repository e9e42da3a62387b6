//! `status.parents` of a route: our entries beside those of other controllers.

use serde_json::{Value, json};

use crate::resource::{Condition, ParentConditions};

/// What a route's status says.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Said {
    pub(super) generation: i64,
    pub(super) parents: Vec<ParentConditions>,
}

/// Returns the entries of other controllers as they are, and then ours.
pub(super) fn merged(present: &[Value], said: &Said, now: &str) -> Vec<Value> {
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

/// Finds the message of a condition that a former writer has found true of this generation.
pub(super) fn known_true(present: &[Value], parent: &Value, kind: &str, generation: i64) -> Option<String> {
    let ours = present.iter().filter(|entry| entry["controllerName"] == CONTROLLER && entry["parentRef"] == *parent);
    let mut conditions = ours.filter_map(|entry| entry["conditions"].as_array()).flatten();
    let known = conditions.find(|condition| {
        condition["type"] == kind && condition["status"] == "True" && condition["observedGeneration"] == generation
    });
    Some(known?["message"].as_str().unwrap_or_default().to_owned())
}

pub(in crate::cluster) const CONTROLLER: &str = "outrigger.io/mesh";
const OURS: [&str; 4] = ["Accepted", "ResolvedRefs", "Programmed", "PartiallyInvalid"];

/// The API's limit is 32 KiB.
pub(in crate::cluster) const MAX_MESSAGE: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn said(generation: i64, holds: bool) -> Said {
        let parent = serde_json::from_value(json!({"group": "core", "kind": "Service", "name": "web"})).unwrap();
        let accepted = Condition { kind: "Accepted", holds, reason: "Accepted", message: String::new() };
        Said { generation, parents: vec![ParentConditions { parent, conditions: vec![accepted] }] }
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
