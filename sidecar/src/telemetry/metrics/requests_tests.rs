use std::num::NonZeroU16;

use outrigger_daemon::Metrics;
use outrigger_proto::model::{RouteId, RouteKind};
use outrigger_proto::{ErrorCode, ServicePort};

use super::*;

fn registered(cap: usize) -> (Arc<RequestMetrics>, Metrics) {
    let requests = Arc::new(RequestMetrics::new(cap));
    let metrics = Metrics::new();
    metrics.register(|registry| registry.register_collector(Box::new(requests.clone())));
    (requests, metrics)
}

/// Lines of counts, without the help.
fn counts(metrics: &Metrics) -> Vec<String> {
    let text = metrics.encode();
    let mut lines: Vec<String> = text.lines().filter(|line| line.contains("_count{")).map(str::to_owned).collect();
    lines.sort();
    lines
}

fn inbound(name: &str) -> Labels<'_> {
    let peer = PeerLabel::Account { namespace: "shop", name };
    Labels { kind: Kind::Server, grpc: false, route: None, peer, mutual: true }
}

fn observed(method: &Method, status: u16) -> Observed<'_> {
    let status = StatusCode::from_u16(status).ok();
    let error = ErrorType::of(Kind::Server, None, status, None);
    Observed { method, status, grpc_status: None, error, duration: Duration::from_millis(3) }
}

