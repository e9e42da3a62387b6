//! The reader of requests against hyper's server: the same bytes, in several splits. Both serve a program that reads each body and
//! answers; what the two programs see is compared, and where each connection ends.

use std::cell::RefCell;
use std::convert::Infallible;
use std::rc::Rc;

use bytes::Bytes;
use http::{Method, Request, Response, Version};
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use outrigger_wire::http1::{self, Served};

use super::reference;
use super::view::{self, Message};
use crate::runtime;
use crate::script::{End, Script, Split};

/// What came of an input.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    seen: Vec<Message>,
    written: String,
    ended: Ended,
}

/// How serving ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// The peer's end, or the agreed end of the connection.
    Well,
    /// What came is not HTTP/1.
    Malformed,
    /// What came broke off.
    BrokenOff,
    /// HTTP was left.
    Switched,
}

/// Runs the target; the first byte says how the rest is split.
///
/// # Panics
/// When the two differ in a way that is not meant.
pub fn run(data: &[u8]) {
    let Some((seed, bytes)) = data.split_first() else { return };
    let ours = ours(bytes, Split::Whole);
    for split in [Split::Each(1), Split::Random(u64::from(*seed))] {
        self::ours(bytes, split).must_be(&ours, split);
    }
    compare(&ours, &hyper(bytes), &reference::requests(bytes));
}

impl Outcome {
    fn must_be(&self, whole: &Self, split: Split) {
        assert_eq!(self.seen.len(), whole.seen.len(), "the same bytes in other pieces: {split:?}");
        for (mine, theirs) in self.seen.iter().zip(&whole.seen) {
            assert_eq!(mine.settled(), theirs.settled(), "the same bytes in other pieces: {split:?}");
        }
        // What is wrong with a head that is not whole is not always looked at: then it broke off.
        let faulty = |ended| matches!(ended, Ended::Malformed | Ended::BrokenOff);
        if faulty(self.ended) && faulty(whole.ended) {
            return;
        }
        assert_eq!((&self.written, self.ended), (&whole.written, whole.ended), "in other pieces: {split:?}");
    }
}

/// Marks a request whose target is no URI: hyper refuses some of them.
const ODD: &str = " (odd)";

fn compare(ours: &Outcome, hyper: &Outcome, plain: &[reference::Message]) {
    if ours.seen.iter().any(|message| message.line.ends_with(ODD)) {
        return;
    }
    // RFC 9112 section 6.1: whoever sends both is not trusted with another request; hyper goes on.
    let ends_here = ours
        .seen
        .len()
        .checked_sub(1)
        .and_then(|last| plain.get(last))
        .is_some_and(|message| message.has_two_lengths());
    for (index, (mine, theirs)) in ours.seen.iter().zip(&hyper.seen).enumerate() {
        assert_eq!((&mine.line, mine.version), (&theirs.line, theirs.version), "request {index}");
        assert_eq!(mine.with_plain_lengths(), theirs.with_plain_lengths(), "fields of request {index}");
        if mine.body.whole {
            assert_eq!(mine.body, theirs.body, "body of request {index}");
        } else if !theirs.body.whole {
            return;
        } else {
            // What hyper reads and we do not is malformed: chunk sizes with spaces, for one.
            assert!(matches!(ours.ended, Ended::Malformed), "request {index} broke off here only: {:?}", ours.ended);
        }
    }
    assert!(ours.seen.len() <= hyper.seen.len(), "seen by us alone: {:?}", &ours.seen[hyper.seen.len()..]);
    if ours.seen.len() < hyper.seen.len() {
        assert!(ends_here || ours.ended != Ended::Well, "seen by hyper alone: {:?}", &hyper.seen[ours.seen.len()..]);
    } else if hyper.ended == Ended::Malformed && ours.ended == Ended::Well {
        assert!(ends_here, "hyper refuses what comes last, and we do not");
    }
}

fn ours(bytes: &[u8], split: Split) -> Outcome {
    let (io, written) = Script::new(split.cut(bytes), End::Closed);
    let seen = Rc::new(RefCell::new(Vec::new()));
    let served = runtime::run(http1::serve(io, &http1::Options::default(), |request| answer(request, seen.clone())));
    let ended = match served.expect("serving ends when the peer has ended") {
        Ok(Served::Ended) => Ended::Well,
        Ok(Served::Switched { .. }) => Ended::Switched,
        Err(error) if error.is_malformed() => Ended::Malformed,
        Ok(Served::Truncated { .. }) | Err(_) => Ended::BrokenOff,
    };
    // Whether it is told to go on depends on whether the body is here already.
    let written = String::from_utf8_lossy(&written.bytes()).replace("HTTP/1.1 100 Continue\r\n\r\n", "");
    Outcome { seen: seen.take(), written, ended }
}

fn hyper(bytes: &[u8]) -> Outcome {
    let (io, written) = Script::new(Split::Whole.cut(bytes), End::Closed);
    let seen = Rc::new(RefCell::new(Vec::new()));
    let service = hyper::service::service_fn(|request: Request<hyper::body::Incoming>| {
        let answer = answer(request, seen.clone());
        async { Ok::<_, Infallible>(answer.await) }
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.header_read_timeout(None).half_close(true).max_headers(outrigger_wire::MAX_FIELDS);
    let served = runtime::run(builder.serve_connection(TokioIo::new(io), service));
    let ended = match served.expect("serving ends when the peer has ended") {
        Ok(()) => Ended::Well,
        Err(error) if error.is_incomplete_message() => Ended::BrokenOff,
        Err(_) => Ended::Malformed,
    };
    Outcome { seen: seen.take(), written: String::from_utf8_lossy(&written.bytes()).into_owned(), ended }
}

async fn answer<B>(request: Request<B>, seen: Rc<RefCell<Vec<Message>>>) -> Response<Full<Bytes>>
where
    B: http_body::Body<Data = Bytes> + Unpin,
{
    let (parts, body) = request.into_parts();
    let odd = if parts.extensions.get::<http1::RawTarget>().is_some() { ODD } else { "" };
    let message = Message {
        line: format!("{} {}{odd}", parts.method, parts.uri),
        version: parts.version,
        fields: view::fields(&parts.headers),
        body: view::Read { data: Vec::new(), trailers: Vec::new(), whole: false },
    };
    let place = {
        let mut seen = seen.borrow_mut();
        seen.push(message);
        seen.len() - 1
    };
    if parts.method != Method::CONNECT {
        let read = view::read(body).await;
        seen.borrow_mut()[place].body = read;
    }
    let mut response = Response::new(Full::new(Bytes::from_static(b"ok")));
    *response.version_mut() = Version::HTTP_11;
    response
}
