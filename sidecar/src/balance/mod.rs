//! Which endpoint of a backend gets the next request: the better of two random ones, where better means less time to
//! wait (peak-EWMA latency times requests in flight). An endpoint that keeps failing is left out for a while.

mod endpoint;
mod load;
mod pool;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use outrigger_proto::{ErrorCode, ServicePort};

pub(crate) use endpoint::{Endpoint, ejections};
pub(crate) use pool::{Lease, Pool, Sender};

use crate::error::ProxyError;
use crate::http::Budget;

/// The endpoints of one service's port (or one workload's), with what is known of them.
pub(crate) struct Backend {
    pub(crate) name: BackendName,
    pub(crate) budget: Budget,
    /// Copies of requests that are in flight.
    pub(crate) mirrored: AtomicU32,
    endpoints: ArcSwap<Vec<Arc<Endpoint>>>,
}

/// What a backend is called in logs, metrics and spans.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum BackendName {
    Service(ServicePort),
    Workload(Arc<str>),
    /// A destination that the mesh does not know.
    Unknown,
}

impl std::fmt::Display for BackendName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Service(service) => service.fmt(f),
            Self::Workload(name) => f.write_str(name),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}

impl Backend {
    pub(crate) fn new(name: BackendName, endpoints: Vec<Arc<Endpoint>>) -> Self {
        Self {
            name,
            budget: Budget::default(),
            mirrored: AtomicU32::new(0),
            endpoints: ArcSwap::from_pointee(endpoints),
        }
    }

    /// Puts the new endpoints in force. The caller keeps the objects of those that stay, with their connections.
    pub(crate) fn replace(&self, endpoints: Vec<Arc<Endpoint>>) {
        self.endpoints.store(Arc::new(endpoints));
    }

    pub(crate) fn endpoints(&self) -> Arc<Vec<Arc<Endpoint>>> {
        self.endpoints.load_full()
    }

    /// Picks the endpoint for one attempt, not `avoid` (where the last attempt failed) when there is another.
    ///
    /// # Errors
    /// E002 when there is no endpoint.
    pub(crate) fn pick(&self, avoid: Option<&Arc<Endpoint>>) -> Result<Arc<Endpoint>, ProxyError> {
        let endpoints = self.endpoints.load();
        let avoided = |endpoint: &Arc<Endpoint>| avoid.is_some_and(|avoid| Arc::ptr_eq(avoid, endpoint));
        match &endpoints[..] {
            [] => {
                let detail = format!("no endpoint for {}: 0 known", self.name);
                Err(ProxyError::new(ErrorCode::DestinationUnavailable, detail))
            }
            [only] => Ok(only.clone()),
            many => {
                let (a, b) = two_of(many.len());
                let (mut a, b) = (&many[a], &many[b]);
                if avoided(a) || (!avoided(b) && b.better_than(a)) {
                    a = b;
                }
                if a.ejected() {
                    // Two bad draws: look for a usable one, from a random place on. When all are ejected, use it.
                    let start = (random() % many.len() as u64) as usize;
                    let usable = (0..many.len()).map(|i| &many[(start + i) % many.len()]);
                    a = usable.into_iter().find(|e| !e.ejected() && !avoided(e)).unwrap_or(a);
                }
                Ok(a.clone())
            }
        }
    }
}

/// Draws two different indices below `n`, which is at least 2.
fn two_of(n: usize) -> (usize, usize) {
    let draw = random();
    let a = (draw >> 32) as usize % n;
    let b = (draw & 0xffff_ffff) as usize % (n - 1);
    (a, if b >= a { b + 1 } else { b })
}

/// A fast draw for balancing and weights; nothing secret hangs on it.
pub(crate) fn random() -> u64 {
    // SplitMix64 over a shared counter: every thread's draw is different, and none waits.
    static STATE: AtomicU64 = AtomicU64::new(0);
    let mut seed = STATE.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
    if seed == 0 {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        seed = now.as_nanos() as u64 ^ (u64::from(std::process::id()) << 32);
        STATE.fetch_add(seed, Ordering::Relaxed);
    }
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(last: u8) -> Arc<Endpoint> {
        Arc::new(Endpoint::local(([127, 0, 0, last], 80).into(), 1))
    }

    fn backend(n: u8) -> Backend {
        Backend::new(BackendName::Unknown, (1..=n).map(endpoint).collect())
    }

    #[test]
    fn without_endpoints_says_so() {
        let error = backend(0).pick(None).err().unwrap();

        assert_eq!(error.code, ErrorCode::DestinationUnavailable);
    }

    #[test]
    fn tries_another_endpoint_than_the_one_that_failed() {
        for n in 2..6 {
            let backend = backend(n);
            let failed = backend.endpoints()[0].clone();
            for _ in 0..200 {
                assert!(!Arc::ptr_eq(&backend.pick(Some(&failed)).unwrap(), &failed));
            }
        }
    }

    #[test]
    fn a_busy_endpoint_gets_fewer_requests() {
        let backend = backend(3);
        let busy = backend.endpoints()[0].clone();
        let _in_flight: Vec<_> = (0..50).map(|_| busy.begin()).collect();

        let picks = (0..1000).filter(|_| Arc::ptr_eq(&backend.pick(None).unwrap(), &busy)).count();

        assert_eq!(picks, 0, "with two others free, the busy one never wins a comparison");
    }

    #[test]
    fn equal_endpoints_share_evenly() {
        let backend = backend(2);
        let first = backend.endpoints()[0].clone();

        let picks = (0..1000).filter(|_| Arc::ptr_eq(&backend.pick(None).unwrap(), &first)).count();

        assert!((400..600).contains(&picks), "{picks}");
    }

    #[test]
    fn an_ejected_endpoint_is_left_out_until_all_are() {
        let backend = backend(4);
        let endpoints = backend.endpoints();
        for bad in &endpoints[..3] {
            (0..5).for_each(|_| bad.failed());
        }

        for _ in 0..200 {
            assert!(Arc::ptr_eq(&backend.pick(None).unwrap(), &endpoints[3]));
        }
        (0..5).for_each(|_| endpoints[3].failed());
        backend.pick(None).unwrap();
    }

    #[test]
    fn draws_two_different_indices_evenly() {
        let mut seen = [0_u32; 4];
        for _ in 0..40_000 {
            let (a, b) = two_of(4);
            assert_ne!(a, b);
            seen[a] += 1;
            seen[b] += 1;
        }
        for count in seen {
            assert!((18_500..21_500).contains(&count), "{seen:?}");
        }
    }
}
