use std::time::Duration;

use super::*;
use crate::trace_context::{Incoming, Sampler};

fn span<'a>(kind: Kind, method: &'a Method, path: &'a str) -> HttpSpan<'a> {
    HttpSpan {
        kind,
        start: UNIX_EPOCH + Duration::from_secs(1),
        end: UNIX_EPOCH + Duration::from_millis(1500),
        method,
        path,
        pattern: "",
        grpc: false,
        version: Version::HTTP_11,
        status: Some(StatusCode::OK),
        grpc_status: None,
        error: None,
        user_agent: None,
        authority: None,
        endpoint: None,
        peer: None,
        peer_identity: None,
        resend_count: 0,
        fault_delay: None,
        route: None,
        backend: None,
    }
}

fn context() -> TraceContext {
    Sampler::new(1.0).begin(&Incoming::default(), true)
}

/// `key=value` of all attributes; integers without quotes.
fn attributes(span: &Span) -> Vec<String> {
    let show = |attribute: &KeyValue| match attribute.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => format!("{}={text:?}", attribute.key),
        Some(Value::IntValue(int)) => format!("{}={int}", attribute.key),
        other => format!("{}={other:?}", attribute.key),
    };
    span.attributes.iter().map(show).collect()
}

#[test]
fn names_are_of_low_cardinality() {
    let purge = Method::from_bytes(b"PURGE").unwrap();
    for (method, path, pattern, grpc, want) in [
        (&Method::GET, "/items/7", "/items", false, "GET /items"),
        (&Method::GET, "/items/7", "", false, "GET"),
        (&purge, "/items/7", "", false, "HTTP"),
        (&purge, "/items/7", "/items", false, "HTTP /items"),
        (&Method::POST, "/shop.Cart/Get", "", true, "shop.Cart/Get"),
        (&Method::POST, "/odd", "", true, "grpc"),
        (&Method::POST, "//", "", true, "grpc"),
    ] {
        let span = HttpSpan { pattern, grpc, ..span(Kind::Client, method, path) };
        assert_eq!(span.encode(&context()).name, want, "{method} {path}");
    }
}

#[test]
fn a_clients_span_says_all_that_is_known() {
    let span = HttpSpan {
        pattern: "/items",
        authority: Some("web"),
        endpoint: Some(([10, 0, 0, 7], 8080).into()),
        peer: Some(([10, 0, 0, 7], 8080).into()),
        peer_identity: Some("spiffe://mesh.local/ns/shop/sa/web"),
        resend_count: 2,
        route: Some(&"HTTPRoute/shop/web/1"),
        backend: Some(&"shop/web:80"),
        ..span(Kind::Client, &Method::GET, "/items/7")
    };
    let context = context();
    let encoded = span.encode(&context);

    assert_eq!(
        attributes(&encoded),
        [
            r#"http.request.method="GET""#,
            r#"url.full="http://web/items/7""#,
            r#"url.template="/items""#,
            "http.response.status_code=200",
            r#"server.address="web""#,
            "server.port=8080",
            r#"network.peer.address="10.0.0.7""#,
            "network.peer.port=8080",
            r#"network.protocol.version="1.1""#,
            "http.request.resend_count=2",
            r#"outrigger.route="HTTPRoute/shop/web/1""#,
            r#"outrigger.backend="shop/web:80""#,
            r#"outrigger.peer.identity="spiffe://mesh.local/ns/shop/sa/web""#,
        ]
    );
    assert_eq!(encoded.kind, i32::from(SpanKind::Client));
    assert_eq!((encoded.start_time_unix_nano, encoded.end_time_unix_nano), (1_000_000_000, 1_500_000_000));
    assert_eq!(encoded.trace_id, context.trace_id.to_bytes());
    assert_eq!(encoded.span_id, context.span_id.to_bytes());
    assert!(encoded.parent_span_id.is_empty());
    assert_eq!(encoded.status, None);
}

