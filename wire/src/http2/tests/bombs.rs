//! Heads that are small on the wire and large in memory (CVE-2026-49975 and its kin): what a connection's heads take together is bounded, for
//! all its streams and in both roles, and honest heads that the table makes small are served.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Waker};

use futures_util::FutureExt;
use http::header::COOKIE;
use http::{HeaderMap, Request, Response};

use super::super::frame::*;
use super::super::state::{Role, Shared, Work};
use super::super::{Incoming, Reason, Settings};
use super::raw::{END_BOTH, GET, POST, Raw};
use super::{AnyBody, echo, empty, post};

/// Puts a crumb of 3,900 octets into the table: the next blocks refer to it by `CRUMB`.
fn first_crumb() -> Vec<u8> {
    let mut field = vec![0x60, 0x7f, 0xbd, 0x1d];
    field.extend(std::iter::repeat_n(b'c', 3900));
    field
}

const CRUMB: u8 = 0xbe;
/// As [`GET`], but without anything that enters the table.
const GET_AGAIN: &[u8] = &[0x82, 0x86, 0x84, 0x01, 1, b'a'];
const POST_AGAIN: &[u8] = &[0x83, 0x86, 0x84, 0x01, 1, b'a'];
/// More than the heads of one connection may take, with room for how it is counted.
const MUCH: usize = 900 << 10;

/// Holds each request, and counts what their values take.
#[derive(Clone, Default)]
struct Held(Arc<AtomicUsize>);

impl Held {
    fn service(
        &self,
    ) -> impl Fn(Request<Incoming>) -> futures_util::future::BoxFuture<'static, Response<AnyBody>> + use<> {
        let held = self.0.clone();
        move |request| {
            held.fetch_add(octets(request.headers()), Ordering::Relaxed);
            async move {
                let _request = request;
                std::future::pending().await
            }
            .boxed()
        }
    }
}

fn octets(headers: &HeaderMap) -> usize {
    headers.values().map(|value| value.len()).sum()
}

#[tokio::test]
async fn the_heads_of_all_streams_together_are_bounded() {
    let held = Held::default();
    let mut peer = Raw::client(&Settings::default(), held.service()).await;
    peer.frame(HEADERS, END_BOTH, 1, &[GET_AGAIN, &first_crumb()].concat()).await;
    for id in (3..500).step_by(2) {
        peer.frame(HEADERS, END_BOTH, id, &[GET_AGAIN, &[CRUMB, CRUMB]].concat()).await;
    }

    // A stream that is refused may be sent again: nothing was done for it.
    assert_eq!(peer.reset(499).await, Reason::REFUSED_STREAM);
    let octets = held.0.load(Ordering::Relaxed);
    assert!((300_000..MUCH).contains(&octets), "{octets} octets of heads are held");
}

#[tokio::test]
async fn many_small_fields_count_as_the_memory_they_take() {
    let served = Arc::new(AtomicUsize::new(0));
    let count = served.clone();
    let service = move |request: Request<Incoming>| {
        count.fetch_add(request.headers().len(), Ordering::Relaxed);
        async move {
            let _request = request;
            std::future::pending().await
        }
    };
    let mut peer = Raw::client(&Settings::default(), service).await;
    // Fields without a value, all of them names of the static table.
    let names = (15..=60).filter(|index| ![28, 38, 57].contains(index));
    let fields: Vec<u8> = names.flat_map(|index| [0x0f, index - 15, 0]).collect();
    for id in (1..512).step_by(2) {
        peer.frame(HEADERS, END_BOTH, id, &[GET_AGAIN, &fields, &fields, &fields].concat()).await;
    }

    peer.reset(511).await;
    let fields = served.load(Ordering::Relaxed);
    assert!(fields * 100 < 2 * MUCH, "{fields} fields are held");
}

