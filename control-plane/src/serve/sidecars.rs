//! The connected sidecars, as `/sidecars` shows them.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::SystemTime;

use outrigger_identity::Peer;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::time::Instant;
use tracing::info;

use super::metrics::Metrics;
use super::progress::{Follower, Progress};

/// All connected sidecars. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sidecars {
    connected: Arc<Mutex<BTreeMap<u64, Arc<Mutex<Status>>>>>,
    next: Arc<std::sync::atomic::AtomicU64>,
    progress: Progress,
}

impl Sidecars {
    /// Returns all of them as JSON.
    #[must_use]
    pub(crate) fn json(&self) -> Value {
        let connected: Vec<_> = self.connected.lock().values().cloned().collect();
        json!({ "version": 1, "sidecars": connected.iter().map(|status| status.lock().json()).collect::<Vec<_>>() })
    }

    /// Returns which versions are in force at them.
    #[must_use]
    pub(crate) fn progress(&self) -> Progress {
        self.progress.clone()
    }

    pub(super) fn connect(&self, peer: Peer, sidecar_version: String, metrics: Metrics) -> Connected {
        let id = self.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let status = Arc::new(Mutex::new(Status::new(peer, sidecar_version)));
        self.connected.lock().insert(id, status.clone());
        metrics.connected();
        Connected { id, status, follower: self.progress.follow(id), sidecars: self.clone(), metrics }
    }
}

/// One connected sidecar; dropping it takes it off the list.
#[derive(Debug)]
pub(super) struct Connected {
    id: u64,
    status: Arc<Mutex<Status>>,
    /// What it holds of each service.
    pub(super) follower: Follower,
    sidecars: Sidecars,
    metrics: Metrics,
}

impl Connected {
    pub(super) fn update(&self, change: impl FnOnce(&mut Status)) {
        change(&mut self.status.lock());
    }

    /// Returns its workload, or its identity when the leaf names none.
    pub(super) fn name(&self) -> String {
        let status = self.status.lock();
        status.workload().unwrap_or_else(|| status.peer.identity.to_string())
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.sidecars.connected.lock().remove(&self.id);
        self.metrics.disconnected();
        let status = self.status.lock();
        let (workload, identity) = (status.workload().unwrap_or_default(), &status.peer.identity);
        info!(workload, %identity, "sidecar disconnected");
    }
}

/// What is known of a connected sidecar.
#[derive(Debug)]
pub(super) struct Status {
    peer: Peer,
    sidecar_version: String,
    since: SystemTime,
    pub(super) subscriptions: usize,
    pub(super) resources: usize,
    sent: u64,
    acked: u64,
    // Sent, and neither acked nor nacked yet.
    open: HashMap<String, u64>,
    last_ack: Option<Instant>,
    // Snapshot that the sidecar was brought up to, and the last one of which it took everything.
    snapshot: u64,
    acked_snapshot: u64,
    nacks: u64,
    last_nacks: VecDeque<Value>,
}

impl Status {
    fn new(peer: Peer, sidecar_version: String) -> Self {
        Self {
            peer,
            sidecar_version,
            since: SystemTime::now(),
            subscriptions: 0,
            resources: 0,
            sent: 0,
            acked: 0,
            open: HashMap::new(),
            last_ack: None,
            snapshot: 0,
            acked_snapshot: 0,
            nacks: 0,
            last_nacks: VecDeque::new(),
        }
    }

    /// Notes that the sidecar was brought up to a snapshot.
    pub(super) fn sending<'a>(&mut self, snapshot: u64, resources: impl Iterator<Item = (&'a str, u64)>) {
        for (key, version) in resources {
            self.sent += 1;
            self.open.insert(key.to_owned(), version);
        }
        self.snapshot = snapshot;
        self.settle();
    }

    /// Notes that nobody waits for this resource's ack any more.
    pub(super) fn removed(&mut self, key: &str) {
        self.open.remove(key);
        self.settle();
    }

    /// Notes what the sidecar took.
    pub(super) fn acked(&mut self, key: &str, version: u64) {
        self.acked += 1;
        self.last_ack = Some(Instant::now());
        if self.open.get(key) == Some(&version) {
            self.open.remove(key);
        }
        self.settle();
    }

    /// Notes what the sidecar refused.
    pub(super) fn nacked(&mut self, key: &str, version: u64, reason: &str) {
        self.nacks += 1;
        if self.last_nacks.len() >= MAX_NACKS {
            self.last_nacks.pop_front();
        }
        let version = format!("{version:016x}");
        self.last_nacks.push_back(json!({ "key": key, "version": version, "reason": reason }));
    }

    /// A refused resource stays open: the sidecar does not serve the snapshot.
    fn settle(&mut self) {
        if self.open.is_empty() {
            self.open = HashMap::new(); // gives its memory back: most of the time nothing is open
            self.acked_snapshot = self.snapshot;
        }
    }

    fn workload(&self) -> Option<String> {
        let name = self.peer.workload.as_deref()?;
        Some(format!("{}/{name}", self.peer.identity.namespace()))
    }

    fn json(&self) -> Value {
        let age = |instant: Instant| u64::try_from(instant.elapsed().as_millis()).unwrap_or(u64::MAX);
        json!({
            "workload": self.workload(),
            "identity": self.peer.identity.as_str(),
            "sidecarVersion": self.sidecar_version,
            "connectedSince": jiff::Timestamp::try_from(self.since).map(|since| since.to_string()).ok(),
            "subscriptions": self.subscriptions,
            "resources": self.resources,
            "sent": self.sent,
            "acked": self.acked,
            "waiting": self.open.len(),
            "snapshot": self.snapshot,
            "ackedSnapshot": self.acked_snapshot,
            "lastAckAgeMs": self.last_ack.map(age),
            "nacks": self.nacks,
            "lastNacks": self.last_nacks,
        })
    }
}

const MAX_NACKS: usize = 16;
