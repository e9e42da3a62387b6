//! The one body type of the data path: of what comes from either side, and of what is sent on, once or more often.

mod replay;
mod tee;

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use outrigger_wire::{http1, http2};

pub(crate) use replay::Replay;
pub(crate) use tee::Progress;

use crate::headers::trailers::cleaned;
use tee::{Copied, Tee};

/// A request's or response's body.
pub(crate) struct Body(Kind);

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
        Self(Kind::Empty)
    }

    pub(crate) fn full(bytes: impl Into<Bytes>) -> Self {
        Self(Kind::Full(bytes.into()))
    }

    /// Makes the body of a message that came over HTTP/1.
    pub(crate) fn http1(body: http1::Incoming) -> Self {
        if http_body::Body::is_end_stream(&body) {
            return Self::empty();
        }
        Self(Kind::Http1(body))
    }

    /// Makes the body of a message that came over HTTP/2.
    pub(crate) fn http2(body: http2::Incoming) -> Self {
        if http_body::Body::is_end_stream(&body) {
            return Self::empty();
        }
        Self(Kind::Http2(body))
    }

    pub(crate) fn replay(replay: Replay) -> Self {
        Self(Kind::Replay(replay))
    }

    /// Makes a copy of this body, which follows as this one is read.
    pub(crate) fn copied(&mut self) -> (Self, Progress) {
        let (tee, copied, progress) = Tee::new(std::mem::replace(self, Self::empty()));
        self.0 = Kind::Tee(Box::new(tee));
        (Self(Kind::Copied(copied)), progress)
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = match &mut self.0 {
            Kind::Empty => None,
            Kind::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                self.0 = Kind::Empty;
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
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
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
        match &self.0 {
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
