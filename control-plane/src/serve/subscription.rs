//! What one sidecar wants, what it has, and the difference.

use std::collections::{HashMap, HashSet};

use outrigger_proto::{Key, MAX_UPDATE_BYTES, wire};
use prost::Message;

use crate::resource::{Published, Resource, closure, resource};
use crate::state::Reading;

/// Keys with their versions, in order and in no more memory than they need: there are thousands of streams.
#[derive(Debug, Default)]
struct Held(Box<[(Key, u64)]>);

impl Held {
    fn get(&self, key: &Key) -> Option<u64> {
        let found = self.0.binary_search_by(|(held, _)| held.cmp(key)).ok()?;
        Some(self.0[found].1)
    }

    fn keys(&self) -> impl Iterator<Item = &Key> {
        self.0.iter().map(|(key, _)| key)
    }
}

impl Held {
    /// Adds keys that are not there yet: few, most of the time.
    fn add(&mut self, fresh: HashMap<Key, u64>) {
        let mut all = std::mem::take(&mut self.0).into_vec();
        all.reserve_exact(fresh.len());
        if fresh.len() <= FEW {
            for (key, version) in fresh {
                let place = all.partition_point(|(held, _)| *held < key);
                all.insert(place, (key, version));
            }
        } else {
            all.extend(fresh);
            all.sort_unstable();
        }
        self.0 = all.into_boxed_slice();
    }
}

impl From<HashMap<Key, u64>> for Held {
    fn from(all: HashMap<Key, u64>) -> Self {
        let mut held: Box<[_]> = all.into_iter().collect();
        held.sort_unstable();
        Self(held)
    }
}

/// The subscriptions of one stream.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    // In order, and in no more memory than they need.
    roots: Vec<Key>,
    // Versions that the sidecar has, or will have once it has read what was sent.
    held: Held,
    // The snapshot of the last difference; `None` when everything must be looked at.
    seen: Option<u64>,
    // Roots that came since.
    added: Vec<Key>,
    // Bytes that roots and held resources take.
    weight: usize,
    // What the sidecar brought from before, while our own knowledge has holes: it may know better.
    frozen: HashSet<Key>,
}

impl Subscriptions {
    /// Takes what a returning sidecar has kept.
    pub(super) fn resume(&mut self, held: impl IntoIterator<Item = (Key, u64)>) -> Result<(), TooMany> {
        self.seen = None;
        let mut all: HashMap<Key, u64> = self.held.0.iter().cloned().collect();
        for (key, version) in held {
            if all.len() >= MAX_HELD {
                return Err(TooMany { what: "held resources", limit: MAX_HELD });
            }
            all.insert(key.clone(), version);
            self.frozen.insert(key);
        }
        self.held = all.into();
        self.weigh();
        Ok(())
    }

    /// Adds roots; says whether there was a new one among them.
    pub(super) fn subscribe(&mut self, keys: impl IntoIterator<Item = Key>) -> Result<bool, TooMany> {
        let before = self.roots.len();
        for key in keys {
            let Err(place) = self.roots.binary_search(&key) else { continue };
            if self.roots.len() >= MAX_ROOTS {
                return Err(TooMany { what: "subscriptions", limit: MAX_ROOTS });
            }
            self.weight += weight(&key);
            self.added.push(key.clone());
            self.roots.insert(place, key);
        }
        let is_new = self.roots.len() > before;
        if is_new {
            self.roots.shrink_to_fit();
        }
        Ok(is_new)
    }

    /// Takes roots away; says whether any of them was there.
    pub(super) fn unsubscribe(&mut self, keys: impl IntoIterator<Item = Key>) -> bool {
        let before = self.roots.len();
        for key in keys {
            if let Ok(place) = self.roots.binary_search(&key) {
                self.weight -= weight(&self.roots.remove(place));
            }
        }
        let is_less = self.roots.len() < before;
        if is_less {
            self.seen = None;
            self.roots.shrink_to_fit();
        }
        is_less
    }

    pub(super) fn roots(&self) -> usize {
        self.roots.len()
    }

    pub(super) fn held(&self) -> usize {
        self.held.0.len()
    }

