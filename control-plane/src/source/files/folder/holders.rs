//! Which files hold which objects, and which of several counts. A look at the folder costs what has changed in it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::objects::{Object, ObjectId};
use crate::state::Event;

/// All objects of a folder, by what they are called.
#[derive(Debug, Default)]
pub(super) struct Holders {
    objects: HashMap<ObjectId, Held>,
    /// Why an object of a file does not count, by the object.
    errors: BTreeMap<ObjectId, Vec<String>>,
}

/// One object.
#[derive(Debug, Default)]
struct Held {
    /// The files that hold it, by name, with what they say: nearly always one.
    files: Vec<(Arc<str>, Object)>,
    /// What was told of it.
    told: Option<Object>,
}

impl Holders {
    /// Takes in that a file holds other objects than before; whatever that may concern is added to `changed`.
    pub(super) fn replace(
        &mut self,
        file: &Arc<str>,
        before: &[ObjectId],
        now: Vec<Object>,
        changed: &mut BTreeSet<ObjectId>,
    ) {
        for id in before {
            if let Some(held) = self.objects.get_mut(id) {
                held.files.retain(|(name, _)| name != file);
            }
            changed.insert(id.clone());
        }
        for object in now {
            let id = object.id();
            let held = self.objects.entry(id.clone()).or_default();
            // Most of a file that has changed has not: then what was told is kept, and not twice.
            let object = held.told.clone().filter(|told| *told == object).unwrap_or(object);
            // After its like: of two in one file the first counts.
            let place = held.files.partition_point(|(name, _)| name <= file);
            held.files.insert(place, (file.clone(), object));
            changed.insert(id);
        }
    }

    /// Returns what is to be told of these objects. What a leaving file says may just have moved to another, which comes
    /// first then.
    pub(super) fn tell(&mut self, changed: BTreeSet<ObjectId>, leaving: impl Fn(&str) -> bool) -> Vec<Event> {
        let (mut events, mut removed) = (Vec::new(), Vec::new());
        for id in changed {
            let Some(held) = self.objects.get_mut(&id) else { continue };
            let mut here = held.files.iter().filter(|(name, _)| !leaving(name));
            let first = here.next();
            let errors: Vec<String> = first.map_or_else(Vec::new, |(first, _)| {
                here.map(|(name, _)| format!("{name}:1:1: {id} is also in {first}, which counts")).collect()
            });
            if errors.is_empty() {
                self.errors.remove(&id);
            } else {
                self.errors.insert(id.clone(), errors);
            }
            match first.or_else(|| held.files.first()) {
                Some((_, object)) => {
                    if !held.told.as_ref().is_some_and(|told| told.is_same(object) || told == object) {
                        held.told = Some(object.clone());
                        events.push(Event::Put(object.clone()));
                    }
                }
                None => {
                    if self.objects.remove(&id).is_some_and(|held| held.told.is_some()) {
                        removed.push(Event::Remove(id));
                    }
                }
            }
        }
        events.append(&mut removed);
        events
    }

    /// Says which objects do not count, and why.
    pub(super) fn errors(&self) -> impl Iterator<Item = String> {
        self.errors.values().flatten().cloned()
    }
}
