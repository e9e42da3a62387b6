//! Peers who mean harm or do it: each attack ends the stream or the connection, and costs what is bounded.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use tokio::time::Duration;

use super::super::frame::*;
use super::super::head::Fields;
use super::super::hpack::Decoder;
use super::super::{Error, Incoming, Reason, Settings, serve};
use super::raw::{END_BOTH, GET, POST, Raw};
use super::{AnyBody, echo, empty, full, post, text};

async fn hold(request: Request<Incoming>) -> Response<AnyBody> {
    let _request = request;
    pending().await
}

#[tokio::test]
async fn rapid_reset_ends_the_connection_after_few_requests() {
    let served = Arc::new(AtomicUsize::new(0));
    let count = served.clone();
    let service = move |request| {
        count.fetch_add(1, Ordering::Relaxed);
        hold(request)
    };
    let mut peer = Raw::client(&Settings::default(), service).await;
    for id in (1..20_000).step_by(2) {
        peer.frame(HEADERS, END_BOTH, id, GET).await;
        peer.frame(RST_STREAM, 0, id, &8_u32.to_be_bytes()).await;
    }

    assert_eq!(peer.go_away().await, Reason::ENHANCE_YOUR_CALM);
    assert!(served.load(Ordering::Relaxed) <= 500);
}

#[tokio::test]
async fn resets_that_the_peer_provokes_count_too() {
    let mut peer = Raw::client(&Settings::default(), hold).await;
    for id in (1..4_000).step_by(2) {
        peer.frame(HEADERS, END_BOTH, id, GET).await;
        peer.window_update(id, 0).await;
    }

    assert_eq!(peer.go_away().await, Reason::ENHANCE_YOUR_CALM);
}

#[tokio::test]
async fn requests_that_are_answered_make_up_for_resets() {
    let mut peer = Raw::client(&Settings::default(), |request| async move {
        if request.method() == http::Method::GET { hold(request).await } else { echo(request).await }
    })
    .await;
    for id in (1..6_000).step_by(4) {
        peer.frame(HEADERS, END_BOTH, id, GET).await;
        peer.frame(RST_STREAM, 0, id, &8_u32.to_be_bytes()).await;
        peer.frame(HEADERS, END_BOTH, id + 2, POST).await;
        peer.until(HEADERS).await;
    }
}

#[tokio::test]
async fn a_header_block_without_end_is_cut_off() {
    let mut peer = Raw::client(&Settings::default(), echo).await;
    peer.frame(HEADERS, END_STREAM, 1, GET).await;
    for _ in 0..20_000 {
        peer.frame(CONTINUATION, 0, 1, &[]).await;
    }

    assert_eq!(peer.go_away().await, Reason::ENHANCE_YOUR_CALM);
}

#[tokio::test]
async fn a_header_block_of_many_octets_is_cut_off() {
    let mut peer = Raw::client(&Settings::default(), echo).await;
    peer.frame(HEADERS, END_STREAM, 1, GET).await;
    for _ in 0..8 {
        peer.frame(CONTINUATION, 0, 1, &[0; 16_384]).await;
    }

    assert_eq!(peer.go_away().await, Reason::ENHANCE_YOUR_CALM);
}

