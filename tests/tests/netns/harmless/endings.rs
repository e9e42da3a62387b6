//! How things end.

use std::io::Write as _;
use std::net::TcpStream;

use outrigger_tests::wait;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{Heard, Place, Way, answer, ends, head, read_until, target};

/// Says how the client has ended, and what it was asked for.
async fn watches(mut stream: tokio::net::TcpStream, heard: Heard) {
    let Some(head) = head(&mut stream).await else { return };
    let target = target(&head);
    heard.lock().unwrap().push(format!("{target} came"));
    if target == "/stream" {
        let begin = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n6\r\nfirst\n\r\n";
        stream.write_all(begin).await.unwrap();
    }
    let ended = match stream.read_u8().await {
        Ok(byte) => format!("{target} sent {byte}"),
        Err(_) => format!("{target} ended"),
    };
    heard.lock().unwrap().push(ended);
    if target == "/slow" {
        answer(&mut stream, b"after the end").await;
    }
}

/// Ends a connection with a reset.
fn resets(stream: TcpStream) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    let _entered = runtime.enter();
    stream.set_nonblocking(true).unwrap();
    tokio::net::TcpStream::from_std(stream).unwrap().set_zero_linger().unwrap();
}

fn ask(way: &Way<'_>, path: &str) -> TcpStream {
    let mut stream = way.dial();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: web\r\n\r\n").unwrap();
    stream
}

#[test]
fn an_app_hears_at_once_of_a_client_that_leaves() {
    let Some(place) = Place::new("", watches) else { return };
    let left = |way: &Way<'_>, path: &str, reset: bool| {
        let mut stream = ask(way, path);
        if path == "/stream" {
            read_until(&mut stream, "first");
        }
        wait::until_true("the app is asked", || !place.heard.lock().unwrap().is_empty());
        if reset {
            resets(stream)
        } else {
            drop(stream)
        }
        wait::until_true(&format!("{}: the app hears of it ({path}, {reset})", way.name), || {
            place.heard.lock().unwrap().len() > 1
        });
        place.take_heard()
    };

    for path in ["/pending", "/stream"] {
        for reset in [false, true] {
            let want = left(&place.plain(), path, reset);
            for way in place.over_http() {
                assert_eq!(left(&way, path, reset), want, "{}, {path}, {reset}", way.name);
            }
        }
    }
}

#[test]
fn a_client_that_only_ends_its_side_gets_its_answer_and_the_app_hears_of_the_end() {
    let Some(place) = Place::new("", watches) else { return };
    let told = |way: &Way<'_>| {
        let mut stream = ask(way, "/slow");
        let rest = ends(&mut stream);
        (rest.split("\\r\\n\\r\\n").last().map(str::to_owned), place.take_heard())
    };

    let want = told(&place.plain());
    assert_eq!(want, (Some("after the end".to_owned()), vec!["/slow came".to_owned(), "/slow ended".to_owned()]));
    for way in place.over_http() {
        assert_eq!(told(&way), want, "{}", way.name);
    }
}

#[test]
fn a_client_that_leaves_has_its_request_sent_once() {
    // Many a server closes when its client has ended.
    let closes = async |mut stream: tokio::net::TcpStream, heard: Heard| {
        loop {
            let Some(head) = head(&mut stream).await else { return };
            heard.lock().unwrap().push(target(&head));
            if target(&head) == "/warm" {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
            } else {
                // To the end of the client's side.
                let _ = stream.read_u8().await;
                return;
            }
        }
    };
    let Some(place) = Place::new("", move |stream, heard| Box::pin(closes(stream, heard))) else { return };

    for way in place.over_http() {
        // The next request has a connection that was used before.
        read_until(&mut ask(&way, "/warm"), "\r\n\r\n");
        drop(ask(&way, "/left"));
        wait::until_true("the app is asked", || place.heard.lock().unwrap().len() > 1);
        // What comes after it has overtaken nothing.
        read_until(&mut ask(&way, "/warm"), "\r\n\r\n");
        assert_eq!(place.take_heard(), ["/warm", "/left", "/warm"], "{}", way.name);
    }
}

#[test]
fn a_port_that_nobody_listens_on_ends_with_a_reset() {
    let Some(place) = Place::new("", watches) else { return };
    let refused = |from: &outrigger_sandbox::Namespace, ip: std::net::Ipv4Addr, first: &[u8]| {
        let stream = from.run(|| TcpStream::connect((ip, 7099))).unwrap();
        let Ok(mut stream) = stream else { return "refused".to_owned() };
        stream.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
        // It may have been reset by now; only the first to ask is told.
        if let Err(error) = stream.write_all(first) {
            return format!("{:?}", error.kind());
        }
        match std::io::Read::read(&mut stream, &mut [0; 100]) {
            Ok(n) => format!("{n} bytes"),
            Err(error) => format!("{:?}", error.kind()),
        }
    };
    let [meshed, _] = &place.clients;

    for first in [&b""[..], b"\x01\x02\x03\x04 no HTTP\n"] {
        assert_eq!(refused(&place.outside, place.origin.v4(), first), "refused");
        // A sidecar accepts before it knows.
        assert_eq!(refused(meshed, place.origin.v4(), first), "ConnectionReset", "client alone meshed");
        assert_eq!(refused(meshed, place.web.v4(), first), "ConnectionReset", "both meshed");
        assert_eq!(refused(&place.outside, place.web.v4(), first), "ConnectionReset", "server alone meshed");
    }
}

#[test]
fn half_an_answer_never_looks_whole_to_a_client_of_http_1_0() {
    let breaks = async |mut stream: tokio::net::TcpStream, _: Heard| {
        if head(&mut stream).await.is_none() {
            return;
        }
        let half = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n";
        stream.write_all(half).await.unwrap();
    };
    let Some(place) = Place::new("", move |stream, heard| Box::pin(breaks(stream, heard))) else { return };
    let [http1, http2, _, server] = place.meshed();
    for way in [http1, http2, server] {
        let mut stream = way.dial();
        stream.write_all(b"GET / HTTP/1.0\r\nhost: web\r\n\r\n").unwrap();
        let mut all = Vec::new();
        let end = std::io::Read::read_to_end(&mut stream, &mut all);
        assert!(end.is_err(), "{}: {}", way.name, all.escape_ascii());
    }
}
