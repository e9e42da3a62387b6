//! Several requests on one connection, to a program that answers early, late, not at all, or leaves HTTP. The program never sees a
//! request that a naive reader of the same bytes does not see, and what it wrote is an answer to each, in their order.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use outrigger_wire::http1::{self, Incoming, Served};

use super::reference;
use crate::runtime;
use crate::script::{End, Script, Split};

/// What the program saw of a request.
#[derive(Debug, Default)]
struct Seen {
    method: Vec<u8>,
    target: String,
    data: Vec<u8>,
    /// The body came to its end.
    whole: bool,
    /// The body failed.
    failed: bool,
}

/// What the program does with a request.
#[derive(Clone, Copy, Debug)]
enum Plan {
    /// Reads all, then answers.
    Read,
    /// Answers and drops the body unread.
    Ignore,
    /// Reads one part, answers, and drops the rest.
    Begin,
    /// Answers with the request's own body as it comes.
    Echo,
    /// Answers with a body that fails after its first part.
    Fail,
    /// Answers with a length that its body does not have.
    Lie,
    /// Switches protocols.
    Switch,
    /// Says that the connection ends.
    Close,
}

impl Plan {
    const ALL: [Self; 8] =
        [Self::Read, Self::Ignore, Self::Begin, Self::Echo, Self::Fail, Self::Lie, Self::Switch, Self::Close];
}

/// Runs the target; the first byte says how the input is split, the next four what the program does.
///
/// # Panics
/// When the program saw what it should not, or wrote what cannot be read.
pub fn run(data: &[u8]) {
    let Some((control, bytes)) = data.split_first_chunk::<5>() else { return };
    let [seed, plans @ ..] = *control;
    let split = match seed {
        0 => Split::Whole,
        1 => Split::Each(1),
        other => Split::Random(u64::from(other)),
    };
    let (io, written) = Script::new(split.cut(bytes), End::Closed);
    let all = Rc::new(RefCell::new(Vec::new()));
    let served = runtime::run(http1::serve(io, &http1::Options::default(), |request| {
        let index = all.borrow().len();
        let plan = Plan::ALL[usize::from(plans[index % plans.len()]) % Plan::ALL.len()];
        all.borrow_mut().push(Seen {
            method: request.method().as_str().as_bytes().to_vec(),
            target: request.uri().to_string(),
            ..Seen::default()
        });
        answer(request, plan, all.clone(), index)
    }));
    let served = served.expect("serving ends when the peer has ended");
    let seen = all.take();
    let expected = reference::requests(bytes);
    assert!(seen.len() <= expected.len(), "smuggled: {:?}", &seen[expected.len()..]);
    for (index, (seen, expected)) in seen.iter().zip(&expected).enumerate() {
        check_request(index, seen, expected);
    }
    for (index, message) in expected.iter().enumerate().take(seen.len().saturating_sub(1)) {
        assert!(!message.has_two_lengths(), "a request follows {index}, which has two lengths");
    }
    check_answers(&written.bytes(), &seen);
    if let Ok(Served::Switched { io, read, .. }) = served {
        let reference::Body::Whole { end, .. } = expected[seen.len() - 1].body else {
            panic!("switched in the midst of a request's body")
        };
        let rest = [&read[..], &io.rest()].concat();
        assert_eq!(rest, bytes[end..], "what follows the switch is not what was sent after the request");
    }
}

fn check_request(index: usize, seen: &Seen, expected: &reference::Message) {
    assert_eq!(seen.method, expected.line[0], "method of request {index}");
    // Some targets are no URI: then the program sees one that is.
    let target = reference::with_path(&reference::encoded(&expected.line[1]));
    assert_eq!(reference::encoded(seen.target.as_bytes()), target, "target of request {index}");
    assert!(expected.body.data().starts_with(&seen.data), "request {index}'s body is another");
    if seen.whole {
        assert!(
            matches!(&expected.body, reference::Body::Whole { data, .. } if *data == seen.data),
            "request {index} ended early"
        );
    }
    if seen.failed {
        assert!(!matches!(expected.body, reference::Body::Whole { .. }), "request {index}'s body failed");
    }
}

