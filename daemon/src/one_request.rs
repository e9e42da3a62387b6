//! HTTP/1 for connections that carry one request: a kubelet's probe, a scrape, a command. Bounded in time and memory whatever the client does.

use std::convert::Infallible;
use std::future::Future;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Body, Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tracing::debug;

use crate::Place;

/// How long a client may take for the head of its request, which the kubelet and others send at once.
const HEAD: Duration = Duration::from_secs(2);

/// Serves one request with what `answer` returns, then closes; `None` closes without an answer. Ends as well when the connection loses its
/// place, and at the latest after `HEAD` and `limit`, which bounds answering and sending the answer.
pub async fn serve_one<F, B>(io: TcpStream, place: Place, limit: Duration, answer: impl Fn(Request<Incoming>) -> F)
where
    F: Future<Output = Option<Response<B>>>,
    B: Body<Data = Bytes, Error = Infallible> + 'static,
{
    let service = service_fn(|request| {
        place.asked();
        let answer = answer(request);
        async move { answer.await.ok_or(NoAnswer) }
    });
    let serving = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .keep_alive(false)
        .max_buf_size(16 * 1024)
        .serve_connection(TokioIo::new(io), service);
    tokio::select! {
        served = serving => {
            if let Err(error) = served {
                debug!(%error, "a connection failed");
            }
        }
        () = place.lost() => debug!("a connection was closed for another"),
        () = tokio::time::sleep(HEAD + limit) => debug!("a connection was closed that took too long"),
    }
}

/// Makes a short answer.
#[must_use]
pub fn text(status: hyper::StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    let plain = hyper::header::HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(hyper::header::CONTENT_TYPE, plain);
    response
}

/// There is no answer on purpose.
#[derive(Debug, thiserror::Error)]
#[error("closed without an answer")]
struct NoAnswer;
