//! Which policy is in force for a service's port, and what its status says (GEP-713, GEP-2648): of several policies of one
//! kind for the same target the oldest counts, and one for a port counts there before one for the whole Service.

use std::sync::Arc;

use outrigger_proto::wire;

use super::refusal::Refusal;
use crate::objects::{PolicyKind, Service, ServiceKind, ServicePort, TargetRef};
use crate::snapshot::Snapshot;
use crate::state::{InForce, PreparedPolicy};

/// What is asked for where endpoints of the port are picked.
pub(super) fn of_backend(snapshot: &Snapshot, service: &Service, port: &ServicePort) -> Option<wire::TrafficPolicy> {
    let traffic = in_force(snapshot, service, port, PolicyKind::Traffic);
    let mut policy =
        traffic.map(|policy| wire::TrafficPolicy { fault: None, ..policy.wire.clone() }).unwrap_or_default();
    if policy.retry_budget.is_none()
        && let Some(backend) = in_force(snapshot, service, port, PolicyKind::Backend)
    {
        if policy.name.is_empty() {
            policy.name.clone_from(&backend.wire.name);
        }
        policy.retry_budget = backend.wire.retry_budget;
    }
    let asks = policy.load_balancer.is_some()
        || policy.ejection.is_some()
        || policy.limits.is_some()
        || policy.retry_budget.is_some();
    asks.then_some(policy)
}

/// What is asked for where the port is dialled.
pub(super) fn of_dialled(snapshot: &Snapshot, service: &Service, port: &ServicePort) -> Option<wire::TrafficPolicy> {
    let policy = in_force(snapshot, service, port, PolicyKind::Traffic)?;
    let wire::TrafficPolicy { name, fault: Some(fault), .. } = policy.wire.clone() else { return None };
    Some(wire::TrafficPolicy { name, fault: Some(fault), ..wire::TrafficPolicy::default() })
}

/// Returns for each Service that a policy names whether it is in force there, or why not, and words for people.
pub(crate) fn ancestors<'a>(
    snapshot: &'a Snapshot,
    prepared: &'a PreparedPolicy,
) -> impl Iterator<Item = (&'a TargetRef, Result<String, Refusal>)> {
    let targets = prepared.policy.targets.iter().filter(|target| target.is_service());
    targets.map(|target| (target, verdict(snapshot, prepared, target)))
}

fn verdict(snapshot: &Snapshot, prepared: &PreparedPolicy, target: &TargetRef) -> Result<String, Refusal> {
    let policy = &prepared.policy;
    if let Some(reason) = &prepared.refused {
        let stays = if prepared.in_force.is_some() { "; the last good version stays in force" } else { "" };
        return Err(Refusal::new("Invalid", format!("{reason}{stays}")));
    }
    let (namespace, name) = (&policy.meta.namespace, &target.name);
    let not_found = |what: &str| Err(Refusal::new("TargetNotFound", format!("Service {namespace}/{name} {what}")));
    let Some(service) = snapshot.state.services.get(namespace, name) else { return not_found("does not exist") };
    if service.kind == ServiceKind::ExternalName {
        return Err(Refusal::new(
            "Invalid",
            format!("Service {namespace}/{name} is of type ExternalName: it has no endpoints"),
        ));
    }
    if let Some(section) = &target.section_name
        && !service.ports.iter().any(|port| port.name == *section)
    {
        return not_found(&format!("has no port {section}"));
    }
    let mut same: Vec<_> = attached(snapshot, service, policy.kind)
        .filter(|(_, _, other)| other.section_name == target.section_name)
        .map(|(other, ..)| other)
        .collect();
    same.sort_by_cached_key(|other| age(other));
    if let Some(first) = same.first().filter(|first| !std::ptr::eq(first.policy.as_ref(), policy.as_ref())) {
        // Kubernetes writes creation times in whole seconds.
        let why = if age(first).0 == age(prepared).0 {
            "has precedence: same creation time, first by name"
        } else {
            "is older"
        };
        let first = &first.policy.meta;
        let message = format!("{} {}/{} {why}", policy.kind.as_str(), first.namespace, first.name);
        return Err(Refusal::new("Conflicted", message));
    }
    if policy.kind == PolicyKind::Backend
        && let Some(ours) = service.ports.iter().find_map(|port| in_force(snapshot, service, port, PolicyKind::Traffic))
        && ours.wire.retry_budget.is_some()
    {
        return Err(Refusal::new("Conflicted", format!("TrafficPolicy {} sets a retry budget", ours.wire.name)));
    }
    Ok(said(prepared, service))
}

