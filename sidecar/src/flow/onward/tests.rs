use std::sync::atomic::{AtomicBool, Ordering};

use http::{Request, StatusCode};
use outrigger_identity::{Identity, Peer};
use proptest::prelude::*;
use tower::{Layer as _, Service as _, service_fn};

use super::*;
use crate::admission::tests::place;
use crate::body::Body;
use crate::caller::Caller;
use crate::headers::Asserted;
use crate::http::{Call, ResponseBody, TimeoutLayer, To};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn identity() -> Identity {
    "spiffe://mesh.local/ns/shop/sa/web".parse().unwrap()
}

fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
    let line = |(name, value): &(&'static str, &str)| (HeaderName::from_static(name), value.parse().unwrap());
    lines.iter().map(line).collect()
}

/// A request as hygiene leaves it.
struct Came {
    flow: Arc<Flow>,
    onward: Option<Box<Onward>>,
    headers: HeaderMap,
}

fn came(direction: Direction, caller: Option<Arc<Caller>>, mut headers: HeaderMap) -> Came {
    let flow = Arc::new(Flow::new(direction, headers.contains_key("grpc-timeout"), caller));
    let mut told = Told::default();
    Asserted::Own.remove(&mut headers, |name, value| told.hear(name, value));
    let onward = Onward::of(&flow, told, &mut headers);
    Came { flow, onward, headers }
}

fn inbound(is_meshed: bool, headers: HeaderMap) -> Came {
    let peer = is_meshed.then(|| Peer { identity: identity(), workload: None });
    let caller = Caller::new(peer, ([10, 0, 0, 9], 40_000).into(), place());
    came(Direction::Inbound, Some(Arc::new(caller)), headers)
}

fn outbound(headers: HeaderMap) -> Came {
    came(Direction::Outbound, None, headers)
}

fn sidecar() -> Endpoint {
    let mut endpoint = Endpoint::local(([10, 0, 0, 1], 8080).into(), 1);
    endpoint.identity = Some(identity());
    endpoint
}

impl Came {
    /// What the receiver of the next attempt is told.
    fn told(&mut self, to: &Endpoint) -> Vec<String> {
        if let Some(onward) = self.onward.take() {
            self.flow.goes_on(onward);
        }
        tell(&self.flow, to, &mut self.headers);
        let own = |(name, value): (&HeaderName, &HeaderValue)| {
            name.as_str().starts_with("outrigger-").then(|| format!("{name}: {}", value.to_str().unwrap()))
        };
        let mut told: Vec<_> = self.headers.iter().filter_map(own).collect();
        told.sort_unstable();
        told
    }
}

