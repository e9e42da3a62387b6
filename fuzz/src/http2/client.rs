//! The client's role against h2's client: both send the same four requests, then a server's frames come, one by one. After each, what
//! the two callers have got and what the two said to the server is compared.

use std::cell::RefCell;
use std::rc::Rc;

use arbitrary::{Arbitrary, Unstructured};
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Empty, Full, combinators::BoxBody};
use outrigger_wire::http2::{self, Settings};
use tokio::task::LocalSet;

use super::frame::{self, Frame, Made};
use super::peer::Peer;
use super::server::{joined, read_h2};
use crate::http1::view::{self, Read};
use crate::runtime;

/// A response as a caller gets it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Got {
    /// Status and fields; `None`: not yet, or never.
    head: Option<(u16, view::Fields)>,
    body: Option<Read>,
    failed: bool,
}

type All = Rc<RefCell<Vec<Got>>>;

/// What is asked: the methods that matter to the body, one with a body of its own.
const METHODS: [Method; 4] = [Method::GET, Method::HEAD, Method::POST, Method::GET];

/// Runs the target.
///
/// # Panics
/// When the two differ in a way that is not meant.
pub fn run(data: &[u8]) {
    let Ok(frames) = Vec::<Made>::arbitrary_take_rest(Unstructured::new(data)) else { return };
    let frames: Vec<Frame> = frames.iter().take(40).flat_map(|made| made.frames(false)).collect();
    let done = runtime::run(LocalSet::new().run_until(both(&frames)));
    assert!(done.is_some(), "they wait for ever");
}

async fn both(frames: &[Frame]) {
    let (mut ours, far) = Peer::new();
    let (got, why) = (All::default(), Rc::new(RefCell::new(None)));
    got.borrow_mut().resize(METHODS.len(), Got::default());
    ask_ours(far, &got, why.clone());
    let (mut theirs, far) = Peer::new();
    let got_by_h2 = All::default();
    got_by_h2.borrow_mut().resize(METHODS.len(), Got::default());
    tokio::task::spawn_local(ask_h2(far, got_by_h2.clone()));

    let hello = Frame { kind: frame::SETTINGS, flags: 0, id: 0, payload: Vec::new() }.bytes();
    let ack = Frame { kind: frame::SETTINGS, flags: frame::ACK, id: 0, payload: Vec::new() }.bytes();
    for bytes in [hello, ack] {
        ours.greeted(&bytes).await;
        theirs.greeted(&bytes).await;
    }
    for frames in frame::steps(frames) {
        let bytes: Vec<u8> = frames.iter().flat_map(Frame::bytes).collect();
        let got_before = got.borrow().clone();
        let said = ours.exchange(&bytes).await;
        let said_by_h2 = theirs.exchange(&bytes).await;
        let step = Step {
            frames,
            said: &said,
            said_by_h2: &said_by_h2,
            why: why.borrow().clone(),
            delivered: *got.borrow() != got_before,
            no_content: no_content(&got_before),
        };
        step.check();
        compare(&got.borrow(), &got_by_h2.borrow(), &step);
        if ours.is_over() || theirs.is_over() || step.differs_from_here() {
            return;
        }
    }
}

/// What one frame led to.
#[derive(Debug)]
struct Step<'a> {
    frames: &'a [Frame],
    said: &'a [Frame],
    said_by_h2: &'a [Frame],
    /// Why ours ended.
    why: Option<Result<(), http2::Error>>,
    /// Our callers have got something of it.
    delivered: bool,
    /// The streams whose heads have a status without content.
    no_content: Vec<u32>,
}

impl Step<'_> {
    fn check(&self) {
        let complains = |said: &[Frame]| said.iter().any(Frame::complains);
        let (mine, theirs) = (complains(self.said), complains(self.said_by_h2));
        assert!(mine || !theirs || self.may_take(), "h2 complains and we do not: {self:?}");
        assert!(!mine || theirs || self.may_refuse(), "we complain and h2 does not: {self:?}");
    }

    fn is(&self, kind: u8) -> bool {
        self.frames[0].kind == kind
    }

    /// RFC 9113 section 6.9.1: a window beyond 2^31 - 1 resets the stream; h2 does not look at it once the request has left.
    fn overflows(&self) -> bool {
        self.is(frame::WINDOW_UPDATE) && self.frames[0].id != 0
    }

    /// DATA after a head with 204 or 304 (RFC 9110 section 6.4.1); h2 looks at the method only.
    fn has_data_without_content(&self) -> bool {
        self.is(frame::DATA) && self.no_content.contains(&self.frames[0].id)
    }

    /// What h2 refuses and we need not.
    fn may_take(&self) -> bool {
        // An acknowledgement of nothing: RFC 9113 section 6.5.3 does not call it an error, and it changes nothing.
        self.is(frame::SETTINGS) && self.frames[0].flags & frame::ACK != 0
            // SETTINGS_ENABLE_CONNECT_PROTOCOL (RFC 8441) that is neither 0 nor 1: the extension is not spoken here.
            || self.is(frame::SETTINGS) && self.frames[0].payload.chunks(6).any(|setting| setting.starts_with(&[0, 8]))
            // A second GOAWAY that takes back what the first one said: what was given up stays so.
            || self.is(frame::GO_AWAY) && self.frames[0].payload.len() >= 8
            // What comes for a stream that is over is passed over (section 5.1), and nobody gets it.
            || self.frames[0].id != 0 && !self.delivered
    }

    /// What we refuse and h2 need not.
    fn may_refuse(&self) -> bool {
        match &self.why {
            None | Some(Ok(())) => self.is(frame::HEADERS) || self.overflows() || self.has_data_without_content(),
            Some(Err(http2::Error::Protocol { what, .. })) => ACCEPTED.contains(what),
            Some(Err(_)) => false,
        }
    }

    /// From here on the two hold different streams for open.
    fn differs_from_here(&self) -> bool {
        let resets = |said: &[Frame]| said.iter().filter(|frame| frame.kind == frame::RST_STREAM).count();
        resets(self.said) != resets(self.said_by_h2)
    }
}

