//! Where traffic to a backend is counted: its edges, found once for each rule that leads here and each identity that answers here.

use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;
use outrigger_identity::Identity;
use outrigger_routing::Rule;

use super::{Backend, BackendName};
use crate::direction::Direction;
use crate::edges::{Edge, EdgeName, Edges};

/// Edges that a backend keeps; others are looked up each time.
const MAX_KEPT: usize = 64;

/// The edges of one backend. Few: a linear search beats hashing.
#[derive(Default)]
pub(super) struct Counted(ArcSwap<Vec<Kept>>);

#[derive(Clone)]
struct Kept {
    /// Weak, because rules hold their backends; none other gets its address as long as this is here.
    rule: Option<Weak<Rule<Arc<Backend>>>>,
    peer: Option<Identity>,
    edge: Arc<Edge>,
}

impl Kept {
    fn is(&self, rule: Option<&Arc<Rule<Arc<Backend>>>>, peer: Option<&Identity>) -> bool {
        self.rule.as_ref().map(Weak::as_ptr) == rule.map(Arc::as_ptr) && self.peer.as_ref() == peer
    }

    fn is_over(&self) -> bool {
        self.rule.as_ref().is_some_and(|rule| rule.strong_count() == 0)
    }
}

impl Backend {
    /// Returns where what this rule sends here is counted; `peer` is the identity that the endpoint has to prove.
    pub(crate) fn edge(
        &self,
        edges: &Edges,
        rule: Option<&Arc<Rule<Arc<Self>>>>,
        peer: Option<&Identity>,
    ) -> Arc<Edge> {
        if let Some(kept) = self.counted.0.load().iter().find(|kept| kept.is(rule, peer)) {
            return kept.edge.clone();
        }
        let backend = match &self.name {
            BackendName::Service(service) => Some(service.clone()),
            // By its peer: pods come and go by the hundred.
            BackendName::Workload(_) | BackendName::Unknown => None,
        };
        let edge = edges.find(&EdgeName {
            direction: Direction::Outbound,
            route: rule.map(|rule| (rule.route.clone(), rule.index, rule.name.clone())),
            backend,
            peer: peer.cloned(),
        });
        // One that stands for others is not kept: there may be room later.
        if !edge.is_overflow() {
            let kept = Kept { rule: rule.map(Arc::downgrade), peer: peer.cloned(), edge: edge.clone() };
            self.counted.0.rcu(|all| {
                let mut all: Vec<Kept> = all.iter().filter(|kept| !kept.is_over()).cloned().collect();
                if all.len() < MAX_KEPT && !all.iter().any(|kept| kept.is(rule, peer)) {
                    all.push(kept.clone());
                }
                all
            });
        }
        edge
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::endpoint;
    use super::*;

    #[test]
    fn an_edge_is_found_once_and_each_identity_has_its_own() {
        let edges = Edges::default();
        let backend = Backend::new(BackendName::Unknown, vec![endpoint(1)]);
        let web: Identity = "spiffe://mesh.local/ns/shop/sa/web".parse().unwrap();

        let plain = backend.edge(&edges, None, None);
        let proved = backend.edge(&edges, None, Some(&web));

        assert!(!Arc::ptr_eq(&plain, &proved));
        assert!(Arc::ptr_eq(&plain, &backend.edge(&edges, None, None)));
        assert!(Arc::ptr_eq(&proved, &backend.edge(&edges, None, Some(&web))));
        assert_eq!(backend.counted.0.load().len(), 2);
        let other = Backend::new(BackendName::Unknown, vec![endpoint(2)]);
        assert!(Arc::ptr_eq(&proved, &other.edge(&edges, None, Some(&web))), "it is called the same");
    }
}
