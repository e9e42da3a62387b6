//! The ways to choose among several endpoints. Each leaves out those that are ejected, as long as there are others.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::request;
use outrigger_proto::WorkloadName;
use outrigger_proto::model::LoadBalancer;

use super::Endpoint;
use super::hash::{self, Key};
use crate::random::random;

/// How an endpoint is chosen.
pub(crate) enum Choice {
    LeastRequest,
    /// The next one's place.
    RoundRobin(AtomicUsize),
    Random,
    Hash(Key),
}

impl Choice {
    pub(super) fn new(asked: LoadBalancer, own: &WorkloadName) -> Self {
        match asked {
            LoadBalancer::LeastRequest => Self::LeastRequest,
            // Clients that start together would all go to the first one.
            LoadBalancer::RoundRobin => Self::RoundRobin(AtomicUsize::new(random() as u32 as usize)),
            LoadBalancer::Random => Self::Random,
            LoadBalancer::ConsistentHash(key) => Self::Hash(Key::new(key, own)),
        }
    }

    /// Whether it is the request that says which.
    pub(super) fn is_by_hash(&self) -> bool {
        matches!(self, Self::Hash(_))
    }

    /// Chooses among at least two.
    pub(super) fn pick<'e>(
        &self,
        many: &'e [Arc<Endpoint>],
        avoid: Option<&Arc<Endpoint>>,
        request: Option<&request::Parts>,
    ) -> &'e Arc<Endpoint> {
        match self {
            Self::LeastRequest if request.is_none() => least_open(many, avoid),
            Self::LeastRequest => least_request(many, avoid),
            Self::RoundRobin(next) => answering_at(many, next.fetch_add(1, Ordering::Relaxed) % many.len(), avoid),
            Self::Random => answering_at(many, (random() % many.len() as u64) as usize, avoid),
            Self::Hash(key) => match key.of(request) {
                Some(key) => hash::highest(many, key, |endpoint| usable(endpoint, avoid)),
                None => Self::LeastRequest.pick(many, avoid, request),
            },
        }
    }
}

/// The better of two that are drawn.
fn least_request<'e>(many: &'e [Arc<Endpoint>], avoid: Option<&Arc<Endpoint>>) -> &'e Arc<Endpoint> {
    best_of_two(many, avoid, Endpoint::better_than)
}

/// Of two that are drawn, the one with fewer connections for bytes: how long one stays open has nothing to do with what it took to open others.
fn least_open<'e>(many: &'e [Arc<Endpoint>], avoid: Option<&Arc<Endpoint>>) -> &'e Arc<Endpoint> {
    best_of_two(many, avoid, |one, other| one.health.wants_probe() || one.in_flight() < other.in_flight())
}

fn best_of_two<'e>(
    many: &'e [Arc<Endpoint>],
    avoid: Option<&Arc<Endpoint>>,
    is_better: impl FnOnce(&Endpoint, &Endpoint) -> bool,
) -> &'e Arc<Endpoint> {
    let (a, b) = two_of(many.len());
    let (a, b) = (&many[a], &many[b]);
    match (usable(a, avoid), usable(b, avoid)) {
        (true, true) => {
            if is_better(b, a) {
                b
            } else {
                a
            }
        }
        (true, false) => a,
        (false, true) => b,
        // Two bad draws.
        (false, false) => {
            let at = (random() % many.len() as u64) as usize;
            first_usable(many, at, avoid).unwrap_or_else(|| if is(a, avoid) { b } else { a })
        }
    }
}

/// The endpoint at a place, or the next one that is usable; when there is none, the next one that leaves and still serves.
fn first_usable<'e>(many: &'e [Arc<Endpoint>], at: usize, avoid: Option<&Arc<Endpoint>>) -> Option<&'e Arc<Endpoint>> {
    let (before, from) = many.split_at(at);
    let mut in_turn = from.iter().chain(before);
    let serves = |endpoint: &&Arc<Endpoint>| !endpoint.ejected() && !is(endpoint, avoid);
    in_turn.clone().find(|endpoint| usable(endpoint, avoid)).or_else(|| in_turn.find(serves))
}

/// The endpoint at a place, or the next one that is usable and answers: nothing else tells these ways that one hangs whose clients still wait.
fn answering_at<'e>(many: &'e [Arc<Endpoint>], at: usize, avoid: Option<&Arc<Endpoint>>) -> &'e Arc<Endpoint> {
    let (before, from) = many.split_at(at);
    let answers = |endpoint: &&Arc<Endpoint>| usable(endpoint, avoid) && !endpoint.load.is_stuck();
    let found = from.iter().chain(before).find(answers).or_else(|| first_usable(many, at, avoid));
    found.unwrap_or(&many[at])
}

