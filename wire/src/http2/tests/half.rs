//! Messages of which not all comes: each has ten seconds from its first octet, however it drips. Bodies, and connections that are quiet, have more.

use std::future::pending;
use std::task::{Context, Waker};

use http::{Request, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Duration, Instant, sleep, timeout};

use super::super::frame::*;
use super::super::{Incoming, Reason, Settings};
use super::raw::{END_BOTH, GET, POST, Raw};
use super::{AnyBody, echo, empty, post};

async fn hold(request: Request<Incoming>) -> Response<AnyBody> {
    let _request = request;
    pending().await
}

/// The other side ends the connection ten seconds after `began`, and says why.
async fn is_cut(peer: Raw, began: Instant, what: &str) {
    assert_eq!(peer.go_away().await, Reason::ENHANCE_YOUR_CALM, "{what}");
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(10) && took < Duration::from_secs(12), "{what}: {took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_greeting_has_to_come_in_time() {
    for (what, greeting) in [("nothing", 0), ("half a preface", 10), ("no SETTINGS", 24), ("half of SETTINGS", 30)] {
        let mut input = PREFACE.to_vec();
        settings(&mut input, &[(4, 1)]);
        let began = Instant::now();
        let mut peer = Raw::silent_client(&Settings::default(), hold);
        peer.bytes(&input[..greeting]).await;
        is_cut(peer, began, what).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_frame_or_a_header_block_has_to_come_whole_in_time() {
    let halves: [(&str, &[u8]); 5] = [
        ("an octet of a frame", &[0]),
        ("the head of a frame", &[0, 0, 8, PING, 0, 0, 0, 0, 0]),
        ("half of HEADERS", &[0, 0, 6, HEADERS, END_BOTH, 0, 0, 0, 3, 0x82]),
        ("a block without end", &[0, 0, 1, HEADERS, END_STREAM, 0, 0, 0, 3, 0x82]),
        ("half of CONTINUATION", &[0, 0, 1, HEADERS, 0, 0, 0, 0, 3, 0x82, 0, 0, 9, CONTINUATION, 0, 0, 0, 0, 3, 0x84]),
    ];
    for (what, half) in halves {
        for open in [false, true] {
            let mut peer = Raw::client(&Settings::default(), hold).await;
            if open {
                peer.frame(HEADERS, END_HEADERS, 1, POST).await;
            }
            // It begins anywhere between two looks at the clock.
            sleep(Duration::from_millis(7_300)).await;
            let began = Instant::now();
            peer.bytes(half).await;
            is_cut(peer, began, what).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_drips_has_no_more_time() {
    let whole: &[u8] = &[0, 0, 60, HEADERS, END_BOTH, 0, 0, 0, 3, 0x82, 0x86, 0x84, 0x41, 1];
    let mut peer = Raw::client(&Settings::default(), hold).await;
    let began = Instant::now();
    for octet in &whole[..11] {
        peer.bytes(&[*octet]).await;
        sleep(Duration::from_millis(900)).await;
    }
    is_cut(peer, began, "a frame by octets").await;

    let mut peer = Raw::client(&Settings::default(), hold).await;
    let began = Instant::now();
    peer.frame(HEADERS, END_STREAM, 3, &[]).await;
    for octet in [0x82, 0x86, 0x84, 0x84, 0x84] {
        sleep(Duration::from_millis(2_300)).await;
        peer.frame(CONTINUATION, 0, 3, &[octet]).await;
    }
    is_cut(peer, began, "a block by frames").await;
}

#[tokio::test(start_paused = true)]
async fn a_message_that_came_whole_leaves_no_time_limit_behind() {
    let mut peer = Raw::client(&Settings::default(), echo).await;
    for id in (1..40).step_by(4) {
        for (first, second) in [(0, 3), (9, 4), (12, 1)] {
            let id = id + 2 * u32::from(first == 12);
            let mut frame = Vec::new();
            head(&mut frame, GET.len(), HEADERS, END_BOTH, id);
            frame.extend_from_slice(GET);
            if first != 12 {
                frame = vec![0, 0, 8, PING, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
            }
            peer.bytes(&frame[..first + second]).await;
            sleep(Duration::from_secs(6)).await;
            peer.bytes(&frame[first + second..]).await;
        }
        peer.until(HEADERS).await;
    }
    // An hour without streams is nothing unusual between calls.
    sleep(Duration::from_secs(3600)).await;
    peer.frame(HEADERS, END_BOTH, 101, GET).await;
    assert_eq!(peer.until(HEADERS).await.0.id, 101);
}

/// A process that was stopped for a while does not take its own pause for the peer's.
#[tokio::test(start_paused = true)]
async fn what_came_while_this_side_slept_is_read_before_the_clock() {
    let (mut near, far) = super::pipe();
    let settings = Settings::default();
    let mut served = std::pin::pin!(super::super::serve(far, &settings, echo, pending()));
    let mut work = || served.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    let mut input = PREFACE.to_vec();
    super::super::frame::settings(&mut input, &[]);
    head(&mut input, GET.len(), HEADERS, END_BOTH, 1);
    near.write_all(&input).await.unwrap();
    assert!(work().is_pending());

    near.write_all(GET).await.unwrap();
    tokio::time::advance(Duration::from_secs(11)).await;
    tokio::task::yield_now().await;
    assert!(work().is_pending());
    let mut output = [0; 200];
    let length = near.read(&mut output).await.unwrap();
    assert!(output[..length].ends_with(&[0, 0, 1, HEADERS, END_BOTH, 0, 0, 0, 1, 0x88]));
}

#[tokio::test(start_paused = true)]
async fn a_body_may_drip() {
    let mut peer = Raw::client(&Settings::default(), echo).await;
    peer.frame(HEADERS, END_HEADERS, 1, POST).await;
    peer.bytes(&[0, 0, 20, DATA, END_STREAM, 0, 0, 0, 1]).await;
    for octet in 0..20 {
        sleep(Duration::from_secs(8)).await;
        peer.bytes(&[octet]).await;
    }
    loop {
        let (head, _) = peer.until(DATA).await;
        if head.flags & END_STREAM != 0 {
            return;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_has_as_long_for_its_greeting_as_nobody_asks_anything() {
    let (near, far) = super::pipe();
    let (sender, driver) = super::super::connect(far, &Settings::default());
    let end = tokio::spawn(driver);
    sleep(Duration::from_secs(300)).await;
    assert!(!end.is_finished());
    let mut peer = Raw { io: near, end };
    let call = tokio::spawn(async move { sender.ask(post(empty())).await });
    peer.frame(SETTINGS, 0, 0, &[]).await;
    let mut preface = [0; 24];
    peer.io.read_exact(&mut preface).await.unwrap();
    peer.until(HEADERS).await;
    // Half a response is a half message too.
    peer.bytes(&[0, 0, 1, HEADERS, 0, 0, 0, 0, 1, 0x88]).await;
    let error = timeout(Duration::from_secs(12), call).await.unwrap().unwrap().unwrap_err();
    assert_eq!(error.reason(), Some(Reason::ENHANCE_YOUR_CALM));
}
