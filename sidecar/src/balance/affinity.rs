//! A workload that keeps its endpoint, for a Service with `sessionAffinity: ClientIP`. To kube-proxy a client is an IP address; to a sidecar
//! there is one, its pod's.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::Endpoint;
use super::choice::usable;

/// Which endpoint is kept.
pub(super) struct Affinity {
    /// How long after its last use.
    pub(super) timeout: Duration,
    /// The endpoint, and when it was used last.
    kept: Mutex<Option<(Arc<Endpoint>, Instant)>>,
}

impl Affinity {
    pub(super) fn new(timeout: Duration) -> Self {
        Self { timeout, kept: Mutex::new(None) }
    }

    /// Returns the endpoint that is kept, if it is still one of `many` and of use, or chooses one and keeps it.
    pub(super) fn pick<'e>(
        &self,
        many: &'e [Arc<Endpoint>],
        avoid: Option<&Arc<Endpoint>>,
        choose: impl FnOnce() -> &'e Arc<Endpoint>,
    ) -> &'e Arc<Endpoint> {
        let mut kept = self.kept.lock();
        let now = Instant::now();
        if let Some((endpoint, used)) = &mut *kept
            && now.duration_since(*used) <= self.timeout
            && let Some(endpoint) = many.iter().find(|candidate| Arc::ptr_eq(candidate, endpoint))
            && usable(endpoint, avoid)
        {
            *used = now;
            return endpoint;
        }
        let chosen = choose();
        *kept = Some((chosen.clone(), now));
        chosen
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::endpoint;
    use super::super::{Backend, BackendName};
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(60);

    fn backend() -> Backend {
        let backend = Backend::new(BackendName::Unknown, (1..=8).map(endpoint).collect());
        backend.set_affinity(Some(TIMEOUT));
        backend
    }

    fn picked(backend: &Backend) -> Arc<Endpoint> {
        backend.pick(None, None).unwrap().endpoint
    }

    /// How many of 50 picks, each after `pause`, are another than the one before.
    async fn changes(backend: &Backend, pause: Duration) -> usize {
        let mut last = picked(backend);
        let mut changes = 0;
        for _ in 0..50 {
            tokio::time::sleep(pause).await;
            let next = picked(backend);
            changes += usize::from(!Arc::ptr_eq(&next, &last));
            last = next;
        }
        changes
    }

    #[tokio::test(start_paused = true)]
    async fn an_endpoint_is_kept_while_it_is_used_and_forgotten_after() {
        let backend = backend();
        assert_eq!(changes(&backend, TIMEOUT / 2).await, 0);
        assert!(changes(&backend, TIMEOUT * 2).await > 20);
        backend.set_affinity(None);
        assert!(changes(&backend, Duration::ZERO).await > 20);
    }

    #[tokio::test(start_paused = true)]
    async fn it_stays_when_others_come_and_go_and_another_is_kept_when_it_goes_or_fails() {
        let backend = backend();
        let first = picked(&backend);
        let mut endpoints = backend.endpoints();
        endpoints.push(endpoint(9));
        backend.replace(endpoints.clone(), None);
        backend.set_affinity(Some(TIMEOUT));
        assert!(Arc::ptr_eq(&picked(&backend), &first));

        endpoints.retain(|endpoint| !Arc::ptr_eq(endpoint, &first));
        backend.replace(endpoints, None);
        let second = picked(&backend);
        assert_eq!(changes(&backend, Duration::ZERO).await, 0);

        let third = backend.pick(Some(&second), None).unwrap().endpoint;
        assert!(!Arc::ptr_eq(&third, &second), "not where the last attempt failed");
        third.health.open(TIMEOUT, TIMEOUT);
        assert!(!Arc::ptr_eq(&picked(&backend), &third));
        assert_eq!(changes(&backend, Duration::ZERO).await, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn the_only_endpoint_is_kept_when_others_come() {
        for n in 1..=8 {
            let backend = Backend::new(BackendName::Unknown, vec![endpoint(n)]);
            backend.set_affinity(Some(TIMEOUT));
            let only = picked(&backend);
            let all: Vec<_> = (20..28).map(endpoint).chain([only.clone()]).collect();
            backend.replace(all, None);
            assert!(Arc::ptr_eq(&picked(&backend), &only));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_policy_that_chooses_by_the_request_comes_first() {
        use outrigger_proto::model::{HashKey, LoadBalancer, TrafficPolicy};
        let backend = backend();
        let own = outrigger_proto::WorkloadName { namespace: "shop".into(), name: "cart-1".into() };
        let hash = LoadBalancer::ConsistentHash(HashKey::Header(http::HeaderName::from_static("x-user")));
        backend.set_policy(Some(TrafficPolicy { load_balancer: hash, ..TrafficPolicy::default() }), &own);
        let of = |user: usize| {
            let (parts, ()) = http::Request::builder().header("x-user", user).body(()).unwrap().into_parts();
            backend.pick(None, Some(&parts)).unwrap().endpoint
        };
        let first = of(0);
        assert!((1..50).any(|user| !Arc::ptr_eq(&of(user), &first)));
    }
}
