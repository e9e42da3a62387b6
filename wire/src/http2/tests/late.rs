//! Streams that this side ends before the peer has (RFC 9113 §5.1, §8.1): what is on its way for them is no offence. What comes for streams that
//! the peer itself has ended is one.

use std::future::pending;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::oneshot;
use tokio::time::{Duration, sleep};

use super::super::frame::*;
use super::super::{Incoming, Reason, Settings, serve};
use super::raw::{END_BOTH, GET, POST, Raw};
use super::{AnyBody, channel, echo, empty, full, post, soon};

async fn too_large(request: Request<Incoming>) -> Response<AnyBody> {
    if request.method() == http::Method::GET {
        return echo(request).await;
    }
    let mut response = Response::new(empty());
    *response.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
    response
}

/// Asserts that nothing was reset or ended but, without an error, `early` streams, and that another request is answered.
async fn goes_on(peer: &mut Raw, id: u32, mut early: usize) {
    peer.frame(HEADERS, END_BOTH, id, GET).await;
    loop {
        let (head, payload) = peer.next().await.expect("the connection goes on");
        match head.kind {
            GO_AWAY => panic!("the connection is ended: {payload:?}"),
            RST_STREAM => {
                assert_eq!(payload, [0; 4], "stream {}", head.id);
                early -= 1;
            }
            HEADERS if head.id == id => break,
            _ => {}
        }
    }
    assert_eq!(early, 0);
}

/// A way to a server over which, behind its greeting, nothing comes back until that is let go.
fn slow_way_back() -> (DuplexStream, DuplexStream, oneshot::Sender<()>) {
    let (near, relay_near) = tokio::io::duplex(8 << 20);
    let (relay_far, far) = tokio::io::duplex(8 << 20);
    let (mut from_client, mut to_client) = tokio::io::split(relay_near);
    let (mut from_server, mut to_server) = tokio::io::split(relay_far);
    let (let_go, held) = oneshot::channel::<()>();
    tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
    tokio::spawn(async move {
        let mut greeting = [0; 64];
        let length = from_server.read(&mut greeting).await.unwrap();
        to_client.write_all(&greeting[..length]).await.unwrap();
        held.await.unwrap();
        tokio::io::copy(&mut from_server, &mut to_client).await
    });
    (near, far, let_go)
}

#[tokio::test(start_paused = true)]
async fn two_hundred_uploads_of_h2_that_are_answered_early_leave_the_connection_whole() {
    let (near, far, let_go) = slow_way_back();
    let (client, connection) = h2::client::handshake(near).await.unwrap();
    let connection = tokio::spawn(connection);
    tokio::spawn(async move { serve(far, &Settings::default(), too_large, pending()).await });
    // The greeting has come: its windows hold.
    sleep(Duration::from_millis(1)).await;
    let mut client = client.ready().await.unwrap();
    let upload = || Request::post("http://a.example/x").body(()).unwrap();
    let mut calls: Vec<_> = (0..200).map(|_| client.send_request(upload(), false).unwrap()).collect();
    // What comes of the second round on comes for streams that the server has answered and reset, which the client does not know.
    for _ in 0..6 {
        for (_, body) in &mut calls {
            body.send_data(Bytes::from_static(&[7; 500]), false).unwrap();
        }
        sleep(Duration::from_millis(1)).await;
    }
    let_go.send(()).unwrap();
    for (response, _body) in calls {
        assert_eq!(soon(response).await.unwrap().status(), StatusCode::PAYLOAD_TOO_LARGE);
    }
    let (response, _) = client.send_request(Request::get("http://a.example/x").body(()).unwrap(), true).unwrap();
    assert_eq!(soon(response).await.unwrap().status(), StatusCode::OK);
    assert!(!connection.is_finished());
}