pub(super) fn usable(endpoint: &Arc<Endpoint>, avoid: Option<&Arc<Endpoint>>) -> bool {
    endpoint.is_available() && !is(endpoint, avoid)
}

fn is(endpoint: &Arc<Endpoint>, avoid: Option<&Arc<Endpoint>>) -> bool {
    avoid.is_some_and(|avoid| Arc::ptr_eq(avoid, endpoint))
}

/// Draws two different indices below `n`, which is at least 2.
fn two_of(n: usize) -> (usize, usize) {
    let draw = random();
    let a = (draw >> 32) as usize % n;
    let b = (draw & 0xffff_ffff) as usize % (n - 1);
    (a, if b >= a { b + 1 } else { b })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::InFlight;
    use super::super::tests::endpoint;
    use super::*;

    fn many(n: u8) -> Vec<Arc<Endpoint>> {
        (1..=n).map(endpoint).collect()
    }

    fn choices() -> [Choice; 3] {
        [Choice::LeastRequest, Choice::RoundRobin(AtomicUsize::new(0)), Choice::Random]
    }

    #[test]
    fn tries_another_endpoint_than_the_one_that_failed() {
        for (n, choice) in (2..6).flat_map(|n| choices().map(|choice| (n, choice))) {
            let many = many(n);
            for _ in 0..200 {
                assert!(!Arc::ptr_eq(choice.pick(&many, Some(&many[0]), None), &many[0]));
            }
        }
    }

    #[test]
    fn leaves_out_what_is_ejected_until_all_are() {
        for choice in choices() {
            let many = many(4);
            many[..3].iter().for_each(|bad| bad.health.open(Duration::from_secs(60), Duration::from_secs(60)));
            for _ in 0..200 {
                assert!(Arc::ptr_eq(choice.pick(&many, None, None), &many[3]));
            }
            many[3].health.open(Duration::from_secs(60), Duration::from_secs(60));
            choice.pick(&many, None, None);
        }
    }

    #[test]
    fn round_robin_takes_one_after_the_other_and_random_any() {
        let many = many(5);
        let count = |choice: &Choice, picks: usize| {
            let mut counts = [0; 5];
            for _ in 0..picks {
                let picked = choice.pick(&many, None, None);
                counts[many.iter().position(|endpoint| Arc::ptr_eq(endpoint, picked)).unwrap()] += 1;
            }
            counts
        };

        let round_robin = Choice::RoundRobin(AtomicUsize::new(7));
        assert_eq!(count(&round_robin, 3), [0, 0, 1, 1, 1]);
        assert_eq!(count(&round_robin, 20), [4; 5]);
        for share in count(&Choice::Random, 10_000) {
            assert!((1800..2200).contains(&share), "{share}");
        }
    }

    #[test]
    fn a_busy_endpoint_gets_fewer_requests() {
        let many = many(3);
        let _in_flight: Vec<_> = (0..50).map(|_| InFlight::new(&many[0], None)).collect();

        let picks = (0..1000).filter(|_| Arc::ptr_eq(least_request(&many, None), &many[0])).count();

        assert_eq!(picks, 0, "with two others free, the busy one never wins a comparison");
    }

    #[test]
    fn connections_for_bytes_go_where_fewest_are_open_however_long_they_took_to_open() {
        let many = many(4);
        many[0].load.observe(Duration::from_millis(1));
        many[1..].iter().for_each(|slow| slow.load.observe(Duration::from_millis(40)));

        let open: Vec<_> =
            (0..400).map(|_| InFlight::new(Choice::LeastRequest.pick(&many, None, None), None)).collect();

        let counts: Vec<_> = many.iter().map(|endpoint| endpoint.in_flight()).collect();
        assert!(counts.iter().all(|count| (90..=110).contains(count)), "{counts:?}");
        drop(open);
    }

    #[test]
    fn equals_share_evenly() {
        let many = many(2);

        let picks = (0..1000).filter(|_| Arc::ptr_eq(least_request(&many, None), &many[0])).count();

        assert!((400..600).contains(&picks), "{picks}");
    }

    #[test]
    fn draws_two_different_indices_evenly() {
        let mut seen = [0_u32; 4];
        for _ in 0..40_000 {
            let (a, b) = two_of(4);
            assert_ne!(a, b);
            seen[a] += 1;
            seen[b] += 1;
        }
        for count in seen {
            assert!((18_500..21_500).contains(&count), "{seen:?}");
        }
    }
}
