//! Where requests, attempts and connections go and come from, counted: one [`Edge`] for each route, rule, backend and peer.
//!
//! An edge is found once, by whoever uses it often (a backend, an inbound connection), and is atomics from then on. Edges are counted always, not
//! only where a request is sampled. Names come from the mesh's configuration and from verified identities, never from a caller's bytes, and their
//! number is bounded: what there is no room for is counted together.

mod class;
mod edge;
mod latency;
mod tally;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ahash::RandomState;
use outrigger_identity::Identity;
use outrigger_proto::ServicePort;
use outrigger_proto::model::RouteId;
use outrigger_routing::RuleName;
use parking_lot::{Mutex, RwLock};
use tokio::time::Instant;

pub(crate) use class::Class;
pub(crate) use edge::{Attempt, Edge};
pub(crate) use latency::BOUNDS;
pub(crate) use tally::Tally;

use crate::direction::Direction;

/// Edges of a sidecar; each is less than a kilobyte.
const MAX_EDGES: usize = 256;

/// An edge on which nothing has happened for so long makes room.
const IDLE: Duration = Duration::from_secs(600);

/// Between two looks for unused edges while there is no room.
const SWEEP: Duration = Duration::from_secs(10);

/// What an edge is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct EdgeName {
    pub(crate) direction: Direction,
    /// Route, rule index and rule name.
    pub(crate) route: Option<(Arc<RouteId>, u32, Arc<str>)>,
    /// The Service's port that was chosen (outbound).
    pub(crate) backend: Option<ServicePort>,
    /// Whom the other side has to prove, or has proved, to be; `None`: plaintext.
    pub(crate) peer: Option<Identity>,
}

impl EdgeName {
    /// Names what is known of traffic of which nothing is known.
    pub(crate) fn unknown(direction: Direction) -> Self {
        Self { direction, route: None, backend: None, peer: None }
    }

    /// The rule as metrics and logs call it, empty when there is none.
    pub(crate) fn rule(&self) -> String {
        let Some((route, index, name)) = &self.route else { return String::new() };
        RuleName { route, index: *index, name }.to_string()
    }
}

/// All edges of a sidecar.
#[derive(Debug)]
pub(crate) struct Edges {
    known: RwLock<HashMap<EdgeName, Known, RandomState>>,
    /// Where traffic is counted for whose edge there is no room, inbound and outbound.
    overflow: [Arc<Edge>; 2],
    swept: Mutex<Instant>,
    /// Numbers edges: one that comes back after it was let go counts from zero again, and has another number.
    next: AtomicU32,
}

#[derive(Debug)]
struct Known {
    edge: Arc<Edge>,
    /// What had happened on it when it was last looked at, and since when no more.
    quiet: (u64, Instant),
}

impl Default for Edges {
    fn default() -> Self {
        let overflow = |direction, number| Arc::new(Edge::overflow(EdgeName::unknown(direction), number));
        Self {
            known: RwLock::default(),
            overflow: [overflow(Direction::Inbound, 0), overflow(Direction::Outbound, 1)],
            swept: Mutex::new(Instant::now()),
            next: AtomicU32::new(2),
        }
    }
}

impl Edges {
    /// Finds or makes an edge. Callers that come often keep it.
    pub(crate) fn find(&self, name: &EdgeName) -> Arc<Edge> {
        if let Some(known) = self.known.read().get(name) {
            return known.edge.clone();
        }
        let mut known = self.known.write();
        if known.len() >= MAX_EDGES {
            self.make_room(&mut known);
        }
        if let Some(known) = known.get(name) {
            return known.edge.clone();
        }
        if known.len() >= MAX_EDGES {
            return self.overflow[usize::from(name.direction == Direction::Outbound)].clone();
        }
        let edge = Arc::new(Edge::new(name.clone(), self.next.fetch_add(1, Ordering::Relaxed)));
        known.insert(name.clone(), Known { edge: edge.clone(), quiet: (0, Instant::now()) });
        edge
    }

    /// Returns all on which something has happened.
    pub(crate) fn all(&self) -> Vec<Arc<Edge>> {
        let mut known = self.known.write();
        sweep(&mut known);
        let edges = known.values().map(|known| &known.edge).chain(&self.overflow);
        edges.filter(|edge| edge.total() > 0).cloned().collect()
    }

    /// Looking through all is not for every request that finds no room.
    fn make_room(&self, known: &mut HashMap<EdgeName, Known, RandomState>) {
        let mut swept = self.swept.lock();
        if swept.elapsed() >= SWEEP {
            *swept = Instant::now();
            sweep(known);
        }
    }
}

/// Lets go of edges on which nothing happens and that nobody keeps: one that somebody keeps would go on counting unseen.
fn sweep(known: &mut HashMap<EdgeName, Known, RandomState>) {
    let now = Instant::now();
    known.retain(|_, known| {
        let total = known.edge.total();
        if known.quiet.0 != total {
            known.quiet = (total, now);
        }
        now.duration_since(known.quiet.1) < IDLE || Arc::strong_count(&known.edge) > 1
    });
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use super::*;

    fn to(port: u16) -> EdgeName {
        let port = NonZeroU16::new(port).unwrap();
        let backend = Some(ServicePort { namespace: "shop".into(), name: "web".into(), port });
        EdgeName { backend, ..EdgeName::unknown(Direction::Outbound) }
    }

    #[tokio::test(start_paused = true)]
    async fn edges_are_bounded_and_those_that_nobody_uses_make_room() {
        let edges = Edges::default();
        let most = u16::try_from(MAX_EDGES).unwrap();
        let held: Vec<_> = (1..=most).map(|port| edges.find(&to(port))).collect();
        held.iter().for_each(|edge| drop(Attempt::begin(edge.clone())));

        let beyond = edges.find(&to(most + 1));
        drop(Attempt::begin(beyond.clone()));
        assert!(beyond.is_overflow() && Arc::ptr_eq(&beyond, &edges.find(&to(most + 2))));
        assert_eq!(edges.all().len(), MAX_EDGES + 1);

        tokio::time::advance(IDLE).await;
        assert!(edges.find(&to(most + 1)).is_overflow(), "all are kept by somebody");
        drop(held);
        assert_eq!(edges.all().len(), 1, "what was counted together stays");
        let again = edges.find(&to(1));
        assert!(!again.is_overflow() && again.total() == 0);
        assert!(again.number > u32::from(most) + 1, "it is another edge than before");
    }

    #[test]
    fn the_same_name_is_the_same_edge() {
        let edges = Edges::default();
        assert!(Arc::ptr_eq(&edges.find(&to(80)), &edges.find(&to(80))));
        assert!(!Arc::ptr_eq(&edges.find(&to(80)), &edges.find(&to(81))));
        assert!(edges.all().is_empty(), "nothing has happened on them");
    }
}
