//! The layer over a scripted network, in paused time: what is repeated, how often, when, and what its client reads.

use std::collections::VecDeque;
use std::num::NonZeroU16;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use outrigger_proto::ServicePort;
use outrigger_proto::model::{BackendRef, RetryBudget, RouteId, RouteKind, RouteSet, TrafficPolicy};
use outrigger_routing::RouteTable;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::*;
use crate::balance::{Backend, Endpoint};

/// What the network does with an attempt.
#[derive(Clone, Debug)]
enum Does {
    Answers(u16),
    Fails(ErrorCode, Fate),
    /// On a connection that had been idle.
    EndsIdle(Fate),
    Hangs,
}

use Does::{Answers, EndsIdle, Fails, Hangs};

/// An attempt as the network saw it.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    /// Since the request came.
    at: Duration,
    body: Bytes,
    /// Whether it is told that the last one met an idle connection's end; `None`: it is the first.
    after_idle: Option<bool>,
}

/// The network: does what it is told, the last thing for ever.
#[derive(Clone)]
struct Script {
    endpoint: Arc<Endpoint>,
    does: Arc<Mutex<VecDeque<Does>>>,
    seen: Arc<Mutex<Vec<Seen>>>,
    start: Instant,
}

impl Script {
    fn new(does: &[Does]) -> Self {
        Self {
            endpoint: Arc::new(Endpoint::local(([10, 0, 0, 1], 8080).into(), 1)),
            does: Arc::new(Mutex::new(does.iter().cloned().collect())),
            seen: Arc::default(),
            start: Instant::now(),
        }
    }
}

impl Exchange for Script {
    async fn attempt(
        &self,
        head: &mut request::Parts,
        body: Body,
        _to: &To,
        flow: &Flow,
        last: Option<&Failed>,
    ) -> Result<Response<ResponseBody>, ProxyError> {
        flow.attempt(&self.endpoint, &mut head.headers);
        let at = self.start.elapsed();
        let body = body.collect().await.map_err(|error| ProxyError::body_broke_off(&error))?.to_bytes();
        let after_idle = last.map(|last| last.was_idle && Arc::ptr_eq(&last.endpoint, &self.endpoint));
        self.seen.lock().push(Seen { at, body, after_idle });
        let does = {
            let mut all = self.does.lock();
            let next = if all.len() > 1 { all.pop_front() } else { all.front().cloned() };
            next.unwrap()
        };
        match does {
            Answers(status) => Ok(Response::builder().status(status).body(ResponseBody::empty()).unwrap()),
            Fails(code, fate) => Err(ProxyError::new(code, "as scripted").fate(fate)),
            EndsIdle(fate) => {
                let error = ProxyError::new(ErrorCode::ConnectionTerminated, "as scripted").fate(fate);
                Err(ProxyError { reused: true, ..error })
            }
            Hangs => std::future::pending().await,
        }
    }
}

fn backend() -> Arc<Backend> {
    let endpoints = vec![Arc::new(Endpoint::local(([10, 0, 0, 1], 8080).into(), 1))];
    Arc::new(Backend::new(BackendName::Unknown, endpoints))
}

/// A rule with these timeouts (an attempt's) and retries.
fn rule(attempt_timeout: Option<Duration>, retry: Option<model::Retry>, to: &Arc<Backend>) -> To {
    let route = RouteId { kind: RouteKind::Http, namespace: "shop".into(), name: "web".into() };
    let service = ServicePort { namespace: "shop".into(), name: "web".into(), port: NonZeroU16::new(80).unwrap() };
    let rule = model::Rule {
        route: Arc::new(route),
        index: 0,
        name: "".into(),
        matches: Vec::new(),
        filters: Vec::new(),
        backends: vec![model::Backend { to: BackendRef::Service(service), weight: 1, filters: Vec::new() }],
        request_timeout: None,
        attempt_timeout,
        retry,
        session: None,
    };
    let routes = RouteSet { kind: RouteKind::Http, rules: vec![rule] };
    let table = RouteTable::compile(&routes, |_| to.clone()).unwrap();
    To::Backend(to.clone(), Some(table.rules()[0].clone()))
}

fn retries(attempts: u32, codes: &[u16]) -> Option<model::Retry> {
    let codes = codes.iter().map(|code| StatusCode::from_u16(*code).unwrap()).collect();
    Some(model::Retry { codes, attempts, backoff: Duration::from_millis(100) })
}

/// How it ended, and the attempts.
type Ended = (Result<u16, (ErrorCode, Option<ErrorCode>)>, Vec<Seen>);

