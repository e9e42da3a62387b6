//! Which endpoint of a backend gets the next request: the better of two random ones, where better means less time to
//! wait (peak-EWMA latency times requests in flight), unless a policy wants another choice. An endpoint that keeps
//! failing is left out for a while.

mod affinity;
mod budget;
mod choice;
mod counted;
mod crowd;
mod digest;
mod ejection;
mod endpoint;
mod hash;
mod health;
mod in_flight;
mod keep_alive;
mod lease;
mod limit;
mod load;
mod name;
mod near;
mod outcome;
mod pool;
mod stall;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::request;
use outrigger_proto::model::TrafficPolicy;
use outrigger_proto::{ErrorCode, WorkloadName};

pub(crate) use choice::Choice;
pub(crate) use crowd::SMALL;
pub(crate) use ejection::{Ejection, ejections};
pub(crate) use endpoint::Endpoint;
pub(crate) use in_flight::InFlight;
pub(crate) use lease::Lease;
pub(crate) use limit::{Limits, Permit, reached};
pub(crate) use name::BackendName;
pub(crate) use outcome::Outcome;
pub(crate) use pool::{Http1, NotOpened, Pool, Room, Sender};

use crate::balance::budget::Budget;
use crate::error::ProxyError;
use affinity::Affinity;
use counted::Counted;
use limit::Counts;
use near::Near;
use stall::Stall;

/// The endpoints of one service's port (or one workload's), with what is known of them.
pub(crate) struct Backend {
    pub(crate) name: BackendName,
    pub(crate) budget: Budget,
    /// Copies of requests that are in flight.
    pub(crate) mirrored: AtomicU32,
    members: ArcSwap<Members>,
    counts: Arc<Counts>,
    stall: Stall,
    counted: Counted,
    /// Endpoints that the control plane knows and that are not ready, when none is.
    not_ready: AtomicU32,
}

/// What comes into force together.
#[derive(Clone)]
struct Members {
    endpoints: Vec<Arc<Endpoint>>,
    near: Option<Near>,
    policy: Option<Arc<Policy>>,
    affinity: Option<Arc<Affinity>>,
}

/// What a TrafficPolicy asks for, ready for use.
pub(crate) struct Policy {
    pub(crate) name: Arc<str>,
    choice: Choice,
    ejection: Option<Ejection>,
    pub(crate) limits: Limits,
}

/// What was picked, and under which policy.
pub(crate) struct Picked {
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) policy: Option<Arc<Policy>>,
}

impl Backend {
    pub(crate) fn new(name: BackendName, endpoints: Vec<Arc<Endpoint>>) -> Self {
        Self {
            name,
            budget: Budget::default(),
            mirrored: AtomicU32::new(0),
            members: ArcSwap::from_pointee(Members { endpoints, near: None, policy: None, affinity: None }),
            counts: Arc::default(),
            stall: Stall::new(),
            counted: Counted::default(),
            not_ready: AtomicU32::new(0),
        }
    }

    /// Puts the new endpoints in force, and which of them are preferred. The caller keeps the objects of those that stay, with their connections.
    pub(crate) fn replace(&self, endpoints: Vec<Arc<Endpoint>>, near: Option<Vec<Arc<Endpoint>>>) {
        let near = near.and_then(|near| Near::new(near, &endpoints));
        self.change(|members| {
            members.endpoints = endpoints;
            members.near = near;
        });
    }

    /// Takes note of how many endpoints are not ready.
    pub(crate) fn set_not_ready(&self, count: u32) {
        self.not_ready.store(count, Ordering::Relaxed);
    }

    /// Puts a policy in force, or none; `own` is the workload that keeps to it.
    pub(crate) fn set_policy(&self, policy: Option<TrafficPolicy>, own: &WorkloadName) {
        self.budget.set(policy.as_ref().and_then(|policy| policy.retry_budget.as_ref()));
        let policy = policy.map(|TrafficPolicy { name, load_balancer, ejection, limits, retry_budget: _ }| {
            let choice = Choice::new(load_balancer, own);
            Arc::new(Policy { name, choice, ejection: ejection.map(Ejection::new), limits })
        });
        self.change(|members| members.policy = policy);
    }

    /// Has the workload keep its endpoint until it has not used it for so long, or not.
    pub(crate) fn set_affinity(&self, timeout: Option<Duration>) {
        if self.members.load().affinity.as_ref().map(|affinity| affinity.timeout) != timeout {
            self.change(|members| members.affinity = timeout.map(|timeout| Arc::new(Affinity::new(timeout))));
        }
    }

    /// Puts something else in force, together with all that stays. One thread changes, all others read.
    fn change(&self, change: impl FnOnce(&mut Members)) {
        let mut members = Members::clone(&self.members.load());
        change(&mut members);
        self.members.store(Arc::new(members));
    }

    pub(crate) fn endpoints(&self) -> Vec<Arc<Endpoint>> {
        self.members.load().endpoints.clone()
    }