#[tokio::test]
async fn whatever_is_on_its_way_for_a_stream_that_was_answered_early_is_passed_over() {
    let mut peer = Raw::client(&Settings::default(), too_large).await;
    for id in (1..400).step_by(2) {
        peer.frame(HEADERS, END_HEADERS, id, POST).await;
    }
    for _ in 0..200 {
        peer.until(RST_STREAM).await;
    }
    for _ in 0..8 {
        for id in (1..400).step_by(2) {
            peer.frame(DATA, 0, id, &[7; 500]).await;
            peer.window_update(id, 10).await;
        }
    }
    for id in (1..400).step_by(2) {
        match id % 8 {
            1 => peer.frame(RST_STREAM, 0, id, &8_u32.to_be_bytes()).await,
            3 => peer.frame(DATA, END_STREAM, id, &[]).await,
            5 => peer.frame(DATA, END_STREAM | PADDED, id, &[2, 1, 0, 0]).await,
            _ => peer.frame(HEADERS, END_BOTH, id, &[0, 1, b'a', 1, b'b']).await,
        }
    }
    goes_on(&mut peer, 401, 0).await;
}

#[tokio::test]
async fn an_early_answer_says_that_it_is_no_error() {
    let mut peer = Raw::client(&Settings::default(), too_large).await;
    for id in (1..400).step_by(2) {
        peer.frame(HEADERS, END_HEADERS, id, POST).await;
    }
    goes_on(&mut peer, 401, 200).await;
}

#[tokio::test]
async fn the_connections_window_comes_back_for_what_is_passed_over() {
    let mut peer = Raw::client(&Settings::default(), too_large).await;
    peer.frame(HEADERS, END_HEADERS, 1, POST).await;
    peer.until(RST_STREAM).await;
    let mut window: i64 = 1 << 20;
    for _ in 0..200 {
        peer.frame(DATA, 0, 1, &[7; 16_000]).await;
        window -= 16_000;
        while window < 16_000 {
            let (head, more) = peer.until(WINDOW_UPDATE).await;
            assert_eq!(head.id, 0);
            window += i64::from(word(&more).unwrap());
        }
    }
    goes_on(&mut peer, 3, 0).await;
}

#[tokio::test]
async fn more_than_the_windows_let_out_is_an_offence_again() {
    let mut peer = Raw::client(&Settings::default(), too_large).await;
    peer.frame(HEADERS, END_HEADERS, 1, POST).await;
    for _ in 0..300_000 {
        peer.frame(DATA, 0, 1, &[7; 1]).await;
    }
    assert_eq!(peer.go_away().await, Reason::ENHANCE_YOUR_CALM);
}

#[tokio::test]
async fn a_stream_that_the_peer_ended_takes_no_more() {
    // Ended with the request, with the body after an early answer, by trailers, and by a reset.
    let ends: [(u8, u8, &[u8]); 4] = [
        (DATA, END_STREAM, b"x"),
        (DATA, END_STREAM, &[]),
        (HEADERS, END_BOTH, &[0, 1, b'a', 1, b'b']),
        (RST_STREAM, 0, &[0; 4]),
    ];
    for (kind, flags, payload) in ends {
        let mut peer = Raw::client(&Settings::default(), too_large).await;
        peer.frame(HEADERS, END_HEADERS, 1, POST).await;
        peer.until(RST_STREAM).await;
        peer.frame(kind, flags, 1, payload).await;
        for _ in 0..6_000 {
            peer.frame(DATA, 0, 1, b"more").await;
        }
        assert_eq!(peer.go_away().await, Reason::ENHANCE_YOUR_CALM, "after frame {kind}");
    }
}

