//! Peers that do not read: what waits for them is bounded, in both roles, and they do not keep a connection for ever. Peers that read late get all.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::BodyExt;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Duration, Instant, sleep, timeout};

use super::super::frame::*;
use super::super::output::Output;
use super::super::send::{After, Opening};
use super::super::state::{Role, Shared};
use super::super::{Error, Incoming, Settings, connect, serve};
use super::raw::{END_BOTH, GET, Raw};
use super::{AnyBody, echo, empty, frames, full, soon};

/// The answer's head is of this size.
const HEAD_SIZE: usize = 4000;

/// Answers with a head that no table makes small, and counts.
fn large_heads(
    count: &Arc<AtomicUsize>,
) -> impl Fn(Request<Incoming>) -> std::future::Ready<Response<AnyBody>> + use<> {
    let count = count.clone();
    move |_| {
        let number = count.fetch_add(1, Ordering::Relaxed);
        let mut response = Response::new(empty());
        let value = format!("{number:0>HEAD_SIZE$}");
        response.headers_mut().insert("x-value", HeaderValue::from_str(&value).unwrap());
        std::future::ready(response)
    }
}

fn serve_over<S, F>(room: usize, service: S) -> Raw
where
    S: Fn(Request<Incoming>) -> F + Send + Sync + 'static,
    F: Future<Output = Response<AnyBody>> + Send + 'static,
{
    serve_with(Settings::default(), room, service)
}

