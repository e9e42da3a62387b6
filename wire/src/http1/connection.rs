//! One connection, as the two sides of a message share it: who reads a body, and who writes what comes next.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Bytes, BytesMut};
use http_body::Frame;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};

use super::decode::{Decoder, Fault, Step, take};
use super::error::Error;
use super::read::poll_read_with;
use crate::aside;

/// Bytes that are read ahead of a message that is still being answered.
const AHEAD: usize = 64 * 1024;

/// A connection that several hold. The lock is held for one step at a time and never met by another: all holders are tasks of one thread.
pub(crate) struct Shared<I>(Mutex<State<I>>);

pub(crate) struct State<I> {
    pub(crate) io: I,
    /// Read, and not yet understood.
    pub(crate) read: BytesMut,
    /// The peer will send nothing more.
    pub(crate) ended: bool,
    pub(crate) decoder: Decoder,
    /// The peer waits for a word before it sends the body (`Expect: 100-continue`), and has sent nothing of it.
    waiting: bool,
    /// This side of a request is the client's, which may end before the response comes.
    client: bool,
    /// The end of this side has been sent.
    shut: bool,
    /// Whoever read the body has let go of it before its end.
    pub(crate) abandoned: bool,
    /// A request's body is still being sent by a task of its own.
    pub(crate) sending: bool,
    /// The connection may carry another message.
    pub(crate) reusable: bool,
    /// Why reading has failed.
    broken: Option<io::ErrorKind>,
    /// Told when the body has been read, or let go.
    waits: Option<Waker>,
}

impl<I> Shared<I> {
    pub(crate) fn new(io: I) -> Self {
        Self(Mutex::new(State {
            io,
            read: BytesMut::new(),
            ended: false,
            decoder: Decoder::Done,
            waiting: false,
            client: false,
            shut: false,
            abandoned: false,
            sending: false,
            reusable: true,
            broken: None,
            waits: None,
        }))
    }

    /// Begins as the client of what is at the other end.
    pub(crate) fn client(io: I) -> Self {
        let this = Self::new(io);
        this.lock().client = true;
        this
    }

    pub(crate) fn lock(&self) -> parking_lot::MutexGuard<'_, State<I>> {
        self.0.lock()
    }

    /// Returns the stream, and what was read of it and not used.
    pub(crate) fn into_parts(self) -> (I, Bytes) {
        let state = self.0.into_inner();
        (state.io, state.read.freeze())
    }
}

impl<I> State<I> {
    /// A message with a body has begun.
    pub(crate) fn begin(&mut self, decoder: Decoder, expects_continue: bool) {
        self.decoder = decoder;
        self.abandoned = false;
        self.waiting = expects_continue;
    }

    /// The server has asked for the body: the client sends it now.
    pub(crate) fn goes_on(&mut self) {
        self.waiting = false;
    }

    /// Says whether the peer still waits to be asked for the body: after another answer it may send it or not, and what it sends next is not
    /// known.
    pub(crate) fn waits_to_send(&self) -> bool {
        self.waiting
    }

