//! A stream whose first bytes have been looked at and are still to be read.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::stream::Reset;

/// Bytes looked at before a reader takes over; bounds what a silent or odd client can make us hold.
pub(super) const LIMIT: usize = 16 * 1024;

/// Bytes asked for at once: a request's head, most of the time.
const STEP: usize = 2 * 1024;

pub(crate) struct Prefixed<T> {
    inner: T,
    seen: Vec<u8>,
    read: usize,
    /// What ended the stream while it was looked at: told to the reader as well, whom the stream would tell of a mere end.
    failed: Option<io::ErrorKind>,
}

impl<T> Prefixed<T> {
    pub(crate) fn new(inner: T) -> Self {
        Self { inner, seen: Vec::new(), read: 0, failed: None }
    }

    /// Makes a stream of which `seen` has been read already.
    pub(crate) fn with(inner: T, seen: bytes::Bytes) -> Self {
        Self { inner, seen: seen.into(), read: 0, failed: None }
    }

    /// Returns the stream, if all that has been looked at has been read.
    pub(crate) fn into_inner(self) -> Option<T> {
        (self.seen().is_empty() && self.failed.is_none()).then_some(self.inner)
    }

    /// Returns the bytes that have been looked at and not read.
    pub(crate) fn seen(&self) -> &[u8] {
        &self.seen[self.read..]
    }

    /// Takes this many of the bytes that have been looked at for read.
    pub(super) fn pass_over(&mut self, bytes: usize) {
        self.read += bytes;
        if self.read >= self.seen.len() {
            // Given back: the connection may live for days.
            self.seen = Vec::new();
            self.read = 0;
        }
    }
}

impl<T: AsyncRead + Unpin> Prefixed<T> {
    /// Reads more bytes to look at and returns how many; 0 at the stream's end. While it waits it holds no buffer.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped: bytes are kept as soon as they are read.
    pub(crate) async fn fill(&mut self) -> io::Result<usize> {
        poll_fn(|cx| self.poll_fill(cx)).await
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let room = STEP.min(LIMIT.saturating_sub(self.seen.len()));
        if room == 0 {
            return Poll::Ready(Err(io::ErrorKind::QuotaExceeded.into()));
        }
        let mut bytes = [MaybeUninit::uninit(); STEP];
        let mut bytes = ReadBuf::uninit(&mut bytes[..room]);
        if let Err(error) = ready!(Pin::new(&mut self.inner).poll_read(cx, &mut bytes)) {
            self.failed = Some(error.kind());
            return Poll::Ready(Err(error));
        }
        let new = bytes.filled();
        // No more than came: a peer that stops here may stay for a while.
        self.seen.reserve_exact(new.len());
        self.seen.extend_from_slice(new);
        Poll::Ready(Ok(new.len()))
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
            if let Some(kind) = this.failed.take() {
                return Poll::Ready(Err(kind.into()));
            }
            return Pin::new(&mut this.inner).poll_read(cx, buf);
        }
        let n = rest.len().min(buf.remaining());
        buf.put_slice(&rest[..n]);
        this.pass_over(n);
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn who_waits_for_bytes_holds_no_buffer_and_who_has_some_holds_those() {
        let (mut client, server) = duplex(64 * 1024);
        let mut io = Prefixed::new(server);
        poll_fn(|cx| {
            assert!(io.poll_fill(cx).is_pending());
            Poll::Ready(())
        })
        .await;
        assert_eq!(io.seen.capacity(), 0);

        client.write_all(b"GE").await.unwrap();
        assert_eq!(io.fill().await.unwrap(), 2);
        client.write_all(b"T").await.unwrap();
        assert_eq!(io.fill().await.unwrap(), 1);
        assert!(io.seen() == b"GET" && io.seen.capacity() <= 8, "{}", io.seen.capacity());

        client.write_all(&[b'x'; 3 * LIMIT]).await.unwrap();
        while io.fill().await.is_ok() {}
        assert_eq!(io.seen().len(), LIMIT, "no more than that is looked at");
        let mut rest = vec![0; 3 + 3 * LIMIT];
        io.read_exact(&mut rest).await.unwrap();
        assert!(rest.starts_with(b"GETxx"), "and nothing is lost");
    }

    #[tokio::test]
    async fn a_reset_that_was_met_while_looking_is_no_mere_end_for_the_reader() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let mut io = Prefixed::new(listener.accept().await.unwrap().0);
        client.set_zero_linger().unwrap();
        drop(client);
        assert!(io.fill().await.is_err());

        let read = io.read(&mut [0; 10]).await;

        assert!(read.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionReset));
    }
}
