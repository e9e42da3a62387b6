//! Endpoints that the workload is to prefer, because they are on its node or in its zone (`trafficDistribution` of a Service, hints of
//! EndpointSlices): as long as they serve, and serve about as fast as the others.

use std::sync::Arc;

use tokio::time::Instant;

use super::choice::usable;
use super::{Endpoint, random};

/// The near ones are too slow when they take so many times as long as another one,
const TOO_SLOW: f64 = 2.0;

/// and so many nanoseconds more.
const AND_MORE: f64 = 5e6;

/// One request in so many may find out what the others take.
const LOOK: u64 = 64;

/// The preferred ones of a backend's endpoints.
#[derive(Clone)]
pub(super) struct Near(Vec<Arc<Endpoint>>);

impl Near {
    pub(super) fn new(endpoints: Vec<Arc<Endpoint>>) -> Self {
        Self(endpoints)
    }

    pub(super) fn endpoints(&self) -> &[Arc<Endpoint>] {
        &self.0
    }

    /// Returns the near one that was chosen, or one of `all` that serves better; `None` when no near one is of use.
    pub(super) fn or_another<'e>(
        &self,
        chosen: &'e Arc<Endpoint>,
        all: &'e [Arc<Endpoint>],
        avoid: Option<&Arc<Endpoint>>,
    ) -> Option<&'e Arc<Endpoint>> {
        if !usable(chosen, avoid) {
            return None;
        }
        let draw = random();
        let other = all.get(((draw >> 32) as usize) % all.len().max(1))?;
        let (now, look) = (Instant::now(), draw % LOOK == 0);
        let is_better = match (chosen.load.latency(now), other.load.latency(now)) {
            (_, None) => look,
            (None, Some(_)) => false,
            (Some(near), Some(far)) => near > far * TOO_SLOW + AND_MORE && other.better_than(chosen),
        };
        Some(if is_better && usable(other, avoid) { other } else { chosen })
    }
}
