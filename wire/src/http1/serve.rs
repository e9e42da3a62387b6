//! Serves one connection: reads a request, has it answered, writes the answer, and waits for the next. All of it is one task, and
//! between requests it holds no buffer.

use std::future::{Future, pending, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Extensions, Method, Request, Response, StatusCode, Version, request};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use super::body::Incoming;
use super::connection::Shared;
use super::decode::{Decoder, take};
use super::error::Error;
use super::framing::Length;
use super::head::{self, Head, Progress};
use super::limit::Limit;
use super::write::{Asked, Outgoing, interim};
use crate::aside::{Aside, within};
use crate::cut::BoxError;

/// How long, and for how many bytes, a client may go on after an answer that ends the connection: closing at once could destroy the
/// answer on its way.
const LINGER: (Duration, usize) = (Duration::from_secs(1), 256 * 1024);

/// Words the answer to what cannot be read as a request; it has this status.
pub type Refusal = fn(&Error, StatusCode) -> Response<Bytes>;

/// What is the same for all connections of a kind.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How long a client may be silent before a request; `None`: as long as it likes.
    pub idle: Option<Duration>,
    /// How long a request's head may take from its first byte on.
    pub head: Duration,
    /// What a client is told whose request cannot be read.
    pub refusal: Refusal,
}

/// An answer without a word.
fn bare(_: &Error, status: StatusCode) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = status;
    response
}

impl Default for Options {
    fn default() -> Self {
        Self { idle: None, head: Duration::from_secs(10), refusal: bare }
    }
}

/// How serving has ended.
#[derive(Debug)]
pub enum Served<I> {
    /// The connection is closed.
    Ended,
    /// An answer broke off, and an orderly close would hide how: the server has reset its connection, or the answer's end would have been
    /// the connection's and it would look whole (RFC 9112 section 8).
    Truncated {
        /// The connection, to be reset.
        io: I,
        /// Why the answer broke off.
        error: Error,
    },
    /// Both sides have agreed to speak something else (101, or 2xx to `CONNECT`).
    Switched {
        /// The connection.
        io: I,
        /// What has been read of it already.
        read: Bytes,
        /// Those of the response.
        extensions: Extensions,
    },
}

/// Serves until either side closes or leaves HTTP. A client that ends its side still gets its answers; one that is gone has its request dropped.
///
/// # Errors
/// When the client breaks the protocol (it has been told), is too slow, or the connection fails.
pub async fn serve<I, S, F, B>(io: I, options: &Options, service: S) -> Result<Served<I>, Error>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: FnMut(Request<Incoming>) -> F,
    F: Future<Output = Response<B>>,
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    serve_until(io, options, service, pending()).await
}

