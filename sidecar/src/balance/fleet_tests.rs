//! Fleets of endpoints under an open load, in paused time: how many requests an endpoint gets that hangs, is slow or cannot be reached, and what
//! the others' clients notice.

use std::sync::Mutex;

use outrigger_proto::model::LoadBalancer;
use tokio::time::{Instant, sleep, timeout};

use super::tests::endpoint;
use super::*;

/// What an endpoint does with a request.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Does {
    Answers(Duration),
    Hangs,
    /// Its network answers nothing: the connection times out.
    Vanished,
}

const MILLI: Duration = Duration::from_millis(1);
const FAST: Does = Does::Answers(Duration::from_millis(2));
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

struct Fleet {
    backend: Arc<Backend>,
    endpoints: Vec<Arc<Endpoint>>,
    does: Mutex<Vec<Does>>,
    start: Instant,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    /// When an attempt began, and at which endpoint.
    attempts: Vec<(Duration, usize)>,
    /// When a request came, what it took and whether it failed.
    requests: Vec<(Duration, Duration, Option<ErrorCode>)>,
}

/// How clients and their route are.
#[derive(Clone, Copy)]
struct Clients {
    per_second: u32,
    /// For an attempt.
    limit: Option<Duration>,
    /// Another attempt after one that had no answer in time.
    retries: bool,
    /// They give up by themselves.
    patience: Option<Duration>,
}

impl Fleet {
    fn new(does: Vec<Does>) -> Arc<Self> {
        let endpoints: Vec<_> = (1..=does.len() as u8).map(endpoint).collect();
        let backend = Arc::new(Backend::new(BackendName::Unknown, endpoints.clone()));
        Arc::new(Self { backend, endpoints, does: Mutex::new(does), start: Instant::now(), seen: Mutex::default() })
    }

    fn set(&self, all: Does) {
        self.does.lock().unwrap().fill(all);
    }

    async fn run(self: &Arc<Self>, clients: Clients, seconds: u32) {
        for _ in 0..seconds * clients.per_second {
            let this = self.clone();
            tokio::spawn(async move {
                let came = this.start.elapsed();
                let result = match clients.patience {
                    Some(patience) => timeout(patience, this.request(clients)).await.unwrap_or(Ok(())),
                    None => this.request(clients).await,
                };
                let took = this.start.elapsed() - came;
                this.seen.lock().unwrap().requests.push((came, took, result.err()));
            });
            sleep(Duration::from_secs(1) / clients.per_second).await;
        }
    }

    async fn request(&self, clients: Clients) -> Result<(), ErrorCode> {
        let (head, ()) = http::Request::new(()).into_parts();
        let mut avoid = None;
        let mut last = ErrorCode::Internal;
        for _ in 0..3 {
            let Picked { endpoint, .. } = self.backend.pick(avoid.as_ref(), Some(&head)).map_err(|error| error.code)?;
            last = match self.attempt(&endpoint, clients).await {
                Ok(()) => return Ok(()),
                Err(ErrorCode::ResponseTimeout) if !clients.retries => return Err(ErrorCode::ResponseTimeout),
                Err(error) => error,
            };
            avoid = Some(endpoint);
        }
        Err(last)
    }

    async fn attempt(&self, endpoint: &Arc<Endpoint>, clients: Clients) -> Result<(), ErrorCode> {
        let index = self.endpoints.iter().position(|one| Arc::ptr_eq(one, endpoint)).unwrap();
        self.seen.lock().unwrap().attempts.push((self.start.elapsed(), index));
        let mut in_flight = InFlight::new(endpoint, Some(&self.backend)).judged(clients.limit, false);
        let does = self.does.lock().unwrap()[index];
        let exchange = async {
            match does {
                Does::Answers(latency) => {
                    sleep(latency).await;
                    in_flight.answered(&http::Response::new(()), Some(0));
                    Ok(())
                }
                Does::Hangs => std::future::pending().await,
                Does::Vanished => {
                    sleep(CONNECT_TIMEOUT).await;
                    in_flight.ended(Outcome::Unreachable);
                    Err(ErrorCode::ConnectionTimeout)
                }
            }
        };
        match clients.limit {
            Some(limit) => timeout(limit, exchange).await.unwrap_or(Err(ErrorCode::ResponseTimeout)),
            None => exchange.await,
        }
    }

