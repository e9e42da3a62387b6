//! Reports to the control plane: what edges have counted since the process began, as often as it asks for them.
//!
//! Without being asked the sidecar reports nothing. It sends totals, so a report that is lost costs nothing; and of an edge only when something has
//! happened on it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use outrigger_proto::wire::{self, sync_request};
use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use crate::direction::Direction;
use crate::edges::{Edge, Edges, Tally};
use crate::random::random;

/// What the control plane may have to know before it asks for reports.
pub(super) const CAPABILITY: &str = "reports";

/// The shortest and the longest time between two reports, whatever is asked for.
const LIMITS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(600)];

/// Edges in one message, so that it stays far below the limit on messages.
const EDGES: usize = 64;

/// Reports what edges have counted.
pub(super) struct Reporter {
    edges: Arc<Edges>,
    /// Of this process: whoever knows another one begins anew.
    epoch: u64,
    started: Instant,
    sequence: u64,
    every: Option<Interval>,
    /// Whether the present stream has had a whole report.
    has_reported: bool,
    /// What had happened on each edge when it was reported last, on the present stream.
    reported: HashMap<u32, u64>,
}

impl Reporter {
    pub(super) fn new(edges: Arc<Edges>) -> Self {
        let (epoch, started) = (random(), Instant::now());
        Self { edges, epoch, started, sequence: 0, every: None, has_reported: false, reported: HashMap::new() }
    }

    /// Another stream begins: nobody has asked on it yet.
    pub(super) fn begin(&mut self) {
        (self.every, self.has_reported) = (None, false);
        self.reported = HashMap::new();
    }