/// As [`serve`]. Once `farewell` completes, the next answer says that the connection closes. With a response, a client that has been served and has
/// not sent anything since is told by that one, unasked: a request that crosses it has not been read.
///
/// # Errors
/// As [`serve`].
pub async fn serve_until<I, S, F, B>(
    io: I,
    options: &Options,
    mut service: S,
    farewell: impl Future<Output = Option<Response<Bytes>>>,
) -> Result<Served<I>, Error>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: FnMut(Request<Incoming>) -> F,
    F: Future<Output = Response<B>>,
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    let shared = Arc::new(Shared::new(io));
    let mut farewell = pin!(Farewell { coming: Some(farewell), unasked: None });
    let mut served = false;
    loop {
        let head = match next_head(&shared, options, served.then_some(farewell.as_mut())).await {
            Ok(Next::Head(head)) => head,
            Ok(Next::Ended) => {
                close(&shared).await;
                return Ok(Served::Ended);
            }
            Ok(Next::Unasked(response)) => {
                say(&shared, response).await;
                return Ok(Served::Ended);
            }
            Err(error) => {
                refuse(&shared, options, &error).await;
                return Err(error);
            }
        };
        let Head { parts, raw, length, keep_alive, expects_continue } = head;
        let mut asked = Asked { method: parts.method.clone(), version: parts.version, keep_alive };
        let mut aside = Aside { informed: parts.version == Version::HTTP_11, request: Some(raw), ..Aside::default() };
        let request = Request::from_parts(parts, body(&shared, length, expects_continue));
        let (parts, body) = answer(&shared, &mut aside, service(request)).await?.into_parts();
        let fault = shared.lock().decoder.fault();
        if let Some(fault) = fault {
            // Whatever the answer is to, it is not what the client meant.
            drop(body);
            let error = fault.into();
            refuse(&shared, options, &error).await;
            return Err(error);
        }
        if parts.status == StatusCode::SWITCHING_PROTOCOLS
            || (asked.method == Method::CONNECT && parts.status.is_success())
        {
            if !shared.lock().decoder.is_done() {
                // The rest of it would be taken for what the new protocol begins with.
                drop(body);
                let error = Error::Malformed("a body before the protocol was switched");
                refuse(&shared, options, &error).await;
                return Err(error);
            }
            let (mut message, _) = Outgoing::response(&parts, body, &asked, aside.response.as_deref());
            poll_fn(|cx| message.poll_send(cx, &shared)).await?;
            drop(message);
            let Some(shared) = Arc::into_inner(shared) else {
                return Err(Error::Malformed("a body before the protocol was switched"));
            };
            let (io, read) = shared.into_parts();
            return Ok(Served::Switched { io, read, extensions: parts.extensions });
        }
        let keep_alive = {
            if shared.lock().waits_to_send() || poll_fn(|cx| Poll::Ready(farewell.as_mut().has_come(cx))).await {
                asked.keep_alive = false;
            }
            let (mut message, keep_alive) = Outgoing::response(&parts, body, &asked, aside.response.as_deref());
            if let Err(error) = send(&shared, &mut aside, &mut message).await {
                let truncated = message.ends_with_the_connection() || matches!(error, Error::BodyReset(_));
                aside.broken = aside.broken.or_else(|| error.reset());
                within(&mut aside, || drop(message));
                return match Arc::into_inner(shared) {
                    Some(shared) if truncated => Ok(Served::Truncated { io: shared.into_parts().0, error }),
                    _ => Err(error),
                };
            }
            keep_alive
        };
        let read = poll_fn(|cx| poll_body_over(&shared, cx)).await;
        let (reusable, fault) = {
            let state = shared.lock();
            (state.reusable, state.decoder.fault())
        };
        if !read || !keep_alive || !reusable {
            close(&shared).await;
            if !read || !reusable {
                linger(&shared).await;
            }
            return fault.map_or(Ok(Served::Ended), |fault| Err(fault.into()));
        }
        served = true;
    }
}

/// What comes between two requests.
enum Next {
    Head(Head<request::Parts>),
    /// The client has left, or has been silent for too long.
    Ended,
    /// The client is told this, unasked.
    Unasked(Response<Bytes>),
}

pin_project! {
    /// When the connection is to close, and what is said then.
    struct Farewell<F> {
        #[pin]
        coming: Option<F>,
        unasked: Option<Response<Bytes>>,
    }
}

impl<F: Future<Output = Option<Response<Bytes>>>> Farewell<F> {
    fn has_come(self: Pin<&mut Self>, cx: &mut Context<'_>) -> bool {
        let mut this = self.project();
        let Some(coming) = this.coming.as_mut().as_pin_mut() else { return true };
        let Poll::Ready(unasked) = coming.poll(cx) else { return false };
        this.coming.set(None);
        *this.unasked = unasked;
        true
    }

    /// Returns what is to be said unasked.
    fn unasked(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Option<Response<Bytes>> {
        if self.as_mut().has_come(cx) { self.project().unasked.take() } else { None }
    }
}

async fn next_head<I, F>(
    shared: &Shared<I>,
    options: &Options,
    mut farewell: Option<Pin<&mut Farewell<F>>>,
) -> Result<Next, Error>
where
    I: AsyncRead + AsyncWrite + Unpin,
    F: Future<Output = Option<Response<Bytes>>>,
{
    let mut progress = Progress::default();
    let mut limit = pin!(Limit::default());
    poll_fn(|cx| {
        if let Poll::Ready(head) = poll_head(shared, cx, &mut progress) {
            return Poll::Ready(head.map(|head| head.map_or(Next::Ended, Next::Head)));
        }
        let begun = head::has_begun(&shared.lock().read);
        if let Some(farewell) = farewell.as_mut().filter(|_| !begun)
            && let Some(response) = farewell.as_mut().unasked(cx)
        {
            return Poll::Ready(Ok(Next::Unasked(response)));
        }
        let most = if begun { Some(options.head) } else { options.idle };
        let expired = ready!(limit.as_mut().poll_expired(cx, begun, most));
        Poll::Ready(if begun { Err(Error::HeadTimeout(expired)) } else { Ok(Next::Ended) })
    })
    .await
}

fn poll_head<I>(
    shared: &Shared<I>,
    cx: &mut Context<'_>,
    progress: &mut Progress,
) -> Poll<Result<Option<Head<request::Parts>>, Error>>
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    let mut state = shared.lock();
    match ready!(state.poll_head(cx, |read| head::request(read, progress))) {
        // Between requests a client may leave as it likes.
        Err(Error::Io(_)) if state.read.is_empty() => Poll::Ready(Ok(None)),
        head => Poll::Ready(head),
    }
}