#[tokio::test]
async fn floods_of_frames_that_bring_nothing_end_the_connection() {
    let floods: [(u8, u8, u32, &[u8]); 6] = [
        (PING, 0, 0, &[0; 8]),
        (PING, ACK, 0, &[0; 8]),
        (SETTINGS, 0, 0, &[]),
        (DATA, 0, 1, &[]),
        (PRIORITY, 0, 1, &[0, 0, 0, 3, 0]),
        (0xbe, 0, 0, &[]),
    ];
    for (kind, flags, id, payload) in floods {
        let mut peer = Raw::client(&Settings::default(), hold).await;
        peer.frame(HEADERS, END_HEADERS, 1, POST).await;
        for _ in 0..12_000 {
            peer.frame(kind, flags, id, payload).await;
        }

        assert_eq!(peer.go_away().await, Reason::ENHANCE_YOUR_CALM, "frame {kind}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_reads_no_answers_gets_few() {
    let (mut near, far) = tokio::io::duplex(1024);
    let end = tokio::spawn(async move { serve(far, &Settings::default(), hold, pending()).await });
    let mut input = PREFACE.to_vec();
    settings(&mut input, &[]);
    for _ in 0..2_000 {
        ping(&mut input, 0, [0; 8]);
    }
    let _ = tokio::io::AsyncWriteExt::write_all(&mut near, &input).await;

    assert_eq!(end.await.unwrap().unwrap_err().reason(), Some(Reason::ENHANCE_YOUR_CALM));
}

#[tokio::test]
async fn a_bomb_of_fields_is_answered_431_and_the_table_stays_in_step() {
    let mut peer = Raw::client(&Settings::default(), echo).await;
    // One field of some size, and then its index again and again.
    let mut block = GET.to_vec();
    block.extend_from_slice(&[0x40, 1, b'x', 0x7f, 0xbd, 0x1d]);
    block.extend(std::iter::repeat_n(b'y', 3900));
    block.extend(std::iter::repeat_n(0xbe, 3_000));
    peer.frame(HEADERS, END_BOTH, 1, &block).await;
    let (_, answer) = peer.until(HEADERS).await;
    assert_eq!(&answer[1..], [3, b'4', b'3', b'1']);

    // Many small ones, which are within the octets.
    let mut block = GET.to_vec();
    block.extend(std::iter::repeat_n(0x90, 300));
    peer.frame(HEADERS, END_BOTH, 3, &block).await;
    let (_, answer) = peer.until(HEADERS).await;
    assert_ne!(answer, [0x88]);

    // `x` of the first block is still in the table, behind the authorities of the second and the third.
    peer.frame(HEADERS, END_BOTH, 5, &[GET, &[0xc0]].concat()).await;
    assert_eq!(peer.until(HEADERS).await.1, [0x88]);
}

/// Tells a client of too large a head what it was.
fn words(came: &HeaderMap) -> Response<Bytes> {
    let mut response = super::super::bare(came);
    *response.body_mut() = Bytes::copy_from_slice(came.get("x").map_or(b"nothing", |value| value.as_bytes()));
    response
}

#[tokio::test]
async fn who_sends_too_many_fields_is_told_in_words_if_there_is_room_for_them() {
    let settings = Settings { max_head: 256 << 10, refusal: words, ..Settings::default() };
    let mut peer = Raw::client(&settings, echo).await;
    let fields = |many| [&[0x40, 1, b'x', 2, b'n', b'o'][..], &[0, 1, b'y', 0].repeat(many)].concat();

    peer.frame(HEADERS, END_BOTH, 1, &[GET, &fields(crate::MAX_FIELDS)].concat()).await;
    assert_eq!(peer.until(HEADERS).await.1, [0x88]);

    let many = fields(crate::MAX_FIELDS + 100);
    peer.frame(HEADERS, END_BOTH, 3, &[GET, &many].concat()).await;
    let (head, answer) = peer.until(HEADERS).await;
    assert_eq!((head.has(END_STREAM), &answer[1..]), (false, &[3, b'4', b'3', b'1'][..]));
    let (head, said) = peer.until(DATA).await;
    assert_eq!((head.id, head.has(END_STREAM), &said[..]), (3, true, &b"no"[..]));

    // A response to HEAD has no content, and what no window has room for is not sent.
    let head = [&[0x82, 0x86, 0x84, 0x41, 1, b'a'][..], &many].concat();
    let head = [&[0x42, 4, b'H', b'E', b'A', b'D'][..], &head[1..]].concat();
    peer.frame(HEADERS, END_BOTH, 5, &head).await;
    assert!(peer.until(HEADERS).await.0.has(END_STREAM));
    let mut nothing = Vec::new();
    super::super::frame::settings(&mut nothing, &[(INITIAL_WINDOW_SIZE, 0)]);
    peer.bytes(&nothing).await;
    peer.frame(HEADERS, END_BOTH, 7, &[GET, &many].concat()).await;
    assert!(peer.until(HEADERS).await.0.has(END_STREAM));
}

#[tokio::test]
async fn a_bomb_of_more_fields_than_are_decoded_for_nothing_ends_the_connection() {
    for field in [&[0x90][..], &[0x60, 1, b'c']] {
        let mut peer = Raw::client(&Settings::default(), echo).await;
        let block = [GET, &field.repeat(5_000)].concat();
        peer.frame(HEADERS, END_BOTH, 1, &block).await;
        peer.frame(HEADERS, END_BOTH, 3, &block).await;

        assert_eq!(peer.go_away().await, Reason::ENHANCE_YOUR_CALM);
    }
}

#[tokio::test]
async fn a_peer_that_opens_no_window_holds_one_piece_of_a_body() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let service = move |_| {
        let count = count.clone();
        let body = futures_util::stream::repeat_with(move || {
            count.fetch_add(1, Ordering::Relaxed);
            Ok(http_body::Frame::data(Bytes::from_static(&[0; 1000])))
        });
        async move { Response::new(http_body_util::BodyExt::boxed(http_body_util::StreamBody::new(body))) }
    };
    let mut peer = Raw::client(&Settings::default(), service).await;
    peer.frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]).await;
    peer.frame(HEADERS, END_BOTH, 1, GET).await;
    peer.until(HEADERS).await;
    peer.frame(PING, 0, 0, &[0; 8]).await;
    peer.until(PING).await;

    assert!(asked.load(Ordering::Relaxed) <= 2);
}

