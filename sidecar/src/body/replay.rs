//! A request body that can be sent again: the first attempt streams it while up to 64 KiB are kept.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body as _, Frame, SizeHint};
use parking_lot::Mutex;

use crate::body::Body;
use crate::body::BodyError;

/// Bytes kept of one body; a longer one is sent once.
const LIMIT: usize = 64 * 1024;

/// So many pieces are many: those that follow and are smaller than this are joined.
const MANY: usize = 8;
const SMALL: usize = 4 * 1024;

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
    /// Small pieces that came after many, as one: each on its own would take far more memory than it has bytes. No attempt reads here; the next
    /// one finds it in `kept`.
    tail: BytesMut,
    kept_bytes: usize,
    /// Read while nothing was sent, and too much to be kept: for the attempt that comes to it.
    ahead: Option<Bytes>,
    trailers: Option<HeaderMap>,
    /// All of the source has been read.
    ended: bool,
    /// More came than is kept.
    overflowed: bool,
    /// The source broke off: no attempt may send what had come as if it were all.
    failed: Option<BodyError>,
    attempt: u32,
}

impl Replay {
    pub(crate) fn new(source: Body) -> Self {
        let total = source.size_hint();
        let shared = Shared {
            source,
            kept: Vec::new(),
            tail: BytesMut::new(),
            kept_bytes: 0,
            ahead: None,
            trailers: None,
            ended: false,
            overflowed: false,
            failed: None,
            attempt: 0,
        };
        Self { shared: Arc::new(Mutex::new(shared)), attempt: 0, position: 0, total }
    }

    /// Says whether another attempt could still send the whole body.
    pub(crate) fn possible(&self) -> bool {
        let shared = self.shared.lock();
        !shared.overflowed && shared.failed.is_none()
    }

    /// Makes the body of the next attempt; a former attempt's ends with an error if it is still read.
    pub(crate) fn attempt(&mut self) -> Body {
        let attempt = self.shared.lock().next_attempt();
        Body::replay(Self { shared: self.shared.clone(), attempt, position: 0, total: self.total })
    }

    /// Ends the present attempt, whose body is asked no more, or gets an error.
    pub(crate) fn end_attempt(&mut self) {
        self.shared.lock().next_attempt();
    }

    /// Between attempts: ready when none can follow, for the client has broken off. Reads what the client sends meanwhile, as far as it is
    /// kept, for only who reads notices.
    pub(crate) fn poll_broken(&mut self, cx: &mut Context<'_>) -> Poll<BodyError> {
        let shared = &mut *self.shared.lock();
        while shared.failed.is_none() && !shared.ended && !shared.overflowed && shared.ahead.is_none() {
            match ready!(shared.poll_source(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if !shared.keep(&data) => shared.ahead = Some(data),
                    Ok(_) => {}
                    Err(frame) => shared.trailers = frame.into_trailers().ok(),
                },
                Some(Err(error)) => return Poll::Ready(error),
                None => {}
            }
        }
        match &shared.failed {
            Some(error) => Poll::Ready(error.again()),
            None if shared.overflowed => Poll::Ready(BodyError::NotReplayable),
            None => Poll::Pending,
        }
    }

    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let shared = &mut *self.shared.lock();
        if let Some(error) = &shared.failed {
            return Poll::Ready(Some(Err(error.again())));
        }
        if self.is_late(shared) {
            return Poll::Ready(Some(Err(BodyError::NotReplayable)));
        }
        if let Some(bytes) = shared.kept.get(self.position) {
            self.position += 1;
            return Poll::Ready(Some(Ok(Frame::data(bytes.clone()))));
        }
        if let Some(data) = shared.ahead.take() {
            return Poll::Ready(Some(Ok(Frame::data(shared.give(data, &mut self.position)))));
        }
        if shared.ended {
            // Trailers stay for the next attempt; one past the data means that this attempt has sent them.
            if self.position == shared.kept.len() && shared.trailers.is_some() {
                self.position += 1;
                return Poll::Ready(shared.trailers.clone().map(|trailers| Ok(Frame::trailers(trailers))));
            }
            return Poll::Ready(None);
        }
        let Some(frame) = ready!(shared.poll_source(cx)) else { return Poll::Ready(None) };
        Poll::Ready(match frame?.into_data() {
            Ok(data) => Some(Ok(Frame::data(shared.give(data, &mut self.position)))),
            Err(frame) => frame.into_trailers().ok().map(|trailers| {
                shared.trailers = Some(trailers.clone());
                self.position = self.position.saturating_add(1);
                Ok(Frame::trailers(trailers))
            }),
        })
    }

    /// Says whether this attempt cannot send the whole body any more.
    fn is_late(&self, shared: &Shared) -> bool {
        shared.attempt != self.attempt || (shared.overflowed && self.position == 0 && self.attempt > 1)
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        let shared = self.shared.lock();
        let sent = shared.kept.len() + usize::from(shared.trailers.is_some());
        let whole = shared.ended && shared.ahead.is_none() && shared.failed.is_none();
        whole && !self.is_late(&shared) && self.position >= sent
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        if self.position == 0 { self.total } else { SizeHint::default() }
    }
}