/// Makes the request's body: what is here already, or the connection to read it from.
fn body<I>(shared: &Arc<Shared<I>>, length: Length, expects_continue: bool) -> Incoming
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut state = shared.lock();
    if let Length::Exact(length) = length
        && length <= state.read.len() as u64
    {
        return match usize::try_from(length) {
            Ok(0) | Err(_) => Incoming::empty(),
            Ok(length) => Incoming::whole(take(&mut state.read, length)),
        };
    }
    state.begin(Decoder::new(length), expects_continue);
    Incoming::stream(shared.clone(), state.decoder.left())
}

/// Waits for the answer as long as there is somebody to be answered.
async fn answer<I, F, B>(shared: &Shared<I>, aside: &mut Aside, service: F) -> Result<Response<B>, Error>
where
    I: AsyncRead + AsyncWrite + Unpin,
    F: Future<Output = Response<B>>,
{
    let mut service = pin!(Some(service));
    // The answer, once it has come: what came before it leaves first.
    let mut answer = None;
    let mut ahead = Ahead::default();
    let answered: Result<_, Error> = poll_fn(|cx| {
        loop {
            if let Some(working) = service.as_mut().as_pin_mut().filter(|_| answer.is_none()) {
                aside.ended = shared.lock().has_ended();
                if let Poll::Ready(response) = within(aside, || working.poll(cx)) {
                    answer = Some(response);
                }
            }
            for head in aside.interim.drain(..) {
                if head.status == StatusCode::CONTINUE {
                    shared.lock().goes_on();
                }
                interim(&mut ahead.bytes, &head);
            }
            ready!(ahead.poll_send(shared, cx))?;
            if let Some(response) = answer.take() {
                return Poll::Ready(Ok(response));
            }
            ready!(poll_left(shared, aside, cx))?;
        }
    })
    .await;
    if let Err(error) = &answered {
        // Whoever sends the request on learns how its client has left.
        aside.broken = aside.broken.or_else(|| error.reset());
        within(aside, || service.set(None));
    }
    answered
}

/// What comes before the answer.
#[derive(Default)]
struct Ahead {
    bytes: Vec<u8>,
    /// So many of them have left.
    taken: usize,
}

impl Ahead {
    fn poll_send<I>(&mut self, shared: &Shared<I>, cx: &mut Context<'_>) -> Poll<Result<(), Error>>
    where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        if self.bytes.is_empty() {
            return Poll::Ready(Ok(()));
        }
        let io = &mut shared.lock().io;
        while self.taken < self.bytes.len() {
            let written = ready!(Pin::new(&mut *io).poll_write(cx, &self.bytes[self.taken..]))?;
            if written == 0 {
                return Poll::Ready(Err(std::io::Error::from(std::io::ErrorKind::WriteZero).into()));
            }
            self.taken += written;
        }
        ready!(Pin::new(io).poll_flush(cx))?;
        *self = Self::default();
        Poll::Ready(Ok(()))
    }
}

/// Looks whether the client has left: an error when it is gone; ready when it has just ended its side, which whoever sends the request on
/// has to know.
fn poll_left<I>(shared: &Shared<I>, aside: &Aside, cx: &mut Context<'_>) -> Poll<Result<(), Error>>
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    let mut state = shared.lock();
    if let Poll::Ready(error) = state.poll_broken(cx) {
        return Poll::Ready(Err(Error::Io(error)));
    }
    if state.has_ended() && !aside.ended { Poll::Ready(Ok(())) } else { Poll::Pending }
}

