//! Writing: slices are gathered into full records, encrypted into the thread's scratch and sent by one write.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

use super::conn::Seal;
use super::scratch::{self, Scratch};
use super::{RECORD, Sending, TlsStream, tls_error};

impl<I: AsyncWrite + Unpin> AsyncWrite for TlsStream<I> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        // Also when there is nothing to write, as then nobody may call again.
        ready!(this.poll_send_kept(cx))?;
        if let Some(error) = &this.failed {
            return Poll::Ready(Err(tls_error((**error).clone())));
        }
        if this.sending != Sending::Open {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }

        let mut scratch = Scratch::take();
        let (accepted, sealed) = this.seal(bufs, &mut scratch).inspect_err(|_| this.sending = Sending::Broken)?;
        this.send(cx, &scratch[..sealed])?;
        Poll::Ready(Ok(accepted))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_send_kept(cx))?;
        Pin::new(&mut this.io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // After an error the alert was the last word.
        if this.sending == Sending::Open && this.failed.is_none() {
            let mut scratch = Scratch::take();
            let sealed = this.conn.seal(&mut this.incoming, Seal::CloseNotify, &mut scratch).map_err(tls_error)?;
            this.outgoing.push(&scratch[..sealed]);
            this.sending = Sending::Closed;
        }
        ready!(this.poll_send_kept(cx))?;
        Pin::new(&mut this.io).poll_shutdown(cx)
    }
}

impl<I: AsyncWrite + Unpin> TlsStream<I> {
    /// Sends what an earlier call could not.
    pub(super) fn poll_send_kept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.outgoing.is_empty() {
            let sent = ready!(Pin::new(&mut self.io).poll_write(cx, self.outgoing.as_slice()));
            let count = self.sent(sent)?;
            self.outgoing.advance(count);
        }
        Poll::Ready(Ok(()))
    }

    /// Sends what the socket takes and keeps the rest.
    fn send(&mut self, cx: &mut Context<'_>, mut sealed: &[u8]) -> io::Result<()> {
        while !sealed.is_empty() {
            match Pin::new(&mut self.io).poll_write(cx, sealed) {
                Poll::Ready(sent) => sealed = &sealed[self.sent(sent)?..],
                Poll::Pending => {
                    self.outgoing.push(sealed);
                    break;
                }
            }
        }
        Ok(())
    }

    fn sent(&mut self, result: io::Result<usize>) -> io::Result<usize> {
        let result = result.and_then(|count| if count == 0 { Err(io::ErrorKind::WriteZero.into()) } else { Ok(count) });
        if result.is_err() {
            self.sending = Sending::Broken;
            self.outgoing = Default::default();
        }
        result
    }

    /// Encrypts the start of `bufs` into the front of `scratch`; returns how much of them, and into how much.
    fn seal(&mut self, bufs: &[IoSlice<'_>], scratch: &mut [u8]) -> io::Result<(usize, usize)> {
        let (out, stage) = scratch.split_at_mut(scratch::LEN - RECORD);
        let last = bufs.iter().rposition(|buf| !buf.is_empty()).unwrap_or(0);
        let offered: usize = bufs.iter().map(|buf| buf.len()).sum();
        // Whoever has more than that will write again: no small record between full ones.
        let most = if offered > MOST_PLAIN { MOST_PLAIN - MOST_PLAIN % RECORD } else { MOST_PLAIN };
        let (mut accepted, mut sealed, mut staged) = (0, 0, 0);
        for (index, buf) in bufs.iter().enumerate() {
            let mut rest = &buf[..buf.len().min(most - accepted)];
            accepted += rest.len();
            while !rest.is_empty() {
                // Full records, and what no other slice could fill up, are encrypted from where they are.
                if staged == 0 && (rest.len() >= RECORD || index == last) {
                    let whole = if index == last { rest.len() } else { rest.len() - rest.len() % RECORD };
                    sealed += self.seal_data(&rest[..whole], &mut out[sealed..])?;
                    rest = &rest[whole..];
                } else {
                    let count = rest.len().min(RECORD - staged);
                    stage[staged..staged + count].copy_from_slice(&rest[..count]);
                    rest = &rest[count..];
                    staged += count;
                    if staged == RECORD {
                        sealed += self.seal_data(stage, &mut out[sealed..])?;
                        staged = 0;
                    }
                }
            }
        }
        sealed += self.seal_data(&stage[..staged], &mut out[sealed..])?;
        Ok((accepted, sealed))
    }

    fn seal_data(&mut self, plain: &[u8], out: &mut [u8]) -> io::Result<usize> {
        if plain.is_empty() {
            return Ok(0);
        }
        self.conn.seal(&mut self.incoming, Seal::Data(plain), out).map_err(tls_error)
    }
}

/// The most that one write accepts: eight full records, and the head of a message in front of them.
pub(super) const MOST_PLAIN: usize = 8 * RECORD + 4 * 1024;