/// What is to be known of a policy that is in force.
fn said(prepared: &PreparedPolicy, service: &Service) -> String {
    let mut said = Vec::new();
    if let Ok(Some(field)) = prepared.policy.spec.as_ref().map(|spec| spec.unsupported) {
        said.push(format!("{field} is not supported and is ignored"));
    }
    if service.kind == ServiceKind::Headless {
        said.push("the Service is headless: the policy counts only where a route names it as a backend".to_owned());
    }
    said.join("; ")
}

/// The policy of a kind that counts for a port.
fn in_force<'a>(
    snapshot: &'a Snapshot,
    service: &Service,
    port: &ServicePort,
    kind: PolicyKind,
) -> Option<&'a InForce> {
    let names_port = |target: &TargetRef| target.section_name.as_deref().is_none_or(|name| name == port.name);
    let attached = attached(snapshot, service, kind).filter(|(_, _, target)| names_port(target));
    // For the port alone first.
    let first = attached.min_by_key(|(prepared, _, target)| (target.section_name.is_none(), age(prepared)));
    first.map(|(_, in_force, _)| in_force)
}

/// The policies of a kind that are in force for a service or one of its ports, with what names it.
fn attached<'a>(
    snapshot: &'a Snapshot,
    service: &Service,
    kind: PolicyKind,
) -> impl Iterator<Item = (&'a Arc<PreparedPolicy>, &'a InForce, &'a TargetRef)> {
    let name = service.meta.name.arc();
    let policies = snapshot.policies_of(service).iter().filter(move |prepared| prepared.policy.kind == kind);
    policies.flat_map(move |prepared| {
        let name = name.clone();
        prepared.in_force.iter().flat_map(move |in_force| {
            let name = name.clone();
            let targets = in_force.targets.iter();
            let here = targets.filter(move |target| target.is_service() && *target.name == *name);
            here.map(move |target| (prepared, in_force, target))
        })
    })
}

