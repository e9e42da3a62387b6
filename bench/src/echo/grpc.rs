//! gRPC: what a call sends comes back, message by message, and then `grpc-status: 0`.

use std::convert::Infallible;

use anyhow::Result;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

/// Serves one connection.
pub(super) async fn serve(io: TcpStream) -> Result<()> {
    Ok(http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(io), service_fn(answer)).await?)
}

async fn answer(
    request: Request<Incoming>,
) -> Result<Response<impl hyper::body::Body<Data = bytes::Bytes, Error = hyper::Error>>, Infallible> {
    let trailers = async {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        Some(Ok(trailers))
    };
    let mut response = Response::new(request.into_body().with_trailers(trailers));
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    Ok(response)
}
