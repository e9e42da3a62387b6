//! What an object's status says of one generation: a pure function of the object.

use serde_json::Value;

/// What became of an object at one parent, or one target of a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verdict {
    /// The parent, for people.
    pub(super) parent: String,
    pub(super) state: State,
    /// A condition's reason.
    pub(super) reason: String,
    pub(super) message: String,
}

/// How it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// As it was written, at everybody.
    InForce,
    /// Nobody knows yet.
    Waiting,
    /// Not as it was written.
    Refused,
}

/// Returns a verdict for each parent that is a mesh's to judge. None: nothing says what became of such an object.
pub(super) fn verdicts(object: &Value, generation: i64) -> Vec<Verdict> {
    let (references, field, name, last) = match object["spec"]["targetRefs"].as_array() {
        Some(targets) => (targets.clone(), "ancestors", "ancestorRef", "Accepted"),
        None => {
            let parents = object["spec"]["parentRefs"].as_array().cloned().unwrap_or_default();
            (parents.into_iter().filter(is_service).collect(), "parents", "parentRef", "Programmed")
        }
    };
    let entries = object["status"][field].as_array().map(Vec::as_slice).unwrap_or_default();
    let ours = |reference: &Value| {
        entries.iter().find(|entry| entry["controllerName"] == CONTROLLER && entry[name] == *reference)
    };
    references.iter().map(|reference| verdict(reference, ours(reference), generation, last)).collect()
}

fn verdict(reference: &Value, entry: Option<&Value>, generation: i64, last: &str) -> Verdict {
    let conditions = entry.and_then(|entry| entry["conditions"].as_array()).map(Vec::as_slice).unwrap_or_default();
    let present = |kind: &str| {
        conditions.iter().find(|condition| {
            condition["type"] == kind && condition["observedGeneration"].as_i64().is_some_and(|seen| seen >= generation)
        })
    };
    let is = |condition: &Value, status: &str| condition["status"] == status;
    // What was refused stays so, whatever else is true.
    let refused = ["Accepted", "ResolvedRefs"].iter().filter_map(|kind| present(kind)).find(|c| is(c, "False"));
    let refused = refused.or_else(|| present("PartiallyInvalid").filter(|c| is(c, "True")));
    let end = present(last);
    let refused = refused.or_else(|| end.filter(|c| is(c, "False") && c["reason"] == "Invalid"));
    let (state, condition) = match (refused, end) {
        (Some(refused), _) => (State::Refused, Some(refused)),
        (None, Some(end)) if is(end, "True") => (State::InForce, Some(end)),
        (None, end) => (State::Waiting, end),
    };
    let text = |field: &str, otherwise: &str| {
        condition.and_then(|condition| condition[field].as_str()).unwrap_or(otherwise).to_owned()
    };
    Verdict {
        parent: called(reference),
        state,
        reason: text("reason", "Unknown"),
        message: text("message", "the mesh has said nothing of this generation: is its control plane up?"),
    }
}

fn is_service(reference: &Value) -> bool {
    reference["kind"] == "Service" && matches!(reference["group"].as_str(), Some("" | "core"))
}

fn called(reference: &Value) -> String {
    let text = |field: &str| reference[field].as_str();
    let mut called = format!("{}/", text("kind").unwrap_or("Service").to_lowercase());
    if let Some(namespace) = text("namespace") {
        called = format!("{called}{namespace}/");
    }
    called.push_str(text("name").unwrap_or_default());
    if let Some(port) = reference["port"].as_u64() {
        called.push_str(&format!(":{port}"));
    } else if let Some(section) = text("sectionName") {
        called.push_str(&format!(":{section}"));
    }
    called
}

const CONTROLLER: &str = "outrigger.io/mesh";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn judged(conditions: &Value) -> State {
        let reference = json!({"group": "", "kind": "Service", "name": "web", "port": 80});
        let entry = |name: &str| json!({"controllerName": name, "parentRef": reference, "conditions": conditions});
        let object = json!({
            "spec": {"parentRefs": [{"name": "edge"}, reference]},
            "status": {"parents": [json!({"controllerName": "other", "parentRef": reference, "conditions": []}), entry(CONTROLLER)]},
        });
        let verdicts = verdicts(&object, 2);
        assert_eq!(verdicts.len(), 1, "a Gateway is not ours to wait for");
        assert_eq!(verdicts[0].parent, "service/web:80");
        verdicts[0].state
    }

    #[test]
    fn each_status_has_its_verdict() {
        let told = |kind: &str, status: &str, reason: &str, generation: i64| json!({"type": kind, "status": status, "reason": reason, "observedGeneration": generation});
        let fine = told("Accepted", "True", "Accepted", 2);
        for (conditions, state) in [
            (json!([]), State::Waiting),
            (
                json!([told("Accepted", "True", "Accepted", 1), told("Programmed", "True", "Programmed", 1)]),
                State::Waiting,
            ),
            (json!([fine, told("Programmed", "False", "Pending", 2)]), State::Waiting),
            (json!([fine, told("Programmed", "True", "Programmed", 2)]), State::InForce),
            (json!([fine, told("Programmed", "False", "Invalid", 2)]), State::Refused),
            (json!([told("Accepted", "False", "NoMatchingParent", 2)]), State::Refused),
            (json!([told("Accepted", "False", "NoMatchingParent", 1)]), State::Waiting),
            (
                json!([
                    fine,
                    told("ResolvedRefs", "False", "BackendNotFound", 2),
                    told("Programmed", "True", "Programmed", 2)
                ]),
                State::Refused,
            ),
            (
                json!([
                    fine,
                    told("Programmed", "True", "Programmed", 2),
                    told("PartiallyInvalid", "True", "UnsupportedValue", 2)
                ]),
                State::Refused,
            ),
        ] {
            assert_eq!(judged(&conditions), state, "{conditions:#}");
        }
    }
}
