//! What a connection holds of memory in each state that a peer can keep it in, beside the table of `docs/security/http2-states.md`.
#![expect(unsafe_code, reason = "an allocator that counts cannot be written without; it hands on to the system's")]
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test that prints what it measured")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response};
use http_body_util::Empty;
use outrigger_wire::http2::{Incoming, Settings, serve};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tokio::time::{Duration, timeout};

struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);

// SAFETY: all is handed on to the system's allocator as it came; only the sizes are counted.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps to the same contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps to the same contract.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const PAGE: &str = include_str!("../../docs/security/http2-states.md");
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// `GET http://a/`, `POST` and `HEAD`, none of which enters the table.
const GET: &[u8] = &[0x82, 0x86, 0x84, 0x01, 1, b'a'];
const POST: &[u8] = &[0x83, 0x86, 0x84, 0x01, 1, b'a'];
const HEAD: &[u8] = &[0x86, 0x84, 0x01, 1, b'a', 0x02, 4, b'H', b'E', b'A', b'D'];

fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, id: u32, payload: &[u8]) {
    let [.., a, b, c] = payload.len().to_be_bytes();
    let [i, j, k, l] = id.to_be_bytes();
    out.extend_from_slice(&[a, b, c, kind, flags, i, j, k, l]);
    out.extend_from_slice(payload);
}

fn greeting() -> Vec<u8> {
    let mut out = PREFACE.to_vec();
    frame(&mut out, SETTINGS, 0, 0, &[]);
    out
}

/// A request of each stream from `first` on, with this block.
fn requests(out: &mut Vec<u8>, first: u32, many: u32, flags: u8, block: &[u8]) {
    for number in 0..many {
        frame(out, HEADERS, END_HEADERS | flags, first + 2 * number, block);
    }
}

/// A field of 3,900 octets that enters the table; 0xbe refers to it.
fn large_field() -> Vec<u8> {
    let mut field = vec![0x60, 0x7f, 0xbd, 0x1d];
    field.extend(std::iter::repeat_n(b'c', 3900));
    field
}

/// Answers HEAD with a head of 1 KiB, `x-at-once` with a small one, and holds all else.
async fn service(request: Request<Incoming>) -> Response<Empty<Bytes>> {
    let mut response = Response::new(Empty::new());
    if request.method() == Method::HEAD {
        response.headers_mut().insert("x-value", HeaderValue::from_bytes(&[b'v'; 1000]).unwrap());
        return response;
    }
    if request.headers().contains_key("x-at-once") {
        return response;
    }
    std::future::pending::<Infallible>().await;
    response
}

/// The octets that bring a connection into each state.
fn states() -> Vec<(&'static str, Vec<u8>)> {
    let at_once: Vec<u8> = [GET, b"\x00\x09x-at-once\x00"].concat();
    let mut used = greeting();
    requests(&mut used, 1, 256, END_STREAM, &at_once);

    let mut table = greeting();
    let tiny: Vec<u8> =
        (0..130_u8).flat_map(|number| [0x40, 1, b'a' + number % 26, 1, b' ' + 1 + number / 2]).collect();
    frame(&mut table, HEADERS, END_STREAM | END_HEADERS, 1, &[&at_once, tiny.as_slice()].concat());

    let mut block = greeting();
    frame(&mut block, HEADERS, END_STREAM, 1, &[0x82; 16_384]);
    for _ in 0..3 {
        frame(&mut block, CONTINUATION, 0, 1, &[0x82; 16_384]);
    }

    let mut plain = greeting();
    requests(&mut plain, 1, 256, END_STREAM, GET);

    let mut bombs = greeting();
    requests(&mut bombs, 1, 1, END_STREAM, &[GET, &large_field()].concat());
    requests(&mut bombs, 3, 255, END_STREAM, &[GET, &[0xbe, 0xbe]].concat());

    let mut bodies = greeting();
    frame(&mut bodies, SETTINGS, 1, 0, &[]);
    requests(&mut bodies, 1, 250, 0, POST);
    for _ in 0..80 {
        for id in (1..500).step_by(2) {
            frame(&mut bodies, DATA, 0, id, &[7; 50]);
        }
    }

    let mut trailers = greeting();
    requests(&mut trailers, 1, 250, 0, POST);
    frame(&mut trailers, HEADERS, END_STREAM | END_HEADERS, 1, &large_field());
    for id in (3..500).step_by(2) {
        frame(&mut trailers, HEADERS, END_STREAM | END_HEADERS, id, &[0xbe, 0xbe]);
    }

    let mut unread = greeting();
    requests(&mut unread, 1, 256, END_STREAM, HEAD);

    vec![
        ("connected, nothing received", Vec::new()),
        ("half of the client's greeting received", greeting()[..28].to_vec()),
        ("idle, no request yet", greeting()),
        ("idle after 256 requests at once", used),
        ("idle, header table full of the smallest fields", table),
        ("header block without its end, of the largest size", block),
        ("256 requests open, with small heads", plain),
        ("256 requests open, with heads that refer to large table entries", bombs),
        ("request bodies received but not read, to the window's end", bodies),
        ("trailers received but not read", trailers),
        ("256 answers with heads of 1 KiB, not read by the peer", unread),
    ]
}

/// What the page allows for a state, in bytes.
fn bound(state: &str) -> usize {
    let row = PAGE.lines().find_map(|line| line.strip_prefix("| ")?.strip_prefix(state)?.strip_prefix(" | "));
    row.unwrap_or_else(|| panic!("{state} is not in the table")).split(' ').next().unwrap().parse::<usize>().unwrap()
        << 10
}

/// A connection in a state: the peer's end, and the task that serves.
async fn connection(octets: &[u8]) -> (UnixStream, JoinHandle<()>) {
    let (mut near, far) = UnixStream::pair().unwrap();
    // What an interval gives back is given back at once.
    let settings = Settings {
        ping_interval: Duration::from_millis(50),
        ping_timeout: Duration::from_secs(60),
        ..Settings::default()
    };
    let task = tokio::spawn(async move {
        let _ = serve(far, &settings, service, std::future::pending()).await;
    });
    // A peer that does not read cannot write all of it either.
    let _ = timeout(Duration::from_millis(500), near.write_all(octets)).await;
    (near, task)
}

#[tokio::test]
async fn no_state_takes_more_than_the_page_says() {
    let states = states();
    // What a thread and the tables take once is none of a connection's.
    let (peer, task) = connection(&states[3].1).await;
    drop(peer);
    task.await.unwrap();
    let mut wrong = Vec::new();
    for (state, octets) in &states {
        let bound = bound(state);
        let before = HELD.load(Ordering::Relaxed);
        let (peer, task) = connection(octets).await;
        let held = || HELD.load(Ordering::Relaxed).saturating_sub(before);
        // It settles: what was of use only for the moment is given back with the next tick.
        let mut most = 0;
        let mut settled = held();
        for _ in 0..40 {
            tokio::time::sleep(Duration::from_millis(10)).await;
            settled = held();
            most = most.max(settled);
        }
        println!("{state}: {} KiB, at most {} of {} KiB", settled >> 10, most >> 10, bound >> 10);
        if settled > bound || task.is_finished() {
            wrong.push((*state, settled >> 10, task.is_finished()));
        }
        drop(peer);
        task.abort();
        let _ = task.await;
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}
