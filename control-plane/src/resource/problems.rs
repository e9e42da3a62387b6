//! What is not in force as it was written, and why: for `/config` and the log. A route's status says the same
//! (`conditions`).

use std::fmt;

use super::refusal::Refusal;
use super::routes::{attached, names_port, resolve, strongest};
use super::{policy, workload};
use crate::objects::{Kind, Metadata, ObjectId, ParentRef, ServiceKind};
use crate::snapshot::Snapshot;
use crate::state::PreparedRoute;

/// Something that is not in force as its author wrote it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Problem {
    /// Which object.
    pub object: String,
    /// What is wrong.
    pub reason: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.object, self.reason)
    }
}

/// Returns the problems of all objects.
#[must_use]
pub fn problems(snapshot: &Snapshot) -> Vec<Problem> {
    let mut problems = Vec::new();
    annotation_problems(snapshot, &mut problems);
    for prepared in snapshot.state.routes.values().flat_map(|routes| routes.iter()) {
        let route = &prepared.route;
        let object = format!("{} {}/{}", route.kind.as_str(), route.meta.namespace, route.meta.name);
        let mut add = |reason: String| problems.push(Problem { object: object.clone(), reason });
        prepared.ignored.iter().chain(&prepared.refused).for_each(|problem| add(problem.clone()));
        for parent in &route.parents {
            if let Some(refusal) = parent_problem(snapshot, prepared, parent) {
                add(refusal.to_string());
            }
        }
        for rule in &prepared.rules {
            for reference in rule.references() {
                if let Err(reason) = resolve(snapshot, prepared, reference) {
                    add(format!("rule {}: {reason}", rule.wire.index));
                }
            }
        }
    }
    for prepared in snapshot.state.policies.values().flat_map(|policies| policies.iter()) {
        let object = prepared.policy.id().to_string();
        for (_, verdict) in policy::ancestors(snapshot, prepared) {
            let reason = match verdict {
                Ok(said) if said.is_empty() => continue,
                Ok(said) => said,
                Err(refusal) => refusal.to_string(),
            };
            problems.push(Problem { object: object.clone(), reason });
        }
    }
    problems
}

fn annotation_problems(snapshot: &Snapshot, problems: &mut Vec<Problem>) {
    let mut check = |kind: Kind, meta: &Metadata| {
        if let Some(Err(value)) = workload::annotated(meta) {
            let reason =
                format!("{}: `{value}` is neither strict nor permissive; strict is in force", workload::INBOUND);
            let namespace = if kind.is_namespaced() { meta.namespace.arc() } else { "".into() };
            let object = ObjectId { kind, namespace, name: meta.name.arc() };
            problems.push(Problem { object: object.to_string(), reason });
        }
    };
    snapshot.state.namespaces.values().for_each(|namespace| check(Kind::Namespace, &namespace.meta));
    snapshot.state.pods.iter().for_each(|pod| check(Kind::Pod, &pod.meta));
    snapshot.state.workloads.iter().for_each(|workload| check(Kind::Workload, &workload.meta));
}

/// Says why a parentRef has no effect; `None` when it has.
pub(super) fn parent_problem(snapshot: &Snapshot, prepared: &PreparedRoute, parent: &ParentRef) -> Option<Refusal> {
    if !parent.is_service() {
        return None; // a Gateway's, not ours to judge
    }
    let namespace = parent.namespace.as_deref().unwrap_or(&prepared.route.meta.namespace);
    let refused =
        |reason, what: &str| Some(Refusal::new(reason, format!("Service {namespace}/{} {what}", parent.name)));
    let Some(service) = snapshot.state.services.get(namespace, &parent.name) else {
        return refused("NoMatchingParent", "does not exist");
    };
    match service.kind {
        ServiceKind::Virtual => {}
        // Its name is dialled as another address, which is no longer this Service's.
        ServiceKind::Headless => {
            return refused("UnsupportedValue", "is headless: no route applies");
        }
        ServiceKind::ExternalName => {
            return refused("UnsupportedValue", "is of type ExternalName; routes cannot attach to it");
        }
    }
    let mut ports = service.ports.iter().filter(|port| names_port(parent, port)).peekable();
    if ports.peek().is_none() {
        return refused("NoMatchingParent", "has no such port");
    }
    let route = &prepared.route;
    ports.find_map(|port| {
        let routes = attached(snapshot, service, port).remove(&*route.meta.namespace)?;
        let winner = strongest(&routes)?;
        let name = format!("{namespace}/{}:{}", parent.name, port.port);
        let message = || format!("a {} has precedence on Service {name}", winner.as_str());
        (winner != route.kind).then(|| Refusal::new("Conflicted", message()))
    })
}
