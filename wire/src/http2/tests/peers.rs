//! Our client with hyper's server, and hyper's client with ours.

use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::BodyExt;
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::super::{Incoming, Sender, Settings, connect, serve};
use super::{AnyBody, channel, echo, empty, frames, full, grpc_trailers, pipe, post, text};

fn to_hyper(settings: &Settings) -> Sender<AnyBody> {
    let (near, far) = pipe();
    let service = hyper::service::service_fn(|request: Request<hyper::body::Incoming>| async {
        Ok::<_, std::convert::Infallible>(Response::new(request.into_body()))
    });
    let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    tokio::spawn(async move { server.serve_connection(TokioIo::new(far), service).await });
    let (sender, driver) = connect(near, settings);
    tokio::spawn(driver);
    sender
}

async fn from_hyper<S, F>(settings: &Settings, service: S) -> hyper::client::conn::http2::SendRequest<AnyBody>
where
    S: Fn(Request<Incoming>) -> F + Send + Sync + 'static,
    F: Future<Output = Response<AnyBody>> + Send + 'static,
{
    let (near, far) = pipe();
    let settings = settings.clone();
    tokio::spawn(async move { serve(far, &settings, service, std::future::pending()).await });
    let (sender, driver) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(near)).await.unwrap();
    tokio::spawn(driver);
    sender
}

fn small() -> Settings {
    Settings { stream_window: 3_000, connection_window: 66_000, ..Settings::default() }
}

fn unary() -> AnyBody {
    frames(vec![Ok(Frame::data("message".into())), Ok(Frame::trailers(grpc_trailers()))])
}

#[tokio::test]
async fn hyper_serves_us() {
    for settings in [Settings::default(), small()] {
        let sender = to_hyper(&settings);
        for _ in 0..20 {
            let body = sender.ask(post(unary())).await.unwrap().into_body().collect().await.unwrap();
            assert_eq!(body.trailers(), Some(&grpc_trailers()));
            assert_eq!(body.to_bytes(), "message");
        }
        let data: Bytes = (0..300_000_u32).map(|at| at.to_be_bytes()[3]).collect();
        let calls = (0..5).map(|_| async {
            let response = sender.ask(post(full(data.clone()))).await.unwrap();
            assert!(text(response.into_body()).await == data);
        });
        futures_util::future::join_all(calls).await;
    }
}

#[tokio::test]
async fn we_serve_hyper() {
    for settings in [Settings::default(), small()] {
        let sender = from_hyper(&settings, echo).await;
        for _ in 0..20 {
            let body = sender.clone().send_request(post(unary())).await.unwrap().collect().await.unwrap();
            assert_eq!(body.trailers(), Some(&grpc_trailers()));
            assert_eq!(body.to_bytes(), "message");
        }
        let data: Bytes = (0..300_000_u32).map(|at| at.to_be_bytes()[3]).collect();
        let calls = (0..5).map(|_| async {
            let response = sender.clone().send_request(post(full(data.clone()))).await.unwrap();
            assert!(text(response.into_body()).await == data);
        });
        futures_util::future::join_all(calls).await;
    }
}

#[tokio::test]
async fn hyper_streams_both_ways_with_us() {
    let ours = to_hyper(&Settings::default());
    let mut theirs = from_hyper(&Settings::default(), echo).await;
    let (send_ours, body) = channel();
    let mut from_theirs = ours.ask(post(body)).await.unwrap().into_body();
    let (send_theirs, body) = channel();
    let mut from_ours = theirs.send_request(post(body)).await.unwrap().into_body();
    for word in ["one", "two", "three"] {
        send_ours.send(Ok(Frame::data(word.into()))).unwrap();
        assert_eq!(from_theirs.frame().await.unwrap().unwrap().into_data().unwrap(), word);
        send_theirs.send(Ok(Frame::data(word.into()))).unwrap();
        assert_eq!(from_ours.frame().await.unwrap().unwrap().into_data().unwrap(), word);
    }
    drop((send_ours, send_theirs));
    assert!(text(from_theirs).await.is_empty());
    assert!(text(from_ours).await.is_empty());
}

#[tokio::test]
async fn hyper_gives_a_call_up_and_we_drop_its_response() {
    let (send, body) = channel();
    let body = std::sync::Mutex::new(Some(body));
    let service = move |request| {
        let body = body.lock().unwrap().take();
        async move {
            match body {
                Some(body) => Response::new(body),
                None => echo(request).await,
            }
        }
    };
    let mut sender = from_hyper(&Settings::default(), service).await;
    let response = sender.send_request(post(empty())).await.unwrap();
    drop(response);
    send.closed().await;
    let response = sender.send_request(post(full("next"))).await.unwrap();
    assert_eq!(text(response.into_body()).await, "next");
}

/// gRPC asks for it (its specification over HTTP/2, "Requests"), and grpc-go waits for ever without it.
#[tokio::test]
async fn a_body_that_ends_without_a_word_ends_with_data() {
    for (body, want) in [(frames(vec![]), "HEADERS, DATA"), (empty(), "HEADERS")] {
        let (near, far) = pipe();
        let (sender, driver) = connect(near, &Settings::default());
        tokio::spawn(driver);
        tokio::spawn(async move { sender.ask(post(body)).await.map(drop) });
        let mut server = h2::server::handshake(far).await.unwrap();
        let (request, _respond) = server.accept().await.unwrap().unwrap();
        let seen = if request.body().is_end_stream() { "HEADERS" } else { "HEADERS, DATA" };
        assert_eq!(seen, want);
    }
}