async fn send(method: Method, body: &'static str, to: To, does: &[Does]) -> Ended {
    let script = Script::new(does);
    let flow = Arc::new(Flow::new(Direction::Outbound, false, None));
    let request = Request::builder().method(method).uri("/").body(Body::full(body)).unwrap();
    let call = Call { request, to, flow, fault: None, onward: None };
    let result = RetryLayer.layer(script.clone()).call(call).await;
    let result = result.map(|response| response.status().as_u16()).map_err(|error| (error.code, error.answered_as));
    let seen = script.seen.lock().clone();
    (result, seen)
}

const REFUSED: Does = Fails(ErrorCode::ConnectionRefused, Fate::NotProcessed);
const UNREACHABLE: Does = Fails(ErrorCode::ConnectionTimeout, Fate::NotProcessed);
const BROKE: Does = Fails(ErrorCode::ConnectionTerminated, Fate::MayHaveBeenProcessed);
const PROVED: Does = EndsIdle(Fate::NotProcessed);
const UNKNOWN: Does = EndsIdle(Fate::Unknown);

#[tokio::test(start_paused = true)]
async fn without_a_policy_only_what_was_not_processed_is_repeated() {
    let exhausted = |last| Err((ErrorCode::RetriesExhausted, Some(last)));
    let terminated = ErrorCode::ConnectionTerminated;
    for (method, does, result, attempts) in [
        (Method::POST, &[Answers(200)][..], Ok(200), 1),
        (Method::GET, &[Answers(503), Answers(200)], Ok(503), 1),
        (Method::POST, &[UNREACHABLE, Answers(200)], Ok(200), 2),
        (Method::POST, &[UNREACHABLE], exhausted(ErrorCode::ConnectionTimeout), 3),
        (Method::POST, &[PROVED, Answers(200)], Ok(200), 2),
        (Method::POST, &[PROVED, PROVED, Answers(200)], Ok(200), 3),
        (Method::POST, &[UNKNOWN, Answers(200)], Err((terminated, None)), 1),
        (Method::GET, &[UNKNOWN, Answers(200)], Ok(200), 2),
        (Method::PUT, &[UNKNOWN, UNKNOWN, Answers(200)], Ok(200), 3),
        (Method::GET, &[BROKE, Answers(200)], Err((terminated, None)), 1),
        (Method::POST, &[PROVED, UNKNOWN, Answers(200)], exhausted(terminated), 2),
        (Method::GET, &[Fails(ErrorCode::CircuitOpen, Fate::NotProcessed)], Err((ErrorCode::CircuitOpen, None)), 1),
        (
            Method::GET,
            &[Fails(ErrorCode::ConnectionRefused, Fate::Withheld)],
            Err((ErrorCode::ConnectionRefused, None)),
            1,
        ),
    ] {
        let (ended, seen) = send(method.clone(), "body", To::Backend(backend(), None), does).await;
        assert_eq!((ended, seen.len()), (result, attempts), "{method}: {does:?}");
        assert!(seen.iter().all(|attempt| attempt.body == "body"), "{method}: {does:?}: the whole body each time");
    }
}