#[tokio::test]
async fn nothing_is_asked_for_behind_a_large_piece_that_waits() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let service = move |_| {
        let count = count.clone();
        let body = futures_util::stream::repeat_with(move || {
            count.fetch_add(1, Ordering::Relaxed);
            Ok(http_body::Frame::data(Bytes::from_static(&[0; 100_000])))
        });
        async move { Response::new(http_body_util::BodyExt::boxed(http_body_util::StreamBody::new(body))) }
    };
    let mut peer = Raw::client(&Settings::default(), service).await;
    peer.frame(HEADERS, END_BOTH, 1, GET).await;
    for _ in 0..FIRST_WINDOW.cast_unsigned().div_ceil(MAX_PAYLOAD as u64) {
        peer.until(DATA).await;
    }
    peer.frame(PING, 0, 0, &[0; 8]).await;
    peer.until(PING).await;
    assert_eq!(asked.load(Ordering::Relaxed), 1);

    peer.window_update(0, 100_000).await;
    peer.window_update(1, 100_000).await;
    let mut came = 65_535;
    while came < 165_535 {
        came += peer.until(DATA).await.0.length;
    }
    peer.frame(PING, 0, 0, &[0; 8]).await;
    peer.until(PING).await;
    assert_eq!(asked.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_body_stops_where_the_windows_end() {
    let mut peer = Raw::client(&Settings::default(), |_| async { Response::new(full(vec![7; 200_000])) }).await;
    peer.frame(HEADERS, END_BOTH, 1, GET).await;
    let mut came = 0;
    while came < 65_535 {
        came += peer.until(DATA).await.0.length;
    }
    assert_eq!(came, 65_535);

    // The connection's window alone lets nothing through, and the two together no more than the smaller.
    peer.window_update(0, 100).await;
    peer.window_update(1, 10).await;
    assert_eq!(peer.until(DATA).await.0.length, 10);
    peer.window_update(1, 1000).await;
    assert_eq!(peer.until(DATA).await.0.length, 90);
}

#[tokio::test]
async fn a_table_that_shrinks_and_grows_is_followed() {
    let service = |_: Request<Incoming>| async {
        let mut response = Response::new(empty());
        response.headers_mut().insert("x-some-name", http::HeaderValue::from_static("some value"));
        response
    };
    let mut peer = Raw::client(&Settings::default(), service).await;
    let mut decoder = Decoder::new();
    for id in (1..400).step_by(2) {
        let size: u32 = if id % 8 == 1 { 4096 } else { id % 64 };
        peer.frame(SETTINGS, 0, 0, &[&[0, 1], size.to_be_bytes().as_slice()].concat()).await;
        peer.frame(SETTINGS, 0, 0, &[&[0, 1], (size + 64).to_be_bytes().as_slice()].concat()).await;
        peer.frame(HEADERS, END_BOTH, id, GET).await;
        let (_, block) = peer.until(HEADERS).await;
        let mut fields = Fields::new(1000, 4);
        assert!(decoder.decode(&block, &mut fields).is_some());
        assert_eq!(fields.count(), 1);
    }
}

#[tokio::test]
async fn mistakes_with_a_connection_end_it() {
    type Mistake = (&'static str, u8, u8, u32, &'static [u8], Reason);
    let cases: [Mistake; 19] = [
        ("window beyond bounds", WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff], Reason::FLOW_CONTROL_ERROR),
        ("window by nothing", WINDOW_UPDATE, 0, 0, &[0; 4], Reason::PROTOCOL_ERROR),
        ("window of an idle stream", WINDOW_UPDATE, 0, 7, &[0, 0, 0, 1], Reason::PROTOCOL_ERROR),
        ("data on an idle stream", DATA, 0, 7, b"x", Reason::PROTOCOL_ERROR),
        ("data on no stream", DATA, 0, 0, b"x", Reason::PROTOCOL_ERROR),
        ("reset of an idle stream", RST_STREAM, 0, 7, &[0; 4], Reason::PROTOCOL_ERROR),
        ("reset of a wrong size", RST_STREAM, 0, 1, &[0; 5], Reason::FRAME_SIZE_ERROR),
        ("an even stream", HEADERS, END_BOTH, 2, GET, Reason::PROTOCOL_ERROR),
        ("padding longer than its frame", DATA, PADDED, 1, &[9, 1, 2], Reason::PROTOCOL_ERROR),
        ("padding of nothing", DATA, PADDED, 1, &[], Reason::FRAME_SIZE_ERROR),
        ("a promise", PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2], Reason::PROTOCOL_ERROR),
        ("a block out of nowhere", CONTINUATION, END_HEADERS, 1, GET, Reason::PROTOCOL_ERROR),
        ("a frame too large", DATA, 0, 1, &[0; 16_385], Reason::FRAME_SIZE_ERROR),
        ("a ping of a wrong size", PING, 0, 0, &[0; 7], Reason::FRAME_SIZE_ERROR),
        ("a ping on a stream", PING, 0, 1, &[0; 8], Reason::PROTOCOL_ERROR),
        ("settings of a wrong size", SETTINGS, 0, 0, &[0; 5], Reason::FRAME_SIZE_ERROR),
        ("an acknowledgement with settings", SETTINGS, ACK, 0, &[0; 6], Reason::FRAME_SIZE_ERROR),
        ("a window of settings too large", SETTINGS, 0, 0, &[0, 4, 0x80, 0, 0, 0], Reason::FLOW_CONTROL_ERROR),
        ("an index of no field", HEADERS, END_BOTH, 3, &[0xff, 0x10], Reason::COMPRESSION_ERROR),
    ];
    for (what, kind, flags, id, payload, reason) in cases {
        let mut peer = Raw::client(&Settings::default(), hold).await;
        peer.frame(HEADERS, END_HEADERS, 1, POST).await;
        peer.frame(kind, flags, id, payload).await;

        assert_eq!(peer.go_away().await, reason, "{what}");
    }
}

