//! The transport of a connection. Reading fills a buffer that all connections of a thread share; only what is left of an incomplete frame
//! stays with the connection.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::error::{Error, Fatal};
use super::output::Output;
use super::ready::{self, READ, Ready, WRITE};

/// The transport, what is left of the input, and what is being written.
#[derive(Debug)]
pub(super) struct Io<I> {
    io: I,
    rest: Vec<u8>,
    pub(super) out: Output,
    flushed: bool,
    /// Some of `out` has left since this was last asked.
    wrote: bool,
    /// The same, for the timer.
    moved: bool,
    read_waker: Waker,
    write_waker: Waker,
}

impl<I> Io<I> {
    /// Whether some of `out` has left since this was last asked.
    pub(super) fn take_wrote(&mut self) -> bool {
        std::mem::take(&mut self.wrote)
    }

    /// Whether something waits to be written, and none of it has left since this was last asked.
    pub(super) fn is_stuck(&mut self) -> bool {
        let moved = std::mem::take(&mut self.moved);
        !moved && !self.is_written()
    }

    pub(super) fn is_written(&self) -> bool {
        self.out.is_empty() && self.flushed
    }
}

/// What a read brought.
#[derive(Debug)]
pub(super) enum Read {
    Input,
    End,
    Offence(Fatal),
}

impl<I: AsyncRead + AsyncWrite + Unpin> Io<I> {
    pub(super) fn new(io: I, ready: &Arc<Ready>) -> Self {
        Self {
            io,
            rest: Vec::new(),
            out: Output::default(),
            flushed: true,
            wrote: false,
            moved: false,
            read_waker: ready::waker(ready, READ),
            write_waker: ready::waker(ready, WRITE),
        }
    }

    /// Reads once and gives what there is to `take`, which says how much of it is done with.
    pub(super) fn poll_read(&mut self, take: impl FnOnce(&[u8]) -> Result<usize, Fatal>) -> Poll<Result<Read, Error>> {
        let mut scratch = SCRATCH.take().unwrap_or_else(|| vec![0; READ_SIZE].into());
        let read = self.poll_read_into(&mut scratch, take);
        SCRATCH.set(Some(scratch));
        read
    }

    fn poll_read_into(
        &mut self,
        scratch: &mut [u8],
        take: impl FnOnce(&[u8]) -> Result<usize, Fatal>,
    ) -> Poll<Result<Read, Error>> {
        let before = self.rest.len();
        let mut buffer = ReadBuf::new(&mut scratch[before..]);
        let mut cx = Context::from_waker(&self.read_waker);
        ready!(Pin::new(&mut self.io).poll_read(&mut cx, &mut buffer))?;
        let came = buffer.filled().len();
        if came == 0 {
            return Poll::Ready(Ok(Read::End));
        }
        scratch[..before].copy_from_slice(&self.rest);
        let input = &scratch[..before + came];
        match take(input) {
            Ok(done) => {
                self.rest.clear();
                self.rest.extend_from_slice(&input[done..]);
                Poll::Ready(Ok(Read::Input))
            }
            Err(fatal) => Poll::Ready(Ok(Read::Offence(fatal))),
        }
    }

    /// Writes all of `out`, and through.
    pub(super) fn poll_write(&mut self) -> Poll<io::Result<()>> {
        let mut cx = Context::from_waker(&self.write_waker);
        if !self.out.is_empty() {
            self.flushed = false;
            let before = self.out.left();
            let written = self.out.poll_write(&mut self.io, &mut cx);
            self.moved |= self.out.left() != before;
            self.wrote |= self.out.has_begun();
            ready!(written)?;
        }
        if !self.flushed {
            ready!(Pin::new(&mut self.io).poll_flush(&mut cx))?;
            self.flushed = true;
        }
        Poll::Ready(Ok(()))
    }

    pub(super) fn poll_shutdown(&mut self) -> Poll<io::Result<()>> {
        let mut cx = Context::from_waker(&self.write_waker);
        Pin::new(&mut self.io).poll_shutdown(&mut cx)
    }

    /// Gives back what a quiet connection needs not.
    pub(super) fn rest(&mut self) {
        self.rest.shrink_to_fit();
        self.out.rest();
    }
}

thread_local! {
    static SCRATCH: Cell<Option<Box<[u8]>>> = const { Cell::new(None) };
}

/// How much one read takes: four frames of full size. An incomplete frame that is not DATA leaves room for three.
const READ_SIZE: usize = 64 << 10;
