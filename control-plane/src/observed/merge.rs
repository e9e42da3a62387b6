//! What one replica knows, and what all know together.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use outrigger_proto::wire;

use super::EdgeKey;
use super::counts::Counts;

/// What one replica knows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Part {
    pub(crate) edges: BTreeMap<Arc<EdgeKey>, Seen>,
    /// How long its windows are; of another replica it is not known.
    pub(crate) lengths: [Duration; 2],
    /// For how long it has counted.
    pub(crate) observed: Duration,
    pub(crate) connected: usize,
    pub(crate) capable: usize,
    pub(crate) reporting: usize,
    pub(crate) refused: u64,
}

/// What is known of an edge.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// In the short window, and in the long one.
    pub(crate) windows: [Counts; 2],
    /// Attempts in flight and open connections.
    pub(crate) now: [u64; 2],
}

/// What all replicas know.
#[derive(Clone, Debug, Default)]
pub(crate) struct Parts {
    pub(crate) sum: Part,
    pub(crate) replicas: usize,
    pub(crate) answered: usize,
}

impl Part {
    pub(crate) fn add(&mut self, key: &Arc<EdgeKey>, windows: [Counts; 2], now: [u64; 2]) {
        let seen = self.edges.entry(key.clone()).or_default();
        seen.windows.iter_mut().zip(&windows).for_each(|(sum, counts)| sum.add(counts));
        seen.now.iter_mut().zip(now).for_each(|(sum, more)| *sum = sum.saturating_add(more));
    }

    /// Returns it as another replica is told it.
    pub(crate) fn wire(&self) -> wire::ObserveResponse {
        let edge = |(key, seen): (&Arc<EdgeKey>, &Seen)| wire::ObservedEdge {
            namespace: key.source.namespace.to_string(),
            workload: key.source.workload.to_string(),
            service_account: key.source.service_account.to_string(),
            edge: Some(wire::Edge {
                number: 0,
                side: if key.is_inbound { wire::Side::Inbound } else { wire::Side::Outbound }.into(),
                rule: key.rule.to_string(),
                backend: key.backend.to_string(),
                peer: key.peer.to_string(),
                overflow: key.is_overflow,
                counters: Some(seen.windows[1].wire()),
            }),
            recent: Some(seen.windows[0].wire()),
            in_flight: seen.now[0],
            open: seen.now[1],
        };
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        wire::ObserveResponse {
            edges: self.edges.iter().map(edge).collect(),
            observed_ms: u64::try_from(self.observed.as_millis()).unwrap_or(u64::MAX),
            connected: count(self.connected),
            capable: count(self.capable),
            reporting: count(self.reporting),
            refused: self.refused,
        }
    }

    /// Reads what another replica has told.
    #[cfg(any(test, feature = "kubernetes"))]
    pub(crate) fn of(response: &wire::ObserveResponse) -> Self {
        let mut part = Self {
            observed: Duration::from_millis(response.observed_ms),
            connected: response.connected as usize,
            capable: response.capable as usize,
            reporting: response.reporting as usize,
            refused: response.refused,
            ..Self::default()
        };
        for observed in &response.edges {
            let source = super::Source {
                namespace: observed.namespace.as_str().into(),
                workload: observed.workload.as_str().into(),
                service_account: observed.service_account.as_str().into(),
            };
            let Some(edge) = &observed.edge else { continue };
            let Some(key) = EdgeKey::of(&source, edge) else { continue };
            let counts = |counters: &Option<wire::Counters>| counters.as_ref().map(Counts::of).unwrap_or_default();
            let windows = [counts(&observed.recent), counts(&edge.counters)];
            part.add(&Arc::new(key), windows, [observed.in_flight, observed.open]);
        }
        part
    }
}

impl Parts {
    /// A replica that is asked; `None`: it has not answered yet.
    pub(crate) fn add(&mut self, part: Option<&Part>) {
        self.replicas += 1;
        let Some(part) = part else { return };
        let sum = &mut self.sum;
        for (key, seen) in &part.edges {
            sum.add(key, seen.windows.clone(), seen.now);
        }
        if self.answered == 0 {
            sum.lengths = part.lengths;
        }
        // All have seen a window that the last one has seen.
        sum.observed = if self.answered == 0 { part.observed } else { sum.observed.min(part.observed) };
        self.answered += 1;
        sum.connected += part.connected;
        sum.capable += part.capable;
        sum.reporting += part.reporting;
        sum.refused = sum.refused.saturating_add(part.refused);
    }
}