/// Orders by age; without a date (from a file) a policy counts as the youngest.
fn age(prepared: &PreparedPolicy) -> (jiff::Timestamp, String) {
    let meta = &prepared.policy.meta;
    (meta.creation_timestamp.unwrap_or(jiff::Timestamp::MAX), meta.name.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{next, service, snapshot};

    fn policy(kind: &str, name: &str, born: u8, target: &str, spec: &str) -> String {
        let api =
            if kind == "TrafficPolicy" { "outrigger.io/v1alpha1" } else { "gateway.networking.x-k8s.io/v1alpha1" };
        format!(
            "---\napiVersion: {api}\nkind: {kind}\nmetadata: {{name: {name}, namespace: shop, \
             creationTimestamp: '2026-01-0{born}T00:00:00Z'}}\n\
             spec: {{targetRefs: [{{group: '', kind: Service, {target}}}], {spec}}}\n"
        )
    }

    fn ours(name: &str, born: u8, target: &str, spec: &str) -> String {
        policy("TrafficPolicy", name, born, target, spec)
    }

    fn requests(snapshot: &Snapshot, port: u16) -> Option<u32> {
        let service = snapshot.state.services.get("shop", "web").unwrap();
        of_backend(snapshot, service, service.port(port.try_into().unwrap()).unwrap())?.limits?.max_requests
    }

    fn told(snapshot: &Snapshot, name: &str) -> String {
        let prepared = snapshot.state.policies.values().find_map(|policies| policies.get("shop", name)).unwrap();
        let told = ancestors(snapshot, prepared).map(|(_, verdict)| match verdict {
            Ok(said) => format!("Accepted {said}").trim_end().to_owned(),
            Err(refusal) => refusal.to_string(),
        });
        told.collect::<Vec<_>>().join(" / ")
    }

    #[test]
    fn the_oldest_wins_and_the_others_are_told_so() {
        let yaml = service("web", "10.96.0.1")
            + &ours("young", 2, "name: web", "limits: {maxRequests: 2}")
            + &ours("old", 1, "name: web", "limits: {maxRequests: 1}")
            + &ours("older", 1, "name: web", "limits: {maxRequests: 4}")
            + &ours("port", 3, "name: web, sectionName: admin", "limits: {maxRequests: 3}");
        let snapshot = snapshot(&yaml);

        assert_eq!((requests(&snapshot, 80), requests(&snapshot, 9000)), (Some(1), Some(3)));
        assert_eq!(told(&snapshot, "old"), "Accepted");
        assert_eq!(told(&snapshot, "port"), "Accepted");
        assert_eq!(told(&snapshot, "young"), "Conflicted: TrafficPolicy shop/old is older");
        let same_second = "Conflicted: TrafficPolicy shop/old has precedence: same creation time, first by name";
        assert_eq!(told(&snapshot, "older"), same_second);
    }

    #[test]
    fn a_target_that_is_not_there_has_its_reason() {
        let yaml = service("web", "10.96.0.1")
            + &ours("a", 1, "name: none", "limits: {maxRequests: 1}")
            + &ours("b", 1, "name: web, sectionName: none", "limits: {maxRequests: 1}")
            + &ours("c", 1, "name: web", "limits: {maxRequests: 0}");
        let snapshot = snapshot(&yaml);

        assert_eq!(told(&snapshot, "a"), "TargetNotFound: Service shop/none does not exist");
        assert_eq!(told(&snapshot, "b"), "TargetNotFound: Service shop/web has no port none");
        assert_eq!(told(&snapshot, "c"), "Invalid: spec.limits.maxRequests: must be at least 1");
        assert_eq!(requests(&snapshot, 80), None);
    }

    #[test]
    fn a_bad_version_leaves_the_last_good_one_in_force() {
        let web = service("web", "10.96.0.1");
        let good = snapshot(&(web + &ours("p", 1, "name: web", "limits: {maxRequests: 5}")));

        let bad = next(&good, &ours("p", 1, "name: web", "limits: {maxRequests: 0}"));

        assert_eq!(requests(&bad, 80), Some(5));
        assert!(told(&bad, "p").ends_with("the last good version stays in force"), "{}", told(&bad, "p"));
    }

    #[test]
    fn the_experimental_budget_counts_where_ours_sets_none() {
        let theirs = policy(
            "XBackendTrafficPolicy",
            "x",
            1,
            "name: web",
            "retryConstraint: {budget: {percent: 30}, minRetryRate: {count: 1, interval: 4s}}",
        );
        let web = service("web", "10.96.0.1") + &theirs;
        let budget = |snapshot: &Snapshot| {
            let service = snapshot.state.services.get("shop", "web").unwrap();
            of_backend(snapshot, service, &service.ports[0]).unwrap().retry_budget.unwrap()
        };

        let with_limits = snapshot(&(web.clone() + &ours("p", 2, "name: web", "limits: {maxRequests: 5}")));
        assert_eq!(
            budget(&with_limits),
            wire::RetryBudget { percent: 30, interval_ms: 10_000, min_retries: 3 },
            "a retry every 4 s within 10 s"
        );
        assert_eq!((requests(&with_limits, 80), told(&with_limits, "x")), (Some(5), "Accepted".to_owned()));

        let with_budget = snapshot(&(web + &ours("p", 2, "name: web", "retryBudget: {percent: 5}")));
        assert_eq!(budget(&with_budget).percent, 5);
        assert_eq!(told(&with_budget, "x"), "Conflicted: TrafficPolicy shop/p sets a retry budget");
    }
}
