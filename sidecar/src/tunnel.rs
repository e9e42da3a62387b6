//! A mesh TLS connection that carries connections of bytes, one after the other, so that each does not cost a handshake.
//!
//! Both sides send frames: a kind, a length of three bytes, and for [`DATA`] the bytes. The caller opens an exchange with [`OPEN`]; the called side
//! dials its app and answers with [`STATUS`]. Until then nothing of the client's has been passed on, so that another endpoint can be tried. Then both
//! sides send [`DATA`], each until its [`END`], which is the half-close of TCP. When both have sent it, the connection is free for the next exchange.
//!
//! A reset is a reset: the connection ends with it. One connection carries one exchange at a time, so that TCP's own flow control is that of the two
//! apps, and none waits for another one's lost packet. A direction that has carried much, or often, says [`REST`] and sends plain bytes until the connection ends:
//! a handshake is nothing to it, and a copy of all bytes would be.

mod frame;

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use outrigger_daemon::Drain;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use self::frame::{Control, DATA, END, HEADER, Input, LEAVING, OPEN, REST, STATUS, header};
use crate::headers::Leaving;

/// The status of an exchange whose app took the connection. Every other one is the number of an error code.
pub(crate) const TAKEN: u8 = 0;

/// Bytes that a direction carries in frames; what comes after them is sent as it is.
const FRAMED: usize = 1 << 20;

/// Frames of a direction, likewise: of who says much in few words.
const FRAMES: u8 = 64;

/// One side of the connection.
pub(crate) struct Tunnel<I> {
    io: I,
    side: Side,
    input: Input,
    output: Output,
    /// The caller has opened an exchange and was not answered yet.
    is_asked: bool,
}

/// Which side, and where what is said of the workload's end goes or comes from.
enum Side {
    Caller(Arc<Leaving>),
    Called { drain: Drain, has_told: bool },
}

/// What is written.
#[derive(Default)]
struct Output {
    state: Sending,
    /// Headers that the connection has not taken yet.
    head: [u8; 2 * HEADER],
    head_from: u8,
    head_to: u8,
    /// Bytes of the frame that was begun, which are still to come.
    owed: usize,
    /// Bytes carried in this exchange, and the frames that they took.
    carried: usize,
    frames: u8,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Sending {
    #[default]
    Ended,
    Frames,
    Rest,
}

impl<I> Tunnel<I> {
    fn new(io: I, side: Side) -> Self {
        Self { io, side, input: Input::default(), output: Output::default(), is_asked: false }
    }

    /// Makes the side that opens exchanges; what the peer says of its end goes to `leaving`.
    pub(crate) fn caller(io: I, leaving: Arc<Leaving>) -> Self {
        Self::new(io, Side::Caller(leaving))
    }

    /// Makes the side that is asked; it tells the caller when `drain` has started.
    pub(crate) fn called(io: I, drain: Drain) -> Self {
        Self::new(io, Side::Called { drain, has_told: false })
    }

    /// Makes one that carries what it is given as it is, and that alone.
    pub(crate) fn bare(io: I, drain: Drain) -> Self {
        let mut bare = Self::called(io, drain);
        bare.input.rest();
        bare.output.state = Sending::Rest;
        bare
    }

    /// Says whether the last exchange has ended on both sides, in good order, so that another one may follow.
    pub(crate) fn is_free(&self) -> bool {
        let is_leaving = matches!(&self.side, Side::Caller(leaving) if leaving.is_told());
        let has_ended = self.input.has_ended() && self.output.state == Sending::Ended && self.output.head().is_empty();
        has_ended && !is_leaving && !self.is_asked
    }

    pub(crate) fn get_ref(&self) -> &I {
        &self.io
    }

    pub(crate) fn get_mut(&mut self) -> &mut I {
        &mut self.io
    }