/// One answer to each request, at most; and one that refuses what came last.
fn check_answers(written: &[u8], seen: &[Seen]) {
    let methods: Vec<Vec<u8>> = seen.iter().map(|seen| seen.method.clone()).collect();
    let (answers, end) = reference::answers(written, &methods)
        .unwrap_or_else(|at| panic!("no answer at {at}: {}", String::from_utf8_lossy(written)));
    assert_eq!(end, written.len(), "bytes after the last answer");
    assert!(answers.len() <= seen.len() + 1, "more answers than requests");
    for (index, answer) in answers.iter().enumerate() {
        let last = index + 1 == answers.len();
        assert!(last || !answer.lists("close"), "an answer follows {index}, which ends the connection");
        assert!(last || answer.line[1] != b"400", "an answer follows {index}, which refuses");
    }
}

async fn answer(request: Request<Incoming>, plan: Plan, all: Rc<RefCell<Vec<Seen>>>, index: usize) -> Response<Reply> {
    let connect = *request.method() == Method::CONNECT;
    let mut body = request.into_body();
    let mut response = Response::new(Reply::Parts(vec![Ok(Bytes::from_static(b"ok"))]));
    match plan {
        Plan::Read => while note(&all, index, body.frame().await) {},
        Plan::Ignore => {}
        Plan::Begin => {
            let frame = body.frame().await;
            note(&all, index, frame);
        }
        Plan::Echo if !connect => *response.body_mut() = Reply::Echo { body, all, index },
        Plan::Echo => {}
        Plan::Fail => *response.body_mut() = Reply::Parts(vec![Err("broke off"), Ok(Bytes::from_static(b"part"))]),
        Plan::Lie => {
            response.headers_mut().insert("content-length", http::HeaderValue::from_static("5"));
        }
        Plan::Switch if !connect => *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS,
        Plan::Switch => {}
        Plan::Close => {
            response.headers_mut().insert("connection", http::HeaderValue::from_static("close"));
        }
    }
    if response.status() == StatusCode::SWITCHING_PROTOCOLS || connect {
        *response.body_mut() = Reply::Parts(Vec::new());
    }
    response
}

/// Notes what was read of a body; `false` when it is over.
fn note(all: &RefCell<Vec<Seen>>, index: usize, frame: Option<Result<Frame<Bytes>, http1::Error>>) -> bool {
    let seen = &mut all.borrow_mut()[index];
    match frame {
        None => {
            seen.whole = true;
            false
        }
        Some(Err(_)) => {
            seen.failed = true;
            false
        }
        Some(Ok(frame)) => {
            seen.data.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
            true
        }
    }
}

/// An answer's body.
enum Reply {
    /// These, the last one first.
    Parts(Vec<Result<Bytes, &'static str>>),
    Echo {
        body: Incoming,
        all: Rc<RefCell<Vec<Seen>>>,
        index: usize,
    },
}

impl Body for Reply {
    type Data = Bytes;
    type Error = String;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, String>>> {
        match self.get_mut() {
            Self::Parts(parts) => Poll::Ready(parts.pop().map(|part| part.map(Frame::data).map_err(ToOwned::to_owned))),
            Self::Echo { body, all, index } => Pin::new(body).poll_frame(cx).map(|frame| {
                let copy = match &frame {
                    None => None,
                    Some(Ok(frame)) => Some(Ok(Frame::data(frame.data_ref().cloned().unwrap_or_default()))),
                    Some(Err(_)) => Some(Err(http1::Error::Incomplete)),
                };
                note(all, *index, copy);
                frame.map(|frame| frame.map_err(|error| error.to_string()))
            }),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Parts(parts) if parts.iter().all(Result::is_ok) => {
                SizeHint::with_exact(parts.iter().flatten().map(|part| part.len() as u64).sum())
            }
            Self::Parts(_) => SizeHint::default(),
            Self::Echo { body, .. } => body.size_hint(),
        }
    }
}
