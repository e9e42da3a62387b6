//! What the sidecars of this replica have seen of late, from their reports: kept in memory, only while somebody looks.
//!
//! ```text
//! /edges, another replica ─▶ interest ─▶ Observe ─▶ sidecars
//!                                                      │ Report: cumulative counters
//!          document ◀─ history (an edge of a workload) ◀─ difference (a process)
//! ```
//! A report counts for the workload that the stream's certificate names, whatever it says. Everything is bounded: edges of a sidecar, edges of all,
//! names, time.

mod counts;
mod difference;
mod document;
mod history;
mod interest;
mod merge;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use outrigger_daemon::Drain;
use outrigger_proto::wire;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use difference::Process;
use history::History;
use interest::Interest;

pub(crate) use document::document;
pub(crate) use interest::Look;
pub(crate) use merge::{Part, Parts};

/// Edges of all workloads together; what is beyond is not taken, and counted.
const MAX_EDGES: usize = 8_192;

/// A name of a rule, a backend or a peer.
const MAX_NAME: usize = 300;

/// Who reports: what the stream's certificate names, and what the configuration says of that.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Source {
    pub(crate) namespace: Arc<str>,
    /// What its pods have in common.
    pub(crate) workload: Arc<str>,
    pub(crate) service_account: Arc<str>,
}

/// An edge of all pods of a workload.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct EdgeKey {
    pub(crate) source: Source,
    pub(crate) is_inbound: bool,
    /// `HTTPRoute/shop/web/0`, empty when no route chose.
    pub(crate) rule: Box<str>,
    /// `shop/web:80`, empty when it was no Service.
    pub(crate) backend: Box<str>,
    /// `shop/web`: namespace and service account that were proved, empty for plaintext.
    pub(crate) peer: Box<str>,
    /// Whether it stands for edges for which a sidecar had no room.
    pub(crate) is_overflow: bool,
}

/// What is known. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Observed(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Whoever looks, also by another replica.
    interest: Interest,
    /// Whoever looks here: then the others are asked.
    here: Interest,
    /// What other replicas told last, by their names; `None`: nothing yet.
    others: Mutex<BTreeMap<Arc<str>, Option<Part>>>,
    known: Mutex<Known>,
    started: Instant,
}

impl Default for Inner {
    fn default() -> Self {
        Self {
            interest: Interest::default(),
            here: Interest::default(),
            others: Mutex::default(),
            known: Mutex::default(),
            started: Instant::now(),
        }
    }
}

#[derive(Debug, Default)]
struct Known {
    /// By the name of the very workload.
    processes: HashMap<Arc<str>, Streams>,
    edges: HashMap<Arc<EdgeKey>, History>,
    /// When counting began, since the start.
    since: Option<Duration>,
    /// Streams of sidecars, and those of sidecars that can report.
    connected: usize,
    capable: usize,
    /// Edges that were not taken.
    refused: u64,
}

/// A process, and how many streams it has: two while it moves.
#[derive(Debug, Default)]
struct Streams {
    open: usize,
    process: Process<Arc<EdgeKey>>,
}

impl Observed {
    /// Somebody looks at this replica, and through it at all. Returns what is known.
    pub(crate) fn look_here(&self, look: Look) -> Parts {
        self.0.here.look(look);
        self.look(look);
        let mut parts = Parts::default();
        parts.add(Some(&self.part()));
        self.0.others.lock().values().for_each(|part| parts.add(part.as_ref()));
        parts
    }

    /// How often somebody looks here, and all changes of it.
    #[cfg(feature = "kubernetes")]
    pub(crate) fn looks_here(&self) -> watch::Receiver<Option<Duration>> {
        self.0.here.every()
    }

    /// Another replica is asked from now on.
    #[cfg(feature = "kubernetes")]
    pub(crate) fn ask(&self, replica: &Arc<str>) {
        self.0.others.lock().entry(replica.clone()).or_default();
    }

    /// A replica that is asked has told what it knows, or cannot be asked now.
    #[cfg(feature = "kubernetes")]
    pub(crate) fn heard(&self, replica: &str, part: Option<Part>) {
        if let Some(known) = self.0.others.lock().get_mut(replica) {
            *known = part;
        }
    }

    /// Another replica is not asked any more.
    #[cfg(feature = "kubernetes")]
    pub(crate) fn forget(&self, replica: &str) {
        self.0.others.lock().remove(replica);
    }

    /// Somebody looks: sidecars report from now on, for a while.
    pub(crate) fn look(&self, look: Look) {
        self.0.interest.look(look);
        let now = self.0.started.elapsed();
        self.0.known.lock().since.get_or_insert(now);
    }

    /// A sidecar's stream has opened; dropping the answer closes it.
    pub(crate) fn open(&self, workload: Arc<str>, can_report: bool) -> Reports {
        let mut known = self.0.known.lock();
        known.connected += 1;
        if can_report {
            known.capable += 1;
            known.processes.entry(workload.clone()).or_default().open += 1;
        }
        drop(known);
        let every = can_report.then(|| {
            let mut every = self.0.interest.every();
            // Whoever comes while somebody looks is told so.
            if every.borrow().is_some() {
                every.mark_changed();
            }
            every
        });
        Reports { observed: self.clone(), workload, every }
    }

