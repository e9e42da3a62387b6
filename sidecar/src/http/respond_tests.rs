//! The layer over a service that fails: what each kind of client reads of an error, and what it is told when the workload ends.

use http::{Method, Request};
use http_body_util::BodyExt as _;
use outrigger_identity::Peer;
use tower::service_fn;

use super::*;
use crate::admission::tests::place;
use crate::balance::Endpoint;
use crate::caller::Caller;
use crate::http::call::To;

/// What the client speaks and accepts.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Client {
    Plain,
    Json,
    Grpc,
}

/// Where the layer is, and for whom.
#[derive(Clone, Copy, Debug, PartialEq)]
enum At {
    Outbound,
    InboundMeshed,
    InboundStranger,
}

fn flow(at: At, client: Client) -> Arc<Flow> {
    let identity = "spiffe://mesh.local/ns/shop/sa/cart".parse().unwrap();
    let caller = |peer| Arc::new(Caller::new(peer, ([10, 0, 0, 9], 40_000).into(), place()));
    let (direction, caller) = match at {
        At::Outbound => (Direction::Outbound, None),
        At::InboundMeshed => (Direction::Inbound, Some(caller(Some(Peer { identity, workload: None })))),
        At::InboundStranger => (Direction::Inbound, Some(caller(None))),
    };
    Arc::new(Flow::new(direction, client == Client::Grpc, caller))
}

/// Sends a request through the layer to what answers so.
async fn send(
    at: At,
    client: Client,
    drain: &Drain,
    version: http::Version,
    answers: impl Fn() -> Result<Response<ResponseBody>, ProxyError> + Clone,
) -> (Response<String>, Option<ErrorCode>) {
    let mut request = Request::builder().method(Method::POST).uri("/").version(version).body(Body::empty()).unwrap();
    if client == Client::Json {
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static("text/html, application/json;q=0.9"));
    }
    let to = To::App(Arc::new(Endpoint::local(([10, 0, 0, 1], 8080).into(), 1)));
    let call = Call { request, to, flow: flow(at, client), fault: None, onward: None };
    let inner = service_fn(move |_: Call| std::future::ready(answers()));
    let (response, error) = RespondLayer { drain: drain.clone() }.layer(inner).call(call).await.unwrap();
    let (head, body) = response.into_parts();
    let body = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
    (Response::from_parts(head, body), error.map(|error| error.code))
}

fn header<'h>(response: &'h Response<String>, name: &str) -> &'h str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

#[tokio::test]
async fn every_error_says_its_code_in_the_form_that_its_client_reads() {
    for code in ErrorCode::ALL.iter().copied().filter(|code| code.info().http_status.is_some()) {
        for at in [At::Outbound, At::InboundMeshed, At::InboundStranger] {
            for client in [Client::Plain, Client::Json, Client::Grpc] {
                let fails = move || Err(ProxyError::new(code, "10.0.0.1:80 is \"secret\""));
                let (response, told) = send(at, client, &Drain::new(), http::Version::HTTP_11, fails).await;
                let what = format!("{code:?}, {at:?}, {client:?}: {response:?}");
                let info = code.info();
                assert_eq!(told, Some(code), "{what}");
                let side = if at == At::Outbound { "outrigger-outbound" } else { "outrigger-inbound" };
                let proxy_status = header(&response, "proxy-status");
                assert!(
                    proxy_status.starts_with(&format!("{side}; error={}; details=\"{}", info.token, info.code)),
                    "{what}"
                );
                match client {
                    Client::Grpc => {
                        assert_eq!(
                            (response.status().as_u16(), header(&response, "content-type")),
                            (200, "application/grpc"),
                            "{what}"
                        );
                        assert_eq!(header(&response, "grpc-status"), info.grpc_status.to_string(), "{what}");
                        assert!(header(&response, "grpc-message").contains(info.code), "{what}");
                        assert_eq!(response.body(), "", "{what}");
                    }
                    Client::Json => {
                        assert_eq!(Some(response.status().as_u16()), info.http_status, "{what}");
                        assert_eq!(header(&response, "content-type"), "application/problem+json", "{what}");
                        let body: serde_json::Value = serde_json::from_str(response.body()).unwrap();
                        assert_eq!(body["type"], format!("urn:outrigger:error:{}", info.code), "{what}");
                        assert_eq!(body["status"], response.status().as_u16(), "{what}");
                    }
                    Client::Plain => {
                        assert_eq!(Some(response.status().as_u16()), info.http_status, "{what}");
                        assert!(
                            response.body().starts_with(&format!("outrigger: {} {}: ", info.code, info.token)),
                            "{what}"
                        );
                        assert!(response.body().contains(info.next), "{what}");
                    }
                }
                let whole = format!("{response:?}");
                assert_eq!(whole.contains("10.0.0.1"), at != At::InboundStranger, "addresses are for the mesh: {what}");
            }
        }
    }
}

