//! A request body that can be sent again: the first attempt streams it while up to 64 KiB are kept.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as _, Frame, SizeHint};
use parking_lot::Mutex;

use crate::http::Body;
use crate::http::body::BodyError;

/// Bytes kept of one body; a longer one is sent once.
const LIMIT: usize = 64 * 1024;

/// One attempt's view of the body, or the retry layer's own handle on it.
pub(crate) struct Replay {
    shared: Arc<Mutex<Shared>>,
    /// Which attempt this is; an older one gets nothing more.
    attempt: u32,
    position: usize,
    total: SizeHint,
}

struct Shared {
    source: Body,
    kept: Vec<Bytes>,
    kept_bytes: usize,
    trailers: Option<HeaderMap>,
    /// All of the source has been read.
    ended: bool,
    /// More came than is kept.
    overflowed: bool,
    attempt: u32,
}

impl Replay {
    pub(crate) fn new(source: Body) -> Self {
        let total = source.size_hint();
        let shared = Shared {
            source,
            kept: Vec::new(),
            kept_bytes: 0,
            trailers: None,
            ended: false,
            overflowed: false,
            attempt: 0,
        };
        Self { shared: Arc::new(Mutex::new(shared)), attempt: 0, position: 0, total }
    }

    /// Says whether another attempt could still send the whole body.
    pub(crate) fn possible(&self) -> bool {
        !self.shared.lock().overflowed
    }

    /// Makes the body of the next attempt; a former attempt's ends with an error if it is still read.
    pub(crate) fn attempt(&mut self) -> Body {
        let mut shared = self.shared.lock();
        shared.attempt += 1;
        let attempt = shared.attempt;
        drop(shared);
        Body::replay(Self { shared: self.shared.clone(), attempt, position: 0, total: self.total })
    }

    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut shared = self.shared.lock();
        let shared = &mut *shared;
        if shared.attempt != self.attempt || (shared.overflowed && self.position == 0 && self.attempt > 1) {
            return Poll::Ready(Some(Err(BodyError::NotReplayable)));
        }
        if let Some(bytes) = shared.kept.get(self.position) {
            self.position += 1;
            return Poll::Ready(Some(Ok(Frame::data(bytes.clone()))));
        }
        if shared.ended {
            // Trailers stay for the next attempt; one past the data means that this attempt has sent them.
            if self.position == shared.kept.len() && shared.trailers.is_some() {
                self.position += 1;
                return Poll::Ready(shared.trailers.clone().map(|trailers| Ok(Frame::trailers(trailers))));
            }
            return Poll::Ready(None);
        }
        let Some(frame) = ready!(Pin::new(&mut shared.source).poll_frame(cx)) else {
            shared.ended = true;
            return Poll::Ready(None);
        };
        let frame = frame?;
        shared.ended = shared.source.is_end_stream();
        match frame.into_data() {
            Ok(data) => {
                if !shared.overflowed && shared.kept_bytes + data.len() <= LIMIT {
                    shared.kept_bytes += data.len();
                    shared.kept.push(data.clone());
                    self.position += 1;
                } else {
                    // This attempt has sent all of it; no other will.
                    shared.overflowed = true;
                    shared.kept = Vec::new();
                    self.position = usize::MAX;
                }
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    shared.ended = true;
                    shared.trailers = Some(trailers.clone());
                    self.position = self.position.saturating_add(1);
                    return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                }
                Poll::Ready(None)
            }
        }
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        let shared = self.shared.lock();
        let sent = shared.kept.len() + usize::from(shared.trailers.is_some());
        shared.ended && shared.attempt == self.attempt && self.position >= sent
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        if self.position == 0 { self.total } else { SizeHint::default() }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn every_attempt_sends_the_whole_body() {
        let mut replay = Replay::new(Body::full("hello"));

        for _ in 0..3 {
            let sent = replay.attempt().collect().await.unwrap().to_bytes();
            assert_eq!(sent, "hello");
            assert!(replay.possible());
        }
    }

    #[tokio::test]
    async fn a_long_body_is_sent_once() {
        let mut replay = Replay::new(Body::full(vec![7; LIMIT + 1]));

        let sent = replay.attempt().collect().await.unwrap().to_bytes();

        assert_eq!(sent.len(), LIMIT + 1);
        assert!(!replay.possible());
        assert!(replay.attempt().collect().await.is_err());
    }

    #[tokio::test]
    async fn a_former_attempt_gets_nothing_more() {
        let mut replay = Replay::new(Body::full("hello"));
        let first = replay.attempt();
        let second = replay.attempt();

        assert!(first.collect().await.is_err());
        assert_eq!(second.collect().await.unwrap().to_bytes(), "hello");
    }

    #[test]
    fn announces_its_length() {
        let mut replay = Replay::new(Body::full("hello"));

        assert_eq!(replay.attempt().size_hint().exact(), Some(5));
    }
}