    /// Says which policy is in force.
    pub(crate) fn policy(&self) -> Option<Arc<Policy>> {
        self.members.load().policy.clone()
    }

    /// Finds the endpoint of a session.
    pub(crate) fn with_token(&self, token: u128) -> Option<Arc<Endpoint>> {
        self.members.load().endpoints.iter().find(|endpoint| endpoint.token() == token).cloned()
    }

    /// Picks the endpoint for one attempt, not `avoid` (where the last attempt failed) when there is another. `request`
    /// is what consistent hashing looks at; bytes have none.
    ///
    /// # Errors
    /// E002 when there is no endpoint, E011 when none of them has answered in time of late.
    pub(crate) fn pick(
        &self,
        avoid: Option<&Arc<Endpoint>>,
        request: Option<&request::Parts>,
    ) -> Result<Picked, ProxyError> {
        let members = self.members.load();
        if self.stall.is_on() {
            self.stall.admit().map_err(|(age, next)| self.hangs(members.endpoints.len(), age, next))?;
        }
        let endpoint = match &members.endpoints[..] {
            [] => {
                let total = self.not_ready.load(Ordering::Relaxed);
                let why = if total == 0 { "there are none".to_owned() } else { format!("0 of {total} are ready") };
                let detail = format!("no endpoint for {}: {why}", self.name);
                return Err(ProxyError::new(ErrorCode::DestinationUnavailable, detail));
            }
            all => match &members.affinity {
                // The only one is kept as well: others may come.
                Some(affinity) if !members.choice().is_by_hash() => {
                    affinity.pick(all, avoid, || members.choose(all, avoid, request))
                }
                _ => members.choose(all, avoid, request),
            },
        };
        Ok(Picked { endpoint: endpoint.clone(), policy: members.policy.clone() })
    }

    /// Admits a request under the limit on requests.
    ///
    /// # Errors
    /// E010 when there are as many as may be.
    pub(crate) fn admit(&self, limits: &Limits) -> Result<Option<Permit>, ProxyError> {
        let Some(max) = limits.max_requests else { return Ok(None) };
        self.counts.request(max).map(Some).ok_or_else(|| reached(&self.name, "maxRequests", max))
    }

    /// Lets a request wait for a connection.
    ///
    /// # Errors
    /// E010 when there are as many waiting as may be.
    pub(crate) fn wait(&self, limits: &Limits) -> Result<Permit, ProxyError> {
        let max = limits.max_pending_requests.unwrap_or(limit::PENDING);
        self.counts.pending(max).ok_or_else(|| reached(&self.name, "maxPendingRequests", max))
    }

    /// Counts the requests that wait for a connection.
    pub(crate) fn pending(&self) -> u32 {
        self.counts.waiting()
    }

    /// The endpoint has answered, whatever it said.
    pub(crate) fn answered(&self, endpoint: &Endpoint) {
        endpoint.health.is_alive();
        if self.stall.is_on() {
            self.stall.end();
            self.members.load().endpoints.iter().for_each(|endpoint| endpoint.health.probe_now());
        }
    }

    /// Takes note of how an exchange with the endpoint ended.
    pub(crate) fn record(&self, endpoint: &Endpoint, outcome: Outcome, is_probe: bool) {
        let outcome = match outcome {
            Outcome::Answered => return endpoint.health.succeeded(),
            Outcome::Unknown if !is_probe => return,
            // To end is no failure.
            _ if endpoint.leaving().is_told() => Outcome::Unknown,
            outcome => outcome,
        };
        let members = self.members.load();
        let ejection =
            members.policy.as_ref().and_then(|policy| policy.ejection.as_ref()).unwrap_or(&Ejection::DEFAULT);
        ejection.record(endpoint, outcome, is_probe, &members.endpoints);
        if outcome == Outcome::TimedOut && ejection.all_hang(&members.endpoints) {
            self.stall.begin();
        }
    }

    fn hangs(&self, count: usize, age: Duration, next: Duration) -> ProxyError {
        let (name, age, next) = (&self.name, age.as_secs_f64(), next.as_secs_f64());
        let detail = format!(
            "none of the endpoints of {name} ({count}) has answered in time for {age:.1} s; the next request is let through in {next:.1} s"
        );
        ProxyError::new(ErrorCode::CircuitOpen, detail)
    }

    /// Says whether there is an endpoint that does not fail; it may be about to leave.
    pub(crate) fn has_usable(&self) -> bool {
        self.members.load().endpoints.iter().any(|endpoint| !endpoint.ejected())
    }
}