#[tokio::test]
async fn uploads_that_are_refused_may_be_on_their_way_as_well() {
    let hold = |request: Request<Incoming>| async move {
        let _request = request;
        pending().await
    };
    let mut peer = Raw::client(&Settings { max_streams: 10, ..Settings::default() }, hold).await;
    for id in (1..420).step_by(2) {
        peer.frame(HEADERS, END_HEADERS, id, POST).await;
    }
    for _ in 0..5 {
        for id in (21..420).step_by(2) {
            peer.frame(DATA, 0, id, &[7; 100]).await;
        }
    }
    peer.frame(PING, 0, 0, &[0; 8]).await;
    let mut refused = 0;
    loop {
        let (head, payload) = peer.next().await.expect("the connection goes on");
        match head.kind {
            RST_STREAM => {
                assert_eq!(word(&payload), Some(Reason::REFUSED_STREAM.0));
                refused += 1;
            }
            GO_AWAY => panic!("the connection is ended: {payload:?}"),
            PING => break,
            _ => {}
        }
    }
    assert_eq!(refused, 200);
}

#[tokio::test]
async fn uploads_on_their_way_to_a_server_that_goes_away_are_passed_over() {
    let (near, far) = tokio::io::duplex(32 << 20);
    let (leave, left) = oneshot::channel::<()>();
    let hold = |request: Request<Incoming>| async move {
        let _request = request;
        pending::<Response<AnyBody>>().await
    };
    let end = tokio::spawn(async move { serve(far, &Settings::default(), hold, async { drop(left.await) }).await });
    let mut peer = Raw { io: near, end };
    peer.bytes(PREFACE).await;
    peer.frame(SETTINGS, 0, 0, &[]).await;
    peer.frame(HEADERS, END_BOTH, 1, GET).await;
    leave.send(()).unwrap();
    let (_, ping) = peer.until(PING).await;
    peer.frame(PING, ACK, 0, &ping).await;
    // The second GOAWAY names the last stream.
    peer.until(GO_AWAY).await;
    for id in (3..400).step_by(2) {
        peer.frame(HEADERS, END_HEADERS, id, POST).await;
    }
    for _ in 0..40 {
        for id in (3..400).step_by(2) {
            peer.frame(DATA, 0, id, &[7; 50]).await;
        }
    }
    peer.frame(PING, 0, 0, &[3; 8]).await;
    while peer.until(PING).await.1 != [3; 8] {}
}

#[tokio::test]
async fn responses_that_were_given_up_may_be_on_their_way() {
    let (sender, mut peer) = Raw::server(&Settings::default()).await;
    for round in 0..2 {
        let mut calls = Vec::new();
        for _ in 0..100 {
            let sender = sender.clone();
            let call = tokio::spawn(async move { sender.ask(post(empty())).await });
            let (head, _) = peer.until(HEADERS).await;
            peer.frame(HEADERS, END_HEADERS, head.id, &[0x88]).await;
            calls.push((head.id, call.await.unwrap().unwrap()));
        }
        let ids: Vec<u32> = calls.iter().map(|(id, _)| *id).collect();
        drop(calls);
        for _ in 0..50 {
            for id in &ids {
                peer.frame(DATA, 0, *id, &[7; 20]).await;
            }
        }
        for id in ids {
            peer.frame(HEADERS, END_BOTH, id, &[0, 1, b'a', 1, b'b']).await;
        }
        assert!(!sender.is_closed(), "round {round}");
    }
    let call = tokio::spawn(async move { sender.ask(post(full("x"))).await });
    let (head, _) = peer.until(HEADERS).await;
    peer.frame(HEADERS, END_BOTH, head.id, &[0x88]).await;
    assert_eq!(call.await.unwrap().unwrap().status(), 200);
}

#[tokio::test]
async fn a_body_given_up_midway_is_passed_over_by_its_octets() {
    let (send, body) = channel();
    let (sender, mut peer) = Raw::server(&Settings::default()).await;
    let call = tokio::spawn(async move { sender.ask(post(body)).await });
    let (head, _) = peer.until(HEADERS).await;
    peer.frame(HEADERS, END_HEADERS, head.id, &[0x88]).await;
    drop(call.await.unwrap().unwrap());
    assert_eq!(peer.reset(head.id).await, Reason::CANCEL);
    soon(send.closed()).await;
}
