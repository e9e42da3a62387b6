//! Reading: one read of the socket fills the thread's scratch with several records, which are decrypted there and copied once more, to
//! the caller.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustls::InvalidMessage;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::conn::Stopped;
use super::scratch::{self, Scratch};
use super::{HEADER, RECORD, Receiving, TlsStream, tls_error};

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncRead for TlsStream<I> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        this.plain.pour(buf);
        // Until there is something to return: a read may bring less than a record, or only a session ticket.
        while buf.filled().len() == before && this.receiving != Receiving::Closed {
            ready!(this.poll_receive(cx, buf))?;
        }
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> TlsStream<I> {
    /// Reads once from the socket and decrypts every record that is whole: to `buf`, and what has no room there to `plain`.
    pub(super) fn poll_receive(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Some(error) = &self.failed {
            return Poll::Ready(Err(tls_error((**error).clone())));
        }
        if self.receiving == Receiving::Truncated {
            return Poll::Ready(Err(truncated()));
        }

        let mut scratch = Scratch::take();
        let held = self.incoming.len();
        let end = read_until(&self.incoming, buf.remaining());
        if held >= end {
            return Poll::Ready(Err(tls_error(InvalidMessage::HandshakePayloadTooLarge.into())));
        }
        // What is held is copied in front only when it is of use.
        let mut into = ReadBuf::new(&mut scratch[held..end]);
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut into))?;
        let filled = held + into.filled().len();
        if filled == held {
            self.receiving = Receiving::Truncated;
            return Poll::Ready(Err(truncated()));
        }

        let head = held.min(HEADER);
        scratch[..head].copy_from_slice(&self.incoming[..head]);
        if record_length(&scratch[..filled]).is_some_and(|length| filled < length) {
            self.incoming.extend_from_slice(&scratch[held..filled]);
            return Poll::Ready(Ok(()));
        }
        scratch[..held].copy_from_slice(&self.incoming);
        self.decrypt(cx, &mut scratch[..filled], buf)
    }

    fn decrypt(&mut self, cx: &mut Context<'_>, input: &mut [u8], buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let writer_waits = !self.outgoing.is_empty();
        let mut delivered = false;
        let (used, stopped) = self.conn.process(input, self.outgoing.tail(), |bytes| {
            delivered = true;
            let (fits, rest) = bytes.split_at(bytes.len().min(buf.remaining()));
            buf.put_slice(fits);
            self.plain.push(rest);
        });

        if used == input.len() || stopped.is_err() {
            self.incoming = Vec::new();
        } else {
            self.incoming.clear();
            self.incoming.extend_from_slice(&input[used..]);
        }

        match stopped {
            Ok(Stopped::NeedsInput) => {}
            Ok(Stopped::PeerClosed) => self.receiving = Receiving::Closed,
            Err(error) => {
                self.failed = Some(Box::new(error.clone()));
                // If a writer waits, it has the alert now and sends it; to write here would take its wake-up away.
                if !writer_waits {
                    let _ = self.poll_send_kept(cx);
                }
                // What was authentic before the error comes first; the next read finds `failed`.
                if !delivered {
                    return Poll::Ready(Err(tls_error(error)));
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// Where in the scratch a read ends, when `held` is in front of it and the caller has room for `room` bytes: at the end of a record if
/// the peer sends full ones, so that no part of one has to be kept.
fn read_until(held: &[u8], room: usize) -> usize {
    let records = room.div_ceil(RECORD).clamp(1, MOST_RECORDS);
    let first = match record_length(held) {
        Some(length) if held.len() < length => length,
        None if held.len() < HEADER => FULL_RECORD,
        // The start of a handshake message whose rest is in further records.
        _ => held.len() + FULL_RECORD,
    };
    (first + (records - 1) * FULL_RECORD).min(scratch::LEN)
}

/// The length that the header in front of `bytes` promises; `None` when it is not whole or not one of encrypted data.
fn record_length(bytes: &[u8]) -> Option<usize> {
    let [ENCRYPTED, 3, 3, high, low, ..] = *bytes else { return None };
    let length = usize::from(u16::from_be_bytes([high, low]));
    // More than 256 bytes on top of the plaintext are an error, for rustls to say; it looks at records of up to this length.
    (length <= RECORD + 2048).then_some(HEADER + length)
}

fn truncated() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "peer closed the connection without TLS close_notify")
}

/// The content type of every encrypted record (RFC 8446 §5.2).
const ENCRYPTED: u8 = 23;

/// A full record on the wire: header, plaintext, content type, tag.
const FULL_RECORD: usize = HEADER + RECORD + 1 + 16;

/// How many records a read takes at most: as many as a bulk transfer asks for.
const MOST_RECORDS: usize = 8;
