//! Messages as they leave: the head and what there is of the body in one write, whatever the body is made of.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, COOKIE,
    EXPECT, HOST, HeaderName, MAX_FORWARDS, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, SET_COOKIE, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE, WWW_AUTHENTICATE,
};
use http::{HeaderMap, Method, StatusCode, Uri, Version, request, response};
use http_body::Body;
use tokio::io::{AsyncRead, AsyncWrite};

use super::connection::Shared;
use super::error::Error;
use super::framing;
use super::head::{RawTarget, Reason, keeps_alive};
use super::written::{self, Field};
use crate::cut::BoxError;
use crate::{aside, cut};

/// Data this large is written from where it is; what is smaller is gathered.
const LARGE: usize = 8 * 1024;

/// So much is gathered before it is written.
const GATHER: usize = 16 * 1024;

/// A buffer that has grown beyond this is not kept for the next message.
const KEEP: usize = 64 * 1024;

/// A message that is being sent.
pub(crate) struct Outgoing<B> {
    /// What is gathered: the head, framing, and small data. `large` goes in between, at `split`.
    gathered: Vec<u8>,
    split: usize,
    large: Bytes,
    /// Bytes of all three that the stream has taken.
    taken: usize,
    body: B,
    framing: Framing,
    /// All of the body is gathered.
    over: bool,
    /// The body has broken off, which is told when what came before it has left.
    broken: Option<Error>,
    unflushed: bool,
    /// Some of it has left.
    begun: bool,
}

/// How the body is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    /// There is none, whatever the body says.
    Absent,
    /// So many bytes are still to be sent.
    Exact(u64),
    Chunked,
    UntilClose,
}

/// What an answer depends on beside itself.
pub(crate) struct Asked {
    pub(crate) method: Method,
    pub(crate) version: Version,
    pub(crate) keep_alive: bool,
}

impl<B: Body<Data = Bytes> + Unpin> Outgoing<B> {
    /// Begins a request; `written` is the head that it came in, whose names and order it keeps.
    pub(crate) fn request(head: &request::Parts, body: B, written: Option<&[u8]>) -> Self {
        let mut gathered = spare();
        gathered.extend_from_slice(head.method.as_str().as_bytes());
        gathered.push(b' ');
        match RawTarget::of(head) {
            Some(written) => gathered.extend_from_slice(written),
            None => target(&mut gathered, &head.uri, &head.method),
        }
        gathered.extend_from_slice(b" HTTP/1.1\r\n");
        let said = fields(&mut gathered, &head.headers, true, written);
        let framing = match said.length {
            Some(length) => Framing::Exact(length),
            None if body.is_end_stream() => Framing::Absent,
            None => announce(&mut gathered, &body, Version::HTTP_11),
        };
        gathered.extend_from_slice(b"\r\n");
        Self::new(gathered, body, framing)
    }

    /// Begins an answer; says whether the connection may carry another one after it. `written` is the head that it came in.
    pub(crate) fn response(head: &response::Parts, body: B, asked: &Asked, written: Option<&[u8]>) -> (Self, bool) {
        let status = head.status;
        let mut gathered = spare();
        let http11 = asked.version == Version::HTTP_11;
        gathered.extend_from_slice(if http11 { b"HTTP/1.1 " } else { b"HTTP/1.0 " });
        gathered.extend_from_slice(status.as_str().as_bytes());
        gathered.push(b' ');
        match head.extensions.get::<Reason>() {
            Some(Reason(reason)) => gathered.extend_from_slice(reason),
            None => gathered.extend_from_slice(status.canonical_reason().unwrap_or("").as_bytes()),
        }
        gathered.extend_from_slice(b"\r\n");

        // No word of a length where there cannot be a body; what a HEAD would have had may be said.
        let with_length = !(status.is_informational()
            || status == StatusCode::NO_CONTENT
            || (asked.method == Method::CONNECT && status.is_success()));
        let said = fields(&mut gathered, &head.headers, with_length, written);
        let framing = if !framing::may_have_body(&asked.method, status) {
            Framing::Absent
        } else if let Some(length) = said.length {
            Framing::Exact(length)
        } else {
            announce(&mut gathered, &body, asked.version)
        };
        let mut keep_alive = asked.keep_alive && framing != Framing::UntilClose;
        if said.connection {
            keep_alive &= keeps_alive(&head.headers, Version::HTTP_11);
        } else if !keep_alive {
            gathered.extend_from_slice(b"connection: close\r\n");
        } else if !http11 {
            gathered.extend_from_slice(b"connection: keep-alive\r\n");
        }
        gathered.extend_from_slice(b"\r\n");
        (Self::new(gathered, body, framing), keep_alive)
    }

