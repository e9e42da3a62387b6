//! What is published: a snapshot, with what was encoded of it.

use std::ops::Deref;

use super::Memo;
use crate::snapshot::Snapshot;
use crate::state::State;

/// A snapshot with its encoded resources, which all who read it share.
#[derive(Debug)]
pub struct Published {
    snapshot: Snapshot,
    pub(crate) memo: Memo,
}

impl Published {
    /// Makes what follows `previous`, whose indexes and encoded resources are taken over where they are still true.
    #[must_use]
    pub fn new(state: State, previous: Option<&Self>) -> Self {
        let snapshot = Snapshot::new(state, previous.map(|previous| &previous.snapshot));
        let memo = previous.zip(snapshot.latest_change()).map(|(previous, change)| previous.memo.next(change));
        Self { memo: memo.unwrap_or_default(), snapshot }
    }
}

impl Deref for Published {
    type Target = Snapshot;

    fn deref(&self) -> &Snapshot {
        &self.snapshot
    }
}
