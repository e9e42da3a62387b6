//! Floods of WINDOW_UPDATE: each costs what it opens, and a peer may not send many that no DATA asked for.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::BodyExt;

use super::super::frame::*;
use super::super::{Error, Incoming, Reason, Settings};
use super::raw::{END_BOTH, GET, POST, Raw};
use super::{AnyBody, echo, full};

/// Gives 400 octets, and then counts how often it is asked for more.
struct Asked {
    given: bool,
    count: Arc<AtomicUsize>,
}

impl Body for Asked {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if !std::mem::replace(&mut self.given, true) {
            return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[7; 400])))));
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        Poll::Pending
    }
}

#[tokio::test]
async fn the_window_of_a_body_that_is_read_grows_and_others_keep_their_first() {
    let settings =
        Settings { stream_window: 40_000, grown_window: 100_000, connection_window: 400_000, ..Settings::default() };
    let mut peer = Raw::client(&settings, echo).await;
    peer.frame(SETTINGS, ACK, 0, &[]).await;
    let mut windows = Vec::new();
    for id in [1, 3, 5] {
        peer.frame(HEADERS, END_HEADERS, id, POST).await;
        let mut window = 40_000;
        for _ in 0..20 {
            // All that the window allows is echoed, behind what opens the window again.
            for piece in vec![7; window as usize].chunks(10_000) {
                peer.frame(DATA, 0, id, piece).await;
            }
            let mut echoed = std::mem::take(&mut window);
            peer.window_update(0, echoed).await;
            peer.window_update(id, echoed).await;
            while echoed > 0 {
                let (head, payload) = peer.next().await.unwrap();
                match head.kind {
                    WINDOW_UPDATE if head.id == id => window += word(&payload).unwrap(),
                    DATA => echoed -= u32::try_from(payload.len()).unwrap(),
                    _ => {}
                }
            }
        }
        windows.push(window);
    }
    // What was read and not given back yet is less than a half. A quarter of 400,000 is what they may grow by together.
    assert!((50_001..=100_000).contains(&windows[0]), "{windows:?}");
    assert!((40_001..=80_000).contains(&windows[1]), "{windows:?}");
    assert!((20_001..=40_000).contains(&windows[2]), "{windows:?}");
}

#[tokio::test]
async fn an_octet_of_the_connections_window_makes_few_streams_look() {
    let count = Arc::new(AtomicUsize::new(0));
    let asked = count.clone();
    let service = move |_: Request<Incoming>| {
        let body = Asked { given: false, count: asked.clone() };
        async move { Response::new(BodyExt::boxed(body)) as Response<AnyBody> }
    };
    let mut peer = Raw::client(&Settings::default(), service).await;
    for id in (1..512).step_by(2) {
        peer.frame(HEADERS, END_BOTH, id, GET).await;
    }
    let mut came = 0;
    while came < 65_535 {
        came += peer.until(DATA).await.0.length;
    }
    peer.frame(PING, 0, 0, &[0; 8]).await;
    peer.until(PING).await;
    let before = count.load(Ordering::Relaxed);
    for _ in 0..100 {
        peer.window_update(0, 1).await;
        assert_eq!(peer.until(DATA).await.0.length, 1);
    }
    let looks = count.load(Ordering::Relaxed) - before;
    assert!(looks <= 400, "{looks} looks for 100 octets");

    // In the end all streams get what they have, whatever the steps.
    let mut left = 256 * 400 - 65_535 - 100;
    while left > 0 {
        let more = left.min(700);
        peer.window_update(0, more).await;
        let mut came = 0;
        while came < more {
            came += u32::try_from(peer.until(DATA).await.0.length).unwrap();
        }
        left -= came;
    }
}

#[tokio::test]
async fn a_stream_that_goes_leaves_the_window_to_the_others() {
    let service = |_: Request<Incoming>| async { Response::new(full(vec![7; 30_000])) };
    let mut peer = Raw::client(&Settings::default(), service).await;
    for id in [1, 3, 5, 7, 9] {
        peer.frame(HEADERS, END_BOTH, id, GET).await;
    }
    let mut came = 0;
    while came < 65_535 {
        came += peer.until(DATA).await.0.length;
    }
    // Those that are first in the row are given up in the same packet as the window is opened.
    let mut input = Vec::new();
    window_update(&mut input, 0, 100);
    reset(&mut input, 5, Reason::CANCEL);
    reset(&mut input, 7, Reason::CANCEL);
    peer.bytes(&input).await;
    assert_eq!(peer.until(DATA).await.0.id, 9);
}

#[tokio::test]
async fn updates_that_no_data_asked_for_end_the_connection() {
    // Of the connection, of a stream that is open, and of one that has ended.
    for id in [0, 1, 3] {
        let service = |request: Request<Incoming>| async move {
            if request.method() == http::Method::GET { echo(request).await } else { std::future::pending().await }
        };
        let mut peer = Raw::client(&Settings::default(), service).await;
        peer.frame(HEADERS, END_HEADERS, 1, POST).await;
        peer.frame(HEADERS, END_BOTH, 3, GET).await;
        peer.until(HEADERS).await;
        for _ in 0..12_000 {
            peer.window_update(id, 1).await;
        }
        assert_eq!(peer.go_away().await, Reason::ENHANCE_YOUR_CALM, "stream {id}");
    }
}

#[tokio::test]
async fn a_peer_may_open_both_windows_after_each_frame_and_after_the_end() {
    let service = |_: Request<Incoming>| async { Response::new(full(vec![7; 20])) };
    let mut peer = Raw::client(&Settings::default(), service).await;
    for id in (1..16_000).step_by(2) {
        peer.frame(HEADERS, END_BOTH, id, GET).await;
        peer.until(DATA).await;
        peer.window_update(0, 20).await;
        peer.window_update(id, 20).await;
        // It gives up what has ended already, as one does whose time is over.
        peer.frame(RST_STREAM, 0, id, &8_u32.to_be_bytes()).await;
    }
}
