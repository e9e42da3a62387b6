//! HTTP/1 connections on which nothing happens. hyper keeps buffers of 16 KiB for each as long as it serves it, and apps keep
//! hundreds of connections open just in case. So what is idle is taken from hyper, and given to it again with the next byte.
//!
//! That must never happen between the parts of a message: the rest of a body would be read as a request. A connection is
//! idle when every request has been answered and read to its end, when every byte of the answers is with the kernel, and
//! when no byte has come for a while.

use std::convert::Infallible;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::HttpService;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::timeout;

use crate::http::Body;

/// How often one looks whether a connection is idle.
const LOOK: Duration = Duration::from_secs(3);

/// Serves until either side closes. While the connection is idle, hyper does not have it, and no buffer is held for it;
/// `limit` is how long that may take.
pub(crate) async fn serve<I, S, B>(
    builder: &http1::Builder,
    io: I,
    mut service: S,
    activity: Arc<Activity>,
    limit: Option<Duration>,
) -> hyper::Result<()>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    B: http_body::Body + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    S: HttpService<Incoming, ResBody = B, Error = Infallible>,
{
    let mut io = Watched::new(io, activity.clone());
    loop {
        // Boxed, for it takes no room while the connection rests.
        let mut connection = Box::new(builder.serve_connection(TokioIo::new(io), service).with_upgrades());
        tokio::select! {
            biased;
            result = &mut *connection => return result,
            () = activity.idle() => {}
        }
        let Some(parts) = connection.into_parts() else { return Ok(()) };
        io = parts.io.into_inner();
        service = parts.service;
        let read = parts.read_buf;
        if !read.is_empty() {
            // A request has begun and is slow to go on: from here on its time is hyper's to watch.
            io.put_back(read);
            return Box::new(builder.serve_connection(TokioIo::new(io), service).with_upgrades()).await;
        }
        // Empty, but all of the buffer.
        drop(read);
        #[cfg(test)]
        activity.rests.fetch_add(1, Ordering::Relaxed);
        let hears = timeout(limit.unwrap_or(Duration::MAX), io.hears()).await;
        if !matches!(hears, Ok(Ok(true))) {
            // Gone, or idle for too long; what shutting down says about it is of no use to anyone.
            let _ = io.shutdown().await;
            return Ok(());
        }
    }
}

/// Takes note of a request.
pub(crate) fn begun(request: Request<Incoming>, activity: Option<&Arc<Activity>>) -> (Request<Body>, Option<Serving>) {
    let serving = activity.cloned().map(Serving::new);
    let request = request.map(|body| match &serving {
        Some(serving) if !body.is_end_stream() => Body::incoming(body).with_unread(serving.unread()),
        _ => Body::incoming(body),
    });
    (request, serving)
}

/// What happens on one HTTP/1 connection.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    /// Requests that are being served, and bodies of requests that have not been read to their end.
    open: AtomicU32,
    /// Bytes have come since the last look.
    heard: AtomicBool,
    /// Bytes of an answer may not have been sent.
    unsent: AtomicBool,
    /// How often it has been taken from hyper.
    #[cfg(test)]
    rests: AtomicU32,
}

impl Activity {
    /// Completes when the connection is idle.
    pub(crate) async fn idle(&self) {
        loop {
            tokio::time::sleep(LOOK).await;
            let heard = self.heard.swap(false, Ordering::Relaxed);
            if !heard && self.open.load(Ordering::Relaxed) == 0 && !self.unsent.load(Ordering::Relaxed) {
                return;
            }
        }
    }
}

/// A request that is being served.
#[derive(Debug)]
pub(crate) struct Serving(Arc<Activity>);

impl Serving {
    pub(crate) fn new(activity: Arc<Activity>) -> Self {
        activity.open.fetch_add(1, Ordering::Relaxed);
        Self(activity)
    }