    fn new(gathered: Vec<u8>, body: B, framing: Framing) -> Self {
        let split = gathered.len();
        let (large, taken) = (Bytes::new(), 0);
        Self { gathered, split, large, taken, body, framing, over: false, broken: None, unflushed: false, begun: false }
    }

    /// Says whether nothing but the connection's end tells the peer where the body ends.
    pub(crate) fn ends_with_the_connection(&self) -> bool {
        self.framing == Framing::UntilClose
    }

    /// Says whether no byte of it has left: the peer cannot have acted on it.
    pub(crate) fn is_unsent(&self) -> bool {
        !self.begun
    }

    /// Sends what there is, until all is sent. The connection is locked only while bytes are written, not while the body is asked.
    pub(crate) fn poll_send<I>(&mut self, cx: &mut Context<'_>, shared: &Shared<I>) -> Poll<Result<(), Error>>
    where
        I: AsyncRead + AsyncWrite + Unpin,
        B::Error: Into<BoxError>,
    {
        loop {
            let waits = match self.gather(cx) {
                Ok(gathered) => gathered.is_pending(),
                Err(error) => {
                    self.over = true;
                    self.broken = Some(error);
                    false
                }
            };
            let io = &mut shared.lock().io;
            ready!(self.poll_write(cx, io))?;
            if self.over || waits {
                // TLS may hold records back.
                if self.unflushed {
                    ready!(Pin::new(io).poll_flush(cx))?;
                    self.unflushed = false;
                }
                return if self.over { Poll::Ready(self.broken.take().map_or(Ok(()), Err)) } else { Poll::Pending };
            }
        }
    }

    /// Takes from the body what is there, up to what is worth a write.
    fn gather(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, Error>
    where
        B::Error: Into<BoxError>,
    {
        while !self.over && self.large.is_empty() && self.gathered.len() < GATHER {
            if self.body.is_end_stream() {
                self.finish(None)?;
                break;
            }
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Pending => return Ok(Poll::Pending),
                Poll::Ready(None) => self.finish(None)?,
                Poll::Ready(Some(Err(error))) => {
                    let error: BoxError = error.into();
                    let told = error.to_string();
                    let reset = cut::reset_behind(&*error) == Some(cut::CONNECTION_RESET);
                    return Err(if reset { Error::BodyReset(told) } else { Error::Body(told) });
                }
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => self.data(data)?,
                    Err(frame) => self.finish(frame.into_trailers().ok())?,
                },
            }
        }
        Ok(Poll::Ready(()))
    }

    fn data(&mut self, data: Bytes) -> Result<(), Error> {
        if data.is_empty() {
            return Ok(());
        }
        match &mut self.framing {
            Framing::Absent => return Ok(()),
            Framing::Exact(left) => {
                *left = left.checked_sub(data.len() as u64).ok_or_else(|| too("longer"))?;
            }
            Framing::Chunked => {
                let mut digits = [0; 16];
                self.gathered.extend_from_slice(hexadecimal(data.len(), &mut digits));
                self.gathered.extend_from_slice(b"\r\n");
            }
            Framing::UntilClose => {}
        }
        if data.len() >= LARGE {
            self.split = self.gathered.len();
            self.large = data;
        } else {
            self.gathered.extend_from_slice(&data);
        }
        if self.framing == Framing::Chunked {
            self.gathered.extend_from_slice(b"\r\n");
        }
        if self.body.is_end_stream() {
            self.finish(None)?;
        }
        Ok(())
    }