#[tokio::test]
async fn a_small_head_after_a_large_one_takes_little() {
    let shared = Shared::new(Role::Server, &Settings::default());
    let mut input = PREFACE.to_vec();
    settings(&mut input, &[]);
    let names = (15..=60).filter(|index| ![28, 38, 57].contains(index));
    let large = [GET_AGAIN, &names.flat_map(|index| [0x0f, index - 15, 0]).collect::<Vec<u8>>()].concat();
    for id in (1..512).step_by(2) {
        let block = if id % 4 == 1 { &large } else { GET_AGAIN };
        head(&mut input, block.len(), HEADERS, END_BOTH, id);
        input.extend_from_slice(block);
    }
    let mut state = shared.lock();
    state.receive(&input).unwrap();
    let small = state.work.arrived.iter().filter(|arrived| arrived.request.headers().is_empty());
    assert!(small.clone().count() >= 60);
    assert!(small.into_iter().all(|arrived| arrived.request.headers().capacity() <= 12));
}

#[tokio::test]
async fn heads_of_streams_that_were_reset_count_until_they_are_dropped() {
    let shared = Shared::new(Role::Server, &Settings::default());
    let mut input = PREFACE.to_vec();
    settings(&mut input, &[]);
    let first = [GET_AGAIN, &first_crumb()].concat();
    let next = [GET_AGAIN, &[CRUMB, CRUMB]].concat();
    for id in (1..800).step_by(2) {
        let block = if id == 1 { &first } else { &next };
        head(&mut input, block.len(), HEADERS, END_BOTH, id);
        input.extend_from_slice(block);
        reset(&mut input, id, Reason::CANCEL);
    }
    let mut state = shared.lock();
    state.receive(&input).unwrap();
    let octets: usize = state.work.arrived.iter().map(|arrived| octets(arrived.request.headers())).sum();
    assert!((300_000..MUCH).contains(&octets), "{octets} octets of heads are held");

    state.add_work(&mut Work::default());
    state.workers_rested();
    assert!(state.has_room_for_head(700 << 10));
}

#[tokio::test]
async fn a_head_that_was_answered_makes_room_for_the_next() {
    let service = |request: Request<Incoming>| async move {
        assert!(request.headers()[COOKIE].len() >= 3900);
        Response::new(empty())
    };
    let mut peer = Raw::client(&Settings::default(), service).await;
    peer.frame(HEADERS, END_BOTH, 1, &[GET_AGAIN, &first_crumb()].concat()).await;
    peer.until(HEADERS).await;
    for id in (3..2_000).step_by(2) {
        peer.frame(HEADERS, END_BOTH, id, &[GET_AGAIN, &[CRUMB, CRUMB]].concat()).await;
        assert_eq!(peer.until(HEADERS).await.1, [0x88]);
    }
}

#[tokio::test]
async fn a_block_that_refers_to_one_field_again_and_again_is_refused_and_then_its_connection() {
    let held = Held::default();
    let mut peer = Raw::client(&Settings::default(), held.service()).await;
    peer.frame(HEADERS, END_BOTH, 1, &[GET_AGAIN, &first_crumb()].concat()).await;
    let bomb = [GET_AGAIN, &[CRUMB; 16]].concat();
    peer.frame(HEADERS, END_BOTH, 3, &bomb).await;
    let (_, answer) = peer.until(HEADERS).await;
    assert_eq!(&answer[1..], [3, b'4', b'3', b'1']);

    for id in (5..45).step_by(2) {
        peer.frame(HEADERS, END_BOTH, id, &bomb).await;
    }
    assert_eq!(peer.go_away().await, Reason::ENHANCE_YOUR_CALM);
    assert!(held.0.load(Ordering::Relaxed) <= 3900);
}

#[tokio::test]
async fn as_many_indexed_calls_as_there_are_streams_are_served() {
    let served = Arc::new(AtomicUsize::new(0));
    let count = served.clone();
    let service = move |request: Request<Incoming>| {
        assert!(octets(request.headers()) > 500);
        count.fetch_add(1, Ordering::Relaxed);
        async move {
            let _request = request;
            std::future::pending().await
        }
    };
    let mut peer = Raw::client(&Settings::default(), service).await;
    // What a client of gRPC sends, with a token, all of it in the table after the first call.
    let mut first = POST_AGAIN.to_vec();
    let values = [400, 20, 20, 30, 40, 10, 60, 8, 16, 32];
    for (value, name) in values.into_iter().zip(b'a'..) {
        first.extend_from_slice(&[0x40, 3, b'x', b'-', name]);
        if value < 127 {
            first.push(value as u8)
        } else {
            first.extend_from_slice(&[0x7f, 0x91, 0x02])
        }
        first.extend(std::iter::repeat_n(b'v', value));
    }
    peer.frame(HEADERS, END_BOTH, 1, &first).await;
    let indexes: Vec<u8> = (0..10).map(|index| 0xbe + index).collect();
    for id in (3..512).step_by(2) {
        peer.frame(HEADERS, END_BOTH, id, &[POST_AGAIN, &indexes].concat()).await;
    }
    peer.frame(PING, 0, 0, &[0; 8]).await;
    while let Some((head, _)) = peer.next().await {
        assert!(head.kind != RST_STREAM && head.kind != GO_AWAY && head.kind != HEADERS);
        if head.kind == PING {
            break;
        }
    }
    assert_eq!(served.load(Ordering::Relaxed), 256);
}

