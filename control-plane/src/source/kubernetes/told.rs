//! What was told so far: makes of a fresh list what is gone, keeps the last good version of what cannot be read, and
//! says when everything that existed at the start is known.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use super::kinds::WATCHED;
use super::watch::News;
use crate::objects::{Kind, Object, ObjectId};
use crate::state::{Event, Reading};

/// The memory of the source.
#[derive(Debug)]
pub(super) struct Told {
    kinds: BTreeMap<Kind, OfKind>,
    // By what each is about.
    errors: BTreeMap<String, String>,
    errors_changed: bool,
    synced: bool,
}

#[derive(Debug, Default)]
struct OfKind {
    known: BTreeSet<ObjectId>,
    // What a list that is under way has brought.
    listing: BTreeSet<ObjectId>,
    synced: bool,
    absent_since: Option<Instant>,
}

impl Told {
    pub(super) fn new() -> Self {
        let kinds = WATCHED.iter().map(|watched| (watched.kind, OfKind::default())).collect();
        Self { kinds, errors: BTreeMap::new(), errors_changed: false, synced: false }
    }

    /// Takes news in and adds what follows from it.
    pub(super) fn take(&mut self, kind: Kind, news: News, changes: &mut Vec<Event>) {
        if !matches!(news, News::Broken(_) | News::Denied(_) | News::Listing) {
            self.works(kind);
        }
        if matches!(news, News::Listed(..) | News::Complete | News::Put(..) | News::Gone(_)) {
            self.of(kind).absent_since = None;
        }
        match news {
            News::Listing => self.of(kind).listing.clear(),
            News::Listed(id, object) => {
                self.of(kind).listing.insert(id.clone());
                self.put(id, object, changes);
            }
            News::Complete => {
                let of_kind = self.of(kind);
                of_kind.synced = true;
                let listing = std::mem::take(&mut of_kind.listing);
                let gone: Vec<_> = of_kind.known.difference(&listing).cloned().collect();
                gone.into_iter().for_each(|id| self.gone(id, changes));
                // An object that could never be read is not known, and may be gone all the same.
                let errors = self.errors.len();
                let prefix = format!("{kind} ");
                let listed: BTreeSet<String> = listing.iter().map(ToString::to_string).collect();
                self.errors.retain(|about, _| !about.starts_with(&prefix) || listed.contains(about));
                self.errors_changed |= self.errors.len() != errors;
            }
            News::Put(id, object) => self.put(id, object, changes),
            News::Gone(id) => self.gone(id, changes),
            News::Absent => self.absent(kind, changes),
            News::Denied(error) => {
                self.broken(kind, &error);
                self.absent(kind, changes);
            }
            News::Broken(error) => self.broken(kind, &error),
        }
    }

    /// Adds what follows from all that was taken.
    pub(super) fn finish(&mut self, changes: &mut Vec<Event>) {
        if std::mem::take(&mut self.errors_changed) {
            changes.push(Event::SourceErrors(self.errors.values().cloned().collect()));
        }
        if !self.synced && self.kinds.values().all(|of_kind| of_kind.synced) {
            self.synced = true;
            info!("initial list of all objects complete");
            changes.push(Event::Synced(Reading::Wholly));
        }
    }

    fn of(&mut self, kind: Kind) -> &mut OfKind {
        self.kinds.entry(kind).or_default()
    }

    fn put(&mut self, id: ObjectId, object: Result<Object, String>, changes: &mut Vec<Event>) {
        match object {
            Ok(object) => {
                self.errors_changed |= self.errors.remove(&id.to_string()).is_some();
                self.of(id.kind).known.insert(id);
                changes.push(Event::Put(object));
            }
            Err(reason) => {
                let error = format!("{id}: {reason}");
                if self.errors.get(&id.to_string()) != Some(&error) {
                    warn!(object = %id, error = reason, "cannot read an object: its last good version stays in force");
                    self.errors.insert(id.to_string(), error);
                    self.errors_changed = true;
                }
            }
        }
    }

    fn gone(&mut self, id: ObjectId, changes: &mut Vec<Event>) {
        self.errors_changed |= self.errors.remove(&id.to_string()).is_some();
        if self.of(id.kind).known.remove(&id) {
            changes.push(Event::Remove(id));
        }
    }

    /// An API server that is just starting may not serve a kind for a moment: what is known goes only when the kind stays
    /// away.
    fn absent(&mut self, kind: Kind, changes: &mut Vec<Event>) {
        let of_kind = self.of(kind);
        of_kind.synced = true;
        let since = *of_kind.absent_since.get_or_insert_with(Instant::now);
        if since.elapsed() >= GRACE {
            let known: Vec<_> = of_kind.known.iter().cloned().collect();
            known.into_iter().for_each(|id| self.gone(id, changes));
        }
    }

    fn broken(&mut self, kind: Kind, error: &str) {
        let said = self.errors.insert(watch_of(kind), format!("cannot watch {kind}: {error}"));
        if said.is_none() {
            warn!(%kind, error, "a watch fails: what is known of these objects stays in force");
            self.errors_changed = true;
        }
    }

    fn works(&mut self, kind: Kind) {
        if self.errors.remove(&watch_of(kind)).is_some() {
            info!(%kind, "the watch works again");
            self.errors_changed = true;
        }
    }
}

/// Sorts before all objects, and is none of them.
fn watch_of(kind: Kind) -> String {
    format!("(watch) {kind}")
}

const GRACE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
