//! A peer that is a script: what it sends comes in the pieces that the test wants, and what it is sent is kept.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What the peer does after its last piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It ends its side.
    Closed,
    /// It waits.
    Open,
}

/// One end of a connection.
#[derive(Debug)]
pub struct Script {
    pieces: VecDeque<Bytes>,
    end: End,
    /// The next read finds nothing: each piece comes in a turn of its own.
    pause: bool,
    written: Written,
}

/// What was written to the peer.
#[derive(Clone, Debug, Default)]
pub struct Written(Arc<Mutex<(Vec<u8>, bool)>>);

impl Written {
    /// All bytes so far.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        self.0.lock().expect("no test panics with it").0.clone()
    }

    /// Whether the writer has ended its side.
    #[must_use]
    pub fn is_shut(&self) -> bool {
        self.0.lock().expect("no test panics with it").1
    }
}

impl Script {
    /// A peer that sends `pieces`, and the place where what it is sent appears.
    #[must_use]
    pub fn new(pieces: impl IntoIterator<Item = Bytes>, end: End) -> (Self, Written) {
        let written = Written::default();
        let pieces = pieces.into_iter().filter(|piece| !piece.is_empty()).collect();
        (Self { pieces, end, pause: false, written: written.clone() }, written)
    }

    /// What was not read.
    #[must_use]
    pub fn rest(self) -> Vec<u8> {
        self.pieces.into_iter().flatten().collect()
    }
}

impl AsyncRead for Script {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.pieces.is_empty() {
            return if self.end == End::Closed { Poll::Ready(Ok(())) } else { Poll::Pending };
        }
        self.pause = !self.pause;
        if self.pause {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if let Some(piece) = self.pieces.front_mut() {
            let length = piece.len().min(buffer.remaining());
            buffer.put_slice(&piece.split_to(length));
            if piece.is_empty() {
                self.pieces.pop_front();
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Script {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut written = self.written.0.lock().expect("no test panics with it");
        assert!(!written.1, "a write after the end");
        written.0.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.written.0.lock().expect("no test panics with it").1 = true;
        Poll::Ready(Ok(()))
    }
}

/// How an input comes: the same bytes in other pieces mean the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    Whole,
    /// Pieces of this many bytes.
    Each(usize),
    /// Pieces of 1 to 32 bytes, by a generator that begins with this.
    Random(u64),
}

impl Split {
    /// Cuts `bytes`.
    #[must_use]
    pub fn cut(self, bytes: &[u8]) -> Vec<Bytes> {
        let mut rest = Bytes::copy_from_slice(bytes);
        let mut pieces = Vec::new();
        let mut state = if let Self::Random(seed) = self { seed } else { 0 };
        while !rest.is_empty() {
            let length = match self {
                Self::Whole => rest.len(),
                Self::Each(length) => length.max(1),
                Self::Random(_) => {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    usize::try_from(state >> 59).unwrap_or(0) + 1
                }
            };
            pieces.push(rest.split_to(length.min(rest.len())));
        }
        pieces
    }
}
