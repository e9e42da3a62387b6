//! The server's role against h2's server: the same frames, one by one. After each, what the programs behind them have seen and what
//! the two said to the client is compared.

use std::cell::RefCell;
use std::rc::Rc;

use arbitrary::{Arbitrary, Unstructured};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use outrigger_wire::http2::{self, Error, Settings};
use tokio::task::LocalSet;

use super::frame::{self, Frame, Made};
use super::peer::Peer;
use crate::http1::view::{self, Read};
use crate::runtime;

/// A request as a program sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    line: String,
    fields: view::Fields,
    body: Read,
    /// The body is over, well or not.
    over: bool,
}

type All = Rc<RefCell<Vec<Seen>>>;

/// Runs the target.
///
/// # Panics
/// When the two differ in a way that is not meant.
pub fn run(data: &[u8]) {
    let Ok(frames) = Vec::<Made>::arbitrary_take_rest(Unstructured::new(data)) else { return };
    let frames: Vec<Frame> = frames.iter().take(40).flat_map(|made| made.frames(true)).collect();
    let done = runtime::run(LocalSet::new().run_until(both(&frames)));
    assert!(done.is_some(), "they wait for ever");
}

async fn both(frames: &[Frame]) {
    let (mut ours, far) = Peer::new();
    let (seen, why) = (All::default(), Rc::new(RefCell::new(None)));
    tokio::task::spawn_local(serve_ours(far, seen.clone(), why.clone()));
    let (mut theirs, far) = Peer::new();
    let seen_by_h2 = All::default();
    tokio::task::spawn_local(serve_h2(far, seen_by_h2.clone()));

    let hello =
        [frame::PREFACE, &Frame { kind: frame::SETTINGS, flags: 0, id: 0, payload: Vec::new() }.bytes()].concat();
    let ack = Frame { kind: frame::SETTINGS, flags: frame::ACK, id: 0, payload: Vec::new() }.bytes();
    for bytes in [hello, ack] {
        ours.exchange(&bytes).await;
        theirs.exchange(&bytes).await;
    }
    for frames in frame::steps(frames) {
        let bytes: Vec<u8> = frames.iter().flat_map(Frame::bytes).collect();
        let seen_before = seen.borrow().clone();
        let before = (seen.borrow().len(), seen_by_h2.borrow().len());
        let said = ours.exchange(&bytes).await;
        let said_by_h2 = theirs.exchange(&bytes).await;
        let step = Step {
            frames,
            said: &said,
            said_by_h2: &said_by_h2,
            over: (ours.is_over(), theirs.is_over()),
            new: (seen.borrow().len() - before.0, seen_by_h2.borrow().len() - before.1),
            why: why.borrow().clone(),
            delivered: *seen.borrow() != seen_before,
        };
        step.check();
        compare(&seen.borrow(), &seen_by_h2.borrow());
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
    /// The connection is over: ours, h2's.
    over: (bool, bool),
    /// Requests that came.
    new: (usize, usize),
    /// Why ours ended.
    why: Option<Error>,
    /// Our program has seen something of it.
    delivered: bool,
}

impl Step<'_> {
    fn check(&self) {
        let complains = |said: &[Frame], over: bool| over || said.iter().any(Frame::complains);
        let (mine, theirs) = (complains(self.said, self.over.0), complains(self.said_by_h2, self.over.1));
        assert!(mine || !theirs || self.may_take(), "h2 complains and we do not: {self:?}");
        assert!(!mine || theirs || self.may_refuse(), "we complain and h2 does not: {self:?}");
        assert!(self.new.0 <= self.new.1 || self.over.1, "a request that h2 does not see: {self:?}");
        assert!(self.new.0 >= self.new.1 || mine, "a request passed over in silence: {self:?}");
    }

    fn is(&self, kind: u8) -> bool {
        self.frames[0].kind == kind
    }

    /// RFC 9113 section 6.9.1: a window beyond 2^31 - 1 resets the stream; h2 does not look at it once the request has left.
    fn overflows(&self) -> bool {
        self.is(frame::WINDOW_UPDATE) && self.frames[0].id != 0
    }

    /// What h2 refuses and we need not.
    fn may_take(&self) -> bool {
        // An acknowledgement of nothing: RFC 9113 section 6.5.3 does not call it an error, and it changes nothing.
        self.is(frame::SETTINGS) && self.frames[0].flags & frame::ACK != 0
            // SETTINGS_ENABLE_CONNECT_PROTOCOL (RFC 8441) that is neither 0 nor 1: the extension is not spoken here.
            || self.is(frame::SETTINGS) && self.frames[0].payload.chunks(6).any(|setting| setting.starts_with(&[0, 8]))
            // A second GOAWAY that takes back what the first one said: it concerns streams that servers open, and none are.
            || self.is(frame::GO_AWAY) && self.frames[0].payload.len() >= 8
            // What comes for a stream that is over is passed over (section 5.1), and nobody sees it.
            || self.frames[0].id != 0 && !self.delivered
    }

    /// What we refuse and h2 need not.
    fn may_refuse(&self) -> bool {
        match &self.why {
            // RFC 9113 section 8.1.1 and 8.3: heads that two readers could take for different ones.
            None => self.is(frame::HEADERS) || self.overflows(),
            Some(Error::Protocol { what, .. }) => ACCEPTED.contains(what),
            Some(_) => false,
        }
    }

    /// From here on the two hold different streams for open.
    fn differs_from_here(&self) -> bool {
        let resets = |said: &[Frame]| said.iter().filter(|frame| frame.kind == frame::RST_STREAM).count();
        resets(self.said) != resets(self.said_by_h2) || self.new.0 != self.new.1
    }
}

