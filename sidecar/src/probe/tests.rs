use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};

use http::header::HOST;
use http_body_util::BodyExt as _;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

type Heads = Arc<Mutex<Vec<http::request::Parts>>>;

/// An app on a port of its own, which answers by path.
async fn app() -> u16 {
    recorded().await.0
}

/// The same, with the heads of the requests that it got.
async fn recorded() -> (u16, Heads) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let heads = Heads::default();
    let seen = heads.clone();
    tokio::spawn(async move {
        loop {
            let (io, _) = listener.accept().await.unwrap();
            let seen = seen.clone();
            let service = service_fn(move |request: Request<Incoming>| {
                let seen = seen.clone();
                async move {
                    let mut response = text(StatusCode::OK, "the app's own");
                    let to = |response: &mut Response<_>, location: &'static str| {
                        *response.status_mut() = StatusCode::FOUND;
                        response.headers_mut().insert("location", location.parse().unwrap());
                    };
                    match request.uri().path() {
                        "/sick" => *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR,
                        "/to-sick" => to(&mut response, "/sick"),
                        "/away" => to(&mut response, "http://example.com/"),
                        "/round" => to(&mut response, "/round"),
                        _ => {}
                    }
                    seen.lock().push(request.into_parts().0);
                    Ok::<_, Infallible>(response)
                }
            });
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(io), service));
        }
    });
    (port, heads)
}

/// A gRPC server whose health is `status` for one service, and unknown for others.
async fn grpc_app(service: &'static str, status: u8) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (io, _) = listener.accept().await.unwrap();
            let answer = service_fn(move |request: Request<Incoming>| async move {
                let asked = request.into_body().collect().await.unwrap().to_bytes();
                let known = asked.len() == 7 + service.len() && asked.ends_with(service.as_bytes());
                let body = Full::new(Bytes::copy_from_slice(&[0, 0, 0, 0, 2, 8, status]));
                let grpc_status = if known { "0" } else { "5" };
                let response = Response::builder().header("grpc-status", grpc_status).body(body).unwrap();
                Ok::<_, Infallible>(response)
            });
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(server.serve_connection(TokioIo::new(io), answer));
        }
    });
    port
}

/// Serves one probe.
async fn serve(probe: Value) -> SocketAddr {
    let probes: Probes = json!({"/s3cret/app/readiness": probe}).to_string().parse().unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(probes.serve(listener));
    address
}

/// Sends bytes and returns all that comes back.
async fn say(address: SocketAddr, bytes: &str) -> String {
    let mut io = TcpStream::connect(address).await.unwrap();
    io.write_all(bytes.as_bytes()).await.unwrap();
    let mut answer = String::new();
    io.read_to_string(&mut answer).await.unwrap();
    answer
}

/// Asks as the kubelet does: the status, and what is said.
async fn ask(probe: Value) -> (u16, String) {
    let address = serve(probe).await;
    let kubelet = "user-agent: kube-probe/1.36\r\naccept: */*\r\nconnection: close\r\n";
    let answer = say(address, &format!("GET /s3cret/app/readiness HTTP/1.1\r\nhost: {address}\r\n{kubelet}\r\n")).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    (head.get(9..12).map_or(0, |status| status.parse().unwrap()), body.to_owned())
}

#[tokio::test]
async fn a_port_that_nobody_listens_on_is_not_alive() {
    assert_eq!(ask(json!({"tcp": {"port": app().await}})).await, (200, String::new()));
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap().port();
    let (status, why) = ask(json!({"tcp": {"port": free}})).await;
    assert_eq!(status, 503);
    assert!(why.contains(&free.to_string()) && why.contains("refused"), "{why}");
}

#[tokio::test]
async fn the_status_of_the_app_counts_and_nothing_else_of_its_answer_is_told() {
    let port = app().await;
    let get = async |path: &str| ask(json!({"http": {"port": port, "path": path}})).await;

    assert_eq!(get("/ready?deep=1").await, (200, String::new()));
    assert_eq!(get("/sick").await, (500, String::new()));
    assert_eq!(get("/to-sick").await.0, 500, "a redirect within the pod is followed");
    assert_eq!(get("/away").await.0, 200, "one to elsewhere is not, and is good");
    assert_eq!(get("/round").await.0, 503);
}

