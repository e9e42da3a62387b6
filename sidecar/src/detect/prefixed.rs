//! A stream whose first bytes have been looked at and are still to be read.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use crate::connect::Reset;

/// Bytes looked at before a reader takes over; bounds what a silent or odd client can make us hold.
const LIMIT: usize = 16 * 1024;

/// Bytes asked for at once: a request's head, most of the time.
const STEP: usize = 2 * 1024;

pub(crate) struct Prefixed<T> {
    inner: T,
    seen: Vec<u8>,
    read: usize,
}

impl<T> Prefixed<T> {
    pub(crate) fn new(inner: T) -> Self {
        Self { inner, seen: Vec::new(), read: 0 }
    }

    /// Makes a stream of which `seen` has been read already.
    pub(crate) fn with(inner: T, seen: bytes::Bytes) -> Self {
        Self { inner, seen: seen.into(), read: 0 }
    }

    /// Returns the bytes that have been looked at and not read.
    pub(crate) fn seen(&self) -> &[u8] {
        &self.seen[self.read..]
    }
}

impl<T: AsyncRead + Unpin> Prefixed<T> {
    /// Reads more bytes to look at and returns how many; 0 at the stream's end.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped: bytes are kept as soon as they are read.
    pub(crate) async fn fill(&mut self) -> io::Result<usize> {
        if self.seen.len() >= LIMIT {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        self.seen.reserve_exact(STEP.min(LIMIT - self.seen.len()));
        self.inner.read_buf(&mut self.seen).await
    }
}

impl<T: Reset> Reset for Prefixed<T> {
    fn reset_when_dropped(&self) {
        self.inner.reset_when_dropped();
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Prefixed<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let rest = &this.seen[this.read..];
        if rest.is_empty() {
            return Pin::new(&mut this.inner).poll_read(cx, buf);
        }
        let n = rest.len().min(buf.remaining());
        buf.put_slice(&rest[..n]);
        this.read += n;
        if this.read == this.seen.len() {
            // Given back: the connection may live for days.
            this.seen = Vec::new();
            this.read = 0;
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Prefixed<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}