fn no_content(got: &[Got]) -> Vec<u32> {
    let is_without = |got: &Got| matches!(got.head, Some((204 | 304, _)));
    (1..).step_by(2).zip(got).filter(|(_, got)| is_without(got)).map(|(id, _)| id).collect()
}

/// Why we may end a connection that h2 does not.
const ACCEPTED: [&str; 4] = [
    // RFC 9113 section 6.10, whatever frame comes instead of CONTINUATION; h2 passes over RST_STREAM there.
    "header block is interrupted",
    // Of a server that sets it to 1 (RFC 9113 section 6.5.2); h2 looks for other values only.
    "SETTINGS_ENABLE_PUSH is wrong",
    // RFC 9113 section 8.4, whatever else is wrong with the frame.
    "PUSH_PROMISE is not allowed",
    // RFC 7540 section 5.3.1; h2 looks at it on streams that are open only.
    "stream depends on itself",
];

fn compare(ours: &[Got], h2: &[Got], step: &Step<'_>) {
    for (index, (mine, theirs)) in ours.iter().zip(h2).enumerate() {
        if let Some(head) = &mine.head {
            assert!(theirs.head.as_ref() == Some(head) || theirs.failed, "head of {index}: {theirs:?} {step:?}");
        } else if !step.said.iter().any(Frame::complains) && !mine.failed {
            assert!(theirs.head.is_none(), "response {index} passed over in silence: {theirs:?} {step:?}");
        }
        if let Some(body) = mine.body.as_ref().filter(|body| body.whole) {
            assert!(theirs.body.as_ref() == Some(body), "body of {index}: {body:?} {theirs:?} {step:?}");
        }
    }
}

fn request<B>(method: &Method, body: B) -> Request<B> {
    let mut request = Request::new(body);
    *request.method_mut() = method.clone();
    *request.uri_mut() = http::Uri::from_static("http://a/");
    *request.version_mut() = http::Version::HTTP_2;
    request
}

fn ask_ours(io: tokio::io::DuplexStream, all: &All, why: Rc<RefCell<Option<Result<(), http2::Error>>>>) {
    let (sender, driver) = http2::connect::<_, BoxBody<Bytes, std::convert::Infallible>>(io, &Settings::default());
    tokio::task::spawn_local(async move {
        let end = driver.await;
        *why.borrow_mut() = Some(end);
    });
    for (place, method) in METHODS.iter().enumerate() {
        let (sender, all) = (sender.clone(), all.clone());
        tokio::task::spawn_local(async move {
            let body = if *method == Method::POST { Full::from("question").boxed() } else { Empty::new().boxed() };
            let (parts, body) = request(method, body).into_parts();
            let response = sender.send(&parts, body).await;
            let Ok(response) = response else {
                all.borrow_mut()[place].failed = true;
                return;
            };
            let (parts, body) = response.into_parts();
            all.borrow_mut()[place].head = Some((parts.status.as_u16(), joined(&parts.headers)));
            let read = view::read(body).await;
            all.borrow_mut()[place].body = Some(read);
        });
    }
}

async fn ask_h2(io: tokio::io::DuplexStream, all: All) {
    let mut builder = h2::client::Builder::new();
    builder.enable_push(false).initial_window_size(256 << 10).initial_connection_window_size(1 << 20);
    builder.max_header_list_size(64 << 10);
    let Ok((mut sender, connection)) = builder.handshake::<_, Bytes>(io).await else { return };
    let mut calls = Vec::new();
    for (place, method) in METHODS.iter().enumerate() {
        let post = *method == Method::POST;
        let Ok((response, mut stream)) = sender.send_request(request(method, ()), !post) else { return };
        if post {
            let _ = stream.send_data(Bytes::from_static(b"question"), true);
        }
        let all = all.clone();
        calls.push(tokio::task::spawn_local(async move {
            // Its stream lives as long as the call.
            let _stream = stream;
            let Ok(response) = response.await else {
                all.borrow_mut()[place].failed = true;
                return;
            };
            let (parts, body) = response.into_parts();
            all.borrow_mut()[place].head = Some((parts.status.as_u16(), joined(&parts.headers)));
            let read = read_h2(body).await;
            all.borrow_mut()[place].body = Some(read);
        }));
    }
    // It ends with the last request otherwise.
    let _sender = sender;
    // What it ends with is told by GOAWAY.
    let _ = connection.await;
}