impl Members {
    /// Chooses among at least one.
    fn choose<'e>(
        &'e self,
        all: &'e [Arc<Endpoint>],
        avoid: Option<&Arc<Endpoint>>,
        request: Option<&request::Parts>,
    ) -> &'e Arc<Endpoint> {
        match &self.near {
            Some(near) if !self.choice().is_by_hash() => near
                .or_another(self.choose_among(near.endpoints(), avoid, request), avoid)
                .unwrap_or_else(|| self.choose_among(all, avoid, request)),
            _ => self.choose_among(all, avoid, request),
        }
    }

    fn choose_among<'e>(
        &self,
        all: &'e [Arc<Endpoint>],
        avoid: Option<&Arc<Endpoint>>,
        request: Option<&request::Parts>,
    ) -> &'e Arc<Endpoint> {
        match all {
            [only] => only,
            many => self.choice().pick(many, avoid, request),
        }
    }

    fn choice(&self) -> &Choice {
        self.policy.as_ref().map_or(&Choice::LeastRequest, |policy| &policy.choice)
    }
}

impl Policy {
    /// Says whether every error of an endpoint's counts against it.
    pub(crate) fn is_strict(&self) -> bool {
        self.ejection.is_some()
    }
}

#[cfg(test)]
mod fleet_tests;

#[cfg(test)]
pub(crate) mod tests {
    use outrigger_proto::model::LoadBalancer;

    use super::*;

    const REFUSED: Duration = Duration::from_millis(250);

    pub(crate) fn endpoint(last: u8) -> Arc<Endpoint> {
        Arc::new(Endpoint::local(([127, 0, 0, last], 80).into(), 1))
    }

    fn backend(n: u8) -> Backend {
        Backend::new(BackendName::Unknown, (1..=n).map(endpoint).collect())
    }

    #[test]
    fn without_endpoints_says_so() {
        let backend = backend(0);
        for (not_ready, said) in
            [(0, "no endpoint for unknown: there are none"), (3, "no endpoint for unknown: 0 of 3 are ready")]
        {
            backend.set_not_ready(not_ready);
            let error = backend.pick(None, None).err().unwrap();
            assert_eq!((error.code, &*error.detail), (ErrorCode::DestinationUnavailable, said));
        }
    }

    #[test]
    fn an_ejected_endpoint_is_left_out_and_half_of_them_stay() {
        let backend = backend(4);
        let endpoints = backend.endpoints();
        for bad in &endpoints {
            (0..5).for_each(|_| backend.record(bad, Outcome::Failed { retry_after: None }, false));
        }

        assert_eq!(endpoints.iter().map(|endpoint| endpoint.ejected()).collect::<Vec<_>>(), [true, true, false, false]);
        for _ in 0..200 {
            assert!(!backend.pick(None, None).unwrap().endpoint.ejected());
        }
    }

    #[test]
    fn one_refusal_is_enough_and_all_may_refuse() {
        let backend = backend(3);
        let endpoints = backend.endpoints();
        backend.record(&endpoints[0], Outcome::Refused, false);
        backend.record(&endpoints[1], Outcome::Refused, false);

        for _ in 0..200 {
            assert!(Arc::ptr_eq(&backend.pick(None, None).unwrap().endpoint, &endpoints[2]));
        }
        assert!(backend.has_usable());
        backend.record(&endpoints[2], Outcome::Refused, false);
        assert!(!backend.has_usable());
        backend.pick(None, None).unwrap();
    }

    #[test]
    fn endpoints_that_end_are_left_out_however_many_and_do_not_count_as_ejected() {
        for choice in [LoadBalancer::LeastRequest, LoadBalancer::RoundRobin, LoadBalancer::Random] {
            let backend = backend(4);
            let own = WorkloadName { namespace: "shop".into(), name: "cart-1".into() };
            let policy = TrafficPolicy { name: "shop/web".into(), load_balancer: choice, ..TrafficPolicy::default() };
            backend.set_policy(Some(policy), &own);
            let endpoints = backend.endpoints();
            endpoints[1..].iter().for_each(|endpoint| endpoint.leaving().told());

            for _ in 0..200 {
                assert!(Arc::ptr_eq(&backend.pick(None, None).unwrap().endpoint, &endpoints[0]));
            }
            assert!(endpoints.iter().all(|endpoint| !endpoint.ejected()));
            endpoints[0].leaving().told();
            backend.pick(None, None).unwrap();
            endpoints[..3].iter().for_each(|endpoint| endpoint.health.open(REFUSED, REFUSED));
            for _ in 0..200 {
                assert!(Arc::ptr_eq(&backend.pick(None, None).unwrap().endpoint, &endpoints[3]), "it still serves");
            }
            assert!(backend.has_usable());
        }
    }

    #[test]
    fn a_policy_stays_when_endpoints_change_and_goes_alone() {
        let backend = backend(1);
        let own = WorkloadName { namespace: "shop".into(), name: "cart-1".into() };
        backend.set_policy(Some(TrafficPolicy { name: "shop/web".into(), ..TrafficPolicy::default() }), &own);

        backend.replace(vec![endpoint(7)], None);

        assert_eq!(&*backend.policy().unwrap().name, "shop/web");
        backend.set_policy(None, &own);
        assert!(backend.policy().is_none());
        assert_eq!(backend.endpoints().len(), 1);
    }
}
