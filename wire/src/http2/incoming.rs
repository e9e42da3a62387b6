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
    /// `None` once all was read.
    shared: Option<Arc<Shared>>,
    key: Key,
    /// What is to come, if that is known.
    left: Option<u64>,
}

impl Incoming {
    pub(super) fn new(shared: Arc<Shared>, key: Key, left: Option<u64>) -> Self {
        Self { shared: Some(shared), key, left }
    }

    pub(super) fn empty() -> Self {
        Self { shared: None, key: Key { slot: 0, id: 0 }, left: Some(0) }
    }

    pub(super) fn expect(&mut self, left: Option<u64>) {
        self.left = left;
    }

    /// Nobody needs to be told any more that this goes.
    pub(super) fn release(&mut self) {
        self.shared = None;
        self.left = Some(0);
    }
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let key = self.key;
        let Some(shared) = &self.shared else { return Poll::Ready(None) };
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
            Taken::Failed(error) => Some(Err(error)),
            Taken::End => None,
        };
        self.release();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.shared.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.take() {
            shared.with(|state| state.drop_reader(self.key));
        }
    }
}
