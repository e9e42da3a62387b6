//! The reader of responses against hyper's client: the same bytes to the same request, in several splits. What each caller gets is
//! compared, and whether the connection would be used again.

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use outrigger_wire::http1::{Connection, Error};

use super::reference;
use super::view::{self, Message};
use crate::runtime;
use crate::script::{End, Script, Split};

/// What came of a request.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    /// `None`: an error.
    message: Option<Message>,
    /// Whether another request could follow.
    reusable: bool,
    malformed: bool,
}

const METHODS: [Method; 4] = [Method::GET, Method::HEAD, Method::CONNECT, Method::POST];

/// Runs the target; the first byte says how the input is split, the second which request it answers and whether the server leaves.
///
/// # Panics
/// When the two differ in a way that is not meant.
pub fn run(data: &[u8]) {
    let Some(([seed, control], bytes)) = data.split_first_chunk::<2>() else { return };
    let method = &METHODS[usize::from(control & 3)];
    let end = if control & 4 == 0 { End::Closed } else { End::Open };
    let ours = ours(method, bytes, Split::Whole, end);
    for split in [Split::Each(1), Split::Random(u64::from(*seed))] {
        let again = self::ours(method, bytes, split, end);
        // A connection is known to be spent by what has come when the body ends, and the rest of it may come later.
        let settled = |outcome: &Outcome| outcome.message.as_ref().map(Message::settled);
        assert_eq!(settled(&again), settled(&ours), "in other pieces: {split:?}");
    }
    compare(method, bytes, &ours, &hyper(method, bytes, end));
}

fn compare(method: &Method, bytes: &[u8], ours: &Outcome, hyper: &Outcome) {
    let Some(mine) = &ours.message else {
        assert!(ours.malformed || hyper.message.is_none(), "hyper alone has a response: {:?}", hyper.message);
        return;
    };
    let plain = reference::answers(bytes, &[method.as_str().as_bytes().to_vec()]);
    let Some(theirs) = &hyper.message else { panic!("we alone have a response: {mine:?} {plain:?}") };
    assert_eq!((&mine.line, mine.version), (&theirs.line, theirs.version));
    assert_eq!(mine.with_plain_lengths(), theirs.with_plain_lengths(), "fields");
    if mine.body.whole {
        assert_eq!(mine.body, theirs.body, "body");
    } else {
        assert!(!theirs.body.whole || ours.malformed, "the body broke off here only: {:?}", theirs.body);
    }
    assert!(!ours.reusable || hyper.reusable, "we alone would use the connection again");
}

fn ours(method: &Method, bytes: &[u8], split: Split, end: End) -> Outcome {
    let (io, _) = Script::new(split.cut(bytes), end);
    let run = runtime::run(async {
        let mut connection = Connection::new(io);
        let (parts, _) = request(method).into_parts();
        match tokio::time::timeout(LIMIT, connection.send(&parts, Empty::<Bytes>::new())).await {
            Err(_) => Outcome { message: None, reusable: false, malformed: false },
            Ok(Err(error)) => Outcome { message: None, reusable: false, malformed: error.is_malformed() },
            Ok(Ok(response)) => {
                let (message, malformed) = message(response).await;
                Outcome { message: Some(message), reusable: is_open(&connection), malformed }
            }
        }
    });
    run.unwrap_or(Outcome { message: None, reusable: false, malformed: false })
}

/// Looks twice: what comes after the response may come a turn later.
fn is_open(connection: &Connection<Script>) -> bool {
    connection.is_open() && connection.is_open()
}

fn hyper(method: &Method, bytes: &[u8], end: End) -> Outcome {
    let (io, _) = Script::new(Split::Whole.cut(bytes), end);
    let run = runtime::run(async {
        let mut builder = hyper::client::conn::http1::Builder::new();
        let shaken = builder.max_headers(outrigger_wire::MAX_FIELDS).handshake(TokioIo::new(io)).await;
        let (mut sender, connection) = shaken.expect("hyper's handshake needs no peer");
        let connection = tokio::spawn(connection);
        let outcome = match tokio::time::timeout(LIMIT, sender.send_request(request(method))).await {
            Err(_) | Ok(Err(_)) => Outcome { message: None, reusable: false, malformed: true },
            Ok(Ok(response)) => {
                let (message, _) = message(response).await;
                runtime::settle().await;
                Outcome { message: Some(message), reusable: sender.is_ready(), malformed: false }
            }
        };
        connection.abort();
        outcome
    });
    run.unwrap_or(Outcome { message: None, reusable: false, malformed: false })
}

const LIMIT: std::time::Duration = std::time::Duration::from_secs(1_000);

fn request(method: &Method) -> Request<Empty<Bytes>> {
    let target = if *method == Method::CONNECT { "a:80" } else { "/" };
    let mut request = Request::new(Empty::new());
    *request.method_mut() = method.clone();
    *request.uri_mut() = http::Uri::from_static(target);
    request.headers_mut().insert("host", http::HeaderValue::from_static("a"));
    request
}

async fn message<B>(response: Response<B>) -> (Message, bool)
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: std::error::Error + 'static,
{
    let (parts, body) = response.into_parts();
    let (body, error) = tokio::time::timeout(LIMIT, view::read_or_error(body))
        .await
        .unwrap_or_else(|_| (view::Read { data: Vec::new(), trailers: Vec::new(), whole: false }, None));
    let malformed = error.as_ref().is_some_and(|error| {
        let error: &(dyn std::error::Error + 'static) = error;
        error.downcast_ref::<Error>().is_some_and(Error::is_malformed)
    });
    let line = parts.status.as_str().to_owned();
    (Message { line, version: parts.version, fields: view::fields(&parts.headers), body }, malformed)
}
