//! Our client with our server.

use std::future::pending;
use std::task::Waker;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Empty};
use tokio::sync::{mpsc, oneshot};

use super::super::frame::{self, DATA, END_HEADERS, GO_AWAY, HEADERS, PING};
use super::super::state::{Role, Shared};
use super::super::{Error, Incoming, Reason, Settings, connect, connect_told, serve, serve_until};
use super::raw::{END_BOTH, Raw};
use super::{AnyBody, channel, client, echo, empty, frames, full, grpc_trailers, pipe, post, soon, text};

/// Tells when it is dropped.
struct Dropped(mpsc::UnboundedSender<()>);

impl Drop for Dropped {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

#[tokio::test]
async fn a_request_is_answered_with_what_it_said() {
    let sender = client(&Settings::default(), |request| async move {
        assert_eq!(request.uri(), "http://a.example/x?y=z");
        assert_eq!(request.method(), "BREW");
        assert_eq!(request.version(), http::Version::HTTP_2);
        assert_eq!(request.headers()["x-a"], "b");
        assert!(request.body().is_end_stream());
        Response::builder().status(StatusCode::IM_A_TEAPOT).header("x-c", "d").body(full("short")).unwrap()
    });
    for _ in 0..5 {
        let request = Request::builder().method("BREW").uri("http://a.example/x?y=z").header("x-a", "b");
        let response = sender.ask(request.body(empty()).unwrap()).await.unwrap();
        assert_eq!((response.status(), &response.headers()["x-c"]), (StatusCode::IM_A_TEAPOT, &"d".parse().unwrap()));
        assert_eq!(text(response.into_body()).await, "short");
    }
}

#[tokio::test]
async fn trailers_pass_both_ways() {
    let sender = client(&Settings::default(), echo);
    for data in ["", "some"] {
        let body = frames(vec![Ok(Frame::data(data.into())), Ok(Frame::trailers(grpc_trailers()))]);
        let response = sender.ask(post(body)).await.unwrap();
        let body = response.into_body().collect().await.unwrap();
        assert_eq!(body.trailers(), Some(&grpc_trailers()));
        assert_eq!(body.to_bytes(), data);
    }
}

#[tokio::test]
async fn large_bodies_pass_small_windows_whole() {
    let settings = Settings { stream_window: 5_000, connection_window: 70_000, ..Settings::default() };
    for settings in [settings, Settings::default()] {
        let sender = client(&settings, echo);
        let calls = (0..8_u8).map(|call| {
            let sender = sender.clone();
            async move {
                let data: Bytes = (0..500_000_u32).map(|at| at.to_be_bytes()[3] ^ call).collect();
                let response = sender.ask(post(full(data.clone()))).await.unwrap();
                assert!(text(response.into_body()).await == data);
            }
        });
        futures_util::future::join_all(calls).await;
    }
}

#[tokio::test]
async fn many_calls_at_once_are_all_answered() {
    let sender = client(&Settings { max_streams: 10, ..Settings::default() }, |request| async move {
        tokio::task::yield_now().await;
        echo(request).await
    });
    let calls = (0..200).map(|call: u32| {
        let sender = sender.clone();
        tokio::spawn(async move {
            let response = sender.ask(post(full(call.to_string()))).await.unwrap();
            assert_eq!(text(response.into_body()).await, call.to_string());
        })
    });
    for call in futures_util::future::join_all(calls).await {
        call.unwrap();
    }
}

#[tokio::test]
async fn a_body_that_has_failed_fails_again_and_never_ends_well() {
    let (broken, mut bodies) = mpsc::unbounded_channel();
    let sender = client(&Settings::default(), move |request| {
        let broken = broken.clone();
        async move {
            let (part, body) = channel();
            part.send(Ok(Frame::data("half".into()))).unwrap();
            broken.send((request.into_body(), part)).unwrap();
            Response::new(body)
        }
    });
    let (part, body) = channel();
    part.send(Ok(Frame::data("half".into()))).unwrap();
    let answer = sender.ask(post(body)).await.unwrap().into_body();
    let (request, answering) = bodies.recv().await.unwrap();
    for mut body in [request, answer] {
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "half");
        // Both sides break off: the first to be seen resets the stream for both.
        let _ = part.send(Err(Error::GivenUp));
        let _ = answering.send(Err(Error::GivenUp));
        assert!(body.frame().await.unwrap().is_err());
        for _ in 0..3 {
            assert!(!body.is_end_stream() && body.size_hint().exact().is_none());
            assert!(body.frame().await.expect("no end").is_err());
        }
    }
}

