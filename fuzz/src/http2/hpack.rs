//! HPACK against h2's, by way of a peer: the same header blocks to both servers, whatever is in them; and what either client encodes,
//! decoded by the other's server.

use std::cell::RefCell;
use std::rc::Rc;

use arbitrary::{Arbitrary, Unstructured};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body_util::Empty;
use outrigger_wire::http2::{self, Settings};
use tokio::task::LocalSet;

use super::frame::{self, Frame};
use super::peer::Peer;
use super::server::joined;
use crate::http1::view;
use crate::runtime;

#[derive(Arbitrary, Debug)]
enum Input {
    /// Header blocks, behind the fields that every request has.
    Blocks(Vec<Vec<u8>>),
    /// Heads that a client sends to the other implementation's server, whose table has this size.
    Heads { ours: bool, table: u16, heads: Vec<Vec<(u8, Value)>> },
}

#[derive(Arbitrary, Debug)]
enum Value {
    Number(u8),
    Octets(Vec<u8>),
    Secret(u8),
}

/// `GET http://a/`.
const GET: &[u8] = &[0x82, 0x86, 0x84, 0x41, 1, b'a'];

const NAMES: [&str; 12] = [
    "x-a",
    "x-bb",
    "x-ccc",
    "accept",
    "user-agent",
    "traceparent",
    "authorization",
    "cookie",
    "date",
    "via",
    "content-type",
    "set-cookie",
];

type All = Rc<RefCell<Vec<(String, view::Fields)>>>;

/// Runs the target.
///
/// # Panics
/// When the two differ.
pub fn run(data: &[u8]) {
    let Ok(input) = Input::arbitrary_take_rest(Unstructured::new(data)) else { return };
    let work = async {
        match &input {
            Input::Blocks(blocks) => decode(&blocks[..blocks.len().min(20)]).await,
            Input::Heads { ours, table, heads } => encode(*ours, *table, &heads[..heads.len().min(20)]).await,
        }
    };
    let done = runtime::run(LocalSet::new().run_until(work));
    assert!(done.is_some(), "they wait for ever");
}

async fn decode(blocks: &[Vec<u8>]) {
    let (mut ours, far) = Peer::new();
    let seen = All::default();
    tokio::task::spawn_local(serve_ours(far, seen.clone()));
    let (mut theirs, far) = Peer::new();
    let seen_by_h2 = All::default();
    tokio::task::spawn_local(serve_h2(far, 4096, seen_by_h2.clone()));
    let hello =
        [frame::PREFACE, &Frame { kind: frame::SETTINGS, flags: 0, id: 0, payload: Vec::new() }.bytes()].concat();
    ours.exchange(&hello).await;
    theirs.exchange(&hello).await;
    for (id, block) in (1..).step_by(2).zip(blocks) {
        let before = (seen.borrow().len(), seen_by_h2.borrow().len());
        // A size update may only come first, so it is left where it is.
        let payload = if block.first().is_some_and(|first| first & 0xe0 == 0x20) {
            [block, GET].concat()
        } else {
            [GET, block].concat()
        };
        let flags = frame::END_HEADERS | frame::END_STREAM;
        let head = Frame { kind: frame::HEADERS, flags, id, payload }.bytes();
        let said = ours.exchange(&head).await;
        let said_by_h2 = theirs.exchange(&head).await;
        // A value that its pseudo-header cannot have ends the connection with h2, and the stream here (RFC 9113 section 8.1.1).
        let complains = said.iter().any(Frame::complains);
        assert!(ours.is_over() <= theirs.is_over(), "we alone end the connection: {said_by_h2:?} {block:?}");
        assert!(complains || !theirs.is_over(), "h2 alone ends the connection: {said_by_h2:?} {block:?}");
        if theirs.is_over() {
            return;
        }
        let new = (seen.borrow().len() - before.0, seen_by_h2.borrow().len() - before.1);
        assert!(new.0 <= new.1, "a request that h2 does not see: {said_by_h2:?} {block:?} {:?}", seen.borrow().last());
        if new.0 == 1 {
            assert_eq!(seen.borrow().last(), seen_by_h2.borrow().last(), "{block:?}");
        } else {
            // Fields that mean something else together (a second pseudo-header, a host) are refused here; of more than 256 the head is
            // answered 431 without a look at them.
            let is_answered = said.iter().any(|frame| frame.kind == frame::HEADERS && frame.id == id);
            assert!(complains || is_answered, "passed over in silence: {block:?}");
        }
    }
}

async fn encode(ours: bool, table: u16, heads: &[Vec<(u8, Value)>]) {
    let (near, far) = tokio::io::duplex(8 << 20);
    let seen = All::default();
    let requests: Vec<Request<()>> = heads.iter().map(|fields| request(fields)).collect();
    if ours {
        tokio::task::spawn_local(serve_h2(far, u32::from(table), seen.clone()));
        let (sender, driver) = http2::connect::<_, Empty<Bytes>>(near, &Settings::default());
        tokio::task::spawn_local(driver);
        for request in &requests {
            let (parts, ()) = request.clone().into_parts();
            sender.send(&parts, Empty::new()).await.expect("h2 answers");
        }
    } else {
        tokio::task::spawn_local(serve_ours(far, seen.clone()));
        let client = h2::client::Builder::new().handshake::<_, Bytes>(near).await;
        let (mut sender, connection) = client.expect("h2 connects");
        tokio::task::spawn_local(connection);
        for request in &requests {
            sender = sender.ready().await.expect("h2 goes on");
            let (response, _) = sender.send_request(request.clone(), true).expect("h2 sends");
            response.await.expect("we answer");
        }
    }
    let sent: Vec<_> = requests.iter().map(|request| (request.uri().to_string(), joined(request.headers()))).collect();
    assert_eq!(*seen.borrow(), sent, "decoded");
}

fn request(fields: &[(u8, Value)]) -> Request<()> {
    let mut headers = HeaderMap::new();
    for (name, value) in fields.iter().take(30) {
        let name = HeaderName::from_static(NAMES[usize::from(*name) % NAMES.len()]);
        let value = match value {
            Value::Number(number) => HeaderValue::from(u16::from(*number)),
            Value::Octets(octets) => {
                HeaderValue::from_bytes(octets.trim_ascii()).unwrap_or_else(|_| HeaderValue::from_static("?"))
            }
            Value::Secret(number) => {
                let mut value = HeaderValue::from(u16::from(*number));
                value.set_sensitive(true);
                value
            }
        };
        headers.append(name, value);
    }
    let mut request = Request::new(());
    *request.uri_mut() = http::Uri::from_static("http://a.example/x?y");
    *request.version_mut() = http::Version::HTTP_2;
    *request.headers_mut() = headers;
    request
}

fn note<B>(all: &All, request: &Request<B>) {
    all.borrow_mut().push((request.uri().to_string(), joined(request.headers())));
}

async fn serve_ours(io: tokio::io::DuplexStream, all: All) {
    let service = |request: Request<http2::Incoming>| {
        note(&all, &request);
        async { Response::new(Empty::<Bytes>::new()) }
    };
    // Its end is seen by the peer.
    let _ = http2::serve(io, &Settings::default(), service, std::future::pending()).await;
}

async fn serve_h2(io: tokio::io::DuplexStream, table: u32, all: All) {
    let mut builder = h2::server::Builder::new();
    builder.header_table_size(table).max_header_list_size(64 << 10);
    let Ok(mut connection) = builder.handshake::<_, Bytes>(io).await else { return };
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        note(&all, &request);
        // The peer may have reset it.
        let _ = respond.send_response(Response::new(()), true);
    }
}