/// Why we may end a connection that h2 does not.
const ACCEPTED: [&str; 2] = [
    // RFC 9113 section 8.4, whatever else is wrong with the frame.
    "PUSH_PROMISE is not allowed",
    // RFC 7540 section 5.3.1; h2 looks at it on streams that are open only.
    "stream depends on itself",
];

fn compare(ours: &[Seen], h2: &[Seen]) {
    for (index, (mine, theirs)) in ours.iter().zip(h2).enumerate() {
        assert_eq!((&mine.line, &mine.fields), (&theirs.line, &theirs.fields), "request {index}");
        if mine.over && mine.body.whole {
            assert_eq!(mine.body, theirs.body, "body of request {index}");
        }
    }
}

async fn serve_ours(io: tokio::io::DuplexStream, all: All, why: Rc<RefCell<Option<Error>>>) {
    let settings = Settings::default();
    let service = |request: Request<http2::Incoming>| {
        let (place, body) = arrived(&all, request);
        let all = all.clone();
        async move {
            let read = view::read(body).await;
            let seen = &mut all.borrow_mut()[place];
            (seen.body, seen.over) = (read, true);
            Response::new(Full::new(Bytes::from_static(b"ok")))
        }
    };
    let served = http2::serve(io, &settings, service, std::future::pending()).await;
    *why.borrow_mut() = served.err();
}

fn arrived<B>(all: &All, request: Request<B>) -> (usize, B) {
    let (parts, body) = request.into_parts();
    let line = format!("{} {}", parts.method, parts.uri);
    let body_so_far = Read { data: Vec::new(), trailers: Vec::new(), whole: false };
    let mut all = all.borrow_mut();
    all.push(Seen { line, fields: joined(&parts.headers), body: body_so_far, over: false });
    (all.len() - 1, body)
}

/// The fields, with the crumbs of a cookie as one (RFC 9113 section 8.2.3).
pub fn joined(headers: &http::HeaderMap) -> view::Fields {
    let mut fields = view::fields(headers);
    let crumbs: Vec<Vec<u8>> =
        fields.iter().filter(|(name, _)| name == "cookie").map(|(_, value)| value.clone()).collect();
    if crumbs.len() > 1 {
        fields.retain(|(name, _)| name != "cookie");
        fields.push(("cookie".to_owned(), crumbs.join(&b"; "[..])));
        fields.sort_by(|(a, _), (b, _)| a.cmp(b));
    }
    // Several that agree are one.
    fields.dedup_by(|(a, x), (b, y)| a == "content-length" && a == b && x == y);
    fields
}

async fn serve_h2(io: tokio::io::DuplexStream, all: All) {
    let mut builder = h2::server::Builder::new();
    builder.max_concurrent_streams(256).initial_window_size(256 << 10).initial_connection_window_size(1 << 20);
    builder.max_header_list_size(64 << 10);
    let Ok(mut connection) = builder.handshake::<_, Bytes>(io).await else { return };
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let all = all.clone();
        tokio::task::spawn_local(async move {
            let (place, body) = arrived(&all, request);
            let read = read_h2(body).await;
            {
                let seen = &mut all.borrow_mut()[place];
                (seen.body, seen.over) = (read, true);
            }
            // The peer may have reset it.
            if let Ok(mut stream) = respond.send_response(Response::new(()), false) {
                let _ = stream.send_data(Bytes::from_static(b"ok"), true);
            }
        });
    }
}

/// Reads a body of h2's, giving back the window as it comes.
pub async fn read_h2(mut body: h2::RecvStream) -> Read {
    let mut read = Read { data: Vec::new(), trailers: Vec::new(), whole: false };
    while let Some(data) = body.data().await {
        let Ok(data) = data else { return read };
        read.data.extend_from_slice(&data);
        if body.flow_control().release_capacity(data.len()).is_err() {
            return read;
        }
    }
    match body.trailers().await {
        Ok(trailers) => {
            read.trailers = trailers.map(|trailers| view::fields(&trailers)).unwrap_or_default();
            read.whole = true;
            read
        }
        Err(_) => read,
    }
}