#[tokio::test]
async fn a_block_that_is_interrupted_ends_the_connection() {
    let mut peer = Raw::client(&Settings::default(), hold).await;
    peer.frame(HEADERS, END_STREAM, 1, GET).await;
    peer.frame(PING, 0, 0, &[0; 8]).await;

    assert_eq!(peer.go_away().await, Reason::PROTOCOL_ERROR);
}

#[tokio::test]
async fn a_peer_that_does_not_speak_http2_is_told() {
    let mut peer = Raw::silent_client(&Settings::default(), hold);
    peer.bytes(b"GET / HTTP/1.1\r\n\r\n").await;

    assert_eq!(peer.go_away().await, Reason::PROTOCOL_ERROR);
}

#[tokio::test]
async fn stream_ids_do_not_go_back() {
    let mut peer = Raw::client(&Settings::default(), echo).await;
    peer.frame(HEADERS, END_BOTH, 5, GET).await;
    peer.frame(HEADERS, END_BOTH, 3, GET).await;

    assert_eq!(peer.go_away().await, Reason::STREAM_CLOSED);
}

#[tokio::test]
async fn mistakes_with_a_stream_end_the_stream_alone() {
    let cases: [(&str, u8, u8, &[u8], Reason); 5] = [
        ("window by nothing", WINDOW_UPDATE, 0, &[0; 4], Reason::PROTOCOL_ERROR),
        ("window beyond bounds", WINDOW_UPDATE, 0, &[0x7f, 0xff, 0xff, 0xff], Reason::FLOW_CONTROL_ERROR),
        ("trailers that do not end", HEADERS, END_HEADERS, &[0, 1, b'a', 1, b'b'], Reason::PROTOCOL_ERROR),
        ("dependency on itself", PRIORITY, 0, &[0, 0, 0, 1, 0], Reason::PROTOCOL_ERROR),
        ("priority of a wrong size", PRIORITY, 0, &[0; 4], Reason::FRAME_SIZE_ERROR),
    ];
    for (what, kind, flags, payload, reason) in cases {
        let mut peer = Raw::client(&Settings::default(), |request| async move {
            if request.method() == http::Method::POST { hold(request).await } else { echo(request).await }
        })
        .await;
        peer.frame(HEADERS, END_HEADERS, 1, POST).await;
        peer.frame(kind, flags, 1, payload).await;
        assert_eq!(peer.reset(1).await, reason, "{what}");

        peer.frame(HEADERS, END_BOTH, 3, GET).await;
        assert_eq!(peer.until(HEADERS).await.0.id, 3, "{what}");
    }
}

