//! What a policy asks for, checked and in wire form, made once when the object comes in. One that cannot be used leaves the
//! last good version in force.

use std::sync::Arc;
use std::time::Duration;

use outrigger_proto::{model, wire};

use crate::objects::{
    Abort, ConsistentHash, Delay, FaultInjection, HashType, LoadBalancer, LoadBalancerType, NamedValue, PolicyKind,
    PolicySpec, TargetRef, TrafficPolicy,
};

/// A policy, and what of it is in force.
#[derive(Debug)]
pub struct PreparedPolicy {
    /// The object as it is now.
    pub policy: Arc<TrafficPolicy>,
    /// Its last good version; `None` when there never was one.
    pub in_force: Option<InForce>,
    /// Why the object as it is now is not in force.
    pub refused: Option<String>,
}

/// A version of a policy that can be used.
#[derive(Clone, Debug)]
pub struct InForce {
    /// What it attaches to.
    pub targets: Vec<TargetRef>,
    /// What it asks for.
    pub wire: wire::TrafficPolicy,
}

impl PreparedPolicy {
    /// Prepares an object that follows `previous`.
    #[must_use]
    pub fn new(policy: Arc<TrafficPolicy>, previous: Option<&Self>) -> Self {
        let name = format!("{}/{}", policy.meta.namespace, policy.meta.name);
        let wire = match &policy.spec {
            Ok(spec) => wire(policy.kind, name, spec),
            Err(reason) => Err(reason.clone()),
        };
        match wire {
            Ok(wire) => {
                let in_force = Some(InForce { targets: policy.targets.clone(), wire });
                Self { policy, in_force, refused: None }
            }
            Err(reason) => {
                // Another object of the same name has nothing to go back to.
                let same = previous.filter(|previous| previous.policy.meta.uid == policy.meta.uid);
                Self { in_force: same.and_then(|same| same.in_force.clone()), policy, refused: Some(reason) }
            }
        }
    }
}

fn wire(kind: PolicyKind, name: String, spec: &PolicySpec) -> Result<wire::TrafficPolicy, String> {
    if let (Some(field), None) = (spec.unsupported, &spec.retry_budget) {
        return Err(format!("{field} is not supported, and there is nothing else"));
    }
    let limits = spec.limits.as_ref().map(|limits| wire::Limits {
        max_connections: limits.max_connections,
        max_pending_requests: limits.max_pending_requests,
        max_requests: limits.max_requests,
        max_requests_per_connection: limits.max_requests_per_connection,
    });
    if limits.as_ref().is_some_and(|limits| limits.max_pending_requests.is_some() && limits.max_connections.is_none()) {
        return Err("spec.limits.maxPendingRequests needs maxConnections: without it no request waits".to_owned());
    }
    let wire = wire::TrafficPolicy {
        name,
        load_balancer: spec.load_balancer.as_ref().map(load_balancer).transpose()?,
        ejection: spec.ejection.as_ref().map(|ejection| wire::Ejection {
            consecutive_errors: ejection.consecutive_errors,
            base_ms: millis(ejection.base_ejection_time),
            max_ms: millis(ejection.max_ejection_time),
            max_percent: ejection.max_ejection_percent,
        }),
        limits,
        retry_budget: spec.retry_budget.as_ref().map(|budget| wire::RetryBudget {
            percent: budget.percent,
            interval_ms: millis(budget.interval),
            min_retries: budget.min_retries,
        }),
        fault: spec.fault_injection.as_ref().map(fault).transpose()?,
    };
    // The sidecar's own parser has the last word, so that no sidecar has to refuse the resource later.
    let field = |invalid: model::Invalid| match kind {
        PolicyKind::Traffic => format!("spec.{invalid}"),
        PolicyKind::Backend => format!("spec.retryConstraint: {invalid}"),
    };
    model::TrafficPolicy::try_from(wire.clone()).map_err(field)?;
    let dialled = wire::Service { service: Some(SOME_SERVICE), policy: Some(wire.clone()), ..wire::Service::default() };
    let strip = |invalid: model::Invalid| {
        let invalid = invalid.to_string();
        format!("spec.{}", invalid.strip_prefix("policy.").unwrap_or(&invalid))
    };
    model::Service::try_from(dialled).map_err(strip)?;
    Ok(wire)
}

fn load_balancer(of: &LoadBalancer) -> Result<wire::LoadBalancer, String> {
    use wire::load_balancer::Choice;
    let choice = match (of.kind, &of.consistent_hash) {
        (LoadBalancerType::ConsistentHash, Some(hash)) => Choice::ConsistentHash(consistent_hash(hash)?),
        (LoadBalancerType::ConsistentHash, None) => {
            return Err("spec.loadBalancer.consistentHash is missing: type is ConsistentHash".to_owned());
        }
        (_, Some(_)) => {
            return Err("spec.loadBalancer.consistentHash is set, but type is not ConsistentHash".to_owned());
        }
        (LoadBalancerType::LeastRequest, None) => Choice::LeastRequest(wire::LeastRequest {}),
        (LoadBalancerType::RoundRobin, None) => Choice::RoundRobin(wire::RoundRobin {}),
        (LoadBalancerType::Random, None) => Choice::Random(wire::Random {}),
    };
    Ok(wire::LoadBalancer { choice: Some(choice) })
}