#[test]
fn reads_what_sidecars_write_and_nothing_else() {
    let millis = |millis, is_lent| Some((Duration::from_millis(millis), is_lent));
    for (name, value, left, attempt) in [
        ("outrigger-timeout", "350", millis(350, false), None),
        ("outrigger-timeout", "350;lent", millis(350, true), None),
        ("outrigger-timeout", "0", millis(0, false), None),
        ("outrigger-timeout", "99999999", millis(99_999_999, false), None),
        ("outrigger-timeout", "100000000", None, None),
        ("outrigger-timeout", "-1", None, None),
        ("outrigger-timeout", "1 ", None, None),
        ("outrigger-timeout", ";lent", None, None),
        ("outrigger-timeout", "1;lend", None, None),
        ("outrigger_timeout", "350", None, None),
        ("outrigger-attempt", "2", None, Some(2)),
        ("outrigger-attempt", "1", None, None),
        ("outrigger-attempt", "x", None, None),
    ] {
        let mut told = Told::default();
        told.hear(&HeaderName::from_static(name), &HeaderValue::from_bytes(value.as_bytes()).unwrap());
        assert_eq!(told, Told { left, attempt }, "{name}: {value}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_heard(value: Vec<u8>) {
        if let Ok(value) = HeaderValue::from_bytes(&value) {
            [TIMEOUT, ATTEMPT].iter().for_each(|name| Told::default().hear(name, &value));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn time_and_attempt_go_through_an_app_that_passes_its_trace_on() {
    let to_app = inbound(
        true,
        headers(&[
            ("traceparent", PARENT),
            ("tracestate", "a=1"),
            ("outrigger-timeout", "350"),
            ("outrigger-attempt", "2"),
        ]),
    );
    assert!(to_app.headers.keys().all(|name| !name.as_str().starts_with("outrigger-")), "{:?}", to_app.headers);
    let list = to_app.headers["tracestate"].to_str().unwrap();
    assert!(list.starts_with("outrigger=") && list.ends_with(",a=1"), "{list}");

    tokio::time::advance(Duration::from_millis(50)).await;
    let mut next = outbound(to_app.headers.clone());

    assert_eq!(next.headers["tracestate"], "a=1", "it is between a sidecar and its own app");
    assert!(next.onward.as_ref().unwrap().is_repetition());
    assert_eq!(next.told(&sidecar()), ["outrigger-attempt: 2", "outrigger-timeout: 300;lent"]);
    assert_eq!(next.told(&Endpoint::local(([10, 0, 0, 2], 80).into(), 1)), Vec::<String>::new(), "no sidecar reads it");
}

#[tokio::test(start_paused = true)]
async fn there_is_nothing_to_say_of_most_requests() {
    for (lines, is_meshed) in [
        (&[("traceparent", PARENT)][..], true),
        (&[("traceparent", PARENT), ("tracestate", "a=1")], true),
        (&[("traceparent", PARENT), ("outrigger-timeout", "soon"), ("outrigger-attempt", "1")], true),
        (&[("traceparent", PARENT), ("outrigger-timeout", "350"), ("outrigger-attempt", "2")], false),
    ] {
        let came = inbound(is_meshed, headers(lines));
        assert!(came.onward.is_none(), "{lines:?}");
        let kept = lines.iter().filter(|(name, _)| !name.starts_with("outrigger-"));
        assert_eq!(came.headers, headers(&kept.copied().collect::<Vec<_>>()), "{lines:?}");
    }
    for lines in [&[][..], &[("tracestate", "outrigger=0000000000000000,a=1")], &[("traceparent", PARENT)]] {
        let mut came = outbound(headers(lines));
        assert!(came.onward.is_none(), "{lines:?}");
        assert_eq!(came.told(&sidecar()), Vec::<String>::new(), "{lines:?}");
    }
    let without_trace = inbound(true, headers(&[("outrigger-timeout", "350")]));
    assert!(without_trace.onward.is_some() && without_trace.headers.is_empty(), "its own time counts all the same");
}

#[tokio::test(start_paused = true)]
async fn the_smallest_of_all_times_goes_on() {
    let to_app = inbound(true, headers(&[("traceparent", PARENT), ("outrigger-timeout", "350")]));
    let state = to_app.headers["tracestate"].to_str().unwrap();
    for (grpc, rule, told) in [
        ("1S", None, "outrigger-timeout: 350;lent"),
        ("200m", None, "outrigger-timeout: 200"),
        ("200m", Some(100), "outrigger-timeout: 100"),
        ("200m", Some(300), "outrigger-timeout: 200"),
        ("350m", None, "outrigger-timeout: 350"),
    ] {
        let mut next = outbound(headers(&[("traceparent", PARENT), ("tracestate", state), ("grpc-timeout", grpc)]));
        if let Some(rule) = rule {
            let (limit, onward) = (Duration::from_millis(rule), next.onward.as_mut().unwrap());
            onward.limit(next.flow.start, limit, Why::Caller(limit));
        }
        assert_eq!(next.told(&sidecar()), [told], "{grpc} {rule:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_app_sees_a_grpc_timeout_that_has_shrunk() {
    let mut sent = outbound(headers(&[("grpc-timeout", "200m")]));
    tokio::time::advance(Duration::from_millis(80)).await;
    assert_eq!(sent.told(&sidecar()), ["outrigger-timeout: 120"]);
    assert_eq!(sent.headers["grpc-timeout"], "120000u");

    let mut at_app = inbound(true, sent.headers.clone());
    assert_eq!(at_app.told(&Endpoint::local(([10, 0, 0, 1], 8080).into(), 1)), Vec::<String>::new());
    assert_eq!(at_app.headers["grpc-timeout"], "120000u");
}

#[tokio::test(start_paused = true)]
async fn a_repetition_says_which_attempt_it_is() {
    let mut sent = outbound(HeaderMap::new());
    assert_eq!(sent.told(&sidecar()), Vec::<String>::new());
    sent.flow.repeat();
    assert_eq!(sent.told(&sidecar()), ["outrigger-attempt: 2"]);
    sent.flow.repeat();
    assert_eq!(sent.told(&sidecar()), ["outrigger-attempt: 3"]);
}

/// Sends a request through the layer that limits its time, to something that takes so long; says how it ended and whether it was dropped.
async fn served(came: Came, takes: Duration) -> Result<StatusCode, String> {
    let app = service_fn(move |call: Call| async move {
        if let Some(error) = call.flow.onward().and_then(Onward::refusal) {
            return Err(error);
        }
        tokio::time::sleep(takes).await;
        Ok(Response::new(ResponseBody::empty()))
    });
    let to = To::App(Arc::new(Endpoint::local(([10, 0, 0, 1], 8080).into(), 1)));
    let Came { flow, onward, headers } = came;
    let mut request = Request::new(Body::empty());
    *request.headers_mut() = headers;
    let call = Call { request, to, flow, fault: None, onward };
    let ended = TimeoutLayer.layer(app).call(call).await;
    ended.map(|response| response.status()).map_err(|error| format!("{}: {}", error.code.code(), error.detail))
}

const LONG: Duration = Duration::from_secs(3600);

#[tokio::test(start_paused = true)]
async fn a_request_to_the_app_ends_a_little_after_its_caller_does() {
    let start = Instant::now();
    let ended = served(inbound(true, headers(&[("outrigger-timeout", "350")])), LONG).await;
    assert_eq!(ended, Err("E008: no response within the 350 ms that the caller had left".to_owned()));
    assert_eq!(start.elapsed(), Duration::from_millis(350) + SLACK);

    let refused = served(inbound(true, headers(&[("outrigger-timeout", "0")])), Duration::ZERO).await;
    let why = "E008: less than 1 ms is left of the 0 ms that the caller had left: the request was not sent";
    assert_eq!(refused, Err(why.to_owned()));

    let lent = served(inbound(true, headers(&[("outrigger-timeout", "350;lent")])), LONG).await;
    assert_eq!(lent, Ok(StatusCode::OK), "who lent the time may have an answer: his own sidecar knows");
}

#[tokio::test(start_paused = true)]
async fn what_is_made_for_a_request_ends_with_it() {
    let to_app = || inbound(true, headers(&[("traceparent", PARENT), ("outrigger-timeout", "350")]));
    let over = Err("E008: the time of the request that this one is made for is up, and it has no answer".to_owned());
    let first = to_app();
    let (early, late) = (first.headers.clone(), first.headers.clone());

    let (_, ended) = tokio::join!(served(first, LONG), async {
        let ended = served(outbound(early), LONG).await;
        assert_eq!(served(outbound(late), Duration::ZERO).await, ended, "nor does another one begin");
        ended
    });
    assert_eq!(ended, over);

    // The app answers, and goes on with what it has begun and with more.
    let second = to_app();
    let (early, late) = (second.headers.clone(), second.headers.clone());
    let (answered, ended) = tokio::join!(served(second, Duration::from_millis(10)), served(outbound(early), LONG));
    assert_eq!((answered, ended), (Ok(StatusCode::OK), Ok(StatusCode::OK)));
    assert_eq!(served(outbound(late), Duration::ZERO).await, Ok(StatusCode::OK));
}

#[tokio::test(start_paused = true)]
async fn lent_time_is_up_when_the_caller_has_gone_as_well() {
    let to_app = || inbound(true, headers(&[("traceparent", PARENT), ("outrigger-timeout", "350;lent")]));
    let (stays, goes) = (to_app(), to_app());
    let (for_stays, for_goes) = (stays.headers.clone(), goes.headers.clone());
    let left = Arc::new(AtomicBool::new(false));

    let (_, stayed, (), gone) = tokio::join!(
        served(stays, LONG),
        served(outbound(for_stays), Duration::from_secs(60)),
        async {
            let waited = tokio::time::timeout(Duration::from_millis(351), served(goes, LONG)).await;
            left.store(waited.is_err(), Ordering::Relaxed);
        },
        served(outbound(for_goes), Duration::from_secs(60)),
    );

    assert!(left.load(Ordering::Relaxed));
    assert_eq!(stayed, Ok(StatusCode::OK));
    assert!(gone.is_err_and(|why| why.starts_with("E008: the time of the request")));
}

#[tokio::test(start_paused = true)]
async fn a_repetition_that_cannot_begin_in_time_is_not_waited_for() {
    let sent = outbound(headers(&[("grpc-timeout", "100m")]));
    let onward = sent.onward.unwrap();
    for (pause, has_time) in [(0, true), (99, true), (100, false), (5_000, false)] {
        assert_eq!(onward.has_time_for(Duration::from_millis(pause)), has_time, "{pause}");
    }
    tokio::time::advance(Duration::from_micros(99_500)).await;
    assert!(onward.refusal().unwrap().detail.contains("the 100 ms that the client set by grpc-timeout"));
}

#[tokio::test(start_paused = true)]
async fn an_app_that_fails_for_what_was_repeated_is_marked_for_its_caller() {
    let parent = |trace: u8| format!("00-4bf92f3577b34da6a3ce929d0e0e47{trace:02x}-00f067aa0ba902b7-01");
    let marked = |is_meshed, trace, status: u16| {
        let parent = parent(trace);
        let came = inbound(is_meshed, headers(&[("traceparent", &parent)]));
        let mut response = Response::builder().status(status).body(()).unwrap();
        mark(&came.flow, &came.headers, &mut response);
        tell_marked(&mut response);
        is_marked(&response, Some(&sidecar()))
    };
    gave_up(&headers(&[("traceparent", &parent(1))]));
    gave_up(&headers(&[("x-no-trace", "1")]));

    assert!(marked(true, 1, 503));
    assert!(!marked(true, 1, 200) && !marked(true, 1, 404), "it did not fail");
    assert!(!marked(false, 1, 503), "nobody outside of the mesh is told");
    assert!(!marked(true, 2, 503), "another trace");
    tokio::time::advance(Duration::from_secs(10)).await;
    assert!(!marked(true, 1, 503), "long ago");
    let mut claimed = Response::new(());
    claimed.headers_mut().insert(RETRIED, HeaderValue::from_static("1"));
    assert!(!is_marked(&claimed, Some(&Endpoint::local(([10, 0, 0, 1], 80).into(), 1))), "an app's own word");
}