#[tokio::test]
async fn the_app_gets_the_headers_that_the_manifest_declares_and_none_of_the_callers() {
    let (port, heads) = recorded().await;
    let declared = json!([["x-token", "1"], ["x-token", "2"], ["Host", "shop.example.com"]]);
    let address = serve(json!({"http": {"port": port, "path": "/a?b", "headers": declared}})).await;
    let stranger = "x-token: 3\r\nauthorization: x\r\ncookie: a=b\r\nuser-agent: kube-probe/1.36\r\nx-forwarded-client-cert: Hash=1\r\n";

    let answer = say(address, &format!("GET /s3cret/app/readiness HTTP/1.1\r\nhost: a\r\n{stranger}\r\n")).await;

    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let head = heads.lock().remove(0);
    let mut fields: Vec<_> =
        head.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    fields.sort_unstable();
    let agent = ("user-agent", "kube-probe/1.36");
    assert_eq!(fields, [("accept", "*/*"), ("host", "shop.example.com"), agent, ("x-token", "1"), ("x-token", "2")]);
    assert_eq!((head.method.as_str(), head.uri.to_string().as_str()), ("GET", "/a?b"));

    assert_eq!(ask(json!({"http": {"port": port, "path": "/"}})).await.0, 200);
    assert_eq!(heads.lock()[0].headers[HOST], format!("127.0.0.1:{port}"), "the app's own, where none is declared");
}

#[tokio::test]
async fn strangers_reach_no_hook_and_learn_nothing() {
    let (port, heads) = recorded().await;
    let address = serve(json!({"http": {"port": port, "path": "/shutdown", "hook": true}})).await;

    for line in
        ["GET /app/readiness", "GET /app/pre-stop", "GET //app/readiness", "GET /", "GET /s3cret", "GET /s3cret/app"]
    {
        let answer = say(address, &format!("{line} HTTP/1.1\r\nhost: a\r\n\r\n")).await;
        assert!(
            answer.starts_with("HTTP/1.1 404") && answer.ends_with("the pod has no such probe\n"),
            "{line}: {answer}"
        );
    }
    for method in ["POST", "HEAD", "PUT", "OPTIONS", "DELETE"] {
        let answer = say(address, &format!("{method} /s3cret/app/readiness HTTP/1.1\r\nhost: a\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 405"), "{method}: {answer}");
    }
    assert_eq!(heads.lock().len(), 0);

    let hook = "GET /s3cret/app/readiness HTTP/1.1\r\nhost: a\r\n\r\n";
    assert!(say(address, hook).await.starts_with("HTTP/1.1 200"), "the kubelet does");
    assert_eq!(heads.lock().len(), 1);
}

#[tokio::test]
async fn a_hook_that_gets_no_answer_fails_and_one_that_gets_any_does_not() {
    let port = app().await;
    assert_eq!(ask(json!({"http": {"port": port, "path": "/sick", "hook": true}})).await.0, 500);
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap().port();

    // The kubelet takes any status for success: without an answer it sees what it would have seen of the app.
    assert_eq!(ask(json!({"http": {"port": free, "path": "/", "hook": true}})).await, (0, String::new()));
    assert_eq!(ask(json!({"http": {"port": free, "path": "/"}})).await.0, 503);
}

#[tokio::test]
async fn silent_and_slow_connections_keep_no_probe_out() {
    let address = serve(json!({"tcp": {"port": app().await}})).await;
    let mut silent = Vec::new();
    for number in 0..400 {
        let mut io = TcpStream::connect(address).await.unwrap();
        if number % 2 == 0 {
            io.write_all(b"GET /s3cret/app/readi").await.unwrap();
        }
        silent.push(io);
    }

    for _ in 0..50 {
        let probe = say(address, "GET /s3cret/app/readiness HTTP/1.1\r\nhost: a\r\n\r\n");
        // As many times the kubelet's patience.
        let answer = tokio::time::timeout(Duration::from_secs(10), probe).await.expect("an answer in time");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

#[tokio::test]
async fn grpc_health_is_asked_for_the_service() {
    let serving = grpc_app("shop.Cart", 1).await;
    let ask_for = async |port, service| ask(json!({"grpc": {"port": port, "service": service}})).await.0;

    assert_eq!(ask_for(serving, "shop.Cart").await, 200);
    assert_eq!(ask_for(serving, "other").await, 503);
    assert_eq!(ask_for(grpc_app("shop.Cart", 2).await, "shop.Cart").await, 503);
    assert_eq!(ask_for(app().await, "shop.Cart").await, 503, "no HTTP/2");
}

#[test]
fn what_is_no_probe_is_refused() {
    let bad_header = r#"{"/a": {"http": {"port": 1, "path": "/", "headers": [["a b", "c"]]}}}"#;
    for text in [
        bad_header,
        "",
        "[]",
        "{\"/a\": {}}",
        "{\"/a\": {\"tcp\": {\"port\": 0}}}",
        "{\"/a\": {\"http\": {\"port\": 1}}}",
    ] {
        assert!(text.parse::<Probes>().is_err(), "{text}");
    }
    assert_eq!("{}".parse(), Ok(Probes::default()));
}
