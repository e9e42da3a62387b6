//! Errors of the mesh become answers: a status, `Proxy-Status` (RFC 9209), and one line that says what happened and
//! where to look. A gRPC caller gets the gRPC form. The app's own answers pass unchanged.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{ACCEPT, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Response, StatusCode};
use outrigger_daemon::Drain;
use outrigger_proto::ErrorCode;
use outrigger_wire::http1;
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use crate::body::Body;
use crate::direction::Direction;
use crate::error::{Fate, ProxyError};
use crate::flow::Flow;
use crate::headers::leaving;
use crate::http::ResponseBody;
use crate::http::call::Call;

/// Makes [`Respond`].
#[derive(Clone)]
pub(crate) struct RespondLayer {
    /// Once it has started, every answer tells the client to leave.
    pub(crate) drain: Drain,
}

impl<S> Layer<S> for RespondLayer {
    type Service = Respond<S>;

    fn layer(&self, inner: S) -> Respond<S> {
        Respond { inner, drain: self.drain.clone() }
    }
}

/// Answers with errors.
#[derive(Clone)]
pub(crate) struct Respond<S> {
    inner: S,
    drain: Drain,
}

impl<S> Service<Call> for Respond<S>
where
    S: Service<Call, Response = Response<ResponseBody>, Error = ProxyError>,
{
    type Response = (Response<ResponseBody>, Option<ProxyError>);
    type Error = std::convert::Infallible;
    type Future = RespondFuture<S::Future>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        // All layers of the stack are always ready: capacity is shed where connections are accepted.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: Call) -> Self::Future {
        let form = Form::of(&call);
        let http2 = call.request.version() == http::Version::HTTP_2;
        let flow = call.flow.clone();
        RespondFuture { inner: self.inner.call(call), form, flow, http2, drain: self.drain.clone() }
    }
}

/// Has an answer of HTTP/1 end the connection when the workload ends, which another sidecar is told as such, or when connections or memory are
/// short and the caller has no identity.
fn close(headers: &mut HeaderMap, flow: &Flow, ends: bool) {
    let meshed = flow.caller.as_ref().map(|caller| caller.peer.is_some());
    if ends && meshed == Some(true) {
        leaving::tell(headers);
    }
    if ends || meshed == Some(false) && flow.caller.as_ref().is_some_and(|caller| caller.place.is_tight()) {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
}

/// What the caller understands.
#[derive(Clone, Copy)]
enum Form {
    Text,
    Problem,
    Grpc,
}

impl Form {
    fn of(call: &Call) -> Self {
        if call.flow.grpc {
            return Self::Grpc;
        }
        let accept = call.request.headers().get(ACCEPT).map(HeaderValue::as_bytes).unwrap_or_default();
        let json = accept.windows(5).any(|window| window == b"/json" || window == b"+json");
        if json { Self::Problem } else { Self::Text }
    }
}

pin_project! {
    pub(crate) struct RespondFuture<F> {
        #[pin]
        inner: F,
        form: Form,
        flow: Arc<Flow>,
        http2: bool,
        drain: Drain,
    }
}

impl<F> Future for RespondFuture<F>
where
    F: Future<Output = Result<Response<ResponseBody>, ProxyError>>,
{
    type Output = Result<(Response<ResponseBody>, Option<ProxyError>), std::convert::Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        this.inner.poll(cx).map(|result| {
            let (mut response, error) = match result {
                Ok(response) => (response, None),
                Err(error) => {
                    let mut response = answer(&error, this.flow, *this.form);
                    // Its code says more than any answer: gRPC has a status for each, and knows what may be sent again.
                    if let Some(reason) = error.reset.filter(|_| *this.http2) {
                        *response.body_mut() = ResponseBody::empty();
                        response.extensions_mut().insert(reason);
                    }
                    (response, Some(error))
                }
            };
            if !*this.http2 && response.status() != StatusCode::SWITCHING_PROTOCOLS {
                close(response.headers_mut(), this.flow, this.drain.is_started());
            }
            Ok((response, error))
        })
    }
}

const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");
/// From sidecar to sidecar: the app never got this request. Neither apps nor peers outside of the mesh can say so.
pub(crate) const UNPROCESSED: HeaderName = HeaderName::from_static("outrigger-unprocessed");

fn answer(error: &ProxyError, flow: &Flow, form: Form) -> Response<ResponseBody> {
    let info = error.code.info();
    let as_info = error.answered_as.unwrap_or(error.code).info();
    // Identities and addresses are for meshed peers only; the own workload is one.
    let told =
        flow.direction == Direction::Outbound || flow.caller.as_ref().is_some_and(|caller| caller.peer.is_some());
    let detail = if told { error.detail.as_str() } else { info.means };
    let line = format!("outrigger: {} {}: {detail}", info.code, info.token);
    let usual = as_info.http_status.and_then(|status| StatusCode::from_u16(status).ok());
    let status = error.status.map(|status| status.http).or(usual);
    let mut response = match form {
        Form::Grpc => {
            grpc(ResponseBody::empty(), error.status.map_or(as_info.grpc_status, |status| status.grpc), &line)
        }
        Form::Text => typed("text/plain; charset=utf-8", format!("{line}\n{}\n", info.next)),
        Form::Problem => typed("application/problem+json", problem(error.code, status, &line)),
    };
    if !matches!(form, Form::Grpc) {
        *response.status_mut() = status.unwrap_or(StatusCode::BAD_GATEWAY);
    }
    if let Some(value) = proxy_status(flow.direction, error.code, detail) {
        response.headers_mut().insert(PROXY_STATUS, value);
    }
    // For the caller's sidecar alone, which takes it away: it may try another endpoint.
    if flow.direction == Direction::Inbound && told && error.fate == Fate::NotProcessed {
        response.headers_mut().insert(UNPROCESSED, HeaderValue::from_static(as_info.code));
    }
    response
}