#[tokio::test]
async fn counts_requests_under_the_names_of_the_conventions() {
    let (requests, metrics) = registered(100);
    let service = ServicePort { namespace: "shop".into(), name: "web".into(), port: NonZeroU16::new(80).unwrap() };
    let route = RouteId { kind: RouteKind::Http, namespace: "shop".into(), name: "web".into() };
    let outbound = |rule: &'static str, grpc| Labels {
        kind: Kind::Client,
        grpc,
        route: Some((&route, 1, rule)),
        peer: PeerLabel::Service(&service),
        mutual: true,
    };
    let purge = Method::from_bytes(b"PURGE").unwrap();
    let refused = Some(ErrorType::Mesh(ErrorCode::ConnectionRefused));

    requests.record(&requests.scope(&inbound("cart")), &observed(&Method::GET, 200));
    requests.record(&requests.scope(&inbound("cart")), &observed(&Method::GET, 200));
    requests.record(&requests.scope(&inbound("cart")), &observed(&purge, 503));
    let failed = Observed { error: refused, status: StatusCode::from_u16(502).ok(), ..observed(&Method::GET, 200) };
    requests.record(&requests.scope(&outbound("", false)), &failed);
    requests.record(&requests.scope(&outbound("canary", false)), &Observed { status: None, ..failed });
    let grpc = Observed { grpc_status: Some(GrpcStatus(77)), error: None, ..observed(&Method::POST, 200) };
    requests.record(&requests.scope(&outbound("", true)), &grpc);

    let peer = r#"route="",peer_namespace="shop",peer_service_account="cart",tls="mutual",url_scheme="http""#;
    let backend =
        r#"peer_namespace="shop",peer_service="web:80",tls="mutual",server_address="web.shop",server_port="80""#;
    assert_eq!(
        counts(&metrics),
        [
            format!(
                r#"http_client_request_duration_seconds_count{{http_request_method="GET",http_response_status_code="",error_type="connection_refused",route="HTTPRoute/shop/web/canary",{backend}}} 1"#
            ),
            format!(
                r#"http_client_request_duration_seconds_count{{http_request_method="GET",http_response_status_code="502",error_type="connection_refused",route="HTTPRoute/shop/web/1",{backend}}} 1"#
            ),
            format!(
                r#"http_server_request_duration_seconds_count{{http_request_method="GET",http_response_status_code="200",error_type="",{peer}}} 2"#
            ),
            format!(
                r#"http_server_request_duration_seconds_count{{http_request_method="_OTHER",http_response_status_code="503",error_type="503",{peer}}} 1"#
            ),
            format!(
                r#"rpc_client_call_duration_seconds_count{{rpc_system_name="grpc",rpc_status_code="UNKNOWN",error_type="",route="HTTPRoute/shop/web/1",{backend}}} 1"#
            ),
        ]
    );
    let text = metrics.encode();
    assert!(text.contains("http_server_request_duration_seconds_sum"), "{text}");
    let bucket = r#"url_scheme="http"} 2"#;
    let le = text.lines().find(|line| line.contains(r#"le="0.005""#) && line.ends_with(bucket));
    assert!(le.is_some(), "{text}");
}

#[tokio::test]
async fn beyond_the_limit_a_series_overflows_and_is_counted() {
    let (requests, metrics) = registered(3);
    for name in ["a", "b", "c", "d", "e"] {
        requests.record(&requests.scope(&inbound(name)), &observed(&Method::GET, 200));
    }
    requests.record(&requests.scope(&inbound("a")), &observed(&Method::GET, 200));
    // Within a scope that is shown, too, an app's odd statuses find an end.
    for status in 600..650 {
        requests.record(&requests.scope(&inbound("a")), &observed(&Method::GET, status));
    }

    let lines = counts(&metrics);
    assert_eq!(lines.len(), 4, "{lines:#?}");
    assert_eq!(lines[3], r#"http_server_request_duration_seconds_count{overflow="true"} 52"#);
    assert!(lines[0].ends_with(" 2"), "{lines:#?}");
    assert!(metrics.encode().contains("outrigger_metrics_overflowed_total 52"));
}

#[tokio::test(start_paused = true)]
async fn an_idle_series_goes_and_makes_room() {
    let (requests, metrics) = registered(2);
    let held = requests.scope(&inbound("held"));
    requests.record(&held, &observed(&Method::GET, 200));
    requests.record(&requests.scope(&inbound("gone")), &observed(&Method::GET, 200));
    assert_eq!(counts(&metrics).len(), 2);

    tokio::time::advance(Duration::from_secs(599)).await;
    requests.record(&requests.scope(&inbound("held")), &observed(&Method::GET, 404));
    assert_eq!(counts(&metrics).len(), 3, "two series and the overflow");
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(counts(&metrics).len(), 1);

    requests.record(&held, &observed(&Method::GET, 200));
    requests.record(&requests.scope(&inbound("new")), &observed(&Method::GET, 200));
    assert_eq!(counts(&metrics).len(), 3, "a scope that was held counts where it is seen");
}

#[tokio::test]
async fn workers_that_count_at_once_lose_nothing() {
    let (requests, metrics) = registered(100);
    let count = |requests: Arc<RequestMetrics>| {
        for status in (0..1000).map(|n| 200 + n % 4) {
            requests.record(&requests.scope(&inbound("cart")), &observed(&Method::GET, status));
        }
    };
    let threads: Vec<_> = (0..4).map(|_| requests.clone()).map(|r| std::thread::spawn(move || count(r))).collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());

    let lines = counts(&metrics);
    assert_eq!(lines.len(), 4);
    assert!(lines.iter().all(|line| line.ends_with(" 1000")), "{lines:#?}");
}

/// Prints nanoseconds per request: `cargo test --release -- --ignored --nocapture measures_record`.
#[tokio::test]
#[ignore = "a measurement, not a test"]
async fn measures_record() {
    let (requests, _metrics) = registered(2000);
    let labels = inbound("cart");
    let scope = requests.scope(&labels);
    for held in [true, false] {
        let start = std::time::Instant::now();
        for _ in 0..1_000_000 {
            let observed = std::hint::black_box(observed(&Method::GET, 200));
            if held {
                requests.record(&scope, &observed);
            } else {
                requests.record(&requests.scope(std::hint::black_box(&labels)), &observed);
            }
        }
        eprintln!("scope held: {held}: {} ns", start.elapsed().as_nanos() / 1_000_000);
    }
}
