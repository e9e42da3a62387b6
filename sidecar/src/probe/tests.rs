use std::net::{Ipv4Addr, SocketAddr};

use http::header::HOST;
use http_body_util::BodyExt as _;
use hyper_util::rt::TokioExecutor;
use serde_json::json;

use super::*;

/// An app on a port of its own, which answers by path.
async fn app() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (io, _) = listener.accept().await.unwrap();
            let service = service_fn(|request: Request<Incoming>| async move {
                let host = request.headers().get(HOST).map(|host| host.to_str().unwrap().to_owned());
                let mut response = told(StatusCode::OK, &format!("{} {host:?}", request.uri()));
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
                Ok::<_, Infallible>(response)
            });
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(io), service));
        }
    });
    port
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

/// Asks as the kubelet does.
async fn ask(probe: Value, host: Option<&str>) -> (u16, String) {
    let probes: Probes = json!({"/app/readiness": probe}).to_string().parse().unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    tokio::spawn(probes.serve(listener));
    let io = TcpStream::connect(address).await.unwrap();
    let (mut sender, driver) = hyper::client::conn::http1::handshake(TokioIo::new(io)).await.unwrap();
    tokio::spawn(driver);
    let host = host.map_or_else(|| address.to_string(), str::to_owned);
    let request = Request::get("/app/readiness").header(HOST, host).body(Full::<Bytes>::default()).unwrap();
    let answer = sender.send_request(request).await.unwrap();
    let status = answer.status().as_u16();
    (status, String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap())
}

#[tokio::test]
async fn a_port_that_nobody_listens_on_is_not_alive() {
    assert_eq!(ask(json!({"tcp": {"port": app().await}}), None).await.0, 200);
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap().port();
    let (status, why) = ask(json!({"tcp": {"port": free}}), None).await;
    assert_eq!(status, 503);
    assert!(why.contains(&free.to_string()) && why.contains("refused"), "{why}");
}

#[tokio::test]
async fn the_apps_own_answer_counts() {
    let port = app().await;
    let get = async |path: &str, host| ask(json!({"http": {"port": port, "path": path}}), host).await;

    assert_eq!(get("/ready?deep=1", None).await, (200, format!("/ready?deep=1 Some(\"127.0.0.1:{port}\")")));
    assert_eq!(get("/", Some("shop.example.com")).await, (200, "/ Some(\"shop.example.com\")".into()));
    assert_eq!(get("/sick", None).await.0, 500);
    assert_eq!(get("/to-sick", None).await.0, 500, "a redirect within the pod is followed");
    assert_eq!(get("/away", None).await.0, 200, "one to elsewhere is not, and is good");
    assert_eq!(get("/round", None).await.0, 503);
}

#[tokio::test]
async fn grpc_health_is_asked_for_the_service() {
    let serving = grpc_app("shop.Cart", 1).await;
    let ask_for = async |port, service| ask(json!({"grpc": {"port": port, "service": service}}), None).await.0;

    assert_eq!(ask_for(serving, "shop.Cart").await, 200);
    assert_eq!(ask_for(serving, "other").await, 503);
    assert_eq!(ask_for(grpc_app("shop.Cart", 2).await, "shop.Cart").await, 503);
    assert_eq!(ask_for(app().await, "shop.Cart").await, 503, "no HTTP/2");
}

#[test]
fn what_is_no_probe_is_refused() {
    for text in ["", "[]", "{\"/a\": {}}", "{\"/a\": {\"tcp\": {\"port\": 0}}}", "{\"/a\": {\"http\": {\"port\": 1}}}"]
    {
        assert!(text.parse::<Probes>().is_err(), "{text}");
    }
    assert_eq!("{}".parse(), Ok(Probes::default()));
}
