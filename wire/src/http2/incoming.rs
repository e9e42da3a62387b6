//! The body of a request or response as it comes: read where it is buffered, with the window given back as it is read.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::error::Error;
use super::state::{Shared, Taken};
use super::stream::Key;

/// The body of a request that was received, or of its response. When it is dropped before its end, a response's stream is reset; of a
/// request the rest is passed over, and its stream reset once the response has ended.
#[derive(Debug)]
pub struct Incoming {
    rest: Rest,
    key: Key,
    /// What is to come, if that is known.
    left: Option<u64>,
}

/// Where what is still to be read comes from.
#[derive(Debug)]
enum Rest {
    Stream(Arc<Shared>),
    /// All was read.
    Nothing,
    /// It has failed, and fails again for whoever asks: what has come must never pass for all of it.
    Failed(Error),
}

impl Incoming {
    pub(super) fn new(shared: Arc<Shared>, key: Key, left: Option<u64>) -> Self {
        Self { rest: Rest::Stream(shared), key, left }
    }

    pub(super) fn empty() -> Self {
        Self { rest: Rest::Nothing, key: Key { slot: 0, id: 0 }, left: Some(0) }
    }

    pub(super) fn expect(&mut self, left: Option<u64>) {
        self.left = left;
    }

    /// Nobody needs to be told any more that this goes.
    pub(super) fn release(&mut self) {
        self.rest = Rest::Nothing;
        self.left = Some(0);
    }
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let key = self.key;
        let shared = match &self.rest {
            Rest::Stream(shared) => shared,
            Rest::Nothing => return Poll::Ready(None),
            Rest::Failed(error) => return Poll::Ready(Some(Err(error.clone()))),
        };
        shared.tell_end(key);
        let taken = shared.with(|state| state.take(key, cx.waker()));
        let frame = match taken {
            Taken::Nothing => return Poll::Pending,
            Taken::Data { piece, last } => {
                if let Some(left) = &mut self.left {
                    *left = left.saturating_sub(piece.len() as u64);
                }
                if last {
                    self.release();
                }
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
            Taken::Trailers(trailers) => Some(Ok(Frame::trailers(trailers))),
            Taken::Failed(error) => {
                self.rest = Rest::Failed(error.clone());
                self.left = None;
                return Poll::Ready(Some(Err(error)));
            }
            Taken::End => None,
        };
        self.release();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.rest, Rest::Nothing)
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if let Rest::Stream(shared) = &self.rest {
            shared.with(|state| state.drop_reader(self.key));
        }
    }
}