#[tokio::test]
async fn a_call_goes_both_ways_at_once() {
    let sender = client(&Settings::default(), echo);
    let (send, body) = channel();
    let response = sender.ask(post(body)).await.unwrap();
    let mut body = response.into_body();
    for word in ["one", "two", "three"] {
        send.send(Ok(Frame::data(word.into()))).unwrap();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), word);
    }
    drop(send);
    assert!(body.frame().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_request_beyond_the_limit_waits_for_its_turn() {
    let (hold, mut held) = mpsc::unbounded_channel();
    let sender = client(&Settings { max_streams: 2, ..Settings::default() }, move |_| {
        let (done, wait) = oneshot::channel::<()>();
        hold.send(done).unwrap();
        async move {
            let _ = wait.await;
            Response::new(empty())
        }
    });
    let call = || {
        let sender = sender.clone();
        tokio::spawn(async move { sender.ask(post(empty())).await })
    };
    // The server's SETTINGS are known once it has answered.
    let first = call();
    held.recv().await.unwrap().send(()).unwrap();
    first.await.unwrap().unwrap();

    let calls = [call(), call(), call(), call()];
    let (one, two) = (held.recv().await.unwrap(), held.recv().await.unwrap());
    tokio::task::yield_now().await;
    assert!(held.try_recv().is_err());
    // One that is given up while it waits leaves its turn to the next.
    calls[2].abort();
    one.send(()).unwrap();
    held.recv().await.unwrap().send(()).unwrap();
    two.send(()).unwrap();
    let mut answered = 0;
    for call in calls {
        answered += usize::from(call.await.is_ok_and(|answer| answer.is_ok()));
    }
    assert_eq!(answered, 3);
}

#[tokio::test(start_paused = true)]
async fn giving_up_a_call_drops_the_service_and_the_request_body() {
    let (dropped, mut drops) = mpsc::unbounded_channel();
    let (served, mut serves) = mpsc::unbounded_channel();
    let sender = client(&Settings::default(), move |request| {
        let dropped = Dropped(dropped.clone());
        served.send(()).unwrap();
        async move {
            let _held = (dropped, request);
            pending().await
        }
    });
    let (body_alive, body) = channel();
    let call = tokio::spawn({
        let sender = sender.clone();
        async move { sender.ask(post(body)).await }
    });
    serves.recv().await.unwrap();
    call.abort();

    soon(drops.recv()).await.unwrap();
    soon(body_alive.closed()).await;
}

#[tokio::test(start_paused = true)]
async fn dropping_a_response_ends_its_body() {
    let (send, body) = channel();
    let body = std::sync::Mutex::new(Some(body));
    let sender = client(&Settings::default(), move |_| {
        let body = body.lock().unwrap().take().unwrap_or_else(empty);
        async { Response::new(body) }
    });
    let response = sender.ask(post(empty())).await.unwrap();
    send.send(Ok(Frame::data("x".into()))).unwrap();
    drop(response);
    soon(send.closed()).await;
    // The connection lives.
    sender.ask(post(empty())).await.unwrap();
}

#[tokio::test]
async fn unread_bodies_give_the_window_back() {
    let settings = Settings { connection_window: 100_000, ..Settings::default() };
    let sender = client(&settings, |_| async { Response::new(full(vec![0; 60_000])) });
    for _ in 0..20 {
        let response = sender.ask(post(full(vec![0; 60_000]))).await.unwrap();
        drop(response);
    }
    let response = sender.ask(post(empty())).await.unwrap();
    assert_eq!(text(response.into_body()).await.len(), 60_000);
}

#[tokio::test(start_paused = true)]
async fn a_response_before_the_end_of_its_request_stops_the_request() {
    let sender = client(&Settings::default(), |_| async { Response::new(full("enough")) });
    let (send, body) = channel();
    let response = sender.ask(post(body)).await.unwrap();
    assert_eq!(text(response.into_body()).await, "enough");
    soon(send.closed()).await;
}

#[tokio::test]
async fn a_body_that_fails_resets_its_stream() {
    let sender = client(&Settings::default(), |_| async {
        Response::new(frames(vec![Ok(Frame::data("some".into())), Err(Error::Ended)]))
    });
    let mut body = sender.ask(post(empty())).await.unwrap().into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "some");
    assert_eq!(body.frame().await.unwrap().unwrap_err().reason(), Some(Reason::INTERNAL_ERROR));

    let (seen, mut errors) = mpsc::unbounded_channel();
    let sender = client(&Settings::default(), move |request| {
        let seen = seen.clone();
        async move {
            seen.send(request.into_body().collect().await.unwrap_err()).unwrap();
            pending().await
        }
    });
    let (send, body) = channel();
    send.send(Err(Error::Ended)).unwrap();
    tokio::spawn(async move { sender.ask(post(body)).await });
    // The service may be dropped before it sees the reset; if not, it sees which.
    if let Some(error) = errors.recv().await {
        assert_eq!(error.reason(), Some(Reason::CANCEL));
    }
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_connection_drops_the_services_and_fails_the_calls() {
    let (dropped, mut drops) = mpsc::unbounded_channel();
    let (near, far) = pipe();
    let (served, mut serves) = mpsc::unbounded_channel();
    let server = tokio::spawn(async move {
        let service = |_: Request<Incoming>| {
            let dropped = Dropped(dropped.clone());
            served.send(()).unwrap();
            async move {
                let _dropped = dropped;
                pending::<Response<AnyBody>>().await
            }
        };
        serve(far, &Settings::default(), service, pending()).await
    });
    let (sender, driver) = connect(near, &Settings::default());
    let driver = tokio::spawn(driver);
    let call = tokio::spawn({
        let sender = sender.clone();
        async move { sender.ask(post(empty())).await }
    });
    serves.recv().await.unwrap();
    driver.abort();

    soon(drops.recv()).await.unwrap();
    assert!(matches!(server.await.unwrap(), Err(Error::Ended)));
    let error = call.await.unwrap().unwrap_err();
    assert!(!error.is_unprocessed());
    assert!(sender.is_closed());
    assert!(sender.ask(post(empty())).await.unwrap_err().is_unprocessed());
}

#[tokio::test]
async fn draining_serves_what_is_in_flight_and_closes() {
    let (near, far) = pipe();
    let (drain, drained) = oneshot::channel::<()>();
    let (served, mut serves) = mpsc::unbounded_channel();
    let (finish, finished) = oneshot::channel::<()>();
    let finished = std::sync::Mutex::new(Some(finished));
    let server = tokio::spawn(async move {
        let service = |request: Request<Incoming>| {
            served.send(()).unwrap();
            let finished = finished.lock().unwrap().take();
            async move {
                if let Some(finished) = finished {
                    let _ = finished.await;
                }
                echo(request).await
            }
        };
        serve(far, &Settings::default(), service, async { drop(drained.await) }).await
    });
    let (sender, driver) = connect(near, &Settings::default());
    let driver = tokio::spawn(driver);
    let call = tokio::spawn({
        let sender = sender.clone();
        async move { text(sender.ask(post(full("late"))).await.unwrap().into_body()).await }
    });
    serves.recv().await.unwrap();
    drain.send(()).unwrap();
    while !sender.is_closed() {
        tokio::task::yield_now().await;
    }
    assert!(sender.ask(post(empty())).await.unwrap_err().is_unprocessed());
    assert!(!server.is_finished());

    finish.send(()).unwrap();
    assert_eq!(call.await.unwrap(), "late");
    server.await.unwrap().unwrap();
    driver.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_client_hears_at_once_what_the_server_says_when_it_goes() {
    let (near, far) = pipe();
    let (drain, drained) = oneshot::channel::<()>();
    let farewell = async {
        drop(drained.await);
        b"why".as_slice()
    };
    let never = |_: Request<Incoming>| pending::<Response<Empty<Bytes>>>();
    tokio::spawn(async move { serve_until(far, &Settings::default(), never, farewell).await });
    let (tell, told) = oneshot::channel();
    let (sender, driver) = connect_told(near, &Settings::default(), |debug: &[u8]| drop(tell.send(debug.to_vec())));
    tokio::spawn(driver);
    // It stays open.
    let _call = tokio::spawn({
        let sender = sender.clone();
        async move { sender.ask(post(full("late"))).await.map(drop) }
    });

    drain.send(()).unwrap();
    assert_eq!(told.await.unwrap(), b"why");
    assert!(sender.is_closed());
}

#[tokio::test]
async fn draining_tells_the_peer_twice() {
    let (mut near, far) = tokio::io::duplex(64 << 10);
    tokio::io::AsyncWriteExt::write_all(&mut near, frame::PREFACE).await.unwrap();
    let end = tokio::spawn(async move { serve(far, &Settings::default(), echo, std::future::ready(())).await });
    let mut peer = Raw { io: near, end };
    peer.frame(frame::SETTINGS, 0, 0, &[]).await;
    let (_, first) = peer.until(GO_AWAY).await;
    assert_eq!(first, [0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
    // What was sent before the peer knew is served.
    peer.frame(HEADERS, END_BOTH, 1, super::raw::GET).await;
    let (_, ping) = peer.until(PING).await;
    peer.frame(PING, frame::ACK, 0, &ping).await;
    let mut rest = Vec::new();
    while let Some((head, payload)) = peer.next().await {
        rest.push((head.kind, payload));
    }
    assert!(rest.contains(&(HEADERS, vec![0x88])));
    assert!(rest.contains(&(GO_AWAY, vec![0, 0, 0, 1, 0, 0, 0, 0])));
    peer.end.await.unwrap().unwrap();
}

/// So that a process that holds too many connections can close the idle ones first.
#[tokio::test(start_paused = true)]
async fn draining_closes_an_idle_connection_within_a_second() {
    for idle in [0, 3, 3_600] {
        let (near, far) = tokio::io::duplex(64 << 10);
        let (leave, left) = oneshot::channel::<()>();
        let drain = async { drop(left.await) };
        let end = tokio::spawn(async move { serve(far, &Settings::default(), echo, drain).await });
        let mut peer = Raw { io: near, end };
        peer.bytes(frame::PREFACE).await;
        peer.frame(frame::SETTINGS, 0, 0, &[]).await;
        peer.frame(HEADERS, END_BOTH, 1, super::raw::GET).await;
        peer.until(HEADERS).await;
        tokio::time::sleep(Duration::from_secs(idle)).await;
        let began = tokio::time::Instant::now();
        leave.send(()).unwrap();
        // The peer says nothing more.
        peer.end.await.unwrap().unwrap();
        assert!(began.elapsed() <= Duration::from_millis(1_100), "after {idle} s: {:?}", began.elapsed());
    }
}

#[tokio::test]
async fn a_request_that_the_peer_left_behind_is_unprocessed() {
    let (sender, mut peer) = Raw::server(&Settings::default()).await;
    let call = || {
        let sender = sender.clone();
        tokio::spawn(async move { sender.ask(post(empty())).await })
    };
    let (first, _) = (call(), tokio::task::yield_now().await);
    let second = call();
    peer.until(HEADERS).await;
    peer.until(HEADERS).await;
    peer.frame(GO_AWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0]).await;
    assert!(second.await.unwrap().unwrap_err().is_unprocessed());
    peer.frame(HEADERS, END_BOTH, 1, &[0x88]).await;
    first.await.unwrap().unwrap();
    assert!(sender.is_closed());
    peer.end.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_refused_stream_is_unprocessed_and_another_reset_is_not() {
    for (reason, unprocessed) in [(Reason::REFUSED_STREAM, true), (Reason::CANCEL, false)] {
        let (sender, mut peer) = Raw::server(&Settings::default()).await;
        let call = tokio::spawn(async move { sender.ask(post(empty())).await });
        peer.until(HEADERS).await;
        peer.frame(frame::RST_STREAM, 0, 1, &reason.0.to_be_bytes()).await;
        let error = call.await.unwrap().unwrap_err();
        assert_eq!((error.reason(), error.is_unprocessed()), (Some(reason), unprocessed));
    }
}

#[tokio::test]
async fn a_request_on_a_connection_that_just_died_was_never_sent() {
    let (sender, peer) = Raw::server(&Settings::default()).await;
    drop(peer.io);
    let error = sender.ask(post(empty())).await.unwrap_err();
    assert!(error.is_unprocessed(), "{error}");
}

#[tokio::test]
async fn the_connection_ends_when_nobody_can_send_any_more() {
    let (sender, mut peer) = Raw::server(&Settings::default()).await;
    let call = tokio::spawn(async move { sender.ask(post(empty())).await });
    peer.until(HEADERS).await;
    peer.frame(HEADERS, END_HEADERS, 1, &[0x88]).await;
    let response = call.await.unwrap().unwrap();
    peer.frame(DATA, frame::END_STREAM, 1, b"last").await;
    assert_eq!(text(response.into_body()).await, "last");
    let (_, payload) = peer.until(GO_AWAY).await;
    assert_eq!(payload, [0; 8]);
    peer.end.await.unwrap().unwrap();
}

#[tokio::test]
async fn the_answer_to_head_has_a_length_and_no_body() {
    let sender = client(&Settings::default(), |_| async {
        Response::builder().header("content-length", "5").body(full("12345")).unwrap()
    });
    let request = Request::builder().method(Method::HEAD).uri("http://a/").body(empty()).unwrap();
    let response = sender.ask(request).await.unwrap();
    assert_eq!(response.headers()["content-length"], "5");
    assert!(response.body().is_end_stream());
    let response = sender.ask(post(empty())).await.unwrap();
    assert_eq!(response.body().size_hint().exact(), Some(5));
    assert_eq!(text(response.into_body()).await, "12345");
}

#[tokio::test]
async fn a_tunnel_lives_until_both_sides_end_it() {
    let sender = client(&Settings::default(), |request| async move {
        assert_eq!((request.method(), request.uri().to_string()), (&Method::CONNECT, "db.example:5432".to_owned()));
        echo(request).await
    });
    let (send, body) = channel();
    let request = Request::connect("db.example:5432").body(body).unwrap();
    let mut body = sender.ask(request).await.unwrap().into_body();
    for word in ["one", "two"] {
        send.send(Ok(Frame::data(word.into()))).unwrap();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), word);
    }
    drop(send);
    assert!(body.frame().await.is_none());
}

#[tokio::test]
async fn the_first_side_of_a_tunnel_to_end_leaves_the_other_open() {
    let (got, mut words) = mpsc::unbounded_channel();
    let sender = client(&Settings::default(), move |request| {
        let got = got.clone();
        // The response ends at once; the request is read elsewhere.
        tokio::spawn(async move { got.send(text(request.into_body()).await) });
        async { Response::new(empty()) }
    });
    let (send, body) = channel();
    let response = sender.ask(Request::connect("a:1").body(body).unwrap()).await.unwrap();
    assert!(response.into_body().frame().await.is_none());
    send.send(Ok(Frame::data("late".into()))).unwrap();
    drop(send);
    assert_eq!(words.recv().await.unwrap(), "late");
}

#[tokio::test]
async fn a_head_larger_than_a_frame_passes() {
    let sender = client(&Settings::default(), |request| async move {
        let value = request.headers().get("x-large").cloned().unwrap_or_else(|| "none".parse().unwrap());
        Response::builder().header("x-large", value).body(empty()).unwrap()
    });
    let large = "y".repeat(40_000);
    for _ in 0..3 {
        let request = Request::get("http://a/").header("x-large", &large).body(empty()).unwrap();
        assert_eq!(sender.ask(request).await.unwrap().headers()["x-large"], large);
    }
    let request = Request::get("http://a/").header("x-large", "y".repeat(70_000)).body(empty()).unwrap();
    let error = sender.ask(request).await.unwrap_err();
    assert!(matches!(error, Error::HeadTooLarge { size: 70_000.., most: 65_536 }), "{error:?}");
    assert_eq!(sender.ask(post(full("it goes on"))).await.unwrap().headers()["x-large"], "none");
}

#[tokio::test]
async fn a_response_may_be_a_reset_and_the_client_learns_its_code() {
    let sender = client(&Settings::default(), |_| async {
        let mut response = Response::new(full("nobody reads this"));
        response.extensions_mut().insert(Reason::INADEQUATE_SECURITY);
        response
    });
    for _ in 0..3 {
        let error = sender.ask(post(full("hello"))).await.unwrap_err();
        assert!(matches!(error, Error::Reset { reason: Reason::INADEQUATE_SECURITY }), "{error:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_asked_whether_it_is_there_only_where_that_is_wanted() {
    for (pings, expected) in [(true, PING), (false, DATA)] {
        let (sender, mut peer) = Raw::server(&Settings { pings, ..Settings::default() }).await;
        let (said, body) = channel();
        let asking = tokio::spawn(async move { sender.ask(post(body)).await.map(drop) });
        peer.until(HEADERS).await;
        let later = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(100)).await;
            let _ = said.send(Ok(Frame::data("late".into())));
        });
        let (head, _) = loop {
            let next = peer.next().await.unwrap();
            if matches!(next.0.kind, PING | DATA) {
                break next;
            }
        };
        assert_eq!(head.kind, expected);
        later.abort();
        asking.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_server_takes_is_known_when_its_settings_are() {
    let (near, mut far) = pipe();
    let (sender, driver) = connect::<_, AnyBody>(near, &Settings::default());
    tokio::spawn(driver);
    let settled = sender.clone();
    let settled = tokio::spawn(async move { settled.settled().await.map(|()| settled.max_streams()) });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!settled.is_finished());

    let mut settings = Vec::new();
    frame::settings(&mut settings, &[(frame::MAX_CONCURRENT_STREAMS, 7)]);
    tokio::io::AsyncWriteExt::write_all(&mut far, &settings).await.unwrap();

    assert_eq!(soon(settled).await.unwrap().unwrap(), 7);
    drop(far);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(sender.max_streams(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_was_quiet_works_again() {
    let sender = client(&Settings::default(), echo);
    for _ in 0..4 {
        let response = sender.ask(post(full("again"))).await.unwrap();
        assert_eq!(text(response.into_body()).await, "again");
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_stays_open_goes_on_after_each_pause_beside_others() {
    let sender = client(&Settings::default(), echo);
    let (said, body) = channel();
    let mut heard = sender.ask(post(body)).await.unwrap().into_body();
    for others in [0, 9, 1, 0, 5] {
        let calls = (0..others).map(|_| sender.ask(post(full("beside"))));
        let calls: Vec<_> = soon(futures_util::future::join_all(calls)).await;
        tokio::time::sleep(Duration::from_secs(60)).await;
        said.send(Ok(Frame::data(Bytes::from_static(b"again")))).unwrap();

        let frame = soon(heard.frame()).await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), "again");
        for response in calls {
            assert_eq!(text(response.unwrap().into_body()).await, "beside");
        }
    }
    drop(said);
    assert!(soon(heard.frame()).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_response_that_nobody_reads_keeps_no_other_request_waiting() {
    let (sender, mut peer) = Raw::server(&Settings { max_streams: 1, ..Settings::default() }).await;
    let call = || {
        let sender = sender.clone();
        tokio::spawn(async move { sender.ask(post(empty())).await })
    };
    let first = call();
    peer.until(HEADERS).await;
    peer.frame(HEADERS, END_HEADERS, 1, &[0x88]).await;
    let unread = first.await.unwrap().unwrap();
    let _second = call();
    tokio::task::yield_now().await;
    peer.frame(DATA, frame::END_STREAM, 1, b"some").await;

    assert_eq!(soon(peer.until(HEADERS)).await.0.id, 3);
    assert_eq!(text(unread.into_body()).await, "some");
}

#[test]
fn a_turn_that_is_given_up_goes_to_the_next() {
    let shared = Shared::new(Role::Client, &Settings::default());
    let mut state = shared.lock();
    let (mut first, mut second) = (None, None);
    state.wait(&mut first, Waker::noop());
    state.wait(&mut second, Waker::noop());
    state.wake_waiting();
    assert_eq!((state.work.wakes.len(), state.waiting.len()), (1, 1));

    state.stop_waiting(first.unwrap(), false);
    assert_eq!((state.work.wakes.len(), state.waiting.len()), (2, 0));
}
