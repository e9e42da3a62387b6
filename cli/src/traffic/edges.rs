//! The document: edges, each with what was counted on it within a window.

use std::collections::BTreeMap;

use serde::Deserialize;

/// What the control plane's `/edges` shows.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EdgeList {
    /// The window that was seen: shorter than the one that was asked for when nobody looked before.
    pub(crate) window_seconds: f64,
    /// For how long sidecars have reported.
    pub(crate) observed_seconds: f64,
    pub(crate) replicas: Replicas,
    pub(crate) sidecars: Sidecars,
    /// Edges that the control plane had no room for.
    #[serde(default)]
    pub(crate) refused_edges: u64,
    /// Upper bounds of the buckets of `latency`; one more is for what is longer.
    pub(crate) latency_bounds_ms: Vec<f64>,
    pub(crate) edges: Vec<Edge>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct Replicas {
    pub(crate) asked: usize,
    pub(crate) answered: usize,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct Sidecars {
    pub(crate) connected: usize,
    /// Those that can report.
    pub(crate) capable: usize,
    /// Those that have.
    pub(crate) reporting: usize,
}

/// Traffic of a workload: by rule, backend and peer.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Edge {
    pub(crate) direction: Direction,
    pub(crate) namespace: String,
    pub(crate) workload: String,
    pub(crate) service_account: String,
    /// `HTTPRoute/shop/web/0`.
    pub(crate) rule: String,
    /// `shop/web:80`.
    pub(crate) backend: String,
    /// `shop/web`: namespace and service account.
    pub(crate) peer: String,
    pub(crate) overflow: bool,
    pub(crate) requests: Tally,
    pub(crate) attempts: Tally,
    pub(crate) started: u64,
    pub(crate) in_flight: u64,
    pub(crate) connections: Connections,
}

/// Seen from the workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Direction {
    Inbound,
    Outbound,
}

/// Requests, or attempts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct Tally {
    /// By class; what has not happened is left out.
    pub(crate) ended: BTreeMap<String, u64>,
    /// The client left first.
    pub(crate) abandoned: u64,
    pub(crate) slow: u64,
    pub(crate) latency: Vec<u64>,
}

/// Connections for bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Connections {
    pub(crate) open: u64,
    pub(crate) opened: u64,
    pub(crate) failed: BTreeMap<String, u64>,
    pub(crate) sent_bytes: u64,
    pub(crate) received_bytes: u64,
}

impl Direction {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
        }
    }
}

impl Edge {
    /// Whether anything has happened in the window, or goes on.
    pub(crate) fn is_used(&self) -> bool {
        let Connections { open, opened, failed, .. } = &self.connections;
        self.started + self.in_flight + open + opened > 0
            || self.requests != Tally::default()
            || self.attempts != Tally::default()
            || !failed.is_empty()
    }

    /// Namespace and name of the Service.
    pub(crate) fn service(&self) -> Option<(&str, &str)> {
        let (namespace, rest) = self.backend.split_once('/')?;
        Some((namespace, rest.split_once(':').map_or(rest, |(name, _)| name)))
    }
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Self) {
        for (class, count) in &other.ended {
            *self.ended.entry(class.clone()).or_default() += count;
        }
        self.abandoned += other.abandoned;
        self.slow += other.slow;
        if self.latency.len() < other.latency.len() {
            self.latency.resize(other.latency.len(), 0);
        }
        self.latency.iter_mut().zip(&other.latency).for_each(|(sum, count)| *sum += count);
    }

    /// All that have ended with something; what its client gave up is nobody's success or error.
    pub(crate) fn total(&self) -> u64 {
        self.ended.values().sum()
    }

    /// The share that did not fail; what a client did wrong (4xx) is no failure. `None`: there was nothing.
    pub(crate) fn success(&self) -> Option<f64> {
        let good: u64 = ["ok", "clientError"].iter().filter_map(|class| self.ended.get(*class)).sum();
        let total = self.total();
        (total > 0).then(|| good as f64 / total as f64)
    }

    /// The time in milliseconds within which this share was answered, to what the buckets can say.
    pub(crate) fn percentile(&self, share: f64, bounds: &[f64]) -> Option<f64> {
        let total: u64 = self.latency.iter().sum();
        if total == 0 {
            return None;
        }
        let wanted = share * total as f64;
        let mut below = 0;
        for (at, count) in self.latency.iter().enumerate() {
            let up_to = below + count;
            if *count > 0 && up_to as f64 >= wanted {
                let lower = if at == 0 { 0.0 } else { *bounds.get(at - 1)? };
                // Beyond the last bound nothing is known but that.
                let upper = bounds.get(at).copied().unwrap_or(lower);
                return Some(lower + (upper - lower) * (wanted - below as f64) / *count as f64);
            }
            below = up_to;
        }
        bounds.last().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_lie_in_their_buckets_and_success_knows_nothing_of_what_was_abandoned() {
        let bounds = [1.0, 2.0, 4.0];
        let tally = Tally { latency: vec![50, 0, 40, 10], abandoned: 99, ..Tally::default() };
        assert_eq!(tally.percentile(0.5, &bounds), Some(1.0));
        assert_eq!(tally.percentile(0.7, &bounds), Some(3.0));
        assert_eq!(tally.percentile(0.99, &bounds), Some(4.0), "as long as the last bound, at least");
        assert_eq!(Tally::default().percentile(0.5, &bounds), None);

        assert_eq!(tally.success(), None);
        let ended = [("ok", 6), ("clientError", 1), ("reset", 1)].map(|(class, count)| (class.to_owned(), count));
        assert_eq!(Tally { ended: ended.into(), ..tally }.success(), Some(0.875));
    }
}