fn proxy_status(direction: Direction, code: ErrorCode, detail: &str) -> Option<HeaderValue> {
    let info = code.info();
    let quoted: String =
        detail.chars().filter(|c| (' '..='~').contains(c) && *c != '"' && *c != '\\').take(200).collect();
    let text = format!("outrigger-{}; error={}; details=\"{} {quoted}\"", direction.as_str(), info.token, info.code);
    HeaderValue::from_str(&text).ok()
}

/// Answers a request of HTTP/2 whose head is too large; `came`: what was read of its fields.
pub(crate) fn too_large(direction: Direction, came: &HeaderMap) -> Response<Bytes> {
    let error = http1::Error::HeadTooLarge;
    let mut response = unreadable(direction, &error, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    if is_grpc(came) {
        let info = ErrorCode::HttpProtocol.info();
        let proxy_status = response.headers_mut().remove(PROXY_STATUS);
        response = grpc(Bytes::new(), RESOURCE_EXHAUSTED, &format!("outrigger: {} {}: {error}", info.code, info.token));
        response.headers_mut().extend(proxy_status.map(|value| (PROXY_STATUS, value)));
    }
    response
}

/// Says whether a request speaks gRPC.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE);
    content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// The gRPC status of a request that is larger than a limit.
const RESOURCE_EXHAUSTED: u8 = 8;

/// Answers what could not be read as a request: nothing is known of what its sender understands.
pub(crate) fn unreadable(direction: Direction, error: &http1::Error, status: StatusCode) -> Response<Bytes> {
    let code = ErrorCode::HttpProtocol;
    let (info, detail) = (code.info(), error.to_string());
    let body = format!("outrigger: {} {}: {detail}\n{}\n", info.code, info.token, info.next);
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    if let Some(value) = proxy_status(direction, code, &detail) {
        response.headers_mut().insert(PROXY_STATUS, value);
    }
    response
}

/// Makes the trailers of a gRPC call whose connection ended in its midst.
pub(crate) fn connection_ended(direction: Direction, detail: &str) -> HeaderMap {
    let info = ErrorCode::ConnectionTerminated.info();
    let mut trailers = HeaderMap::with_capacity(3);
    grpc_fields(&mut trailers, info.grpc_status, &format!("outrigger: {} {}: {detail}", info.code, info.token));
    if let Some(value) = proxy_status(direction, ErrorCode::ConnectionTerminated, detail) {
        trailers.insert(PROXY_STATUS, value);
    }
    trailers
}

/// Tells another sidecar on an idle connection that it closes, and whether the workload ends: 408, which is what a server says unasked (RFC 9110 section 15.5.9). A request
/// that crosses it has not been read.
pub(crate) fn last_word(ends: bool) -> Response<Bytes> {
    let code = ErrorCode::ConnectionTerminated;
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::REQUEST_TIMEOUT;
    let headers = response.headers_mut();
    headers.insert(UNPROCESSED, HeaderValue::from_static(code.info().code));
    let detail = if ends { "the workload ends" } else { "the connection has come to its age" };
    headers.extend(proxy_status(Direction::Inbound, code, detail).map(|value| (PROXY_STATUS, value)));
    if ends {
        leaving::tell(headers);
    }
    response
}

/// Reads what a peer's sidecar says of a request that its app never got.
pub(crate) fn unprocessed<B>(response: &Response<B>) -> Option<ProxyError> {
    let code: ErrorCode = response.headers().get(UNPROCESSED)?.to_str().ok()?.parse().ok()?;
    let status = response.headers().get(PROXY_STATUS).and_then(|value| value.to_str().ok());
    let details = status.and_then(|status| status.split_once("details=\"")).map_or("", |(_, details)| details);
    let details = details.strip_prefix(code.info().code).unwrap_or(details).trim_start().trim_end_matches('"');
    Some(ProxyError::new(code, format!("the endpoint's sidecar says: {details}")))
}

fn typed(content_type: &'static str, body: String) -> Response<ResponseBody> {
    let mut response = Response::new(Body::full(body).into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// RFC 9457.
fn problem(code: ErrorCode, status: Option<StatusCode>, line: &str) -> String {
    let escaped: String = line.chars().flat_map(json_escaped).collect();
    let status = status.unwrap_or(StatusCode::BAD_GATEWAY).as_u16();
    let info = code.info();
    format!(
        "{{\"type\":\"urn:outrigger:error:{}\",\"title\":\"{}\",\"status\":{status},\"detail\":\"{escaped}\"}}\n",
        info.code, info.means
    )
}

fn json_escaped(c: char) -> Vec<char> {
    match c {
        '"' | '\\' => vec!['\\', c],
        c if c.is_control() => vec![' '],
        c => vec![c],
    }
}

/// A gRPC response without messages: the status is in the headers ("Trailers-Only").
fn grpc<B>(body: B, status: u8, line: &str) -> Response<B> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    grpc_fields(headers, status, line);
    response
}

/// Writes the status of a call, and its message percent-encoded as gRPC over HTTP/2 wants it.
fn grpc_fields(headers: &mut HeaderMap, status: u8, line: &str) {
    headers.insert(HeaderName::from_static("grpc-status"), HeaderValue::from(u16::from(status)));
    let mut message = String::with_capacity(line.len());
    for byte in line.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => message.push(char::from(byte)),
            other => message.push_str(&format!("%{other:02X}")),
        }
    }
    if let Ok(value) = HeaderValue::from_str(&message) {
        headers.insert(HeaderName::from_static("grpc-message"), value);
    }
}

#[cfg(test)]
#[path = "respond_tests.rs"]
mod tests;