#[tokio::test]
async fn data_after_the_end_is_refused_and_after_our_reset_passed_over() {
    let mut peer = Raw::client(&Settings::default(), hold).await;
    peer.frame(HEADERS, END_BOTH, 1, POST).await;
    peer.frame(DATA, 0, 1, b"more").await;
    assert_eq!(peer.reset(1).await, Reason::STREAM_CLOSED);

    peer.frame(HEADERS, END_BOTH, 3, POST).await;
    peer.frame(DATA, 0, 3, b"more").await;
    assert_eq!(peer.reset(3).await, Reason::STREAM_CLOSED);

    // It was sent before the reset was seen: that is no offence.
    for id in [1, 3, 1, 3] {
        peer.frame(DATA, 0, id, b"more").await;
        peer.frame(HEADERS, END_BOTH, id, &[0, 1, b'a', 1, b'b']).await;
    }
    peer.frame(PING, 0, 0, &[0; 8]).await;
    while let Some((head, _)) = peer.next().await {
        assert!(head.kind != RST_STREAM && head.kind != GO_AWAY);
        if head.kind == PING {
            return;
        }
    }
}

#[tokio::test]
async fn data_beyond_the_window_ends_the_stream_and_beyond_that_of_the_connection_all() {
    let settings = Settings { stream_window: 100_000, connection_window: 150_000, ..Settings::default() };
    let mut peer = Raw::client(&settings, hold).await;
    peer.frame(SETTINGS, ACK, 0, &[]).await;
    peer.frame(HEADERS, END_HEADERS, 1, POST).await;
    for _ in 0..7 {
        peer.frame(DATA, 0, 1, &[0; 16_000]).await;
    }
    assert_eq!(peer.reset(1).await, Reason::FLOW_CONTROL_ERROR);

    peer.frame(HEADERS, END_HEADERS, 3, POST).await;
    peer.frame(HEADERS, END_HEADERS, 5, POST).await;
    for id in [3, 3, 3, 3, 3, 3, 5, 5, 5, 5, 5] {
        peer.frame(DATA, 0, id, &[0; 16_000]).await;
    }
    assert_eq!(peer.go_away().await, Reason::FLOW_CONTROL_ERROR);
}

