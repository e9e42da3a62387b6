//! A request's body that is read once and sent twice. The copy holds what its reader has not taken yet, up to a bound;
//! beyond it the copy ends with an error, and the request knows nothing of that.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as _, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::body::Body;
use crate::body::BodyError;

/// Bytes that a copy may lie behind.
const BEHIND: usize = 256 * 1024;

/// Bytes that a piece counts at least.
const LEAST: usize = 1024;

/// A smaller piece is copied: it must not hold on to all of the buffer that it was read into.
const SMALL: usize = 8 * 1024;

/// The request's side.
pub(crate) struct Tee {
    source: Body,
    shared: Arc<Shared>,
}

/// The copy's side.
pub(crate) struct Copied {
    shared: Arc<Shared>,
    /// What the request announced, until the first piece is taken.
    total: Option<SizeHint>,
}

/// Tells how far the request's body is.
pub(crate) struct Progress(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    ended: Notify,
}

struct State {
    pieces: VecDeque<Piece>,
    bytes: usize,
    phase: Phase,
    reader: Option<Waker>,
}

enum Piece {
    Data(Bytes),
    Trailers(HeaderMap),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// The request's body has ended in good order.
    Ended,
    /// It broke off, or the copy fell behind.
    Cut,
    /// Nobody reads the copy any more.
    Unread,
}

impl Tee {
    /// Splits a body in two.
    pub(crate) fn new(source: Body) -> (Self, Copied, Progress) {
        let total = Some(source.size_hint());
        let state = State { pieces: VecDeque::new(), bytes: 0, phase: Phase::Open, reader: None };
        let shared = Arc::new(Shared { state: Mutex::new(state), ended: Notify::new() });
        (Self { source, shared: shared.clone() }, Copied { shared: shared.clone(), total }, Progress(shared))
    }

    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(Pin::new(&mut self.source).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                self.shared.push(frame);
                if self.source.is_end_stream() {
                    self.shared.end(Phase::Ended);
                }
            }
            Some(Err(_)) => self.shared.end(Phase::Cut),
            None => self.shared.end(Phase::Ended),
        }
        Poll::Ready(frame)
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        self.source.is_end_stream()
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        self.source.size_hint()
    }
}

impl Drop for Tee {
    fn drop(&mut self) {
        self.shared.end(if self.source.is_end_stream() { Phase::Ended } else { Phase::Cut });
    }
}

impl Shared {
    fn push(&self, frame: &Frame<Bytes>) {
        let mut state = self.state.lock();
        if state.phase != Phase::Open {
            return;
        }
        if let Some(data) = frame.data_ref() {
            state.bytes += data.len().max(LEAST);
            if state.bytes > BEHIND {
                drop(state);
                return self.end(Phase::Cut);
            }
            let small = data.len() < SMALL;
            state.pieces.push_back(Piece::Data(if small { Bytes::copy_from_slice(data) } else { data.clone() }));
        } else if let Some(trailers) = frame.trailers_ref() {
            state.pieces.push_back(Piece::Trailers(trailers.clone()));
        }
        if let Some(reader) = state.reader.take() {
            reader.wake();
        }
    }

    fn end(&self, phase: Phase) {
        let mut state = self.state.lock();
        if state.phase == Phase::Open {
            state.phase = phase;
            if phase == Phase::Cut {
                state.pieces = VecDeque::new();
            }
            if let Some(reader) = state.reader.take() {
                reader.wake();
            }
            self.ended.notify_one();
        }
    }
}

impl Copied {
    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.total = None;
        let mut state = self.shared.state.lock();
        match state.pieces.pop_front() {
            Some(Piece::Data(data)) => {
                state.bytes -= data.len().max(LEAST);
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Some(Piece::Trailers(trailers)) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
            None => match state.phase {
                Phase::Open => {
                    state.reader = Some(cx.waker().clone());
                    Poll::Pending
                }
                Phase::Ended => Poll::Ready(None),
                Phase::Cut | Phase::Unread => Poll::Ready(Some(Err(BodyError::CopyGivenUp))),
            },
        }
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        let state = self.shared.state.lock();
        state.phase == Phase::Ended && state.pieces.is_empty()
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        self.total.unwrap_or_default()
    }
}

impl Drop for Copied {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        state.pieces = VecDeque::new();
        if state.phase == Phase::Open {
            state.phase = Phase::Unread;
            self.shared.ended.notify_one();
        }
    }
}

impl Progress {
    /// Waits until the request's body has ended, or the copy has.
    pub(crate) async fn ended(&self) {
        self.0.ended.notified().await;
    }

    /// Says whether the copy was given up before its end.
    pub(crate) fn is_cut(&self) -> bool {
        self.0.state.lock().phase == Phase::Cut
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    fn split(source: Body) -> (Body, Body, Progress) {
        let mut body = source;
        let (copied, progress) = body.copied();
        (body, copied, progress)
    }

    #[tokio::test]
    async fn both_sides_get_the_whole_body_and_its_announced_length() {
        for text in ["hello".to_owned(), "x".repeat(100_000)] {
            let (body, copied, progress) = split(Body::full(text.clone()));
            assert_eq!(copied.size_hint().exact(), Some(text.len() as u64));

            assert_eq!(body.collect().await.unwrap().to_bytes(), text);
            assert_eq!(copied.collect().await.unwrap().to_bytes(), text);
            progress.ended().await;
            assert!(!progress.is_cut());
        }
    }

    #[tokio::test]
    async fn several_copies_of_one_body_are_whole() {
        let mut body = Body::full("hello");
        let copies = [body.copied().0, body.copied().0, body.copied().0];

        assert_eq!(body.collect().await.unwrap().to_bytes(), "hello");
        for copy in copies {
            assert_eq!(copy.collect().await.unwrap().to_bytes(), "hello");
        }
    }

    #[tokio::test]
    async fn a_copy_that_falls_behind_is_given_up_and_the_request_goes_on() {
        let long = vec![7; BEHIND + 1];
        let (body, copied, progress) = split(Body::full(long.clone()));

        assert_eq!(body.collect().await.unwrap().to_bytes(), long);

        assert!(progress.is_cut());
        assert!(copied.collect().await.is_err());
        progress.ended().await;
    }

    #[tokio::test]
    async fn a_copy_ends_with_an_error_when_the_request_does() {
        let (body, copied, progress) = split(Body::full("hello"));

        drop(body);

        assert!(copied.collect().await.is_err());
        assert!(progress.is_cut());
    }

    #[tokio::test]
    async fn the_request_goes_on_when_nobody_reads_the_copy() {
        let (body, copied, progress) = split(Body::full("hello"));
        drop(copied);

        assert_eq!(body.collect().await.unwrap().to_bytes(), "hello");
        progress.ended().await;
        assert!(!progress.is_cut());
    }
}
