//! The one body type of the data path. It carries what must happen when the body ends: the connection goes back to
//! its pool, and the request is told about.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use outrigger_wire::{http1, http2};

use crate::balance::Lease;
use crate::headers::trailers::cleaned;
use crate::http::mirror::{Copied, Progress, Tee};
use crate::http::observe::Record;
use crate::http::retry::Replay;

/// A request's or response's body.
pub(crate) struct Body {
    kind: Kind,
    /// The endpoint's connection, held until the response has been read.
    lease: Option<Lease>,
    /// What will be told about the request when its response has ended.
    record: Option<Box<Record>>,
}

enum Kind {
    Empty,
    Full(Bytes),
    Http1(http1::Incoming),
    Http2(http2::Incoming),
    Replay(Replay),
    // Boxed: few bodies are copied, and all would be larger.
    Tee(Box<Tee>),
    Copied(Copied),
}

impl Body {
    pub(crate) fn empty() -> Self {
        Self { kind: Kind::Empty, lease: None, record: None }
    }

    pub(crate) fn full(bytes: impl Into<Bytes>) -> Self {
        Self { kind: Kind::Full(bytes.into()), lease: None, record: None }
    }

    /// Makes the body of a message that came over HTTP/1.
    pub(crate) fn http1(body: http1::Incoming) -> Self {
        if http_body::Body::is_end_stream(&body) {
            return Self::empty();
        }
        Self { kind: Kind::Http1(body), lease: None, record: None }
    }

    /// Makes the body of a message that came over HTTP/2.
    pub(crate) fn http2(body: http2::Incoming) -> Self {
        if http_body::Body::is_end_stream(&body) {
            return Self::empty();
        }
        Self { kind: Kind::Http2(body), lease: None, record: None }
    }

    pub(crate) fn replay(replay: Replay) -> Self {
        Self { kind: Kind::Replay(replay), lease: None, record: None }
    }

    /// Makes a copy of this body, which follows as this one is read.
    pub(crate) fn copied(&mut self) -> (Self, Progress) {
        let (tee, copied, progress) = Tee::new(std::mem::replace(self, Self::empty()));
        self.kind = Kind::Tee(Box::new(tee));
        (Self { kind: Kind::Copied(copied), lease: None, record: None }, progress)
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

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let frame = match &mut this.kind {
            Kind::Empty => None,
            Kind::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                this.kind = Kind::Empty;
                (!bytes.is_empty()).then(|| Ok(Frame::data(bytes)))
            }
            Kind::Http1(body) => {
                ready!(Pin::new(body).poll_frame(cx)).map(|frame| frame.map(cleaned).map_err(BodyError::Http1))
            }
            Kind::Http2(body) => {
                ready!(Pin::new(body).poll_frame(cx)).map(|frame| frame.map(cleaned).map_err(BodyError::Http2))
            }
            Kind::Replay(replay) => ready!(replay.poll_frame(cx)),
            Kind::Tee(tee) => ready!(tee.poll_frame(cx)),
            Kind::Copied(copied) => ready!(copied.poll_frame(cx)),
        };
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
                    this.kind = Kind::Empty;
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
        match &self.kind {
            Kind::Empty => true,
            Kind::Full(bytes) => bytes.is_empty(),
            Kind::Http1(body) => body.is_end_stream(),
            Kind::Http2(body) => body.is_end_stream(),
            Kind::Replay(replay) => replay.is_end_stream(),
            Kind::Tee(tee) => tee.is_end_stream(),
            Kind::Copied(copied) => copied.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Http1(body) => body.size_hint(),
            Kind::Http2(body) => body.size_hint(),
            Kind::Replay(replay) => replay.size_hint(),
            Kind::Tee(tee) => tee.size_hint(),
            Kind::Copied(copied) => copied.size_hint(),
        }
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        // A body that has nothing left is never polled again, only dropped.
        if http_body::Body::is_end_stream(self) {
            self.complete();
        } else if let Some(record) = self.record.take() {
            record.abandoned();
        }
    }
}

/// Why a body ended before its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("the peer broke off")]
    Http1(#[source] http1::Error),
    #[error("the peer broke off")]
    Http2(#[source] http2::Error),
    #[error("the request body is gone: a former attempt took more of it than is kept for a retry")]
    NotReplayable,
    #[error("the copy of the request is given up: it fell behind, or the request broke off")]
    CopyGivenUp,
}

impl BodyError {
    /// Makes the error that a body which failed with this one returns to every later reader.
    pub(crate) fn again(&self) -> Self {
        match self {
            Self::Http1(error) => Self::Http1(error.again()),
            Self::Http2(error) => Self::Http2(error.clone()),
            Self::NotReplayable => Self::NotReplayable,
            Self::CopyGivenUp => Self::CopyGivenUp,
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Body")
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};
    use http_body_util::BodyExt as _;
    use tokio::io::{AsyncWriteExt as _, duplex};

    use super::*;

    #[tokio::test]
    async fn trailers_say_no_more_of_the_sender_than_headers_may() {
        let (mut client, io) = duplex(1024);
        let (bodies, mut received) = tokio::sync::mpsc::channel(1);
        tokio::spawn(async move {
            let service = |request: http::Request<http1::Incoming>| {
                let bodies = bodies.clone();
                async move {
                    let _ = bodies.send(request.into_body()).await;
                    std::future::pending::<http::Response<Body>>().await
                }
            };
            http1::serve(io, &http1::Options::default(), service).await.map(drop)
        });
        client
            .write_all(b"PUT / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n")
            .await
            .unwrap();
        client.write_all(b"x-sum: 1\r\nx-forwarded-client-cert: Hash=1\r\nOutrigger-Id: x\r\n\r\n").await.unwrap();
        let body = Body::http1(received.recv().await.unwrap());

        let all = body.collect().await.unwrap();

        let trailers = all.trailers().cloned().unwrap();
        assert_eq!(trailers, HeaderMap::from_iter([("x-sum".parse().unwrap(), HeaderValue::from_static("1"))]));
        assert_eq!(all.to_bytes(), "ok");
    }
}