    /// Says whether the peer has ended its side, after its message.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended && self.decoder.is_done() && self.read.is_empty()
    }

    /// Says whether the end of this side has been sent.
    pub(crate) fn is_shut(&self) -> bool {
        self.shut
    }

    /// Has the waker told when the body is over.
    pub(crate) fn wait(&mut self, waker: &Waker) {
        if !self.waits.as_ref().is_some_and(|waits| waits.will_wake(waker)) {
            self.waits = Some(waker.clone());
        }
    }

    /// The body cannot be read: nothing of what follows is, and the connection carries no other message.
    fn fail(&mut self, fault: Fault) {
        self.decoder = Decoder::Failed(fault);
        self.reusable = false;
    }

    pub(crate) fn body_is_over(&mut self) {
        if let Some(waits) = self.waits.take() {
            waits.wake();
        }
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> State<I> {
    /// Returns the next part of the body.
    pub(crate) fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        loop {
            let frame = match self.decoder.step(&mut self.read) {
                Ok(Step::Data(data)) => Some(Ok(Frame::data(data))),
                Ok(Step::Trailers(trailers)) => Some(Ok(Frame::trailers(trailers))),
                Ok(Step::End) => None,
                Err(error) => {
                    self.reusable = false;
                    Some(Err(error))
                }
                Ok(Step::More) if !self.ended => match ready!(self.poll_more(cx)) {
                    Ok(()) => continue,
                    Err(error) => {
                        self.fail(Fault::Incomplete);
                        if !self.client {
                            aside::break_off(error.reset());
                        }
                        Some(Err(error))
                    }
                },
                Ok(Step::More) if matches!(self.decoder, Decoder::UntilClose) => {
                    self.decoder = Decoder::Done;
                    None
                }
                Ok(Step::More) => {
                    self.fail(Fault::Incomplete);
                    Some(Err(Error::Incomplete))
                }
            };
            if self.is_over() {
                self.body_is_over();
            }
            return Poll::Ready(frame);
        }
    }

    /// Says whether the body has been read to its end, or cannot be.
    fn is_over(&self) -> bool {
        self.decoder.is_done() || self.decoder.fault().is_some()
    }

    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if self.client && !self.sending && aside::has_ended() {
            self.poll_shut(cx);
        }
        ready!(self.poll_read(cx))?;
        self.waiting &= self.read.is_empty();
        Poll::Ready(Ok(()))
    }

    /// Ends this side, as the client whose request it sends has ended its own. The response may still come; no other request follows.
    pub(crate) fn poll_shut(&mut self, cx: &mut Context<'_>) {
        self.reusable = false;
        if !self.shut {
            // A failure shows where the response is read.
            self.shut = Pin::new(&mut self.io).poll_shutdown(cx).is_ready();
        }
    }

    /// Reads what is there.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let read = ready!(poll_read_with(&mut self.io, cx, |bytes| self.read.extend_from_slice(bytes)));
        let read = read.inspect_err(|error| self.broken = Some(error.kind()))?;
        self.ended |= read == 0;
        Poll::Ready(Ok(()))
    }

    /// Reads until there is a whole head, which `parse` finds, most of the time where it was read; `None`: the stream has ended before.
    pub(crate) fn poll_head<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut parse: impl FnMut(&[u8]) -> Result<Option<(T, usize)>, Error>,
    ) -> Poll<Result<Option<T>, Error>> {
        if let Some(fault) = self.decoder.fault() {
            // What is here may be the rest of that body: to read it as a message would be to make one up.
            return Poll::Ready(Err(fault.into()));
        }
        if !self.read.is_empty()
            && let Some((head, used)) = parse(&self.read)?
        {
            drop(take(&mut self.read, used));
            return Poll::Ready(Ok(Some(head)));
        }
        while !self.ended {
            let mut found = Ok(None);
            let kept = &mut self.read;
            let look = |bytes: &[u8]| {
                if kept.is_empty() {
                    found = parse(bytes);
                    let used = found.as_ref().ok().and_then(Option::as_ref).map_or(0, |(_, used)| *used);
                    kept.extend_from_slice(&bytes[used..]);
                } else {
                    kept.extend_from_slice(bytes);
                    found = parse(kept);
                    if let Ok(Some((_, used))) = &found {
                        drop(take(kept, *used));
                    }
                }
            };
            let read = ready!(poll_read_with(&mut self.io, cx, look))?;
            self.ended |= read == 0;
            if let Some((head, _)) = found? {
                return Poll::Ready(Ok(Some(head)));
            }
        }
        Poll::Ready(if self.read.is_empty() { Ok(None) } else { Err(Error::Incomplete) })
    }

    /// Never ready but with the connection's failure: the peer is gone, and nobody waits for the answer. A peer that has only ended its side
    /// still reads.
    pub(crate) fn poll_broken(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        loop {
            if !self.is_over() {
                // Who reads the body will see.
                self.wait(cx.waker());
                return Poll::Pending;
            }
            // Some streams tell of a failure once, and then of an end.
            if let Some(kind) = self.broken {
                return Poll::Ready(kind.into());
            }
            if self.ended || self.read.len() >= AHEAD {
                return Poll::Pending;
            }
            if let Err(error) = ready!(self.poll_read(cx)) {
                return Poll::Ready(error);
            }
        }
    }
}

/// A body's source, whatever stream it comes from.
pub(crate) trait Source: Send + Sync {
    fn poll_body(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>>;
    /// Says whether the body has been read to its end.
    fn is_done(&self) -> bool;
    /// Nobody will read the rest.
    fn abandon(&self);
}

impl<I: AsyncRead + AsyncWrite + Unpin + Send> Source for Shared<I> {
    fn poll_body(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        self.lock().poll_body(cx)
    }

    fn is_done(&self) -> bool {
        self.lock().decoder.is_done()
    }

    fn abandon(&self) {
        let mut state = self.lock();
        state.abandoned = true;
        state.body_is_over();
    }
}
