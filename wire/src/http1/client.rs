//! The client's side of a connection. Whoever sends a request reads its response in the same task; between requests nobody watches the
//! connection, and whoever takes it up again looks whether the peer is still there.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::EXPECT;
use http::{Method, Response, StatusCode, request, response};
use http_body::Body;
use tokio::io::{AsyncRead, AsyncWrite};

use super::body::Incoming;
use super::connection::Shared;
use super::decode::{Decoder, take};
use super::error::Error;
use super::framing::Length;
use super::head::{self, Answer, Head, Progress};
use super::limit::Limit;
use super::write::Outgoing;
use crate::aside;
use crate::cut::BoxError;

/// How long a response's head may take from its first byte on. A server may think as long as it likes before; more than this between the parts
/// of a head is no server that works.
const HEAD: Duration = Duration::from_secs(60);

/// A connection to a server, which carries one request at a time.
pub struct Connection<I>(Arc<Shared<I>>);

impl<I> Connection<I>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    /// Begins with a fresh stream.
    pub fn new(io: I) -> Self {
        Self(Arc::new(Shared::client(io)))
    }

    /// Says whether the last exchange has ended so that another may follow.
    #[must_use]
    pub fn is_reusable(&self) -> bool {
        let state = self.0.lock();
        state.reusable && !state.sending && !state.ended && state.decoder.is_done() && state.read.is_empty()
    }

    /// Says whether another request may be sent, after a look whether the peer has closed, or spoken out of turn. The look takes no system
    /// call: the event loop knows whether there is something to read.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.is_reusable() && self.0.lock().poll_read(&mut Context::from_waker(Waker::noop())).is_pending()
    }

    /// Returns the head of a response that the server has sent unasked, as far as [`is_open`](Self::is_open) has read it.
    #[must_use]
    pub fn unasked(&self) -> Option<Response<()>> {
        let state = self.0.lock();
        match head::response(&state.read, &mut Progress::default(), &Method::GET) {
            Ok(Some((Answer::Final(head), _))) if state.decoder.is_done() => Some(Response::from_parts(head.parts, ())),
            _ => None,
        }
    }

    /// Sends a request, whose head may be used again, and returns its response, whose body is read from the connection. A body that is not sent when the response comes goes on
    /// beside it, and ends with it.
    ///
    /// # Errors
    /// When the connection fails or the response is malformed; [`Error::Unsent`] when the server has got nothing of the request, as when the
    /// connection is not reusable.
    pub async fn send<B>(&mut self, head: &request::Parts, body: B) -> Result<Response<Incoming>, Error>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        if !self.is_reusable() {
            return Err(Error::Unsent(io::ErrorKind::NotConnected.into()));
        }
        let mut message = Outgoing::request(head, body, aside::request().as_deref());
        self.0.lock().reusable = false;
        let (mut sending, mut failed) = (true, None);
        let mut progress = Progress::default();
        let mut limit = pin!(Limit::default());
        let answer = poll_fn(|cx| {
            if sending && let Poll::Ready(sent) = message.poll_send(cx, &self.0) {
                sending = false;
                failed = sent.err();
                if matches!(failed, Some(Error::Body(_) | Error::BodyReset(_))) {
                    return Poll::Ready(Err(failed.take().unwrap_or(Error::Incomplete)));
                }
            }
            if !sending && aside::has_ended() {
                self.0.lock().poll_shut(cx);
            }
            // A server may answer and close without reading all: its answer counts for more than our failure.
            let answer = match self.poll_head(cx, &mut progress, &head.method) {
                Poll::Ready(answer) => answer,
                Poll::Pending => {
                    let begun = head::has_begun(&self.0.lock().read);
                    Err(Error::HeadTimeout(ready!(limit.as_mut().poll_expired(cx, begun, begun.then_some(HEAD)))))
                }
            };
            Poll::Ready(answer.map_err(|error| failed.take().unwrap_or(error)))
        });
        let answer = answer.await.map_err(|error| match error {
            Error::Io(error) if message.is_unsent() => Error::Unsent(error),
            // Many a server closes when its client has ended. To send the request again would be more than the client has asked for.
            Error::Io(_) | Error::Closed if self.0.lock().is_shut() => Error::Left,
            other => other,
        })?;
        let Head { parts, raw, length, keep_alive, .. } = answer;
        aside::responded(raw);
        let mut state = self.0.lock();
        // Who was asked whether to go on and has not said so may or may not read the body: what it takes the next bytes for is unknown.
        let unsettled = sending && head.headers.contains_key(EXPECT);
        // What follows such an answer is no HTTP (RFC 9110 sections 7.8 and 9.3.6), whether the caller switches or not.
        let left = parts.status == StatusCode::SWITCHING_PROTOCOLS
            || (head.method == Method::CONNECT && parts.status.is_success());
        state.reusable = keep_alive && failed.is_none() && !unsettled && !left;
        if sending {
            state.sending = true;
            // Ends with the body that it sends, or with the response.
            tokio::spawn(send_rest(self.0.clone(), message));
        }
        let body = match length {
            Length::Exact(0) => Incoming::empty(),
            Length::Exact(length) if length <= state.read.len() as u64 => {
                Incoming::whole(take(&mut state.read, usize::try_from(length).unwrap_or(usize::MAX)))
            }
            length => {
                state.begin(Decoder::new(length), false);
                Incoming::stream(self.0.clone(), state.decoder.left())
            }
        };
        drop(state);
        Ok(Response::from_parts(parts, body))
    }

    /// Has a look at the stream, to set what is not of HTTP.
    pub fn with_io<T>(&self, look: impl FnOnce(&I) -> T) -> T {
        look(&self.0.lock().io)
    }

    /// Returns the stream of a connection that has left HTTP, and what has been read of it; `None` while a body is still being read or sent.
    #[must_use]
    pub fn into_parts(self) -> Option<(I, Bytes)> {
        Arc::into_inner(self.0).map(Shared::into_parts)
    }

    fn poll_head(
        &self,
        cx: &mut Context<'_>,
        progress: &mut Progress,
        method: &Method,
    ) -> Poll<Result<Head<response::Parts>, Error>> {
        let mut state = self.0.lock();
        loop {
            let head = ready!(state.poll_head(cx, |read| head::response(read, progress, method)));
            return Poll::Ready(match head {
                Ok(Some(Answer::Informs(interim))) => {
                    aside::inform(interim);
                    continue;
                }
                Ok(Some(Answer::Final(head))) => Ok(head),
                Ok(None) => Err(Error::Closed),
                Err(Error::Io(_)) if !state.read.is_empty() => Err(Error::Incomplete),
                Err(error) => Err(error),
            });
        }
    }
}

/// Sends the rest of a request while its response is being read.
async fn send_rest<I, B>(shared: Arc<Shared<I>>, mut message: Outgoing<B>)
where
    I: AsyncRead + AsyncWrite + Unpin,
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    let sent = poll_fn(|cx| {
        {
            let mut state = shared.lock();
            if state.abandoned {
                return Poll::Ready(false);
            }
            state.wait(cx.waker());
        }
        message.poll_send(cx, &shared).map(|sent| sent.is_ok())
    });
    let sent = sent.await;
    let mut state = shared.lock();
    state.sending = false;
    state.reusable &= sent;
}

impl<I> fmt::Debug for Connection<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connection")
    }
}
