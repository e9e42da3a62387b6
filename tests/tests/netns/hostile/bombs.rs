//! Connections of HTTP/2 that are small on the wire and large in memory, within all limits: heads that refer to one field (CVE-2026-49975),
//! and answers that nobody reads. Sixteen of them together cost a sidecar few megabytes.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use outrigger_tests::{App, Mesh, Reply, enter, wait, yaml};

use super::{WEB, resident};

#[test]
fn sixteen_connections_of_heads_or_unread_answers_take_little_memory() {
    let Some(sandbox) = enter() else { return };
    let mut mesh = Mesh::start(sandbox, &yaml::service("web", WEB, 80, 8080));
    let mut web = mesh.pod("web-1", "web");
    let app = App::http(&web, 8080, |seen| {
        // What a bomb asks for is never answered; HEAD is, and another request shows that the sidecar lives.
        Reply::ok("").after(if seen.method == "GET" && seen.path == "/" { PATIENCE } else { Duration::ZERO })
    });
    let outside = mesh.bare("outside");
    let address = format!("{}:8080", web.ip());
    let sidecar = web.sidecar().id();
    outside.run(|| is_answered(&address)).unwrap();

    for (what, input) in [("heads", bomb()), ("answers", heads_of_answers())] {
        app.forget();
        let before = resident(sidecar);
        let held: Vec<TcpStream> = outside.run(|| (0..CONNECTIONS).map(|_| say(&address, &input)).collect()).unwrap();
        wait::until_true("the app sees requests", || app.seen().len() >= CONNECTIONS);
        outside.run(|| is_answered(&address)).unwrap();
        let after = resident(sidecar);
        drop(held);
        assert!(after < before + MOST_KIB, "{what}: {before} KiB, then {after} KiB");
    }
}

/// Writes what the other side takes of `input`, and keeps the connection without reading.
fn say(address: &str, input: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
    let _ = stream.write_all(input);
    stream
}

fn is_answered(address: &str) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET /alive HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

/// One crumb of a cookie, and then as many requests as may be open that refer to it twice.
fn bomb() -> Vec<u8> {
    let mut crumb = vec![0x60, 0x7f, 0xbd, 0x1d];
    crumb.extend(std::iter::repeat_n(b'c', 3900));
    let mut out = greeting();
    frame(&mut out, HEADERS, END_BOTH, 1, &[GET, &crumb].concat());
    for id in (3..512).step_by(2) {
        frame(&mut out, HEADERS, END_BOTH, id, &[GET, &[CRUMB; 2]].concat());
    }
    out
}

/// 5,000 requests for heads.
fn heads_of_answers() -> Vec<u8> {
    let mut out = greeting();
    // Windows of nothing, as a peer that means it sends.
    frame(&mut out, SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
    for id in (1..10_000).step_by(2) {
        frame(&mut out, HEADERS, END_BOTH, id, &[0x86, 0x84, 0x01, 1, b'a', 0x02, 4, b'H', b'E', b'A', b'D']);
    }
    out
}

fn greeting() -> Vec<u8> {
    let mut out = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    frame(&mut out, SETTINGS, 0, 0, &[]);
    out
}

fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, id: u32, payload: &[u8]) {
    out.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&id.to_be_bytes());
    out.extend_from_slice(payload);
}

/// `GET http://a/`, of which nothing enters the table.
const GET: &[u8] = &[0x82, 0x86, 0x84, 0x01, 1, b'a'];
/// The youngest entry of the table.
const CRUMB: u8 = 0xbe;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
/// END_STREAM and END_HEADERS.
const END_BOTH: u8 = 5;
const CONNECTIONS: usize = 16;
const PATIENCE: Duration = Duration::from_secs(60);
/// What sixteen connections may cost a sidecar with their streams, and what these hold towards the app, KiB.
const MOST_KIB: u64 = 32 * 1024;