    /// The control plane asks for reports this often; 0: for none.
    pub(super) fn observe(&mut self, wire::Observe { every_ms }: &wire::Observe) {
        if *every_ms == 0 {
            return self.begin();
        }
        let [shortest, longest] = LIMITS;
        let every = Duration::from_millis((*every_ms).into()).clamp(shortest, longest);
        if self.every.as_ref().is_some_and(|present| present.period() == every) {
            return;
        }
        // All sidecars are asked at the same moment, and do not answer at the same moment.
        let pause = shortest.mul_f64((random() % 1000) as f64 / 1000.0);
        let mut ticks = interval_at(Instant::now() + pause, every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.every = Some(ticks);
    }

    /// Completes when a report is due.
    pub(super) async fn due(&mut self) {
        match &mut self.every {
            Some(every) => drop(every.tick().await),
            None => std::future::pending().await,
        }
    }

    /// Sends what has changed. What the queue has no room for is part of the next report: nothing waits here.
    pub(super) fn send(&mut self, requests: &mpsc::Sender<wire::SyncRequest>) {
        let edges = self.edges.all();
        self.reported.retain(|number, _| edges.iter().any(|edge| edge.number == *number));
        let changed: Vec<(u64, &Arc<Edge>)> = edges
            .iter()
            .map(|edge| (edge.total(), edge))
            .filter(|(total, edge)| self.reported.get(&edge.number) != Some(total))
            .collect();
        // The first one tells that counting has begun, however little there is to tell.
        let empty: &[(u64, &Arc<Edge>)] = &[];
        let is_first = !self.has_reported && changed.is_empty();
        let parts = changed.chunks(EDGES).chain(is_first.then_some(empty));
        let count = changed.len().div_ceil(EDGES) + usize::from(is_first);
        for (number, part) in parts.enumerate() {
            self.sequence += 1;
            let complete = number + 1 == count;
            let report = wire::Report {
                epoch: self.epoch,
                sequence: self.sequence,
                elapsed_ms: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
                complete,
                edges: part.iter().map(|(_, edge)| told(edge)).collect(),
            };
            let message = wire::SyncRequest { message: Some(sync_request::Message::Report(report)) };
            if requests.try_send(message).is_err() {
                return;
            }
            self.reported.extend(part.iter().map(|(total, edge)| (edge.number, *total)));
            self.has_reported |= complete;
        }
    }
}

fn told(edge: &Edge) -> wire::Edge {
    let name = &edge.name;
    wire::Edge {
        number: edge.number,
        side: match name.direction {
            Direction::Outbound => wire::Side::Outbound,
            Direction::Inbound => wire::Side::Inbound,
        }
        .into(),
        rule: name.rule(),
        backend: name.backend.as_ref().map(ToString::to_string).unwrap_or_default(),
        peer: name
            .peer
            .as_ref()
            .map(|peer| format!("{}/{}", peer.namespace(), peer.service_account()))
            .unwrap_or_default(),
        overflow: edge.is_overflow(),
        counters: Some(counters(edge)),
    }
}

fn counters(edge: &Edge) -> wire::Counters {
    let connections = &edge.connections;
    // What ends between two reads is in flight for the reader, and not less than nothing.
    let (attempts, closed) = (tally(&edge.attempts), connections.closed.load(Ordering::Relaxed));
    wire::Counters {
        started: edge.started(),
        attempts: Some(attempts),
        requests: Some(tally(&edge.requests)),
        opened: connections.opened.load(Ordering::Relaxed),
        closed,
        sent: connections.sent.load(Ordering::Relaxed),
        received: connections.received.load(Ordering::Relaxed),
        failed: trimmed(&connections.failed()),
    }
}

fn tally(tally: &Tally) -> wire::Tally {
    wire::Tally {
        ended: trimmed(&tally.by_class()),
        abandoned: tally.abandoned(),
        slow: tally.slow(),
        buckets: trimmed(&tally.latency().buckets()),
    }
}

fn trimmed(counts: &[u64]) -> Vec<u64> {
    let used = counts.iter().rposition(|count| *count > 0).map_or(0, |last| last + 1);
    counts[..used].to_vec()
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use outrigger_proto::ServicePort;
    use prost::Message as _;

    use super::*;
    use crate::edges::{Attempt, Class, EdgeName};

    const LIVE: wire::Observe = wire::Observe { every_ms: 2_000 };

    fn to(port: u16) -> EdgeName {
        let port = NonZeroU16::new(port).unwrap();
        let backend = Some(ServicePort { namespace: "shop".into(), name: "web".into(), port });
        EdgeName { backend, ..EdgeName::unknown(Direction::Outbound) }
    }

    fn attempt(edges: &Edges, port: u16) {
        let mut attempt = Attempt::begin(edges.find(&to(port)));
        attempt.failed(Some(Class::Refused), Duration::from_millis(1));
    }

    /// All that was sent since the last look.
    fn sent(queue: &mut mpsc::Receiver<wire::SyncRequest>) -> Vec<wire::Report> {
        let mut reports = Vec::new();
        while let Ok(request) = queue.try_recv() {
            assert!(request.encoded_len() < 64 * 1024);
            let Some(sync_request::Message::Report(report)) = request.message else { panic!("no report") };
            reports.push(report);
        }
        reports
    }

    #[tokio::test(start_paused = true)]
    async fn totals_are_sent_of_what_has_changed_and_nothing_unasked() {
        let edges = Arc::<Edges>::default();
        let mut reporter = Reporter::new(edges.clone());
        let (requests, mut queue) = mpsc::channel(64);
        attempt(&edges, 80);
        let unasked = tokio::time::timeout(Duration::from_secs(3_600), reporter.due()).await;
        assert!(unasked.is_err());

        reporter.observe(&LIVE);
        reporter.due().await;
        reporter.send(&requests);
        let first = sent(&mut queue);
        assert!(first.len() == 1 && first[0].complete && first[0].edges.len() == 1);
        let edge = &first[0].edges[0];
        assert_eq!((&*edge.backend, &*edge.peer, edge.side()), ("shop/web:80", "", wire::Side::Outbound));
        assert_eq!(edge.counters.as_ref().unwrap().attempts.as_ref().unwrap().ended, [0, 0, 0, 0, 0, 1]);

        reporter.due().await;
        reporter.send(&requests);
        assert!(sent(&mut queue).is_empty(), "nothing has happened");
        attempt(&edges, 80);
        reporter.send(&requests);
        let second = sent(&mut queue);
        assert_eq!(second[0].edges[0].counters.as_ref().unwrap().started, 2);
        assert!(second[0].epoch == first[0].epoch && second[0].sequence > first[0].sequence);

        reporter.begin();
        reporter.observe(&LIVE);
        reporter.send(&requests);
        assert_eq!(sent(&mut queue)[0].edges.len(), 1, "another stream is told all");
        reporter.observe(&wire::Observe { every_ms: 0 });
        assert!(tokio::time::timeout(Duration::from_secs(3_600), reporter.due()).await.is_err());
    }

    #[tokio::test]
    async fn what_the_queue_has_no_room_for_is_in_the_next_report_and_a_sidecar_without_traffic_reports_once() {
        let edges = Arc::<Edges>::default();
        let mut reporter = Reporter::new(edges.clone());
        let (requests, mut queue) = mpsc::channel(1);
        reporter.send(&requests);
        assert!(matches!(&*sent(&mut queue), [report] if report.complete && report.edges.is_empty()));
        reporter.send(&requests);
        assert!(sent(&mut queue).is_empty());

        (1..=100).for_each(|port| attempt(&edges, port));
        reporter.send(&requests);
        let first = sent(&mut queue);
        assert!(matches!(&*first, [part] if part.edges.len() == EDGES && !part.complete));
        reporter.send(&requests);
        let rest = sent(&mut queue);
        assert!(matches!(&*rest, [part] if part.edges.len() == 100 - EDGES && part.complete));
    }
}