    /// Says whether the sidecar has this resource, or will have it once it has read what was sent.
    pub(super) fn holds(&self, key: &Key) -> bool {
        self.held.get(key).is_some()
    }

    /// Returns about how many bytes all of this takes, with what others note of each held resource.
    pub(super) fn weight(&self) -> usize {
        self.weight
    }

    /// Returns what the sidecar lacks of this snapshot, and counts it as sent. No part is larger than the limit.
    pub(super) fn difference(&mut self, snapshot: &Published) -> Difference {
        let added = std::mem::take(&mut self.added);
        let seen = self.seen.replace(snapshot.version);
        let thaws = !self.frozen.is_empty() && snapshot.state.reading() == Reading::Wholly;
        if !thaws && seen.is_some_and(|seen| !snapshot.touches(seen, self.roots.iter().chain(self.held.keys()))) {
            return self.addition(snapshot, &added); // most changes concern few
        }
        if thaws {
            self.frozen = HashSet::new();
        }
        let mut looked_at = self.roots.len() + self.held.0.len();
        let mut wanted: HashMap<Key, u64> = HashMap::with_capacity(self.held.0.len());
        // A file that is broken since our start must not take away what it said before.
        wanted.extend(self.frozen.iter().filter_map(|key| Some((key.clone(), self.held.get(key)?))));
        let mut updates = Parts::default();
        for key in self.roots.iter().flat_map(|root| closure(snapshot, root)) {
            looked_at += 1;
            if wanted.contains_key(&key) {
                continue; // another root leads to it too, or it is frozen
            }
            let Some(resource) = resource(snapshot, &key) else { continue };
            let version = resource.version;
            if self.held.get(&key) != Some(version) {
                updates.resource(&key, resource);
                looked_at += COST_OF_SENDING;
            }
            wanted.insert(key, version);
        }
        let mut removed: Vec<String> =
            self.held.keys().filter(|key| !wanted.contains_key(key)).map(ToString::to_string).collect();
        removed.sort_unstable();
        removed.into_iter().for_each(|key| updates.removed(key));
        self.held = wanted.into();
        self.weigh();
        Difference { updates: updates.finish(), looked_at }
    }

    /// The difference when nothing has changed but that these roots came.
    fn addition(&mut self, snapshot: &Published, added: &[Key]) -> Difference {
        let mut fresh: HashMap<Key, u64> = HashMap::new();
        let mut updates = Parts::default();
        let mut looked_at = 0;
        for key in added.iter().flat_map(|root| closure(snapshot, root)) {
            looked_at += 1;
            // Within one snapshot, what is held is what there is; what is frozen stays.
            if self.held.get(&key).is_some() || fresh.contains_key(&key) {
                continue;
            }
            let Some(resource) = resource(snapshot, &key) else { continue };
            fresh.insert(key.clone(), resource.version);
            looked_at += COST_OF_SENDING;
            updates.resource(&key, resource);
        }
        if !fresh.is_empty() {
            // Copying what is held is far cheaper than looking at it.
            looked_at += fresh.len().min(FEW) * self.held.0.len() / 256;
            self.weight += fresh.keys().map(weight).sum::<usize>();
            self.held.add(fresh);
        }
        Difference { updates: updates.finish(), looked_at }
    }

    fn weigh(&mut self) {
        self.weight = self.roots.iter().chain(self.held.keys()).map(weight).sum();
    }
}

/// What a sidecar lacks of a snapshot.
#[derive(Debug)]
pub(super) struct Difference {
    /// In parts.
    pub(super) updates: Vec<wire::Update>,
    /// How much work it was to find out, in resources.
    pub(super) looked_at: usize,
}

/// About what a root or a held resource takes: the key where it is held, and where the status and the progress note it.
fn weight(key: &Key) -> usize {
    let names = match key {
        Key::Mesh | Key::Address(_) => 0,
        Key::Service(port) | Key::Endpoints(port, _) => port.namespace.len() + port.name.len(),
        Key::Workload(name) => name.namespace.len() + name.name.len(),
    };
    WEIGHT + 3 * names
}

/// An Update in parts that keep the size limit.
#[derive(Default)]
struct Parts {
    done: Vec<wire::Update>,
    part: wire::Update,
    bytes: usize,
}

