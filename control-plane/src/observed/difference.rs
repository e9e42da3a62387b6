//! What a sidecar's reports add: pure, so that it can be proved.
//!
//! A report tells cumulative counters of one process. The first one is where counting begins; each later one adds what has happened since the one
//! before. So a report that is lost costs nothing, and one that comes twice, or late, adds nothing. A restart, a stream that moves to another
//! replica and a long silence each cost at most what happened since the last report.

use std::collections::HashMap;
use std::time::Duration;

use outrigger_proto::wire;

use super::counts::{Counts, Sparse};

/// A difference over more than this would be shown as if it had happened now: counting begins anew instead.
pub(crate) const MAX_SPAN: Duration = Duration::from_secs(60);

/// Edges of one sidecar; it has fewer itself.
pub(crate) const MAX_EDGES: usize = 320;

/// What is known of the process behind a sidecar's reports; `K` is what an edge's name has become.
#[derive(Debug)]
pub(crate) struct Process<K> {
    epoch: u64,
    sequence: u64,
    elapsed_ms: u64,
    /// Whether a whole report has come: an edge that is new from then on has begun since.
    is_complete: bool,
    edges: HashMap<u32, (K, Sparse)>,
}

impl<K> Default for Process<K> {
    fn default() -> Self {
        Self { epoch: 0, sequence: 0, elapsed_ms: 0, is_complete: false, edges: HashMap::new() }
    }
}

impl<K: Clone> Process<K> {
    /// Takes a report, and calls `add` with what it adds to each edge. `key` says what an edge is called, or that it is not taken.
    pub(crate) fn take(
        &mut self,
        report: &wire::Report,
        mut key: impl FnMut(&wire::Edge) -> Option<K>,
        mut add: impl FnMut(&K, &Counts),
    ) {
        let is_other = report.epoch != self.epoch || self.sequence == 0;
        if !is_other && report.sequence <= self.sequence {
            return; // it came late, by a stream that is over
        }
        let silence = report.elapsed_ms.saturating_sub(self.elapsed_ms);
        if is_other || Duration::from_millis(silence) > MAX_SPAN {
            *self = Self { epoch: report.epoch, ..Self::default() };
        }
        (self.sequence, self.elapsed_ms) = (report.sequence, report.elapsed_ms);
        for edge in &report.edges {
            let Some(counters) = &edge.counters else { continue };
            let counts = Counts::of(counters);
            if let Some((key, kept)) = self.edges.get_mut(&edge.number) {
                if let Some(difference) = counts.since(&Counts::from(&*kept)) {
                    add(key, &difference);
                }
                *kept = Sparse::from(&counts);
                continue;
            }
            if self.edges.len() >= MAX_EDGES {
                continue;
            }
            let Some(key) = key(edge) else { continue };
            if self.is_complete {
                add(&key, &counts);
            }
            self.edges.insert(edge.number, (key, Sparse::from(&counts)));
        }
        self.is_complete |= report.complete;
    }

    /// Says whether counting has begun.
    pub(crate) fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// All edges, with their counters as they were told last.
    pub(crate) fn edges(&self) -> impl Iterator<Item = (&K, Counts)> {
        self.edges.values().map(|(key, kept)| (key, Counts::from(kept)))
    }
}

#[cfg(test)]
#[path = "difference_tests.rs"]
mod tests;
