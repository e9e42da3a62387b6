//! A body that comes in.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::connection::Source;
use super::error::Error;

/// The body of a message that comes in. What has come with the head is here already; the rest is read from the connection as it is asked for.
pub struct Incoming(Kind);

enum Kind {
    Empty,
    Whole(Bytes),
    Stream {
        source: Arc<dyn Source>,
        /// What is to come, where that is known.
        left: Option<u64>,
    },
    /// It has failed, and fails again for whoever asks: what has come must never pass for all of it.
    Failed(Error),
}

impl Incoming {
    pub(crate) fn empty() -> Self {
        Self(Kind::Empty)
    }

    pub(crate) fn whole(bytes: Bytes) -> Self {
        Self(Kind::Whole(bytes))
    }

    pub(crate) fn stream(source: Arc<dyn Source>, left: Option<u64>) -> Self {
        Self(Kind::Stream { source, left })
    }
}

impl http_body::Body for Incoming {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match &mut self.0 {
            Kind::Empty => Poll::Ready(None),
            Kind::Failed(error) => Poll::Ready(Some(Err(error.again()))),
            Kind::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                self.0 = Kind::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Kind::Stream { source, left } => {
                let frame = ready!(source.poll_body(cx));
                match &frame {
                    Some(Ok(frame)) => {
                        if let (Some(left), Some(data)) = (left, frame.data_ref()) {
                            *left = left.saturating_sub(data.len() as u64);
                        }
                        if source.is_done() {
                            self.0 = Kind::Empty;
                        }
                    }
                    Some(Err(error)) => {
                        source.abandon();
                        self.0 = Kind::Failed(error.again());
                    }
                    None => self.0 = Kind::Empty,
                }
                Poll::Ready(frame)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.0, Kind::Empty)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Stream { left: Some(left), .. } => SizeHint::with_exact(*left),
            Kind::Stream { left: None, .. } | Kind::Failed(_) => SizeHint::default(),
        }
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if let Kind::Stream { source, .. } = &self.0 {
            source.abandon();
        }
    }
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Incoming")
    }
}