    fn begin(&mut self) {
        self.input.begin();
        self.output = Output { state: Sending::Frames, ..Output::default() };
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> Tunnel<I> {
    /// Opens an exchange and returns the status: [`TAKEN`], or the number of an error code, and then the connection is free again.
    ///
    /// # Errors
    /// When the connection ends before; nothing was passed on then.
    ///
    /// # Cancel safety
    /// When the future is dropped the connection is of no more use.
    pub(crate) async fn open(&mut self) -> io::Result<u8> {
        self.is_asked = true;
        self.send(header(OPEN, 0)).await?;
        loop {
            match self.control().await? {
                Some(Control::Status(status)) => {
                    self.is_asked = false;
                    if status == TAKEN {
                        self.begin();
                    }
                    return Ok(status);
                }
                Some(Control::Leaving) => {}
                Some(Control::Open) => return Err(frame::unexpected("OPEN", "the called side")),
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
    }

    /// Waits for the caller to open an exchange; `false` when it has ended the connection.
    ///
    /// # Errors
    /// When the caller keeps to no order.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub(crate) async fn opened(&mut self) -> io::Result<bool> {
        match self.control().await {
            Ok(Some(Control::Open)) if self.input.has_early() => {
                Err(frame::unexpected("bytes before STATUS", "the caller"))
            }
            Ok(Some(Control::Open)) => Ok(true),
            Ok(Some(Control::Status(_) | Control::Leaving)) => {
                Err(frame::unexpected("STATUS or LEAVING", "the caller"))
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(error),
            // Between exchanges a connection may end in any way.
            Ok(None) | Err(_) => Ok(false),
        }
    }

    /// Answers the caller, who has opened an exchange.
    ///
    /// # Errors
    /// When it is gone.
    pub(crate) async fn answer(&mut self, status: u8) -> io::Result<()> {
        self.tell_leaving().await?;
        self.send(header(STATUS, status.into())).await?;
        if status == TAKEN {
            self.begin();
        }
        Ok(())
    }

    /// Tells the caller that the workload ends, if it does.
    ///
    /// # Errors
    /// When it is gone.
    pub(crate) async fn tell_leaving(&mut self) -> io::Result<()> {
        if self.side.is_to_tell() { self.send(header(LEAVING, 0)).await } else { Ok(()) }
    }

    /// Says whether a connection between two exchanges can be used. What its peer has said meanwhile is heard.
    pub(crate) fn is_open(&mut self) -> bool {
        let cx = &mut Context::from_waker(Waker::noop());
        loop {
            match self.poll_control(cx) {
                Poll::Pending => return !self.input.is_inside_header(),
                Poll::Ready(Ok(Some(Control::Leaving))) => {}
                Poll::Ready(_) => return false,
            }
        }
    }

    async fn control(&mut self) -> io::Result<Option<Control>> {
        poll_fn(|cx| self.poll_control(cx)).await
    }

    fn poll_control(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Control>>> {
        let control = ready!(self.input.poll_control(cx, &mut self.io))?;
        if control == Some(Control::Leaving) {
            self.side.hear_leaving()?;
        }
        Poll::Ready(Ok(control))
    }

    async fn send(&mut self, header: [u8; HEADER]) -> io::Result<()> {
        self.output.push(header);
        poll_fn(|cx| self.poll_flush_head(cx)).await
    }

    fn poll_flush_head(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.output.poll_head(cx, &mut self.io))?;
        Pin::new(&mut self.io).poll_flush(cx)
    }
}

impl Side {
    /// Says, once, whether the peer is to be told of the workload's end.
    fn is_to_tell(&mut self) -> bool {
        match self {
            Self::Called { drain, has_told } => drain.is_started() && !std::mem::replace(has_told, true),
            Self::Caller(_) => false,
        }
    }

    fn hear_leaving(&self) -> io::Result<()> {
        match self {
            Self::Caller(leaving) => leaving.told(),
            Self::Called { .. } => return Err(frame::unexpected("LEAVING", "the caller")),
        }
        Ok(())
    }
}

impl Output {
    fn push(&mut self, header: [u8; HEADER]) {
        let to = usize::from(self.head_to);
        self.head[to..to + HEADER].copy_from_slice(&header);
        self.head_to += HEADER as u8;
    }

    /// Says whether what comes is written as it is.
    fn is_bare(&self) -> bool {
        self.state == Sending::Rest && self.head_from == self.head_to
    }

    fn head(&self) -> &[u8] {
        &self.head[self.head_from.into()..self.head_to.into()]
    }

    /// The connection has taken so many bytes of the headers.
    fn advance_head(&mut self, bytes: usize) {
        self.head_from += bytes as u8;
        if self.head_from == self.head_to {
            (self.head_from, self.head_to) = (0, 0);
        }
    }

    fn poll_head<I: AsyncWrite + Unpin>(&mut self, cx: &mut Context<'_>, io: &mut I) -> Poll<io::Result<()>> {
        while !self.head().is_empty() {
            let written = ready!(Pin::new(&mut *io).poll_write(cx, self.head()))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance_head(written);
        }
        Poll::Ready(Ok(()))
    }

    /// Begins a frame for bytes of this length.
    fn begin_frame(&mut self, length: usize) {
        self.owed = length.min(FRAMED.saturating_sub(self.carried));
        if self.owed == 0 || self.frames == FRAMES {
            self.owed = 0;
            self.push(header(REST, 0));
            self.state = Sending::Rest;
        } else {
            self.frames += 1;
            self.push(header(DATA, self.owed as u32));
        }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Tunnel<I> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // Most of all bytes come here.
        if this.input.is_rest() {
            return Pin::new(&mut this.io).poll_read(cx, buf);
        }
        while buf.remaining() > 0 && !this.input.has_ended() {
            let before = buf.filled().len();
            ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
            if buf.filled().len() == before {
                let is_end = this.input.is_rest();
                return Poll::Ready(if is_end { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) });
            }
            let decoded = this.input.decode(&mut buf.filled_mut()[before..])?;
            buf.set_filled(before + decoded.bytes);
            if decoded.is_leaving {
                this.side.hear_leaving()?;
            }
            if decoded.bytes > 0 {
                break;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Tunnel<I> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let Self { io, side, output, .. } = self.get_mut();
        if output.is_bare() {
            return Pin::new(io).poll_write(cx, buf);
        }
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        loop {
            match output.state {
                Sending::Ended => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
                Sending::Frames if output.owed == 0 => {
                    if side.is_to_tell() {
                        output.push(header(LEAVING, 0));
                    }
                    output.begin_frame(buf.len());
                }
                Sending::Frames | Sending::Rest => {}
            }
            let most = if output.state == Sending::Frames { output.owed } else { usize::MAX };
            let bytes = &buf[..buf.len().min(most)];
            let head = output.head();
            let written = if head.is_empty() {
                ready!(Pin::new(&mut *io).poll_write(cx, bytes))?
            } else {
                // In one piece, where the connection takes both: a header of its own would be a TLS record of its own.
                let head_length = head.len();
                let both = [IoSlice::new(head), IoSlice::new(bytes)];
                let written = ready!(Pin::new(&mut *io).poll_write_vectored(cx, &both))?;
                output.advance_head(written.min(head_length));
                if written > 0 && written <= head_length {
                    continue;
                }
                written.saturating_sub(head_length)
            };
            output.carried = output.carried.saturating_add(written);
            output.owed = output.owed.saturating_sub(written);
            return Poll::Ready(Ok(written));
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.output.is_bare() {
            return Pin::new(&mut this.io).poll_write_vectored(cx, bufs);
        }
        let first = bufs.iter().find(|buf| !buf.is_empty()).map_or(&[][..], |buf| &**buf);
        Pin::new(this).poll_write(cx, first)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match this.output.state {
            Sending::Rest => return Pin::new(&mut this.io).poll_shutdown(cx),
            // What was promised does not come: this is no end in good order.
            Sending::Frames if this.output.owed > 0 => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            Sending::Frames => {
                this.output.push(header(END, 0));
                this.output.state = Sending::Ended;
            }
            Sending::Ended => {}
        }
        ready!(this.output.poll_head(cx, &mut this.io))?;
        Pin::new(&mut this.io).poll_flush(cx)
    }
}

#[cfg(test)]
mod tests;
