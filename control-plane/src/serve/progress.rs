//! Which versions are in force at the connected sidecars: what they acked, by resource. Only services are followed: they
//! carry the routes, whose status tells of it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use outrigger_proto::wire;
use parking_lot::Mutex;
use tokio::sync::watch;

/// What all sidecars of this replica hold. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    held: Arc<Mutex<HashMap<Arc<str>, Sidecars>>>,
    changed: Arc<watch::Sender<()>>,
}

/// Those that hold a resource, or are being sent it, by number.
#[derive(Debug, Default)]
struct Sidecars(HashMap<u64, Held>);

/// What one sidecar holds of one resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Held {
    /// In force; `None` before the first ack.
    version: Option<u64>,
    /// A version that it refused, and its words.
    refused: Option<(u64, Arc<str>)>,
}

impl Progress {
    /// Says how far the sidecars are with the versions of `resources`.
    pub(crate) fn of(&self, resources: &[wire::Held]) -> wire::Progress {
        let all = self.held.lock();
        let mut sidecars: HashMap<u64, bool> = HashMap::new();
        let mut refusal = None;
        for wire::Held { key, version } in resources {
            for (sidecar, held) in all.get(&**key).iter().flat_map(|sidecars| &sidecars.0) {
                *sidecars.entry(*sidecar).or_insert(true) &= held.version == Some(*version);
                let words = held.refused.as_ref().filter(|(refused, _)| refused == version).map(|(_, words)| words);
                refusal = refusal.or(words);
            }
        }
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        wire::Progress {
            current: true,
            subscribed: count(sidecars.len()),
            acked: count(sidecars.values().filter(|acked| **acked).count()),
            refused: refusal.map(|words| words.to_string()).unwrap_or_default(),
        }
    }

    /// Tells of every change from now on.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Starts to follow one sidecar.
    pub(super) fn follow(&self, sidecar: u64) -> Follower {
        Follower { sidecar, progress: self.clone(), keys: HashSet::new() }
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self { held: Arc::default(), changed: Arc::new(watch::Sender::new(())) }
    }
}

/// One sidecar's part; dropping it forgets the sidecar.
#[derive(Debug)]
pub(super) struct Follower {
    sidecar: u64,
    progress: Progress,
    keys: HashSet<Arc<str>>,
}

impl Follower {
    /// It came with this version in force.
    pub(super) fn holds(&mut self, key: &str, version: u64) {
        self.change(key, |held| held.version = Some(version));
    }

    /// It is being sent a version.
    pub(super) fn sent(&mut self, key: &str) {
        self.change(key, |_| {});
    }

    /// It has put this version in force.
    pub(super) fn acked(&mut self, key: &str, version: u64) {
        if self.keys.contains(key) {
            self.change(key, |held| *held = Held { version: Some(version), refused: None });
        }
    }

    /// It has refused this version, and goes on with the one before.
    pub(super) fn refused(&mut self, key: &str, version: u64, words: &str) {
        if self.keys.contains(key) {
            self.change(key, |held| held.refused = Some((version, words.into())));
        }
    }

    /// It needs this no longer.
    pub(super) fn removed(&mut self, key: &str) {
        if let Some(key) = self.keys.take(key) {
            forget(&mut self.progress.held.lock(), &key, self.sidecar);
            self.progress.changed.send_replace(());
        }
    }

    fn change(&mut self, key: &str, change: impl FnOnce(&mut Held)) {
        if !key.starts_with(FOLLOWED) {
            return;
        }
        let mut all = self.progress.held.lock();
        // All that hold it share the key.
        let key = all.get_key_value(key).map_or_else(|| key.into(), |(key, _)| key.clone());
        let is_new = self.keys.insert(key.clone());
        let held = all.entry(key).or_default().0.entry(self.sidecar).or_default();
        let before = held.clone();
        change(held);
        let is_news = is_new || *held != before;
        drop(all);
        // What was said before is no reason to count again.
        if is_news {
            self.progress.changed.send_replace(());
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let mut held = self.progress.held.lock();
        self.keys.iter().for_each(|key| forget(&mut held, key, self.sidecar));
        drop(held);
        self.progress.changed.send_replace(());
    }
}

fn forget(held: &mut HashMap<Arc<str>, Sidecars>, key: &Arc<str>, sidecar: u64) {
    if let Some(sidecars) = held.get_mut(key) {
        sidecars.0.remove(&sidecar);
        if sidecars.0.is_empty() {
            held.remove(key);
        }
    }
}

const FOLLOWED: &str = "service/";

#[cfg(test)]
mod tests {
    use super::*;

    const WEB: &str = "service/shop/web/80";
    const ADMIN: &str = "service/shop/web/9000";

    fn of(progress: &Progress, resources: &[(&str, u64)]) -> (u32, u32, String) {
        let held = |(key, version): &(&str, u64)| wire::Held { key: (*key).to_owned(), version: *version };
        let told = progress.of(&resources.iter().map(held).collect::<Vec<_>>());
        (told.acked, told.subscribed, told.refused)
    }

    #[test]
    fn counts_who_has_acked_the_very_version() {
        let progress = Progress::default();
        let (mut first, mut second) = (progress.follow(1), progress.follow(2));
        first.holds(WEB, 7);
        second.sent(WEB);

        assert_eq!(of(&progress, &[(WEB, 7)]), (1, 2, String::new()));
        second.acked(WEB, 7);
        assert_eq!(of(&progress, &[(WEB, 7)]), (2, 2, String::new()));
        assert_eq!(of(&progress, &[(WEB, 8)]), (0, 2, String::new()));
        drop(first);
        second.removed(WEB);
        assert_eq!(of(&progress, &[(WEB, 7)]), (0, 0, String::new()));
        assert!(progress.held.lock().is_empty(), "nothing stays of who is gone");
    }

    #[test]
    fn a_sidecar_with_two_ports_of_a_service_is_one_sidecar() {
        let progress = Progress::default();
        let mut sidecar = progress.follow(1);
        sidecar.holds(WEB, 1);
        sidecar.sent(ADMIN);

        assert_eq!(of(&progress, &[(WEB, 1), (ADMIN, 2)]), (0, 1, String::new()));
        sidecar.acked(ADMIN, 2);
        assert_eq!(of(&progress, &[(WEB, 1), (ADMIN, 2)]), (1, 1, String::new()));
    }

    #[test]
    fn a_refusal_counts_for_its_version_until_the_next_ack() {
        let progress = Progress::default();
        let mut sidecar = progress.follow(1);
        sidecar.holds(WEB, 1);
        sidecar.refused(WEB, 2, "no");

        assert_eq!(of(&progress, &[(WEB, 2)]), (0, 1, "no".to_owned()));
        assert_eq!(of(&progress, &[(WEB, 3)]), (0, 1, String::new()));
        sidecar.acked(WEB, 3);
        assert_eq!(of(&progress, &[(WEB, 2)]), (0, 1, String::new()));
    }

    #[test]
    fn only_services_are_followed_and_every_change_is_told() {
        let progress = Progress::default();
        let changes = progress.changes();
        let mut sidecar = progress.follow(1);

        sidecar.holds("endpoints/shop/web/80/0", 1);
        assert!(!changes.has_changed().unwrap());
        sidecar.sent(WEB);
        assert!(changes.has_changed().unwrap());
    }
}