    /// Forgets what was seen when nobody looks any more, and has sidecars be told so.
    pub(crate) async fn run(self, drain: Drain) {
        let mut every = self.0.interest.every();
        loop {
            let looked_at = every.wait_for(Option::is_some);
            tokio::select! {
                () = drain.started() => return,
                looked_at = looked_at => if looked_at.is_err() { return },
            }
            while self.0.interest.update() | self.0.here.update() {
                tokio::select! {
                    () = drain.started() => return,
                    () = tokio::time::sleep(TICK) => {}
                }
                self.forget_idle();
            }
            let mut known = self.0.known.lock();
            known.since = None;
            known.edges = HashMap::new();
            known.processes.values_mut().for_each(|streams| streams.process = Process::default());
        }
    }

    fn forget_idle(&self) {
        let now = self.0.started.elapsed();
        let mut known = self.0.known.lock();
        let Known { edges, .. } = &mut *known;
        // Those that sidecars still name stay: their keys are shared.
        edges.retain(|key, history| !history.forget(now) || Arc::strong_count(key) > 1);
    }

    /// Takes a report of the workload.
    fn take(&self, workload: &Arc<str>, source: &Source, report: &wire::Report) {
        if !self.0.interest.is_there() {
            return; // nobody asked
        }
        let now = self.0.started.elapsed();
        let mut known = self.0.known.lock();
        let Known { processes, edges, refused, .. } = &mut *known;
        let Some(Streams { process, .. }) = processes.get_mut(workload) else { return };
        // Both closures need the table.
        let edges = std::cell::RefCell::new(edges);
        process.take(
            report,
            |edge| {
                let key = EdgeKey::of(source, edge);
                let mut edges = edges.borrow_mut();
                let key = match key.filter(|key| edges.len() < MAX_EDGES || edges.contains_key(key)) {
                    Some(key) => Arc::new(key),
                    None => {
                        *refused += 1;
                        return None;
                    }
                };
                let key = edges.get_key_value(&key).map_or(key, |(known, _)| known.clone());
                edges.entry(key.clone()).or_default();
                Some(key)
            },
            |key, counts| {
                if let Some(history) = edges.borrow_mut().get_mut(key).filter(|_| !counts.is_zero()) {
                    history.add(counts, now);
                }
            },
        );
    }

    /// Returns what is known here, for windows that end now.
    pub(crate) fn part(&self) -> Part {
        let now = self.0.started.elapsed();
        let known = self.0.known.lock();
        let mut part = Part {
            lengths: Look::ALL.map(|look| history::length(look.window(), now)),
            observed: known.since.map_or(Duration::ZERO, |since| now.saturating_sub(since)),
            connected: known.connected,
            capable: known.capable,
            refused: known.refused,
            ..Part::default()
        };
        for (key, history) in &known.edges {
            let windows = Look::ALL.map(|look| history.within(look.window(), now));
            part.add(key, windows, [0, 0]);
        }
        for Streams { process, .. } in known.processes.values() {
            part.reporting += usize::from(process.is_complete());
            for (key, counts) in process.edges() {
                part.add(
                    key,
                    [counts::Counts::default(), counts::Counts::default()],
                    [counts.in_flight(), counts.open()],
                );
            }
        }
        part
    }
}

/// One sidecar's stream.
#[derive(Debug)]
pub(crate) struct Reports {
    observed: Observed,
    workload: Arc<str>,
    every: Option<watch::Receiver<Option<Duration>>>,
}

impl Reports {
    /// Waits until the sidecar is to be told how often to report, and returns that. A sidecar that cannot is told nothing.
    pub(crate) async fn asked(&mut self) -> Option<Duration> {
        let Some(every) = &mut self.every else { return std::future::pending().await };
        // Its sender lives as long as this does.
        let _ = every.changed().await;
        *every.borrow_and_update()
    }

    /// Takes a report.
    pub(crate) fn take(&self, source: &Source, report: &wire::Report) {
        if self.every.is_some() {
            self.observed.take(&self.workload, source, report);
        }
    }
}

impl Drop for Reports {
    fn drop(&mut self) {
        let mut known = self.observed.0.known.lock();
        known.connected -= 1;
        if self.every.is_none() {
            return;
        }
        known.capable -= 1;
        if let Some(streams) = known.processes.get_mut(&self.workload) {
            streams.open -= 1;
            if streams.open == 0 {
                known.processes.remove(&self.workload);
            }
        }
    }
}

impl EdgeKey {
    /// Names an edge of a report; `None` when its names are none.
    fn of(source: &Source, edge: &wire::Edge) -> Option<Self> {
        let name = |name: &str| (name.len() <= MAX_NAME && name.bytes().all(is_of_name)).then(|| Box::from(name));
        Some(Self {
            source: source.clone(),
            is_inbound: edge.side == wire::Side::Inbound as i32,
            rule: name(&edge.rule)?,
            backend: name(&edge.backend)?,
            peer: name(&edge.peer)?,
            is_overflow: edge.overflow,
        })
    }
}

/// What names of Kubernetes objects are made of, and what joins them. Nothing of it does anything to a terminal.
fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._:/".contains(&byte)
}

/// How often time is looked at while somebody looks.
const TICK: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
