//! Tells about requests: metrics, the access log, spans. It sees what the client sees, errors of the mesh included.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Request, Response, StatusCode, Version};
use http_body::Frame;
use pin_project_lite::pin_project;
use tower::Service;

use crate::body::Body;
use crate::body::BodyError;
use crate::error::ProxyError;
use crate::flow::{End, Flow, Outcome};
use crate::http::ResponseBody;
use crate::http::call::Call;
use crate::http::respond::connection_ended;
use crate::telemetry::{RequestRecord, Telemetry};

/// Observes every request of a stack.
#[derive(Clone)]
pub(crate) struct Observe<S> {
    inner: S,
    telemetry: Arc<Telemetry>,
}

impl<S> Observe<S> {
    pub(crate) fn new(inner: S, telemetry: Arc<Telemetry>) -> Self {
        Self { inner, telemetry }
    }
}

impl<S> Service<Call> for Observe<S>
where
    S: Service<Call, Response = (Response<ResponseBody>, Option<ProxyError>), Error = Infallible>,
{
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = ObserveFuture<S::Future>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut call: Call) -> Self::Future {
        let record = Record::new(self.telemetry.clone(), &mut call.request, call.flow.clone());
        ObserveFuture { inner: self.inner.call(call), record: Some(Box::new(record)) }
    }
}

pin_project! {
    pub(crate) struct ObserveFuture<F> {
        #[pin]
        inner: F,
        // Boxed once: it moves into the response's body.
        record: Option<Box<Record>>,
    }

    impl<F> PinnedDrop for ObserveFuture<F> {
        fn drop(this: Pin<&mut Self>) {
            // The client left before there was an answer.
            if let Some(record) = this.project().record.take() {
                record.abandoned();
            }
        }
    }
}

impl<F> Future for ObserveFuture<F>
where
    F: Future<Output = Result<(Response<ResponseBody>, Option<ProxyError>), Infallible>>,
{
    type Output = Result<Response<ResponseBody>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Poll::Ready(Ok((mut response, error))) = this.inner.poll(cx) else { return Poll::Pending };
        let Some(mut record) = this.record.take() else { return Poll::Ready(Ok(response)) };
        record.answered(&mut response, error);
        Poll::Ready(Ok(response.map(|body| body.with_record(record))))
    }
}

/// One request, from its arrival to the end of its response.
pub(crate) struct Record {
    telemetry: Arc<Telemetry>,
    flow: Arc<Flow>,
    request: RequestRecord,
    status: Option<StatusCode>,
    grpc_status: Option<u8>,
    /// The client takes a call's status from trailers.
    reads_trailers: bool,
    error: Option<ProxyError>,
    response_bytes: u64,
}

impl Record {
    fn new(telemetry: Arc<Telemetry>, request: &mut Request<Body>, flow: Arc<Flow>) -> Self {
        let reads_trailers = flow.grpc && request.version() == Version::HTTP_2 && !is_grpc_web(request);
        let request = telemetry.begin(request, &flow);
        let (status, grpc_status) = (None, None);
        Self { telemetry, flow, request, status, grpc_status, reads_trailers, error: None, response_bytes: 0 }
    }

    fn answered(&mut self, response: &mut Response<ResponseBody>, error: Option<ProxyError>) {
        self.status = Some(response.status());
        self.grpc_status = grpc_status(response.headers());
        self.error = error;
    }

    pub(crate) fn frame(&mut self, frame: &Frame<Bytes>) {
        if let Some(data) = frame.data_ref() {
            self.response_bytes += data.len() as u64;
        } else if let Some(trailers) = frame.trailers_ref() {
            self.grpc_status = grpc_status(trailers).or(self.grpc_status);
        }
    }

    /// Makes the trailers that tell a gRPC client that the connection behind its call has ended. It would see that of its own connection without the
    /// mesh, and HTTP/2 has no code for it: what a reset says instead is that the server failed.
    pub(crate) fn last_word(&self, error: &BodyError) -> Option<HeaderMap> {
        let BodyError::Http2(error) = error else { return None };
        if !self.reads_trailers || !error.is_connection() {
            return None;
        }
        Some(connection_ended(self.flow.direction, &error.to_string()))
    }

    pub(crate) fn complete(self) {
        self.end(End::Complete);
    }

    pub(crate) fn broken(self, error: &BodyError) {
        tracing::debug!(%error, "response broken off");
        self.end(End::Broken);
    }

    pub(crate) fn abandoned(self) {
        self.end(End::Abandoned);
    }

    fn end(self, end: End) {
        let Self { telemetry, flow, request, status, grpc_status, error, response_bytes, reads_trailers: _ } = self;
        telemetry.end(request, &flow, Outcome { end, status, grpc_status, error, response_bytes });
    }
}

/// Whether the status of a call comes in the body.
fn is_grpc_web(request: &Request<Body>) -> bool {
    let content_type = request.headers().get(CONTENT_TYPE);
    content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc-web"))
}

fn grpc_status(headers: &HeaderMap) -> Option<u8> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}