/// Sends the answer; a client that is gone is noticed while the body has nothing to say.
async fn send<I, B>(shared: &Shared<I>, aside: &mut Aside, message: &mut Outgoing<B>) -> Result<(), Error>
where
    I: AsyncRead + AsyncWrite + Unpin,
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    poll_fn(|cx| {
        loop {
            aside.ended = shared.lock().has_ended();
            if let Poll::Ready(sent) = within(aside, || message.poll_send(cx, shared)) {
                return Poll::Ready(sent);
            }
            ready!(poll_left(shared, aside, cx))?;
        }
    })
    .await
}

/// Completes when the request's body is over: `false` when it cannot be read, or nobody reads it to its end and it is not here.
fn poll_body_over<I>(shared: &Shared<I>, cx: &mut Context<'_>) -> Poll<bool>
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    let mut state = shared.lock();
    if state.decoder.is_done() {
        return Poll::Ready(true);
    }
    if state.decoder.fault().is_some() {
        return Poll::Ready(false);
    }
    if !state.abandoned {
        state.wait(cx.waker());
        return Poll::Pending;
    }
    let mut most = LINGER.1;
    while !state.waits_to_send() && most > 0 {
        match state.poll_body(cx) {
            Poll::Ready(Some(Ok(frame))) => most = most.saturating_sub(frame.data_ref().map_or(0, Bytes::len)),
            Poll::Ready(None) => return Poll::Ready(true),
            Poll::Ready(Some(Err(_))) | Poll::Pending => break,
        }
        if state.decoder.is_done() {
            return Poll::Ready(true);
        }
    }
    Poll::Ready(false)
}

/// Tells a client that what it sent is not HTTP/1; one that has sent nothing is told nothing.
async fn refuse<I: AsyncRead + AsyncWrite + Unpin>(shared: &Shared<I>, options: &Options, error: &Error) {
    let status = match error {
        Error::Malformed(_) => StatusCode::BAD_REQUEST,
        Error::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        Error::TargetTooLong => StatusCode::URI_TOO_LONG,
        Error::HeadTimeout(_) => StatusCode::REQUEST_TIMEOUT,
        Error::Closed
        | Error::Incomplete
        | Error::Left
        | Error::Body(_)
        | Error::BodyReset(_)
        | Error::Unsent(_)
        | Error::Io(_) => {
            close(shared).await;
            return;
        }
    };
    say(shared, (options.refusal)(error, status)).await;
}

/// Says the last word of a connection.
async fn say<I: AsyncRead + AsyncWrite + Unpin>(shared: &Shared<I>, response: Response<Bytes>) {
    let (parts, body) = response.into_parts();
    let asked = Asked { method: Method::GET, version: Version::HTTP_11, keep_alive: false };
    let (mut message, _) = Outgoing::response(&parts, Full(body), &asked, None);
    let written = poll_fn(|cx| message.poll_send(cx, shared));
    // Whether it can be told or not, the connection ends.
    if timeout(LINGER.0, written).await.is_ok_and(|written| written.is_ok()) {
        close(shared).await;
        linger(shared).await;
    }
}

/// A body that is here.
struct Full(Bytes);

impl Body for Full {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let bytes = std::mem::take(&mut self.0);
        Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.len() as u64)
    }
}

/// Ends our side.
async fn close<I: AsyncRead + AsyncWrite + Unpin>(shared: &Shared<I>) {
    // What shutting down says about a connection that is over is of no use to anyone.
    let _ = timeout(LINGER.0, poll_fn(|cx| Pin::new(&mut shared.lock().io).poll_shutdown(cx))).await;
}

/// Reads and forgets what the client still sends, within bounds.
async fn linger<I: AsyncRead + AsyncWrite + Unpin>(shared: &Shared<I>) {
    let mut most = LINGER.1;
    let rest = poll_fn(|cx| {
        let mut state = shared.lock();
        while most > 0 && !state.ended {
            state.read.clear();
            if ready!(state.poll_read(cx)).is_err() {
                break;
            }
            most = most.saturating_sub(state.read.len());
        }
        Poll::Ready(())
    });
    // The bound on time is the point of it.
    let _ = timeout(LINGER.0, rest).await;
}