fn serve_with<S, F>(settings: Settings, room: usize, service: S) -> Raw
where
    S: Fn(Request<Incoming>) -> F + Send + Sync + 'static,
    F: Future<Output = Response<AnyBody>> + Send + 'static,
{
    let (near, far) = tokio::io::duplex(room);
    let end = tokio::spawn(async move { serve(far, &settings, service, pending()).await });
    Raw { io: near, end }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_may_read_when_it_likes_keeps_its_connection() {
    let count = Arc::new(AtomicUsize::new(0));
    let settings = Settings { unread: None, pings: false, ..Settings::default() };
    let mut peer = serve_with(settings, 4 << 10, large_heads(&count));
    peer.bytes(PREFACE).await;
    peer.frame(SETTINGS, 0, 0, &[]).await;
    for id in (1..20).step_by(2) {
        peer.frame(HEADERS, END_BOTH, id, GET).await;
    }

    sleep(Duration::from_secs(3600)).await;

    for _ in 0..10 {
        assert!(peer.until(HEADERS).await.1.len() > HEAD_SIZE);
    }
}

#[tokio::test(start_paused = true)]
async fn answers_to_a_peer_that_does_not_read_are_few() {
    let count = Arc::new(AtomicUsize::new(0));
    let mut peer = serve_over(64 << 10, large_heads(&count));
    peer.bytes(PREFACE).await;
    peer.frame(SETTINGS, 0, 0, &[]).await;
    // HEAD, as the bodies' windows would bound it otherwise; no more at once than may be open.
    let block: &[u8] = &[0x86, 0x84, 0x01, 1, b'a', 0x02, 4, b'H', b'E', b'A', b'D'];
    for round in 0..50 {
        for number in 0..200 {
            let sent = peer.frame(HEADERS, END_BOTH, 2 * (200 * round + number) + 1, block);
            let _ = timeout(Duration::from_millis(10), sent).await;
        }
        sleep(Duration::from_millis(10)).await;
    }

    let answered = count.load(Ordering::Relaxed);
    assert!(answered >= 256 && answered * HEAD_SIZE < 2 << 20, "{answered} answers wait");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_reads_late_gets_all_answers() {
    let count = Arc::new(AtomicUsize::new(0));
    let mut peer = serve_over(8 << 10, large_heads(&count));
    peer.bytes(PREFACE).await;
    peer.frame(SETTINGS, 0, 0, &[]).await;
    let mut id = 1;
    for _ in 0..4 {
        for _ in 0..200 {
            peer.frame(HEADERS, END_BOTH, id, GET).await;
            id += 2;
        }
        sleep(Duration::from_secs(3)).await;
        // No clock is needed for what is left.
        let began = Instant::now();
        for _ in 0..200 {
            let (head, payload) = peer.until(HEADERS).await;
            assert!(head.has(END_STREAM) && payload.len() > HEAD_SIZE);
        }
        assert!(began.elapsed() < Duration::from_secs(1));
    }
}

#[tokio::test(start_paused = true)]
async fn resets_that_nobody_reads_stop_the_reading_and_then_the_connection() {
    let mut peer = serve_over(4 << 10, echo);
    peer.bytes(PREFACE).await;
    peer.frame(SETTINGS, 0, 0, &[]).await;
    let mut input = Vec::new();
    let mut id = 1;
    let began = Instant::now();
    let mut written = 0;
    // Malformed requests, no more in a second than are allowed: each is answered by a frame.
    while !peer.end.is_finished() {
        input.clear();
        for _ in 0..400 {
            head(&mut input, 1, HEADERS, END_BOTH, id);
            input.push(0x84);
            id += 2;
        }
        if timeout(Duration::from_secs(1), peer.io.write_all(&input)).await.is_ok_and(|wrote| wrote.is_ok()) {
            written += 400;
            sleep(Duration::from_secs(1)).await;
        }
        assert!(began.elapsed() < Duration::from_secs(300), "the connection goes on");
    }
    assert!(matches!(peer.end.await.unwrap(), Err(Error::Unread)));
    assert!(began.elapsed() >= Duration::from_secs(60));
    assert!(written * 13 < 400 << 10, "{written} resets wait");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_reads_a_little_now_and_then_keeps_its_connection() {
    let count = Arc::new(AtomicUsize::new(0));
    let mut peer = serve_over(4 << 10, large_heads(&count));
    peer.bytes(PREFACE).await;
    peer.frame(SETTINGS, 0, 0, &[]).await;
    for id in (1..100).step_by(2) {
        peer.frame(HEADERS, END_BOTH, id, GET).await;
    }
    for _ in 0..40 {
        sleep(Duration::from_secs(25)).await;
        let mut some = [0; 2000];
        if peer.io.read_exact(&mut some).await.is_err() {
            panic!("the connection ended: {:?}", peer.end.await);
        }
        // It is there, as its PING shows.
        peer.frame(PING, ACK, 0, &[0; 8]).await;
    }
    assert!(!peer.end.is_finished());
}

#[test]
fn requests_for_a_peer_that_does_not_read_wait_with_their_heads() {
    let shared = Shared::new(Role::Client, &Settings::default());
    let mut state = shared.lock();
    let mut opened = 0;
    let mut open = |state: &mut super::super::state::State| {
        let value = format!("{opened:0>HEAD_SIZE$}");
        let (parts, ()) = Request::get("http://a/").header("x-value", value).body(()).unwrap().into_parts();
        let opening = state.open(&parts, true, &mut Bytes::new(), &mut After::End);
        opened += usize::from(matches!(opening, Opening::Opened(..)));
        opening
    };
    for _ in 0..90 {
        open(&mut state);
    }
    assert!(matches!(open(&mut state), Opening::Wait));
    let mut ticket = None;
    state.wait(&mut ticket, std::task::Waker::noop());
    assert!(state.out.length() < 80 << 10);

    // They are woken when what waits is taken to be written.
    state.take_output(&mut Output::default());
    assert_eq!(state.work.wakes.len(), 1);
    assert!(matches!(open(&mut state), Opening::Opened(..)));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_reads_late_gets_all_requests_in_their_order() {
    let (near, far) = tokio::io::duplex(8 << 10);
    let (sender, driver) = connect(far, &Settings::default());
    let mut peer = Raw { io: near, end: tokio::spawn(driver) };
    peer.frame(SETTINGS, 0, 0, &[]).await;
    let calls: Vec<_> = (0..80)
        .map(|number| {
            let sender = sender.clone();
            let value = format!("{number:0>HEAD_SIZE$}");
            let request = Request::get("http://a/").header("x-value", value).body(empty()).unwrap();
            tokio::spawn(async move { sender.ask(request).await })
        })
        .collect();
    sleep(Duration::from_secs(3)).await;
    let began = Instant::now();
    let mut preface = [0; 24];
    peer.io.read_exact(&mut preface).await.unwrap();
    for number in 0..80 {
        let (head, block) = peer.until(HEADERS).await;
        assert!(block.ends_with(format!("{number:0>10}").as_bytes()), "request {number}");
        peer.frame(HEADERS, END_BOTH, head.id, &[0x88]).await;
    }
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap().status(), 200);
    }
    assert!(began.elapsed() < Duration::from_secs(1));
}

/// A call with a large head, a large body and trailers, all of which come back.
async fn large_call<E: std::fmt::Debug>(
    number: usize,
    ask: impl AsyncFnOnce(Request<AnyBody>) -> Result<Response<http_body_util::combinators::BoxBody<Bytes, E>>, E>,
) {
    let data = Bytes::from(vec![number.to_le_bytes()[0]; 20_000]);
    let trailers =
        http::HeaderMap::from_iter([("x-end".parse().unwrap(), format!("{number:0>HEAD_SIZE$}").parse().unwrap())]);
    let body = frames(vec![Ok(Frame::data(data.clone())), Ok(Frame::trailers(trailers.clone()))]);
    let request = Request::post("http://a/").header("x-value", format!("{number:0>HEAD_SIZE$}")).body(body).unwrap();
    let response = ask(request).await.unwrap();
    assert_eq!(response.headers()["x-value"].len(), HEAD_SIZE);
    let body = response.into_body().collect().await.unwrap();
    assert_eq!(body.trailers(), Some(&trailers));
    assert!(body.to_bytes() == data);
}

async fn echo_all(request: Request<Incoming>) -> Response<AnyBody> {
    let (head, body) = request.into_parts();
    let mut response = Response::new(body.boxed());
    *response.headers_mut() = head.headers;
    response
}

#[tokio::test(start_paused = true)]
async fn two_of_ours_do_not_wait_for_each_other_to_read() {
    let (near, far) = tokio::io::duplex(1000);
    tokio::spawn(async move { serve(far, &Settings::default(), echo_all, pending()).await });
    let (sender, driver) = connect(near, &Settings::default());
    tokio::spawn(driver);
    let calls = (0..120).map(|number| {
        let sender = sender.clone();
        large_call(number, async move |request| Ok(sender.ask(request).await?.map(BodyExt::boxed)))
    });
    soon(futures_util::future::join_all(calls)).await;
}

#[tokio::test(start_paused = true)]
async fn neither_do_we_and_hyper() {
    let (near, far) = tokio::io::duplex(1000);
    tokio::spawn(async move { serve(far, &Settings::default(), echo_all, pending()).await });
    let (sender, driver) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(near)).await.unwrap();
    tokio::spawn(driver);
    let calls = (0..100).map(|number| {
        let mut sender = sender.clone();
        large_call(number, async move |request| Ok(sender.send_request(request).await?.map(BodyExt::boxed)))
    });
    soon(futures_util::future::join_all(calls)).await;

    let (near, far) = tokio::io::duplex(1000);
    let service = hyper::service::service_fn(|request: Request<hyper::body::Incoming>| async {
        let (head, body) = request.into_parts();
        let mut response = Response::new(body);
        *response.headers_mut() = head.headers;
        Ok::<_, std::convert::Infallible>(response)
    });
    let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    tokio::spawn(async move { server.serve_connection(TokioIo::new(far), service).await });
    let (sender, driver) = connect(near, &Settings::default());
    tokio::spawn(driver);
    let calls = (0..100).map(|number| {
        let sender = sender.clone();
        large_call(number, async move |request| Ok(sender.ask(request).await?.map(BodyExt::boxed)))
    });
    soon(futures_util::future::join_all(calls)).await;
}

/// What came together while a write was stuck leaves with the next, without anything else happening.
#[tokio::test(start_paused = true)]
async fn what_waits_behind_a_write_leaves_after_it() {
    let (near, far) = tokio::io::duplex(1000);
    let service = |_: Request<Incoming>| async { Response::new(full(vec![7; 3_000])) };
    let end = tokio::spawn(async move { serve(far, &Settings::default(), service, pending()).await });
    let mut peer = Raw { io: near, end };
    peer.bytes(PREFACE).await;
    peer.frame(SETTINGS, 0, 0, &[]).await;
    for id in [1, 3, 5] {
        peer.frame(HEADERS, END_BOTH, id, GET).await;
        tokio::task::yield_now().await;
    }
    let mut came = 0;
    while came < 9_000 {
        came += soon(peer.until(DATA)).await.0.length;
    }
}