impl Shared {
    fn next_attempt(&mut self) -> u32 {
        self.attempt += 1;
        self.close_tail();
        self.attempt
    }

    fn close_tail(&mut self) {
        if !self.tail.is_empty() {
            self.kept.push(std::mem::take(&mut self.tail).freeze());
        }
    }

    /// Reads the source, and remembers how it ends.
    fn poll_source(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(Pin::new(&mut self.source).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => self.ended = frame.is_trailers() || self.source.is_end_stream(),
            Some(Err(error)) => self.failed = Some(error.again()),
            None => self.ended = true,
        }
        Poll::Ready(frame)
    }

    /// Keeps what the present attempt sends, which is at `position`, while there is room.
    fn give(&mut self, data: Bytes, position: &mut usize) -> Bytes {
        if self.keep(&data) {
            *position = self.kept.len();
        } else {
            // This attempt has sent all of it; no other will.
            self.overflowed = true;
            self.kept = Vec::new();
            self.tail = BytesMut::new();
            *position = usize::MAX;
        }
        data
    }

    /// Keeps data for later attempts, if there is room.
    fn keep(&mut self, data: &Bytes) -> bool {
        let fits = !self.overflowed && self.kept_bytes + data.len() <= LIMIT;
        if !fits {
            return false;
        }
        self.kept_bytes += data.len();
        if data.len() < SMALL && self.kept.len() >= MANY {
            self.tail.extend_from_slice(data);
        } else {
            self.close_tail();
            self.kept.push(data.clone());
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use http_body_util::BodyExt;
    use outrigger_wire::http1;
    use tokio::io::{AsyncWriteExt, DuplexStream, duplex};
    use tokio::sync::mpsc;

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

    #[tokio::test]
    async fn many_small_pieces_are_kept_as_few() {
        let (mut client, body) = begun("transfer-encoding: chunked").await;
        let mut replay = Replay::new(body);
        let sending = tokio::spawn(async move {
            for _ in 0..1000 {
                client.write_all(b"1\r\nx\r\n").await.unwrap();
                tokio::task::yield_now().await;
            }
            client.write_all(b"0\r\nx-sum: 1\r\n\r\n").await.unwrap();
            client
        });

        for _ in 0..2 {
            let sent = replay.attempt().collect().await.unwrap();
            assert_eq!(sent.trailers().map(HeaderMap::len), Some(1));
            assert_eq!(sent.to_bytes(), "x".repeat(1000));
        }

        assert!(replay.shared.lock().kept.len() <= MANY + 1);
        sending.await.unwrap();
    }

    #[tokio::test]
    async fn an_attempt_that_comes_too_late_is_no_request_without_a_body() {
        let mut replay = Replay::new(Body::full(vec![7; LIMIT + 1]));
        let _sent = replay.attempt().collect().await.unwrap();

        let late = replay.attempt();

        assert!(!late.is_end_stream());
        assert!(late.collect().await.is_err());
    }

    #[tokio::test]
    async fn a_body_that_has_failed_fails_for_every_attempt() {
        for framing in ["transfer-encoding: chunked", "content-length: 100"] {
            let (mut client, body) = begun(framing).await;
            let mut replay = Replay::new(body);
            let mut first = replay.attempt();
            client.write_all(b"4\r\nhalf\r\n").await.unwrap();
            assert!(first.frame().await.unwrap().is_ok());
            drop(client);

            assert!(first.frame().await.unwrap().is_err());

            assert!(!replay.possible());
            let second = replay.attempt();
            assert!(!second.is_end_stream() && !first.is_end_stream());
            assert!(second.collect().await.is_err(), "{framing}");
            assert!(first.frame().await.expect("no end").is_err());
            assert!(replay.attempt().collect().await.is_err(), "the third");
        }
    }

    #[tokio::test]
    async fn a_client_that_breaks_off_between_attempts_is_noticed() {
        let (mut client, body) = begun("transfer-encoding: chunked").await;
        let mut replay = Replay::new(body);
        client.write_all(b"4\r\nhalf\r\n").await.unwrap();
        let mut first = replay.attempt();
        assert!(first.frame().await.unwrap().is_ok());

        replay.end_attempt();
        assert!(first.frame().await.unwrap().is_err(), "a former attempt gets nothing more");
        client.write_all(b"5\r\n more\r\n").await.unwrap();
        assert!(poll_fn(|cx| Poll::Ready(replay.poll_broken(cx))).await.is_pending());
        drop(client);
        poll_fn(|cx| replay.poll_broken(cx)).await;

        assert!(!replay.possible());
        assert!(replay.attempt().collect().await.is_err());
    }

    #[tokio::test]
    async fn what_comes_between_attempts_is_sent_by_the_next() {
        for more in [10, LIMIT] {
            let (mut client, body) = begun("transfer-encoding: chunked").await;
            let mut replay = Replay::new(body);
            client.write_all(b"4\r\nhalf\r\n").await.unwrap();
            assert!(replay.attempt().frame().await.unwrap().is_ok());
            let rest = format!("{more:x}\r\n{}\r\n0\r\nx-sum: 1\r\n\r\n", "x".repeat(more));
            let sending = tokio::spawn(async move {
                client.write_all(rest.as_bytes()).await.unwrap();
                client
            });

            replay.end_attempt();
            for _ in 0..100 {
                assert!(poll_fn(|cx| Poll::Ready(replay.poll_broken(cx))).await.is_pending());
                tokio::task::yield_now().await;
            }

            assert!(replay.possible());
            let sent = replay.attempt().collect().await.unwrap();
            assert_eq!(sent.trailers().map(HeaderMap::len), Some(1));
            assert_eq!(sent.to_bytes(), "half".to_owned() + &"x".repeat(more));
            assert_eq!(replay.possible(), more < LIMIT);
            sending.await.unwrap();
        }
    }

    /// A request whose head has come, and its client.
    async fn begun(framing: &str) -> (DuplexStream, Body) {
        let (mut client, io) = duplex(1024);
        let (bodies, mut received) = mpsc::channel(1);
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
        client.write_all(format!("PUT / HTTP/1.1\r\nhost: x\r\n{framing}\r\n\r\n").as_bytes()).await.unwrap();
        (client, Body::http1(received.recv().await.unwrap()))
    }

    #[test]
    fn announces_its_length() {
        let mut replay = Replay::new(Body::full("hello"));

        assert_eq!(replay.attempt().size_hint().exact(), Some(5));
    }
}
