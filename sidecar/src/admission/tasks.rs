//! Inbound connections that may be closed to make room: the oldest of the source that has most of them goes first. Whoever opens
//! connections to keep others out pays with his own.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use ahash::RandomState;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::Place;
use super::source::Source;

/// Connections of one kind, and the tasks that serve them.
#[derive(Default)]
pub(super) struct Tasks {
    /// The oldest of a source first: ids grow.
    all: BTreeMap<(Source, u64), Entry>,
    counts: HashMap<Source, usize, RandomState>,
    /// The source that has most comes last.
    ranking: BTreeSet<(usize, Source)>,
}

struct Entry {
    place: Arc<Place>,
    /// Ends the task that serves it.
    task: AbortHandle,
    since: Instant,
}

impl Tasks {
    pub(super) fn insert(&mut self, place: Arc<Place>, task: AbortHandle) {
        let (source, id) = (place.source, place.id);
        self.all.insert((source, id), Entry { place, task, since: Instant::now() });
        self.count(source, 1);
    }

    /// Takes out one that is of another kind now, or over.
    pub(super) fn remove(&mut self, place: &Place) -> Option<AbortHandle> {
        let entry = self.all.remove(&(place.source, place.id))?;
        self.count(place.source, -1);
        Some(entry.task)
    }

    /// Takes out the oldest of the source that has most, unless it is younger than `age`.
    pub(super) fn take_one(&mut self, age: Duration) -> Option<(Arc<Place>, AbortHandle)> {
        let (_, source) = *self.ranking.last()?;
        let (key, entry) = self.all.range((source, 0)..=(source, u64::MAX)).next()?;
        if entry.since.elapsed() < age {
            return None;
        }
        let key = *key;
        let Entry { place, task, .. } = self.all.remove(&key)?;
        self.count(source, -1);
        Some((place, task))
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    fn count(&mut self, source: Source, change: isize) {
        let count = self.counts.entry(source).or_default();
        self.ranking.remove(&(*count, source));
        *count = count.saturating_add_signed(change);
        if *count == 0 {
            self.counts.remove(&source);
        } else {
            self.ranking.insert((*count, source));
        }
    }
}
