//! Objects by namespace and name.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Objects of one kind. Clones share each namespace's map until one of them changes.
#[derive(Debug)]
pub struct Namespaced<T>(BTreeMap<Arc<str>, Arc<Named<T>>>);

type Named<T> = BTreeMap<Arc<str>, Arc<T>>;

impl<T> Namespaced<T> {
    /// Finds an object.
    #[must_use]
    pub fn get(&self, namespace: &str, name: &str) -> Option<&Arc<T>> {
        self.0.get(namespace)?.get(name)
    }

    /// Returns the objects of one namespace, by name.
    pub fn in_namespace(&self, namespace: &str) -> impl Iterator<Item = &Arc<T>> {
        self.0.get(namespace).into_iter().flat_map(|objects| objects.values())
    }

    /// Says whether both hold the very same objects.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let same = |namespace: &Arc<str>, objects| other.0.get(namespace).is_some_and(|o| Arc::ptr_eq(o, objects));
        self.0.len() == other.0.len() && self.0.iter().all(|(namespace, objects)| same(namespace, objects))
    }

    /// Returns what is not the very same object in both, before and after; `None` where there is none. Namespaces that are
    /// shared cost nothing.
    pub(crate) fn differences<'a>(&'a self, after: &'a Self) -> impl Iterator<Item = [Option<&'a Arc<T>>; 2]> {
        let namespaces: BTreeSet<&Arc<str>> = self.0.keys().chain(after.0.keys()).collect();
        let namespaces = namespaces.into_iter().map(|namespace| (self.0.get(namespace), after.0.get(namespace)));
        let differ =
            namespaces.filter(|pair| !matches!(pair, (Some(before), Some(after)) if Arc::ptr_eq(before, after)));
        differ.flat_map(|(before, after)| side_by_side(before, after)).filter(|pair| match pair {
            [Some(before), Some(after)] => !Arc::ptr_eq(before, after),
            _ => true,
        })
    }

    /// Returns all objects, by namespace and name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<T>> {
        self.0.values().flat_map(|objects| objects.values())
    }

    /// Counts all objects.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.values().map(|objects| objects.len()).sum()
    }

    /// Says whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn insert(&mut self, namespace: Arc<str>, name: Arc<str>, object: Arc<T>) {
        Arc::make_mut(self.0.entry(namespace).or_default()).insert(name, object);
    }

    /// Puts an object in, unless it is there already; says whether that changed anything.
    pub(super) fn put(&mut self, namespace: Arc<str>, name: Arc<str>, object: Arc<T>) -> bool
    where
        T: PartialEq,
    {
        let changed = self.get(&namespace, &name) != Some(&object);
        if changed {
            self.insert(namespace, name, object);
        }
        changed
    }

    /// Says whether there was such an object.
    pub(super) fn remove(&mut self, namespace: &str, name: &str) -> bool {
        let Some(objects) = self.0.get_mut(namespace).filter(|objects| objects.contains_key(name)) else {
            return false;
        };
        Arc::make_mut(objects).remove(name);
        if objects.is_empty() {
            self.0.remove(namespace);
        }
        true
    }
}

/// Returns what both have by each name. They share most names, and the maps are in the same order: nothing is looked up.
fn side_by_side<'a, T>(
    before: Option<&'a Arc<Named<T>>>,
    after: Option<&'a Arc<Named<T>>>,
) -> impl Iterator<Item = [Option<&'a Arc<T>>; 2]> {
    let objects = |map: Option<&'a Arc<Named<T>>>| map.into_iter().flat_map(|objects| objects.iter()).peekable();
    let (mut before, mut after) = (objects(before), objects(after));
    std::iter::from_fn(move || {
        let order = match (before.peek(), after.peek()) {
            (None, None) => return None,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((name, _)), Some((other, _))) if Arc::ptr_eq(name, other) => Ordering::Equal,
            (Some((name, _)), Some((other, _))) => name.cmp(other),
        };
        let gone = if order.is_le() { before.next() } else { None };
        let new = if order.is_ge() { after.next() } else { None };
        Some([gone.map(|(_, object)| object), new.map(|(_, object)| object)])
    })
}

impl<T> Default for Namespaced<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

// By hand: a derive would ask for `T: Clone`.
impl<T> Clone for Namespaced<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}