#[tokio::test]
async fn heads_of_responses_that_nobody_takes_are_bounded() {
    let (sender, mut peer) = Raw::server(&Settings::default()).await;
    let mut calls: Vec<_> = (0..200).map(|_| Box::pin(sender.ask(post(empty())))).collect();
    for call in &mut calls {
        assert!(call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        peer.until(HEADERS).await;
    }
    peer.frame(HEADERS, END_HEADERS, 1, &[&[0x88], first_crumb().as_slice()].concat()).await;
    for id in (3..400).step_by(2) {
        peer.frame(HEADERS, END_HEADERS, id, &[0x88, CRUMB, CRUMB]).await;
    }
    assert_eq!(peer.reset(399).await, Reason::CANCEL);

    // Those that came are whole, and make room for others.
    let responses = futures_util::future::join_all(calls).await;
    let taken: usize = responses.iter().flatten().map(|response| octets(response.headers())).sum();
    assert!((300_000..MUCH).contains(&taken), "{taken} octets of heads were held");
    drop(responses);
    let call = tokio::spawn(async move { sender.ask(post(empty())).await });
    let (head, _) = peer.until(HEADERS).await;
    peer.frame(HEADERS, END_BOTH, head.id, &[0x88, CRUMB, CRUMB]).await;
    assert_eq!(octets(call.await.unwrap().unwrap().headers()), 7802);
}

#[tokio::test]
async fn trailers_that_nobody_reads_are_bounded() {
    let held = Held::default();
    let mut peer = Raw::client(&Settings::default(), held.service()).await;
    for id in (1..400).step_by(2) {
        peer.frame(HEADERS, END_HEADERS, id, POST_AGAIN).await;
    }
    peer.frame(HEADERS, END_BOTH, 1, &first_crumb()).await;
    for id in (3..400).step_by(2) {
        peer.frame(HEADERS, END_BOTH, id, &[CRUMB, CRUMB]).await;
    }
    assert_eq!(peer.reset(399).await, Reason::CANCEL);
}

#[tokio::test]
async fn what_the_table_replaces_counts_where_it_is_held() {
    let held = Held::default();
    let mut peer = Raw::client(&Settings::default(), held.service()).await;
    // Each request brings a field that pushes out the one before, which the streams still hold.
    for id in (1..500).step_by(2) {
        peer.frame(HEADERS, END_BOTH, id, &[GET_AGAIN, &first_crumb()].concat()).await;
    }
    assert_eq!(peer.reset(499).await, Reason::REFUSED_STREAM);
    assert!(held.0.load(Ordering::Relaxed) < MUCH);
}

#[tokio::test]
async fn one_head_of_full_size_is_always_taken() {
    let mut peer = Raw::client(&Settings::default(), echo).await;
    let mut field = vec![0x00, 1, b'x', 0x7f, 0xe1, 0x75];
    field.extend(std::iter::repeat_n(b'v', 15_200));
    for id in [1, 3] {
        let block = [GET, &field, &field, &field, &field].concat();
        let (first, rest) = block.split_at(16_000);
        peer.frame(HEADERS, END_STREAM, id, first).await;
        let mut pieces = rest.chunks(16_000).peekable();
        while let Some(piece) = pieces.next() {
            let flags = if pieces.peek().is_none() { END_HEADERS } else { 0 };
            peer.frame(CONTINUATION, flags, id, piece).await;
        }
        assert_eq!(peer.until(HEADERS).await.1, [0x88]);
    }
    peer.frame(HEADERS, END_BOTH, 5, POST).await;
    assert_eq!(peer.until(HEADERS).await.1, [0x88]);
}