fn consistent_hash(of: &ConsistentHash) -> Result<wire::ConsistentHash, String> {
    use wire::consistent_hash::Key;
    let key = match (of.kind, &of.header, &of.cookie) {
        (HashType::Header, Some(header), None) => Key::Header(header.name.clone()),
        (HashType::Cookie, None, Some(cookie)) => Key::Cookie(cookie.name.clone()),
        (HashType::SourceIp, None, None) => Key::Source(wire::Source {}),
        (HashType::Path, None, None) => Key::Path(wire::Path {}),
        (HashType::Header, None, _) => {
            return Err("spec.loadBalancer.consistentHash.header is missing: type is Header".to_owned());
        }
        (HashType::Cookie, _, None) => {
            return Err("spec.loadBalancer.consistentHash.cookie is missing: type is Cookie".to_owned());
        }
        (HashType::Header | HashType::SourceIp | HashType::Path, _, Some(_)) => {
            return Err("spec.loadBalancer.consistentHash.cookie is set, but type is not Cookie".to_owned());
        }
        (HashType::Cookie | HashType::SourceIp | HashType::Path, Some(_), _) => {
            return Err("spec.loadBalancer.consistentHash.header is set, but type is not Header".to_owned());
        }
    };
    Ok(wire::ConsistentHash { key: Some(key) })
}

fn fault(of: &FaultInjection) -> Result<wire::Fault, String> {
    let delay = of.delay.as_ref().map(|Delay { fixed_delay, percent, headers }| wire::Delay {
        fixed_ms: millis(*fixed_delay),
        percent: *percent,
        headers: self::headers(headers),
    });
    if delay.is_none() && of.abort.is_none() {
        return Err("spec.faultInjection needs delay, abort, or both".to_owned());
    }
    Ok(wire::Fault { delay, abort: of.abort.as_ref().map(abort).transpose()? })
}

fn abort(Abort { http_status, grpc_status, percent, headers }: &Abort) -> Result<wire::Abort, String> {
    let status = match (http_status, grpc_status) {
        (Some(status), None) => wire::abort::Status::Http(*status),
        (None, Some(status)) => wire::abort::Status::Grpc(*status),
        _ => return Err("spec.faultInjection.abort needs httpStatus or grpcStatus, and not both".to_owned()),
    };
    Ok(wire::Abort { status: Some(status), percent: *percent, headers: self::headers(headers) })
}

fn headers(of: &[NamedValue]) -> Vec<wire::Header> {
    of.iter().map(|NamedValue { name, value }| wire::Header { name: name.clone(), value: value.clone() }).collect()
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// What the parser of a service asks for and a policy does not.
const SOME_SERVICE: wire::ServiceRef = wire::ServiceRef { namespace: String::new(), name: String::new(), port: 1 };

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::{Object, read};

    fn prepare(spec: &str, previous: Option<&PreparedPolicy>) -> PreparedPolicy {
        let text = format!(
            "apiVersion: outrigger.io/v1alpha1\nkind: TrafficPolicy\nmetadata: {{name: p, namespace: shop}}\n\
             spec: {{targetRefs: [{{group: '', kind: Service, name: web}}], {spec}}}\n"
        );
        let Object::Policy(policy) = read(&text).unwrap().objects.remove(0) else { panic!("not a policy") };
        PreparedPolicy::new(policy, previous)
    }

    #[test]
    fn a_block_alone_has_its_defaults() {
        let policy = prepare("ejection: {}, retryBudget: {}, faultInjection: {abort: {httpStatus: 503}}", None);

        let wire = policy.in_force.unwrap().wire;
        let ejection = wire::Ejection { consecutive_errors: 5, base_ms: 1000, max_ms: 60_000, max_percent: 50 };
        assert_eq!(wire.ejection, Some(ejection));
        assert_eq!(wire.retry_budget, Some(wire::RetryBudget { percent: 20, interval_ms: 10_000, min_retries: 100 }));
        assert_eq!(wire.fault.unwrap().abort.unwrap().percent, 100);
        assert_eq!((wire.load_balancer, wire.limits), (None, None));
    }

    #[test]
    fn what_cannot_be_used_is_named_and_the_last_good_version_stays() {
        let good = prepare("limits: {maxRequests: 7}", None);
        for (spec, reason) in [
            ("limits: {maxRequests: 0}", "spec.limits.maxRequests: must be at least 1"),
            ("limits: {maxPendingRequests: 1}", "spec.limits.maxPendingRequests needs maxConnections"),
            ("ejection: {maxEjectionTime: 10ms}", "spec.ejection.maxEjectionTime: is shorter"),
            ("retryBudget: {interval: 100ms}", "spec.retryBudget.interval: must be from 1s to 1h"),
            ("loadBalancer: {type: ConsistentHash}", "spec.loadBalancer.consistentHash is missing"),
            ("loadBalancer: {type: Random, consistentHash: {type: Path}}", "spec.loadBalancer.consistentHash is set"),
            (
                "loadBalancer: {type: ConsistentHash, consistentHash: {type: Header}}",
                "spec.loadBalancer.consistentHash.header is missing",
            ),
            ("faultInjection: {}", "spec.faultInjection needs"),
            ("faultInjection: {abort: {}}", "spec.faultInjection.abort needs"),
            ("faultInjection: {abort: {httpStatus: 99}}", "spec.faultInjection.abort.httpStatus: 99"),
            ("faultInjection: {delay: {fixedDelay: 2h}}", "spec.faultInjection.delay.fixedDelay: must be"),
        ] {
            let policy = prepare(spec, Some(&good));
            let refused = policy.refused.unwrap();
            assert!(refused.starts_with(reason), "{refused}");
            assert_eq!(policy.in_force.unwrap().wire.limits.unwrap().max_requests, Some(7), "{spec}");
        }
    }
}