impl Parts {
    fn resource(&mut self, key: &Key, resource: Resource) {
        let resource = wire::Resource { key: key.to_string(), version: resource.version, value: resource.value };
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
pub(super) const MAX_HELD: usize = 16 * MAX_ROOTS;

/// To put more in place one by one costs more than to sort all.
const FEW: usize = 32;

const WEIGHT: usize = 256;

/// To encode and write a resource, over looking at it.
const COST_OF_SENDING: usize = 4;

/// Tag and length before an element.
const FIELD: usize = 8;

/// `commit` and what wraps the update.
const ENVELOPE: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{self, service, snapshot, workload};

    fn keys(texts: &[&str]) -> Vec<Key> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    /// What one difference tells: keys with resources, and removed keys.
    fn told(updates: &[wire::Update]) -> (Vec<&str>, Vec<&str>) {
        let resources = updates.iter().flat_map(|update| &update.resources);
        let removed = updates.iter().flat_map(|update| &update.removed);
        (resources.map(|resource| resource.key.as_str()).collect(), removed.map(String::as_str).collect())
    }

    fn shop() -> Published {
        snapshot(&(service("web", "10.96.0.1") + &workload("web-1", "web", "10.1.0.1")))
    }

    const WEB: [&str; 3] = ["address/10.96.0.1:80", "service/shop/web/80", "endpoints/shop/web/80/0"];

    #[test]
    fn tells_each_difference_once() {
        let before = shop();
        let mut subscriptions = Subscriptions::default();
        subscriptions.subscribe(keys(&["address/10.96.0.1:80", "service/shop/web/80"])).unwrap();

        let first = subscriptions.difference(&before).updates;
        assert_eq!(told(&first).0, WEB, "what two roots lead to comes once");
        assert!(first[0].commit);
        assert_eq!(subscriptions.difference(&before).updates, []);

        let after = fixture::next(&before, &workload("web-2", "web", "10.1.0.2"));
        assert_eq!(told(&subscriptions.difference(&after).updates), (vec![WEB[2]], vec![]));
        assert_eq!(subscriptions.difference(&after).updates, []);
    }

    #[test]
    fn a_resumed_sidecar_gets_only_what_differs() {
        let before = shop();
        let mut first = Subscriptions::default();
        first.subscribe(keys(&WEB[..1])).unwrap();
        first.difference(&before);
        let after = fixture::next(&before, &workload("web-2", "web", "10.1.0.2"));

        let mut second = Subscriptions::default();
        second.resume(first.held.0.iter().cloned()).unwrap();
        second.resume([("service/shop/old/80".parse().unwrap(), 1)]).unwrap();
        second.subscribe(keys(&WEB[..1])).unwrap();

        assert_eq!(told(&second.difference(&after).updates), (vec![WEB[2]], vec!["service/shop/old/80"]));
    }

    #[test]
    fn what_is_subscribed_to_again_is_no_work_and_one_root_more_is_little() {
        let objects: String = (0..200).map(|n| service(&format!("s-{n}"), &format!("10.96.1.{n}"))).collect();
        let snapshot = snapshot(&objects);
        let address = |n: usize| keys(&[&format!("address/10.96.1.{n}:80")]);
        let mut subscriptions = Subscriptions::default();
        assert!(subscriptions.subscribe((0..150).flat_map(address)).unwrap());
        let all = subscriptions.difference(&snapshot);
        assert!(all.looked_at >= 450, "{all:?}");
        let weight = subscriptions.weight();

        assert!(!subscriptions.subscribe((0..150).flat_map(address)).unwrap());
        assert!(!subscriptions.subscribe([]).unwrap());
        assert!(!subscriptions.unsubscribe(address(160)));
        let nothing = subscriptions.difference(&snapshot);
        assert_eq!((nothing.updates, nothing.looked_at), (vec![], 0));

        assert!(subscriptions.subscribe(address(151)).unwrap());
        let one = subscriptions.difference(&snapshot);
        let told_of = ["address/10.96.1.151:80", "service/shop/s-151/80", "endpoints/shop/s-151/80/0"];
        assert_eq!(told(&one.updates), (told_of.to_vec(), vec![]));
        assert!(one.looked_at < 30, "{one:?}");

        // As if all had come at once.
        let mut at_once = Subscriptions::default();
        at_once.subscribe((0..150).chain([151]).flat_map(address)).unwrap();
        at_once.difference(&snapshot);
        assert_eq!(subscriptions.held.0, at_once.held.0);
        assert_eq!(subscriptions.weight(), at_once.weight());
        subscriptions.unsubscribe(address(151));
        assert_eq!(told(&subscriptions.difference(&snapshot).updates).1.len(), 3);
        assert_eq!(subscriptions.weight(), weight);
    }

    #[test]
    fn an_unsubscribed_root_goes_with_what_only_it_needed() {
        let snapshot = shop();
        let mut subscriptions = Subscriptions::default();
        subscriptions.subscribe(keys(&["mesh", WEB[0]])).unwrap();
        subscriptions.difference(&snapshot);

        subscriptions.unsubscribe(keys(&WEB[..1]));

        let updates = subscriptions.difference(&snapshot).updates;
        assert_eq!(told(&updates), (vec![], vec![WEB[0], WEB[2], WEB[1]]));
        assert!(updates[0].commit);
    }

    #[test]
    fn what_a_sidecar_brought_stays_while_something_is_unreadable() {
        let mut partly = crate::state::State::new(fixture::settings());
        partly.apply(crate::state::Event::Synced(Reading::Partly));
        let partly = Published::new(partly, None);
        let mut whole = partly.state.clone();
        whole.apply(crate::state::Event::Synced(Reading::Wholly));
        let whole = Published::new(whole, Some(&partly));
        let mut subscriptions = Subscriptions::default();
        subscriptions.resume(keys(&WEB).into_iter().map(|key| (key, 1))).unwrap();
        subscriptions.subscribe(keys(&["mesh", WEB[0]])).unwrap();

        assert_eq!(told(&subscriptions.difference(&partly).updates), (vec!["mesh"], vec![]));

        let (resources, removed) = (vec!["address/10.96.0.1:80"], vec![WEB[2], WEB[1]]);
        let updates = subscriptions.difference(&whole).updates;
        let (mut told, gone) = told(&updates);
        told.retain(|key| *key != "mesh");
        assert_eq!((told, gone), (resources, removed));
    }

    #[test]
    fn no_part_is_larger_than_the_limit_and_the_last_one_commits() {
        let objects: String = (0..5000)
            .map(|n| {
                workload(&format!("web-with-a-rather-long-name-{n}"), "web", &format!("10.1.{}.{}", n / 250, n % 250))
            })
            .collect();
        let snapshot = snapshot(&(service("web", "10.96.0.1") + &objects));
        let mut subscriptions = Subscriptions::default();
        subscriptions.subscribe(keys(&WEB[..1])).unwrap();

        let updates = subscriptions.difference(&snapshot).updates;

        assert!(updates.len() > 1, "{}", updates.len());
        for update in &updates {
            let response = wire::SyncResponse { message: Some(wire::sync_response::Message::Update(update.clone())) };
            assert!(response.encoded_len() <= MAX_UPDATE_BYTES, "{}", response.encoded_len());
        }
        let commits: Vec<bool> = updates.iter().map(|update| update.commit).collect();
        assert_eq!(commits.iter().filter(|commit| **commit).count(), 1);
        assert_eq!(commits.last(), Some(&true));
    }

    #[test]
    fn subscriptions_and_held_resources_are_limited() {
        let address = |number: usize| format!("address/10.0.{}.{}:80", number / 256, number % 256).parse().unwrap();
        let mut subscriptions = Subscriptions::default();

        subscriptions.subscribe((0..MAX_ROOTS).map(address)).unwrap();
        subscriptions.subscribe([address(0)]).unwrap();
        assert!(subscriptions.subscribe([address(MAX_ROOTS)]).is_err());

        let held = |number: usize| {
            (Key::Address(std::net::SocketAddr::from(([10, 0, 0, 1], u16::try_from(number).unwrap()))), 1)
        };
        assert!(subscriptions.resume((0..MAX_HELD).map(held)).is_ok());
        assert!(subscriptions.resume([("mesh".parse().unwrap(), 1)]).is_err());
    }
}