#[test]
fn the_server_is_named_as_the_client_named_it() {
    let endpoint = Some(([10, 0, 0, 7], 8080).into());
    for (authority, endpoint, want) in [
        (Some("web:80"), endpoint, &[r#"server.address="web""#, "server.port=80"][..]),
        (Some("[::1]"), endpoint, &[r#"server.address="::1""#, "server.port=8080"]),
        (Some("a b"), endpoint, &[r#"server.address="10.0.0.7""#, "server.port=8080"]),
        (Some("web"), None, &[r#"server.address="web""#]),
        (None, None, &[]),
    ] {
        let span = HttpSpan { authority, endpoint, ..span(Kind::Client, &Method::GET, "/") }.encode(&context());
        let all = attributes(&span);
        let server: Vec<_> = all.iter().filter(|attribute| attribute.starts_with("server.")).collect();
        assert_eq!(server, want, "{authority:?}");
    }
}

#[test]
fn a_servers_span_says_who_asked_and_for_what() {
    let span = HttpSpan {
        pattern: "/items",
        version: Version::HTTP_10,
        user_agent: Some("curl/8"),
        authority: Some("web:80"),
        peer: Some(([10, 0, 0, 9], 40_000).into()),
        ..span(Kind::Server, &Method::GET, "/items/7")
    };
    let encoded = span.encode(&context());
    assert_eq!(encoded.name, "GET /items");
    assert_eq!(
        attributes(&encoded),
        [
            r#"http.request.method="GET""#,
            r#"url.path="/items/7""#,
            r#"url.scheme="http""#,
            r#"http.route="/items""#,
            "http.response.status_code=200",
            r#"server.address="web""#,
            "server.port=80",
            r#"network.peer.address="10.0.0.9""#,
            "network.peer.port=40000",
            r#"network.protocol.version="1.0""#,
            r#"client.address="10.0.0.9""#,
            r#"user_agent.original="curl/8""#,
        ]
    );
}

#[test]
fn a_full_url_has_no_query_and_no_user() {
    let endpoint = Some(([10, 0, 0, 7], 8080).into());
    for (authority, endpoint, want) in [
        (Some("web:80"), endpoint, Some("http://web:80/a")),
        (Some("user:secret@web"), endpoint, Some("http://web/a")),
        (Some("[::1]:81"), None, Some("http://[::1]:81/a")),
        (Some("a b"), endpoint, Some("http://10.0.0.7:8080/a")),
        (None, None, None),
    ] {
        let span = HttpSpan { authority, endpoint, ..span(Kind::Client, &Method::GET, "/a") };
        assert_eq!(span.full_url().as_deref(), want, "{authority:?}");
    }
}

#[test]
fn a_parent_is_of_another_process() {
    let own = context();
    assert_eq!(span(Kind::Client, &Method::GET, "/").encode(&own).flags, 0x101);
    let mut child = own;
    child.parent = Some(own.span_id);
    assert_eq!(span(Kind::Client, &Method::GET, "/").encode(&child).flags, 0x301);
}

#[test]
fn methods_that_nothing_knows_name_no_span() {
    for (status, error) in
        [(Some(GrpcStatus::UNIMPLEMENTED), None), (None, Some((ErrorCode::DestinationNotFound, "no rule matches")))]
    {
        let invented = HttpSpan {
            grpc: true,
            grpc_status: status,
            error,
            ..span(Kind::Client, &Method::POST, "/shop.Cart/Invented7")
        };
        let encoded = invented.encode(&context());
        assert_eq!(encoded.name, "grpc");
        let all = attributes(&encoded);
        assert!(all.contains(&r#"rpc.method="_OTHER""#.to_owned()), "{all:?}");
        assert!(all.contains(&r#"rpc.method_original="shop.Cart/Invented7""#.to_owned()), "{all:?}");
        assert!(all.contains(&r#"rpc.status_code="UNIMPLEMENTED""#.to_owned()), "{all:?}");
    }
}

#[test]
fn a_client_that_gives_up_is_no_error() {
    for grpc in [false, true] {
        let left = HttpSpan {
            grpc,
            status: None,
            error: Some((ErrorCode::ClientClosed, "the client left")),
            ..span(Kind::Server, &Method::POST, "/shop.Cart/Get")
        };
        let encoded = left.encode(&context());
        assert!(encoded.status.is_none());
        let all = attributes(&encoded);
        assert!(!all.iter().any(|attribute| attribute.starts_with("error.type")), "{all:?}");
        assert!(all.contains(&r#"outrigger.error.code="E019""#.to_owned()), "{all:?}");
        assert_eq!(all.contains(&r#"rpc.status_code="CANCELLED""#.to_owned()), grpc, "{all:?}");
    }
}

#[test]
fn grpc_spans_follow_the_conventions_for_rpc() {
    let span = HttpSpan {
        grpc: true,
        version: Version::HTTP_2,
        grpc_status: Some(GrpcStatus(14)),
        ..span(Kind::Server, &Method::POST, "/shop.Cart/Get")
    };
    let encoded = span.encode(&context());
    assert_eq!(
        attributes(&encoded),
        [
            r#"rpc.system.name="grpc""#,
            r#"rpc.method="shop.Cart/Get""#,
            r#"rpc.status_code="UNAVAILABLE""#,
            r#"error.type="UNAVAILABLE""#,
        ]
    );
    assert_eq!(encoded.status.unwrap().code, i32::from(SpanStatus::Error));
}

#[test]
fn an_error_of_the_mesh_is_told_with_its_code() {
    let span = HttpSpan {
        status: None,
        error: Some((ErrorCode::ConnectionRefused, "connect to 10.0.0.7:80: refused")),
        ..span(Kind::Client, &Method::GET, "/")
    };
    let encoded = span.encode(&context());
    let all = attributes(&encoded);
    assert!(all.contains(&r#"error.type="connection_refused""#.to_owned()), "{all:?}");
    assert!(all.contains(&r#"outrigger.error.code="E003""#.to_owned()), "{all:?}");
    assert_eq!(encoded.status.unwrap().message, "E003 connect to 10.0.0.7:80: refused");
}

#[test]
fn an_unknown_method_and_a_giant_path_stay_bounded() {
    let purge = Method::from_bytes(b"PURGE").unwrap();
    let path = format!("/{}", "ä".repeat(10_000));
    let all = attributes(&span(Kind::Server, &purge, &path).encode(&context()));
    assert_eq!(all[0], r#"http.request.method="_OTHER""#);
    assert_eq!(all[1], r#"http.request.method_original="PURGE""#);
    assert!(all[2].len() < 1100, "{}", all[2].len());
}
