//! Requests that are malformed (RFC 9113 §8.1.1): none reaches the service.

use http_body::Body as _;
use http_body_util::BodyExt as _;

use super::super::frame::{DATA, END_HEADERS, END_STREAM, HEADERS};
use super::super::{Reason, Settings};
use super::raw::{END_BOTH, Raw};
use super::{echo, empty, post};

/// A block of literals.
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).unwrap());
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

const GET: [(&str, &str); 4] = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a")];

fn with(fields: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
    [&GET, fields].concat()
}

fn without(name: &str) -> Vec<(&'static str, &'static str)> {
    GET.into_iter().filter(|(other, _)| *other != name).collect()
}

fn instead(name: &'static str, value: &'static str) -> Vec<(&'static str, &'static str)> {
    GET.into_iter().map(|(other, was)| (other, if other == name { value } else { was })).collect()
}

#[tokio::test]
async fn malformed_requests_are_reset() {
    let cases = [
        with(&[("Upper", "x")]),
        with(&[("a b", "x")]),
        with(&[("", "x")]),
        with(&[("a:b", "x")]),
        with(&[("a", "x\r\ny: z")]),
        with(&[("a", "\0")]),
        with(&[("a", " x")]),
        with(&[("a", "x\t")]),
        with(&[("connection", "close")]),
        with(&[("keep-alive", "1")]),
        with(&[("proxy-connection", "close")]),
        with(&[("transfer-encoding", "chunked")]),
        with(&[("upgrade", "h2c")]),
        with(&[("te", "gzip")]),
        with(&[(":status", "200")]),
        with(&[(":unknown", "x")]),
        with(&[(":protocol", "websocket")]),
        with(&[(":path", "/")]),
        [without(":authority"), vec![("x", "y"), (":authority", "a")]].concat(),
        with(&[("host", "b")]),
        with(&[("host", "a"), ("host", "a")]),
        with(&[("content-length", "1")]),
        with(&[("content-length", "+0")]),
        with(&[("content-length", "0"), ("content-length", "1")]),
        with(&[("content-length", "99999999999999999999")]),
        without(":method"),
        without(":scheme"),
        without(":path"),
        instead(":path", ""),
        instead(":path", "x"),
        instead(":path", "*"),
        instead(":path", "/a#b"),
        instead(":path", "/a b"),
        instead(":authority", "u@a"),
        instead(":authority", "a/b"),
        instead(":method", "G T"),
        instead(":method", "CONNECT"),
        vec![(":method", "CONNECT")],
    ];
    for case in cases {
        let called = |_| async { panic!("a malformed request is served") };
        let mut peer = Raw::client(&Settings::default(), called).await;
        peer.frame(HEADERS, END_BOTH, 1, &block(&case)).await;

        assert_eq!(peer.reset(1).await, Reason::PROTOCOL_ERROR, "{case:?}");
    }
}

#[tokio::test]
async fn odd_requests_that_are_well_formed_are_served() {
    let cases = [
        with(&[]),
        with(&[("te", "trailers")]),
        with(&[("host", "A")]),
        with(&[("content-length", "0"), ("content-length", "0")]),
        with(&[("a", "")]),
        with(&[("a", "\u{e4}")]),
        without(":authority"),
        vec![(":method", "OPTIONS"), (":scheme", "https"), (":path", "*"), (":authority", "a")],
        vec![(":method", "CONNECT"), (":authority", "a:1")],
    ];
    for case in cases {
        let mut peer = Raw::client(&Settings::default(), echo).await;
        peer.frame(HEADERS, END_BOTH, 1, &block(&case)).await;

        assert_eq!(peer.until(HEADERS).await.1, [0x88], "{case:?}");
    }
}

#[tokio::test]
async fn bodies_are_as_long_as_their_length_says() {
    for (data, ends) in [(&b"abcd"[..], false), (b"ab", true)] {
        let mut peer = Raw::client(&Settings::default(), |request| async move {
            assert!(http_body_util::BodyExt::collect(request.into_body()).await.unwrap_err().is_protocol());
            std::future::pending().await
        })
        .await;
        peer.frame(HEADERS, END_HEADERS, 1, &block(&with(&[("content-length", "3")]))).await;
        peer.frame(DATA, if ends { END_STREAM } else { 0 }, 1, data).await;

        assert_eq!(peer.reset(1).await, Reason::PROTOCOL_ERROR);
    }
}

/// A body that is shorter than it said has failed, whatever trailers it ends with.
#[tokio::test]
async fn trailers_do_not_make_a_short_body_whole() {
    for read_early in [false, true] {
        let (sender, mut peer) = Raw::server(&Settings::default()).await;
        let call = tokio::spawn(async move { sender.ask(post(empty())).await });
        peer.until(HEADERS).await;
        peer.frame(HEADERS, END_HEADERS, 1, &[0x88, 0x5c, 1, b'3']).await;
        let response = call.await.unwrap().unwrap();
        let mut body = Box::pin(http_body_util::BodyExt::collect(response.into_body()));
        if read_early {
            assert!(futures_util::FutureExt::now_or_never(&mut body).is_none());
        }
        peer.frame(DATA, 0, 1, b"ab").await;
        peer.frame(HEADERS, END_BOTH, 1, &[0, 1, b'a', 1, b'b']).await;
        assert_eq!(peer.reset(1).await, Reason::PROTOCOL_ERROR);
        assert!(body.await.unwrap_err().is_protocol());
    }
}

#[tokio::test]
async fn crumbs_of_a_cookie_are_joined() {
    let mut peer = Raw::client(&Settings::default(), |request| async move {
        assert_eq!(request.headers()["cookie"], "a=1; b=2; c=3");
        assert_eq!(request.headers().get_all("cookie").iter().count(), 1);
        echo(request).await
    })
    .await;
    let cookies = [("cookie", "a=1"), ("x", "y"), ("cookie", "b=2"), ("cookie", "c=3")];
    peer.frame(HEADERS, END_BOTH, 1, &block(&with(&cookies))).await;
    assert_eq!(peer.until(HEADERS).await.1, [0x88]);
}

#[tokio::test]
async fn a_response_that_has_no_content_brings_no_data() {
    for (method, head) in [("HEAD", &b"\x88\x5c\x012"[..]), ("POST", b"\x89"), ("POST", b"\x8b\x5c\x012")] {
        let (sender, mut peer) = Raw::server(&Settings::default()).await;
        let mut request = post(empty());
        *request.method_mut() = method.parse().unwrap();
        let call = tokio::spawn(async move { sender.ask(request).await });
        peer.until(HEADERS).await;
        peer.frame(HEADERS, END_HEADERS, 1, head).await;
        let response = call.await.unwrap().unwrap();

        assert_eq!(response.body().size_hint().exact(), None, "{method} {head:?}");
        peer.frame(DATA, END_STREAM, 1, b"ab").await;
        assert_eq!(peer.reset(1).await, Reason::PROTOCOL_ERROR, "{method} {head:?}");
        assert!(response.into_body().collect().await.unwrap_err().is_protocol());
    }
}
