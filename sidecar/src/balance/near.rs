//! Endpoints that the workload is to prefer, because they are on its node or in its zone (`trafficDistribution` of a Service, hints of
//! EndpointSlices): as long as they serve, and serve about as fast as the others.

use std::collections::HashSet;
use std::sync::Arc;

use tokio::time::Instant;

use super::Endpoint;
use super::choice::usable;
use crate::random::random;

/// The near ones are too slow when they take so many times as long as another one,
const TOO_SLOW: f64 = 2.0;

/// and so many nanoseconds more.
const AND_MORE: f64 = 5e6;

/// One request in so many may find out what the others take.
const LOOK: u64 = 64;

/// A backend's endpoints, the preferred ones and the others.
#[derive(Clone)]
pub(super) struct Near {
    near: Vec<Arc<Endpoint>>,
    far: Vec<Arc<Endpoint>>,
}

impl Near {
    /// Tells the preferred ones from all; `None` when there are no others.
    pub(super) fn new(near: Vec<Arc<Endpoint>>, all: &[Arc<Endpoint>]) -> Option<Self> {
        let preferred: HashSet<_> = near.iter().map(Arc::as_ptr).collect();
        let far: Vec<_> = all.iter().filter(|endpoint| !preferred.contains(&Arc::as_ptr(endpoint))).cloned().collect();
        (!far.is_empty()).then_some(Self { near, far })
    }

    pub(super) fn endpoints(&self) -> &[Arc<Endpoint>] {
        &self.near
    }

    /// Returns the near one that was chosen, or another one that serves better; `None` when no near one is of use.
    pub(super) fn or_another<'e>(
        &'e self,
        chosen: &'e Arc<Endpoint>,
        avoid: Option<&Arc<Endpoint>>,
    ) -> Option<&'e Arc<Endpoint>> {
        if !usable(chosen, avoid) {
            return None;
        }
        let draw = random();
        let other = &self.far[(draw >> 32) as usize % self.far.len()];
        let (now, look) = (Instant::now(), draw.is_multiple_of(LOOK));
        let is_better = match (chosen.load.latency(now), other.load.latency(now)) {
            (_, None) => look,
            (None, Some(_)) => false,
            (Some(near), Some(far)) => near > far * TOO_SLOW + AND_MORE && other.better_than(chosen),
        };
        Some(if is_better && usable(other, avoid) { other } else { chosen })
    }
}