#[tokio::test]
async fn only_a_sidecar_is_told_that_the_app_never_had_the_request_and_only_where_that_is_known() {
    for (at, fate, expected) in [
        (At::InboundMeshed, Fate::NotProcessed, "E002"),
        (At::InboundMeshed, Fate::MayHaveBeenProcessed, ""),
        (At::InboundMeshed, Fate::Unknown, ""),
        (At::InboundStranger, Fate::NotProcessed, ""),
        (At::Outbound, Fate::NotProcessed, ""),
    ] {
        let fails = move || Err(ProxyError::new(ErrorCode::ConnectionRefused, "refused").fate(fate));
        let (response, _) = send(at, Client::Plain, &Drain::new(), http::Version::HTTP_11, fails).await;
        let code = ErrorCode::ConnectionRefused.info().code;
        let expected = if expected.is_empty() { "" } else { code };
        assert_eq!(header(&response, "outrigger-unprocessed"), expected, "{at:?} {fate:?}");
    }
}

#[tokio::test]
async fn a_workload_that_ends_has_every_answer_of_http1_say_so_and_its_peers_know_why() {
    let answers = || Ok(Response::builder().status(201).header("x-app", "1").body(ResponseBody::empty()).unwrap());
    let ends = Drain::new();
    ends.start();
    for (at, drain, version, closes, leaves) in [
        (At::Outbound, &Drain::new(), http::Version::HTTP_11, "", ""),
        (At::Outbound, &ends, http::Version::HTTP_11, "close", ""),
        (At::InboundMeshed, &ends, http::Version::HTTP_11, "close", "1"),
        (At::InboundStranger, &ends, http::Version::HTTP_11, "close", ""),
        (At::InboundMeshed, &ends, http::Version::HTTP_2, "", ""),
    ] {
        let (response, error) = send(at, Client::Plain, drain, version, answers).await;
        assert_eq!((response.status().as_u16(), error, header(&response, "x-app")), (201, None, "1"));
        let told = (header(&response, "connection"), header(&response, "outrigger-leaving"));
        assert_eq!(told, (closes, leaves), "{at:?} {version:?}");
    }
}

#[test]
fn what_a_sidecar_says_of_a_request_is_read_back() {
    let error = ProxyError::new(ErrorCode::ConnectionRefused, "10.0.0.1:8080 refused").fate(Fate::NotProcessed);
    let answer = answer(&error, &flow(At::InboundMeshed, Client::Plain), Form::Text);

    let read = unprocessed(&answer).unwrap();

    assert_eq!((read.code, read.fate), (ErrorCode::ConnectionRefused, Fate::NotProcessed));
    assert_eq!(read.detail, "the endpoint's sidecar says: 10.0.0.1:8080 refused");
    assert!(unprocessed(&Response::new(())).is_none());
    let forged = Response::builder().header("outrigger-unprocessed", "E999").body(()).unwrap();
    assert!(unprocessed(&forged).is_none(), "no code of ours");
}
