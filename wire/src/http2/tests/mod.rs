//! Whole connections: ours with ours, ours with hyper's, and ours with peers who misbehave.

mod bombs;
mod half;
mod hostile;
mod late;
mod malformed;
mod ours;
mod peers;
mod random;
mod raw;
mod unread;
mod windows;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::{Body, Frame};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use tokio::io::DuplexStream;
use tokio::sync::mpsc;

use super::{Error, Incoming, Sender, Settings, connect, serve};

pub(super) type AnyBody = BoxBody<Bytes, Error>;

pub(super) fn empty() -> AnyBody {
    Empty::new().map_err(|never| match never {}).boxed()
}

pub(super) fn full(data: impl Into<Bytes>) -> AnyBody {
    Full::new(data.into()).map_err(|never| match never {}).boxed()
}

impl Sender<AnyBody> {
    /// Sends a request whole.
    pub(super) async fn ask(&self, request: Request<AnyBody>) -> Result<Response<Incoming>, Error> {
        let (head, body) = request.into_parts();
        self.send(&head, body).await
    }
}

/// Data and then trailers, or a failure.
pub(super) fn frames(frames: Vec<Result<Frame<Bytes>, Error>>) -> AnyBody {
    BodyExt::boxed(StreamBody::new(futures_util::stream::iter(frames)))
}

/// A body that gives what is sent.
pub(super) fn channel() -> (mpsc::UnboundedSender<Result<Frame<Bytes>, Error>>, AnyBody) {
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let stream = futures_util::stream::poll_fn(move |cx| receiver.poll_recv(cx));
    (sender, BodyExt::boxed(StreamBody::new(stream)))
}

pub(super) fn grpc_trailers() -> HeaderMap {
    HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from_static("0"))])
}

pub(super) async fn echo(request: Request<Incoming>) -> Response<AnyBody> {
    Response::new(request.into_body().boxed())
}

pub(super) fn pipe() -> (DuplexStream, DuplexStream) {
    tokio::io::duplex(64 << 10)
}

/// A client whose peer is `service`.
pub(super) fn client<S, F>(settings: &Settings, service: S) -> Sender<AnyBody>
where
    S: Fn(Request<Incoming>) -> F + Send + Sync + 'static,
    F: Future<Output = Response<AnyBody>> + Send + 'static,
{
    let (near, far) = pipe();
    let served = settings.clone();
    tokio::spawn(async move { serve(far, &served, service, std::future::pending()).await });
    let (sender, driver) = connect(near, settings);
    tokio::spawn(driver);
    sender
}

pub(super) fn post(body: AnyBody) -> Request<AnyBody> {
    Request::post("http://a.example/x").body(body).unwrap()
}

pub(super) async fn text<B: Body<Data = Bytes>>(body: B) -> Bytes
where
    B::Error: std::fmt::Debug,
{
    body.collect().await.unwrap().to_bytes()
}

/// What has to happen without any clock: in a test whose time is paused, waiting in vain ends it.
pub(super) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(std::time::Duration::from_secs(1), future).await.expect("it happens")
}