    /// The part of the attempts from a second on that went to an endpoint.
    fn share(&self, index: usize, from: u64) -> f64 {
        let seen = self.seen.lock().unwrap();
        let late: Vec<_> = seen.attempts.iter().filter(|(at, _)| *at >= Duration::from_secs(from)).collect();
        late.iter().filter(|(_, to)| *to == index).count() as f64 / late.len() as f64
    }

    /// The errors of requests that came from a second on.
    fn errors(&self, from: u64) -> Vec<ErrorCode> {
        let seen = self.seen.lock().unwrap();
        seen.requests.iter().filter(|(at, ..)| *at >= Duration::from_secs(from)).filter_map(|(.., e)| *e).collect()
    }

    /// What so many of a hundred requests that came from a second on took at most.
    fn percentile(&self, percent: usize, from: u64) -> Duration {
        let seen = self.seen.lock().unwrap();
        let late = seen.requests.iter().filter(|(at, ..)| *at >= Duration::from_secs(from));
        let mut took: Vec<_> = late.map(|(_, took, _)| *took).collect();
        took.sort();
        took[took.len() * percent / 100]
    }
}

fn ten_but(bad: &[Does]) -> Vec<Does> {
    bad.iter().copied().chain(std::iter::repeat(FAST)).take(10).collect()
}

const ROUTE: Clients =
    Clients { per_second: 400, limit: Some(Duration::from_millis(300)), retries: true, patience: None };
const PLAIN: Clients = Clients { limit: None, retries: false, ..ROUTE };