    /// Notes that the request has a body to be read.
    pub(crate) fn unread(&self) -> Unread {
        self.0.open.fetch_add(1, Ordering::Relaxed);
        Unread(self.0.clone())
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A request's body that has not been read to its end. If it is dropped like that, what follows on the connection is only
/// hyper's to tell, and the connection never counts as idle again.
#[derive(Debug)]
pub(crate) struct Unread(Arc<Activity>);

impl Unread {
    /// The body has been read to its end.
    pub(crate) fn read(self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection whose activity is watched.
pub(crate) struct Watched<I> {
    io: I,
    /// Read already, and to be read first.
    first: Bytes,
    activity: Arc<Activity>,
}

impl<I: AsyncRead + AsyncWrite + Unpin> Watched<I> {
    pub(crate) fn new(io: I, activity: Arc<Activity>) -> Self {
        Self { io, first: Bytes::new(), activity }
    }

    /// Has `bytes` read once more, before all others.
    pub(crate) fn put_back(&mut self, bytes: Bytes) {
        self.first = bytes;
    }

    /// Waits for bytes without memory for them; `false` when there will be none.
    pub(crate) async fn hears(&mut self) -> io::Result<bool> {
        std::future::poll_fn(|cx| {
            let mut bytes = [MaybeUninit::uninit(); 4096];
            let mut buffer = ReadBuf::uninit(&mut bytes);
            ready!(Pin::new(&mut self.io).poll_read(cx, &mut buffer))?;
            self.first = Bytes::copy_from_slice(buffer.filled());
            Poll::Ready(Ok(!self.first.is_empty()))
        })
        .await
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Watched<I> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.first.is_empty() {
            ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
        } else {
            let bytes = this.first.split_to(this.first.len().min(buf.remaining()));
            buf.put_slice(&bytes);
        }
        this.activity.heard.store(true, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Watched<I> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.activity.unsent.store(true, Ordering::Relaxed);
        Pin::new(&mut this.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.activity.unsent.store(true, Ordering::Relaxed);
        Pin::new(&mut this.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut this.io).poll_flush(cx))?;
        this.activity.unsent.store(false, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use http::Response;
    use http_body::{Frame, SizeHint};
    use http_body_util::{BodyExt, Full};
    use hyper::service::service_fn;
    use tokio::io::{AsyncReadExt, DuplexStream, duplex};
    use tokio::time::sleep;

    use std::sync::atomic::AtomicUsize;

    use super::*;

    const ANSWER: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

    /// A body that keeps its request open, as the record of a request does.
    struct Held(Full<Bytes>, #[expect(dead_code, reason = "held")] Option<Serving>);

    impl http_body::Body for Held {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Pin::new(&mut self.0).poll_frame(cx)
        }

        fn is_end_stream(&self) -> bool {
            self.0.is_end_stream()
        }

        fn size_hint(&self) -> SizeHint {
            self.0.size_hint()
        }
    }

    /// A client's end of a connection that is served: `/read` has the request's body read, `/keep` has it kept and not read.
    struct Rig {
        client: DuplexStream,
        activity: Arc<Activity>,
        requests: Arc<AtomicUsize>,
    }

    impl Rig {
        fn start(answer: Bytes, limit: Option<Duration>) -> Self {
            let (client, server) = duplex(1024);
            let (activity, requests) = <(Arc<Activity>, Arc<AtomicUsize>)>::default();
            let (its_activity, its_requests) = (activity.clone(), requests.clone());
            tokio::spawn(async move {
                let kept = Arc::new(parking_lot::Mutex::new(Vec::new()));
                let service = service_fn(|request: Request<Incoming>| {
                    its_requests.fetch_add(1, Ordering::Relaxed);
                    let (request, serving) = begun(request, Some(&its_activity));
                    let answer = answer.clone();
                    let kept = kept.clone();
                    async move {
                        match request.uri().path() {
                            "/read" => drop(request.into_body().collect().await),
                            "/keep" => kept.lock().push(request.into_body()),
                            _ => {}
                        }
                        Ok::<_, Infallible>(Response::new(Held(Full::new(answer), serving)))
                    }
                });
                let mut builder = http1::Builder::new();
                builder.auto_date_header(false).half_close(true);
                let _ = serve(&builder, server, service, its_activity.clone(), limit).await;
            });
            Self { client, activity, requests }
        }

        fn new() -> Self {
            Self::start(Bytes::from_static(b"ok"), None)
        }

        async fn say(&mut self, bytes: &str) {
            self.client.write_all(bytes.as_bytes()).await.unwrap();
        }

        async fn hear(&mut self, bytes: &str) {
            let mut heard = vec![0; bytes.len()];
            self.client.read_exact(&mut heard).await.unwrap();
            assert_eq!(String::from_utf8_lossy(&heard), bytes);
        }

        /// Lets time pass, and returns how often the connection has rested.
        async fn rested(&self) -> u32 {
            sleep(LOOK * 5).await;
            self.rests()
        }

        fn rests(&self) -> u32 {
            self.activity.rests.load(Ordering::Relaxed)
        }

        fn requests(&self) -> usize {
            self.requests.load(Ordering::Relaxed)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_rests_until_the_next_request() {
        let mut rig = Rig::new();
        for before in 0..3 {
            rig.say("POST /read HTTP/1.1\r\ncontent-length: 3\r\n\r\nabc").await;
            rig.hear(ANSWER).await;
            assert_eq!(rig.rests(), before);
            assert_eq!(rig.rested().await, before + 1);
        }
        rig.say("POST /read HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n")
            .await;
        rig.hear(ANSWER).await;
        rig.hear(ANSWER).await;
        assert_eq!((rig.rested().await, rig.requests()), (4, 5));
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_in_use_does_not_rest() {
        let mut rig = Rig::new();
        for _ in 0..20 {
            rig.say("GET / HTTP/1.1\r\n\r\n").await;
            rig.hear(ANSWER).await;
            sleep(LOOK - Duration::from_millis(1)).await;
        }
        assert_eq!(rig.rests(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn the_rest_of_a_body_that_nobody_reads_is_not_taken_for_a_request() {
        let smuggled = "GET /smuggled HTTP/1.1\r\n\r\n";
        for path in ["/drop", "/keep"] {
            let mut rig = Rig::new();
            rig.say(&format!("POST {path} HTTP/1.1\r\ncontent-length: {}\r\n\r\n", smuggled.len())).await;
            rig.hear(ANSWER).await;
            assert_eq!(rig.rested().await, 0, "{path}");

            // hyper may have closed the connection.
            let _ = rig.client.write_all(smuggled.as_bytes()).await;
            assert_eq!((rig.rested().await, rig.requests()), (0, 1), "{path}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_is_slow_to_come_keeps_its_connection() {
        let mut rig = Rig::new();
        rig.say("POST /read HTTP/1.1\r\ncontent-length: 4\r\n\r\nab").await;
        assert_eq!(rig.rested().await, 0);

        rig.say("cd").await;
        rig.hear(ANSWER).await;
        assert_eq!((rig.rested().await, rig.requests()), (1, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_the_client_is_slow_to_read_is_sent_to_its_end() {
        let long = "x".repeat(100_000);
        let mut rig = Rig::start(Bytes::from(long.clone()), None);
        rig.say("GET / HTTP/1.1\r\n\r\n").await;
        assert_eq!(rig.rested().await, 0);

        rig.hear("HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n").await;
        assert_eq!(rig.rested().await, 0);
        rig.hear(&long).await;
        assert_eq!(rig.rested().await, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_has_begun_is_waited_for() {
        let mut rig = Rig::new();
        rig.say("GET / HTT").await;
        assert_eq!(rig.rested().await, 0);

        rig.say("P/1.1\r\n\r\n").await;
        rig.hear(ANSWER).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_at_rest_ends_with_its_client_or_when_its_time_is_over() {
        let mut rig = Rig::new();
        rig.say("GET / HTTP/1.1\r\n\r\n").await;
        rig.hear(ANSWER).await;
        assert_eq!(rig.rested().await, 1);
        rig.client.shutdown().await.unwrap();
        assert_eq!(rig.client.read(&mut [0; 8]).await.unwrap(), 0);

        let mut rig = Rig::start(Bytes::from_static(b"ok"), Some(Duration::from_secs(60)));
        rig.say("GET / HTTP/1.1\r\n\r\n").await;
        rig.hear(ANSWER).await;
        let start = tokio::time::Instant::now();
        assert_eq!(rig.client.read(&mut [0; 8]).await.unwrap(), 0);
        assert_eq!(start.elapsed().as_secs(), (2 * LOOK).as_secs() + 60);
    }
}