#[tokio::test(start_paused = true)]
async fn while_endpoints_are_left_that_have_not_refused_others_are_asked_at_once() {
    let (ended, seen) = send(Method::POST, "", To::Backend(backend(), None), &[REFUSED]).await;
    assert_eq!(ended, Err((ErrorCode::RetriesExhausted, Some(ErrorCode::ConnectionRefused))));
    assert_eq!(seen.len(), 1 + REFUSED_ATTEMPTS as usize);
    assert_eq!(seen.last().unwrap().at, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn what_follows_an_idle_connections_end_is_told_so_and_what_follows_another_failure_is_not() {
    for (does, expected) in [
        (&[PROVED, Answers(200)][..], vec![None, Some(true)]),
        (&[UNREACHABLE, Answers(200)], vec![None, Some(false)]),
        (&[PROVED, UNREACHABLE, Answers(200)], vec![None, Some(true), Some(false)]),
    ] {
        let (_, seen) = send(Method::GET, "", To::Backend(backend(), None), does).await;
        assert_eq!(seen.iter().map(|attempt| attempt.after_idle).collect::<Vec<_>>(), expected, "{does:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_own_app_is_asked_again_only_after_an_idle_connections_end() {
    let app = || To::App(Arc::new(Endpoint::local(([127, 0, 0, 1], 8080).into(), 1)));
    for (does, result, attempts) in [
        (&[PROVED, Answers(200)][..], Ok(200), 2),
        (&[REFUSED, Answers(200)], Err((ErrorCode::ConnectionRefused, None)), 1),
        (&[UNREACHABLE, Answers(200)], Err((ErrorCode::ConnectionTimeout, None)), 1),
    ] {
        let (ended, seen) = send(Method::POST, "", app(), does).await;
        assert_eq!((ended, seen.len()), (result, attempts), "{does:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_routes_statuses_are_repeated_as_often_as_it_says_with_a_wait_that_doubles() {
    let to = backend();
    let (ended, seen) = send(Method::POST, "", rule(None, retries(3, &[503]), &to), &[Answers(503)]).await;
    assert_eq!((ended, seen.len()), (Ok(503), 4));
    let waits: Vec<_> = seen.windows(2).map(|two| two[1].at - two[0].at).collect();
    for (wait, least) in waits.iter().zip([100, 200, 250].map(Duration::from_millis)) {
        // Spread, so that callers do not come back together; never less than the route says.
        let spread =
            least.mul_f64(0.75).max(Duration::from_millis(100))..=least.mul_f64(1.25) + Duration::from_millis(1);
        assert!(spread.contains(wait), "{waits:?}");
    }

    for (codes, does, result, attempts) in [
        (&[503][..], &[Answers(500), Answers(200)][..], Ok(500), 1),
        (&[500, 503], &[Answers(500), Answers(503), Answers(200)], Ok(200), 3),
        // The author's word holds for what could not be reached as well.
        (&[503], &[UNREACHABLE, UNREACHABLE, UNREACHABLE, Answers(200)], Ok(200), 4),
    ] {
        let (ended, seen) = send(Method::POST, "", rule(None, retries(3, codes), &to), does).await;
        assert_eq!((ended, seen.len()), (result, attempts), "{codes:?}: {does:?}");
    }
    let (ended, seen) = send(Method::POST, "", rule(None, retries(0, &[503]), &to), &[UNREACHABLE]).await;
    assert_eq!((ended, seen.len()), (Err((ErrorCode::ConnectionTimeout, None)), 1), "0 is not even one");
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_hangs_ends_at_its_time_and_is_repeated_where_the_route_repeats_504() {
    let limit = Some(Duration::from_millis(300));
    let to = backend();
    let (ended, seen) = send(Method::POST, "", rule(limit, retries(1, &[503]), &to), &[Hangs, Answers(200)]).await;
    assert_eq!((ended, seen.len()), (Err((ErrorCode::ResponseTimeout, None)), 1));

    let (ended, seen) = send(Method::POST, "", rule(limit, retries(1, &[504]), &to), &[Hangs, Answers(200)]).await;
    assert_eq!((ended, seen.len()), (Ok(200), 2));
    assert!(seen[1].at >= Duration::from_millis(400), "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn a_budget_bounds_all_repetitions_and_one_that_somebody_has_set_is_told_of() {
    let to = backend();
    let budget = RetryBudget { percent: 0, interval: Duration::from_secs(10), min_retries: 2 };
    let own = outrigger_proto::WorkloadName { namespace: "shop".into(), name: "cart-1".into() };
    let set = |retry_budget| {
        to.set_policy(Some(TrafficPolicy { name: "shop/web".into(), retry_budget, ..TrafficPolicy::default() }), &own);
    };
    set(Some(budget));
    let asked = |does: &'static [Does]| send(Method::POST, "", rule(None, retries(5, &[503]), &to), does);
    let (ended, seen) = asked(&[Answers(503)]).await;
    assert_eq!((ended, seen.len()), (Err((ErrorCode::RetriesExhausted, Some(ErrorCode::DestinationUnavailable))), 3));
    let (ended, seen) = asked(&[Answers(200)]).await;
    assert_eq!((ended, seen.len()), (Ok(200), 1), "who needs none is not touched");

    tokio::time::advance(Duration::from_secs(20)).await;
    let (_, seen) = asked(&[Answers(503)]).await;
    assert_eq!(seen.len(), 3, "it is earned anew");
}

#[tokio::test(start_paused = true)]
async fn a_request_whose_client_leaves_leaves_no_attempt_behind() {
    let script = Script::new(&[Hangs]);
    let flow = Arc::new(Flow::new(Direction::Outbound, false, None));
    let request = Request::builder().uri("/").body(Body::empty()).unwrap();
    let call = Call { request, to: To::Backend(backend(), None), flow: flow.clone(), fault: None, onward: None };
    let waiting = RetryLayer.layer(script.clone()).call(call);

    assert!(tokio::time::timeout(Duration::from_secs(5), waiting).await.is_err());

    assert_eq!((script.seen.lock().len(), flow.attempts()), (1, 1));
    assert_eq!(Arc::strong_count(&flow), 1, "nothing holds the request any more");
}