#[tokio::test]
async fn streams_beyond_the_limit_are_refused() {
    let mut peer = Raw::client(&Settings { max_streams: 3, ..Settings::default() }, hold).await;
    for id in [1, 3, 5, 7] {
        peer.frame(HEADERS, END_BOTH, id, GET).await;
    }
    assert_eq!(peer.reset(7).await, Reason::REFUSED_STREAM);
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_asked_and_then_given_up() {
    let (sender, mut peer) = Raw::server(&Settings::default()).await;
    let began = tokio::time::Instant::now();
    let call = tokio::spawn(async move { sender.ask(post(empty())).await });
    let (head, _) = peer.until(PING).await;
    assert_eq!(head.flags, 0);
    assert!(began.elapsed() <= Duration::from_secs(21));

    assert!(matches!(call.await.unwrap(), Err(Error::Silent)));
    assert!(began.elapsed() <= Duration::from_secs(60));
    assert!(matches!(peer.end.await.unwrap(), Err(Error::Silent)));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_answers_pings_is_waited_for() {
    let (sender, mut peer) = Raw::server(&Settings::default()).await;
    let call = tokio::spawn(async move { sender.ask(post(empty())).await });
    for _ in 0..20 {
        let (_, payload) = peer.until(PING).await;
        peer.frame(PING, ACK, 0, &payload).await;
    }
    peer.frame(HEADERS, END_BOTH, 1, &[0x88]).await;

    assert_eq!(call.await.unwrap().unwrap().status(), 200);
}

#[tokio::test]
async fn a_server_may_not_push_nor_open_streams() {
    for (kind, id, payload) in
        [(PUSH_PROMISE, 1, &[0, 0, 0, 2, 0x88][..]), (HEADERS, 2, &[0x88]), (HEADERS, 7, &[0x88])]
    {
        let (sender, mut peer) = Raw::server(&Settings::default()).await;
        let call = tokio::spawn(async move { sender.ask(post(empty())).await });
        peer.until(HEADERS).await;
        peer.frame(kind, END_HEADERS, id, payload).await;

        assert_eq!(peer.go_away().await, Reason::PROTOCOL_ERROR);
        assert!(call.await.unwrap().unwrap_err().is_protocol());
    }
}

#[tokio::test]
async fn a_response_that_is_malformed_is_an_error_of_its_own() {
    let blocks: [&[u8]; 4] = [&[0x82], &[0x88, 0x88], &[0, 1, b'a', 1, b'b'], b"\x08\x03101"];
    for block in blocks {
        let (sender, mut peer) = Raw::server(&Settings::default()).await;
        let call = tokio::spawn(async move { sender.ask(post(empty())).await });
        peer.until(HEADERS).await;
        peer.frame(HEADERS, END_HEADERS, 1, block).await;

        assert!(call.await.unwrap().unwrap_err().is_protocol());
        assert_eq!(peer.reset(1).await, Reason::PROTOCOL_ERROR);
    }
}

#[tokio::test]
async fn informational_responses_are_passed_over() {
    let (sender, mut peer) = Raw::server(&Settings::default()).await;
    let call = tokio::spawn(async move { sender.ask(post(empty())).await });
    peer.until(HEADERS).await;
    for status in [b"\x08\x03100", b"\x08\x03103"] {
        peer.frame(HEADERS, END_HEADERS, 1, status).await;
    }
    peer.frame(HEADERS, END_HEADERS, 1, &[0x88]).await;
    peer.frame(DATA, END_STREAM, 1, b"hi").await;

    let response = call.await.unwrap().unwrap();
    assert_eq!((response.status().as_u16(), text(response.into_body()).await.as_ref()), (200, &b"hi"[..]));
}
