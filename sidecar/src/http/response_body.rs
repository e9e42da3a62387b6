//! A response's body on its way to the client. It carries what must happen when the body ends: the connection goes back to its pool, and the request
//! is told about.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use crate::balance::Lease;
use crate::body::{Body, BodyError};
use crate::http::observe::Record;

/// A response's body.
pub(crate) struct ResponseBody {
    body: Body,
    /// The endpoint's connection, held until the response has been read.
    lease: Option<Lease>,
    /// What will be told about the request when its response has ended.
    record: Option<Box<Record>>,
}

impl From<Body> for ResponseBody {
    fn from(body: Body) -> Self {
        Self { body, lease: None, record: None }
    }
}

impl ResponseBody {
    pub(crate) fn empty() -> Self {
        Body::empty().into()
    }

    #[must_use]
    pub(crate) fn with_lease(mut self, lease: Lease) -> Self {
        self.lease = Some(lease);
        self
    }

    #[must_use]
    pub(crate) fn with_record(mut self, record: Box<Record>) -> Self {
        self.record = Some(record);
        self
    }

    /// All is read: the connection can serve others.
    fn complete(&mut self) {
        if let Some(lease) = self.lease.take() {
            lease.give_back();
        }
        if let Some(record) = self.record.take() {
            record.complete();
        }
    }

    fn fail(&mut self, error: &BodyError) {
        if let Some(lease) = self.lease.take() {
            lease.broke_off();
        }
        if let Some(record) = self.record.take() {
            record.broken(error);
        }
    }
}

impl http_body::Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                if let (Some(lease), Some(trailers)) = (&mut this.lease, frame.trailers_ref()) {
                    lease.in_flight().trailers(trailers);
                }
                if let Some(record) = &mut this.record {
                    record.frame(frame);
                }
                if this.is_end_stream() {
                    this.complete();
                }
            }
            Some(Err(error)) => {
                if let Some(trailers) = this.record.as_ref().and_then(|record| record.last_word(error)) {
                    this.body = Body::empty();
                    this.fail(error);
                    return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                }
                this.fail(error);
            }
            None => this.complete(),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        // A body that has nothing left is never polled again, only dropped.
        if http_body::Body::is_end_stream(self) {
            self.complete();
        } else if let Some(record) = self.record.take() {
            record.abandoned();
        }
    }
}

impl fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResponseBody")
    }
}