    fn finish(&mut self, trailers: Option<HeaderMap>) -> Result<(), Error> {
        self.over = true;
        match self.framing {
            Framing::Exact(left) if left > 0 => return Err(too("shorter")),
            Framing::Exact(_) | Framing::Absent | Framing::UntilClose => {}
            Framing::Chunked => {
                self.gathered.extend_from_slice(b"0\r\n");
                for (name, value) in trailers.iter().flatten().filter(|(name, _)| may_be_trailer(name)) {
                    field(&mut self.gathered, name, value.as_bytes());
                }
                self.gathered.extend_from_slice(b"\r\n");
            }
        }
        Ok(())
    }

    fn poll_write<I: AsyncWrite + Unpin>(&mut self, cx: &mut Context<'_>, io: &mut I) -> Poll<io::Result<()>> {
        let all = self.gathered.len() + self.large.len();
        while self.taken < all {
            let written = if self.large.is_empty() {
                ready!(Pin::new(&mut *io).poll_write(cx, &self.gathered[self.taken..]))?
            } else {
                let (before, after) = self.gathered.split_at(self.split);
                let mut slices = [IoSlice::new(before), IoSlice::new(&self.large), IoSlice::new(after)];
                let mut left = &mut slices[..];
                IoSlice::advance_slices(&mut left, self.taken);
                ready!(Pin::new(&mut *io).poll_write_vectored(cx, left))?
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.taken += written;
            self.unflushed = true;
            self.begun = true;
        }
        self.gathered.clear();
        self.large = Bytes::new();
        self.split = 0;
        self.taken = 0;
        Poll::Ready(Ok(()))
    }
}

impl<B> Drop for Outgoing<B> {
    fn drop(&mut self) {
        let mut gathered = std::mem::take(&mut self.gathered);
        if gathered.capacity() <= KEEP {
            gathered.clear();
            SPARE.set(gathered);
        }
    }
}

thread_local! {
    /// The buffer that the last message has left behind.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

fn spare() -> Vec<u8> {
    let mut spare = SPARE.take();
    spare.reserve(1024);
    spare
}

/// Writes a response that only informs. What belongs to one connection stays with it, and there is no body to be framed.
pub(crate) fn interim(gathered: &mut Vec<u8>, head: &response::Parts) {
    gathered.extend_from_slice(b"HTTP/1.1 ");
    gathered.extend_from_slice(head.status.as_str().as_bytes());
    gathered.push(b' ');
    gathered.extend_from_slice(head.status.canonical_reason().unwrap_or("").as_bytes());
    gathered.extend_from_slice(b"\r\n");
    for (name, value) in &aside::end_to_end(&head.headers) {
        field(gathered, name, value.as_bytes());
    }
    gathered.extend_from_slice(b"\r\n");
}

/// Says how long a body is whose message does not say so.
fn announce<B: Body>(gathered: &mut Vec<u8>, body: &B, version: Version) -> Framing {
    let exact = if body.is_end_stream() { Some(0) } else { body.size_hint().exact() };
    if let Some(length) = exact {
        let mut digits = [0; 20];
        field(gathered, &CONTENT_LENGTH, decimal(length, &mut digits));
        return Framing::Exact(length);
    }
    if version == Version::HTTP_11 {
        gathered.extend_from_slice(b"transfer-encoding: chunked\r\n");
        Framing::Chunked
    } else {
        Framing::UntilClose
    }
}

/// What the fields say of the framing.
#[derive(Default)]
struct Said {
    length: Option<u64>,
    connection: bool,
}

/// Writes all fields but those of the framing that are ours to say.
fn fields(gathered: &mut Vec<u8>, headers: &HeaderMap, with_length: bool, written: Option<&[u8]>) -> Said {
    let mut said = Said::default();
    let Some(head) = written else {
        for (name, value) in headers {
            said.field(gathered, name, name.as_str().as_bytes(), value.as_bytes(), with_length);
        }
        return said;
    };
    let begin = gathered.len();
    let mut write = |field: Field<'_>| {
        said.field(gathered, field.name, field.written, field.value.as_bytes(), with_length);
    };
    if written::in_order(head, headers, &mut write) {
        return said;
    }
    // Anew: most heads are in order, and need not be sorted.
    gathered.truncate(begin);
    said = Said::default();
    written::sorted(head, headers, |field| {
        said.field(gathered, field.name, field.written, field.value.as_bytes(), with_length);
    });
    said
}

impl Said {
    fn field(&mut self, gathered: &mut Vec<u8>, name: &HeaderName, written: &[u8], value: &[u8], with_length: bool) {
        if *name == CONTENT_LENGTH {
            // The first one counts: who parsed the message has seen to it that there is one.
            let first = self.length.is_none() && with_length;
            self.length = self.length.or_else(|| framing::decimal(value));
            if let Some(length) = self.length
                && first
            {
                // Written anew, wherever it came from: a reader may take a leading zero for octal.
                let mut digits = [0; 20];
                line(gathered, written, decimal(length, &mut digits));
            }
            return;
        } else if *name == TRANSFER_ENCODING {
            return;
        }
        self.connection |= *name == CONNECTION;
        line(gathered, written, value);
    }
}

fn field(gathered: &mut Vec<u8>, name: &HeaderName, value: &[u8]) {
    line(gathered, name.as_str().as_bytes(), value);
}

fn line(gathered: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    gathered.reserve(name.len() + value.len() + 4);
    gathered.extend_from_slice(name);
    gathered.extend_from_slice(b": ");
    gathered.extend_from_slice(value);
    gathered.extend_from_slice(b"\r\n");
}

/// Writes a request's target in the form that it has (RFC 9112 section 3.2).
fn target(gathered: &mut Vec<u8>, uri: &Uri, method: &Method) {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    match (uri.scheme_str(), uri.authority()) {
        (None, Some(authority)) if *method == Method::CONNECT => {
            gathered.extend_from_slice(authority.as_str().as_bytes());
            return;
        }
        (Some(scheme), Some(authority)) => {
            for part in [scheme, "://", authority.as_str()] {
                gathered.extend_from_slice(part.as_bytes());
            }
        }
        _ => {}
    }
    gathered.extend_from_slice(path.as_bytes());
}

/// Says whether a field may be sent as a trailer: not if it frames, routes, authenticates, controls or describes the message (RFC 9110
/// section 6.5.1). A reader that merges trailers with the fields of the head would take it for one of those.
#[must_use]
pub fn may_be_trailer(name: &HeaderName) -> bool {
    !NO_TRAILERS.contains(name) && !matches!(name.as_str(), "keep-alive" | "proxy-connection" | "http2-settings")
}

static NO_TRAILERS: [HeaderName; 19] = [
    AUTHORIZATION,
    CACHE_CONTROL,
    CONNECTION,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    CONTENT_RANGE,
    CONTENT_TYPE,
    COOKIE,
    EXPECT,
    HOST,
    MAX_FORWARDS,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    SET_COOKIE,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    WWW_AUTHENTICATE,
];

fn too(what: &str) -> Error {
    Error::Body(format!("it is {what} than its Content-Length"))
}

fn hexadecimal(mut number: usize, digits: &mut [u8; 16]) -> &[u8] {
    let mut first = digits.len();
    loop {
        first -= 1;
        digits[first] = b"0123456789abcdef"[number & 0xf];
        number >>= 4;
        if number == 0 {
            return &digits[first..];
        }
    }
}

fn decimal(mut number: u64, digits: &mut [u8; 20]) -> &[u8] {
    let mut first = digits.len();
    loop {
        first -= 1;
        digits[first] = b"0123456789"[(number % 10) as usize];
        number /= 10;
        if number == 0 {
            return &digits[first..];
        }
    }
}