#[tokio::test(start_paused = true)]
async fn one_of_ten_that_hangs_or_is_slow_gets_next_to_nothing_and_the_others_clients_notice_nothing() {
    let slow = Does::Answers(20 * MILLI);
    let leaves = Clients { patience: Some(Duration::from_secs(2)), ..PLAIN };
    let fails = Clients { retries: false, ..ROUTE };
    for (what, bad, clients) in [
        ("hangs, with a timeout and a retry", Does::Hangs, ROUTE),
        ("hangs, with a timeout", Does::Hangs, fails),
        ("hangs, and clients wait for ever", Does::Hangs, PLAIN),
        ("hangs, and clients leave after a while", Does::Hangs, leaves),
        ("is ten times slower", slow, PLAIN),
    ] {
        let fleet = Fleet::new(ten_but(&[bad]));
        fleet.run(clients, 60).await;
        let (share, p99) = (fleet.share(0, 1), fleet.percentile(99, 1));
        assert!(share <= 0.005, "{what}: {share}");
        assert!(p99 <= 2 * MILLI * 13 / 10, "{what}: {p99:?}");
        if clients.retries {
            assert_eq!(fleet.errors(0), [], "{what}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_hangs_is_left_out_however_endpoints_are_chosen_and_however_slow_the_others_are() {
    let own = WorkloadName { namespace: "shop".into(), name: "cart-1".into() };
    for load_balancer in [LoadBalancer::RoundRobin, LoadBalancer::Random, LoadBalancer::LeastRequest] {
        for (usual, patience) in [(2, Some(10)), (2, None), (2_000, Some(10)), (2_000, None)] {
            let patience = patience.map(Duration::from_secs);
            let clients = Clients { per_second: 20, patience, ..PLAIN };
            let fleet = Fleet::new(vec![Does::Answers(usual * MILLI); 3]);
            let name = "shop/web".into();
            let policy = TrafficPolicy { name, load_balancer: load_balancer.clone(), ..TrafficPolicy::default() };
            fleet.backend.set_policy(Some(policy), &own);
            fleet.run(clients, 20).await;
            fleet.does.lock().unwrap()[0] = Does::Hangs;

            fleet.run(clients, 70).await;

            let share = fleet.share(0, 30);
            assert!(share <= 0.02, "{load_balancer:?}, others take {usual} ms, clients wait {patience:?}: {share}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_hangs_for_a_while_is_back_within_its_probes_time() {
    let fleet = Fleet::new(ten_but(&[Does::Hangs]));
    fleet.run(ROUTE, 3).await;
    fleet.set(FAST);
    let back = fleet.start.elapsed().as_secs();

    fleet.run(ROUTE, 20).await;

    let share = fleet.share(0, back + 12);
    assert!((0.07..0.13).contains(&share), "a tenth again: {share}");
}

#[tokio::test(start_paused = true)]
async fn two_that_vanished_cost_no_request_and_soon_no_time() {
    let fleet = Fleet::new(ten_but(&[Does::Vanished, Does::Vanished]));
    let busy = Clients { per_second: 1000, ..PLAIN };
    fleet.run(busy, 30).await;

    assert_eq!(fleet.errors(0), []);
    assert!(fleet.share(0, 1) + fleet.share(1, 1) < 0.001);
    assert!(fleet.percentile(99, 1) <= 3 * MILLI, "{:?}", fleet.percentile(99, 1));
}

#[tokio::test(start_paused = true)]
async fn when_all_hang_requests_fail_at_once_with_the_cause_and_the_first_answer_ends_it() {
    let fleet = Fleet::new(vec![Does::Hangs; 10]);
    let fails = Clients { retries: false, ..ROUTE };
    fleet.run(fails, 5).await;
    let errors = fleet.errors(2);
    let fast = errors.iter().filter(|code| **code == ErrorCode::CircuitOpen).count();
    assert!(fast * 100 >= errors.len() * 99, "{fast} of {}", errors.len());
    assert_eq!(fleet.percentile(90, 2), Duration::ZERO);
    let error = fleet.backend.pick(None, None).err().unwrap();
    assert!(error.detail.contains("(10)") && error.detail.contains("the next request"), "{error}");

    fleet.set(FAST);
    let back = fleet.start.elapsed().as_secs();
    fleet.run(fails, 4).await;

    assert_eq!(fleet.errors(back + 2), []);
    assert!(fleet.share(0, back + 2) < 0.3, "all are back");
}

#[tokio::test(start_paused = true)]
async fn endpoints_that_are_near_get_all_unless_they_fail_or_are_slow() {
    let (slow, fast) = (Does::Answers(60 * MILLI), FAST);
    // The first three are near; beside what they do, the least and the most that they are to get.
    for (what, near, least, most) in [
        ("all well", [fast; 3], 0.98, 1.0),
        ("a little slower than the others", [Does::Answers(6 * MILLI); 3], 0.95, 1.0),
        ("one hangs", [Does::Hangs, fast, fast], 0.98, 1.0),
        ("all hang", [Does::Hangs; 3], 0.0, 0.02),
        ("all vanished", [Does::Vanished; 3], 0.0, 0.02),
        ("much slower than the others", [slow; 3], 0.0, 0.1),
    ] {
        let fleet = Fleet::new(ten_but(&near));
        fleet.backend.replace(fleet.endpoints.clone(), Some(fleet.endpoints[..3].to_vec()));
        fleet.run(Clients { per_second: 1000, ..ROUTE }, 20).await;
        let share: f64 = (0..3).map(|index| fleet.share(index, 3)).sum();
        assert!((least..=most).contains(&share), "{what}: {share}");
    }
}

#[tokio::test(start_paused = true)]
async fn clients_that_leave_early_or_watch_for_long_are_no_fault_of_the_endpoint() {
    let fleet = Fleet::new(vec![Does::Answers(Duration::from_millis(700)); 4]);
    fleet.run(Clients { patience: Some(Duration::from_millis(400)), per_second: 40, ..PLAIN }, 20).await;
    assert!(fleet.endpoints.iter().all(|endpoint| endpoint.circuit().is_none()), "they are not late");

    let fleet = Fleet::new(ten_but(&[]));
    let watches: Vec<_> =
        fleet.endpoints.iter().map(|endpoint| InFlight::new(endpoint, Some(&fleet.backend))).collect();
    fleet.run(PLAIN, 20).await;
    drop(watches);
    fleet.run(PLAIN, 1).await;
    assert!(fleet.endpoints.iter().all(|endpoint| endpoint.circuit().is_none()), "they answer others");
    for index in 0..10 {
        assert!((0.05..0.2).contains(&fleet.share(index, 2)), "{index}: {}", fleet.share(index, 2));
    }
}
