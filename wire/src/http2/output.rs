//! What waits to be written: frames one after the other, with large payloads beside them so that they are not copied.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::AsyncWrite;

use super::frame;

/// Frames that leave together.
#[derive(Debug, Default)]
pub(super) struct Output {
    /// Frames, but for the large payloads.
    frames: Vec<u8>,
    /// Where in `frames` a large payload belongs, and the payload.
    large: Vec<(usize, Bytes)>,
    large_length: usize,
    /// How much of both was written.
    frames_done: usize,
    large_done: usize,
}

impl Output {
    /// Where the short frames and the header blocks are written to.
    pub(super) fn frames(&mut self) -> &mut Vec<u8> {
        &mut self.frames
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// How much waits.
    pub(super) fn length(&self) -> usize {
        self.frames.len() + self.large_length
    }

    pub(super) fn data(&mut self, id: u32, payload: Bytes, end: bool) {
        let flags = if end { frame::END_STREAM } else { 0 };
        frame::head(&mut self.frames, payload.len(), frame::DATA, flags, id);
        if payload.len() < LARGE {
            self.frames.extend_from_slice(&payload);
        } else {
            self.large_length += payload.len();
            self.large.push((self.frames.len(), payload));
        }
    }

    /// Makes the header block that was written behind `begin` a HEADERS frame, and CONTINUATION frames if it is larger than `max`.
    /// The nine octets at `begin` were left free for it.
    pub(super) fn finish_block(&mut self, begin: usize, id: u32, end_stream: bool, max: usize) {
        let flags = if end_stream { frame::END_STREAM } else { 0 };
        let length = self.frames.len() - begin - frame::HEAD;
        if length <= max {
            let [.., a, b, c] = length.to_be_bytes();
            let [i, j, k, l] = id.to_be_bytes();
            let head = [a, b, c, frame::HEADERS, flags | frame::END_HEADERS, i, j, k, l];
            self.frames[begin..begin + frame::HEAD].copy_from_slice(&head);
            return;
        }
        let block = self.frames.split_off(begin + frame::HEAD);
        self.frames.truncate(begin);
        let mut pieces = block.chunks(max).enumerate().peekable();
        while let Some((at, piece)) = pieces.next() {
            let (kind, flags) = if at == 0 { (frame::HEADERS, flags) } else { (frame::CONTINUATION, 0) };
            let flags = if pieces.peek().is_none() { flags | frame::END_HEADERS } else { flags };
            frame::head(&mut self.frames, piece.len(), kind, flags, id);
            self.frames.extend_from_slice(piece);
        }
    }

    /// Writes all there is, with as few calls as the transport allows.
    pub(super) fn poll_write(
        &mut self,
        io: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.frames_done < self.frames.len() || self.large_done < self.large.len() {
            let written = if self.large_done == self.large.len() {
                ready!(Pin::new(&mut *io).poll_write(cx, &self.frames[self.frames_done..]))?
            } else {
                let mut slices = [IoSlice::new(&[]); SLICES];
                let filled = self.slices(&mut slices);
                ready!(Pin::new(&mut *io).poll_write_vectored(cx, &slices[..filled]))?
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(written);
        }
        self.clear();
        Poll::Ready(Ok(()))
    }

    /// What is left of it to write, in pieces that a write makes smaller or fewer.
    pub(super) fn left(&self) -> (usize, usize, usize) {
        let large = self.large.get(self.large_done).map_or(0, |(_, payload)| payload.len());
        (self.frames.len() - self.frames_done, self.large.len() - self.large_done, large)
    }

    /// Whether some of it has left, or all.
    pub(super) fn has_begun(&self) -> bool {
        self.frames.is_empty() || self.frames_done > 0
    }

    /// Gives back what a quiet connection needs not.
    pub(super) fn rest(&mut self) {
        if self.is_empty() {
            *self = Self::default();
        }
    }

    fn clear(&mut self) {
        self.frames.clear();
        if self.frames.capacity() > KEPT {
            self.frames = Vec::new();
        }
        self.large.clear();
        self.large_length = 0;
        self.frames_done = 0;
        self.large_done = 0;
    }

    fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>; SLICES]) -> usize {
        let mut filled = 0;
        let mut from = self.frames_done;
        let mut push = |slice: &'a [u8]| {
            if !slice.is_empty() && filled < SLICES {
                slices[filled] = IoSlice::new(slice);
                filled += 1;
            }
        };
        for (at, payload) in self.large[self.large_done..].iter().take(SLICES / 2) {
            push(&self.frames[from..*at]);
            push(payload);
            from = *at;
        }
        if self.large.len() - self.large_done < SLICES / 2 {
            push(&self.frames[from..]);
        }
        filled
    }

    fn advance(&mut self, mut written: usize) {
        while let Some((at, payload)) = self.large.get_mut(self.large_done) {
            let before = (*at - self.frames_done).min(written);
            self.frames_done += before;
            written -= before;
            let of_payload = payload.len().min(written);
            if self.frames_done < *at {
                return;
            }
            payload.advance(of_payload);
            written -= of_payload;
            if !payload.is_empty() {
                return;
            }
            self.large_done += 1;
        }
        self.frames_done += written;
    }
}

/// A payload of this size is dearer to copy than to have its own slice.
const LARGE: usize = 4096;
/// How many slices one write takes.
const SLICES: usize = 32;
/// A buffer that grew beyond this is given back once it is written.
const KEPT: usize = 32 << 10;
