//! What one sidecar wants, what it has, and the difference.

use std::collections::{BTreeSet, HashMap};

use outrigger_proto::{Key, MAX_UPDATE_BYTES, wire};
use prost::Message;

use crate::resource::{closure, resource};
use crate::snapshot::Snapshot;

/// The subscriptions of one stream.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    roots: BTreeSet<Key>,
    // Versions that the sidecar has, or will have once it has read what was sent.
    held: HashMap<Key, u64>,
}

impl Subscriptions {
    /// Takes what a returning sidecar has kept.
    pub(super) fn resume(&mut self, held: impl IntoIterator<Item = (Key, u64)>) -> Result<(), TooMany> {
        for (key, version) in held {
            if self.held.len() >= MAX_HELD {
                return Err(TooMany { what: "held resources", limit: MAX_HELD });
            }
            self.held.insert(key, version);
        }
        Ok(())
    }

    pub(super) fn subscribe(&mut self, keys: impl IntoIterator<Item = Key>) -> Result<(), TooMany> {
        for key in keys {
            if self.roots.len() >= MAX_ROOTS && !self.roots.contains(&key) {
                return Err(TooMany { what: "subscriptions", limit: MAX_ROOTS });
            }
            self.roots.insert(key);
        }
        Ok(())
    }

    pub(super) fn unsubscribe(&mut self, keys: impl IntoIterator<Item = Key>) {
        for key in keys {
            self.roots.remove(&key);
        }
    }

    pub(super) fn roots(&self) -> usize {
        self.roots.len()
    }

    pub(super) fn held(&self) -> usize {
        self.held.len()
    }

    /// Returns what the sidecar lacks of this snapshot, and counts it as sent. No part is larger than the limit.
    pub(super) fn difference(&mut self, snapshot: &Snapshot) -> Vec<wire::Update> {
        let mut wanted: HashMap<Key, u64> = HashMap::with_capacity(self.held.len());
        let mut updates = Parts::default();
        for key in self.roots.iter().flat_map(|root| closure(snapshot, root)) {
            if wanted.contains_key(&key) {
                continue; // another root leads to it too
            }
            let Some(resource) = resource(snapshot, &key) else { continue };
            if self.held.get(&key) != Some(&resource.version) {
                updates.resource(wire::Resource {
                    key: key.to_string(),
                    version: resource.version,
                    value: resource.value,
                });
            }
            wanted.insert(key, resource.version);
        }
        let mut removed: Vec<String> =
            self.held.keys().filter(|key| !wanted.contains_key(key)).map(ToString::to_string).collect();
        removed.sort_unstable();
        removed.into_iter().for_each(|key| updates.removed(key));
        self.held = wanted;
        updates.finish()
    }
}

/// An Update in parts that keep the size limit.
#[derive(Default)]
struct Parts {
    done: Vec<wire::Update>,
    part: wire::Update,
    bytes: usize,
}

impl Parts {
    fn resource(&mut self, resource: wire::Resource) {
        self.make_room(resource.encoded_len());
        self.part.resources.push(resource);
    }

    fn removed(&mut self, key: String) {
        self.make_room(key.len());
        self.part.removed.push(key);
    }

    fn make_room(&mut self, bytes: usize) {
        let bytes = bytes + FIELD;
        if self.bytes + bytes > MAX_UPDATE_BYTES - ENVELOPE && self.bytes > 0 {
            self.done.push(std::mem::take(&mut self.part));
            self.bytes = 0;
        }
        self.bytes += bytes;
    }

    fn finish(mut self) -> Vec<wire::Update> {
        if self.bytes > 0 {
            self.part.commit = true;
            self.done.push(self.part);
        }
        self.done
    }
}

/// More than one sidecar may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("more than {limit} {what}")]
pub(super) struct TooMany {
    what: &'static str,
    limit: usize,
}

const MAX_ROOTS: usize = 4096;

/// Each root leads to a handful of resources.
const MAX_HELD: usize = 16 * MAX_ROOTS;

/// Tag and length before an element.
const FIELD: usize = 8;

/// `commit` and what wraps the update.
const ENVELOPE: usize = 64;
