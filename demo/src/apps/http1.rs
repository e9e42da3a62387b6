//! A small HTTP/1.1 server and client for the apps.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpListener;

pub(super) type Answer = Response<Full<Bytes>>;

/// Serves until the process ends.
pub(super) async fn serve<S, F>(
    listen: SocketAddr,
    state: Arc<S>,
    answer: fn(Arc<S>, Request<Incoming>) -> F,
) -> anyhow::Result<()>
where
    S: Send + Sync + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    let listener = TcpListener::bind(listen).await.with_context(|| format!("listen on {listen}"))?;
    loop {
        let Ok((io, _)) = listener.accept().await else { continue };
        let state = state.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let answer = answer(state.clone(), request);
                async move { Ok::<_, Infallible>(answer.await) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(io), service);
            // A client that goes away is its own business.
            let _ = connection.await;
        });
    }
}

/// An answer with a JSON body.
pub(super) fn json(status: StatusCode, body: &impl serde::Serialize) -> Answer {
    let body = serde_json::to_vec(body).unwrap_or_default();
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert("content-type", hyper::header::HeaderValue::from_static("application/json"));
    response
}

/// A client with pooled connections to one address.
#[derive(Clone)]
pub(super) struct Client {
    pool: Pool<HttpConnector, Full<Bytes>>,
    addr: SocketAddr,
}

impl Client {
    pub(super) fn new(addr: SocketAddr) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Self { pool: Pool::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(connector), addr }
    }

    pub(super) async fn get(&self, path: &str, headers: HeaderMap) -> anyhow::Result<(StatusCode, Bytes)> {
        let mut request = Request::new(Full::default());
        *request.uri_mut() = format!("http://{}{path}", self.addr).parse()?;
        *request.headers_mut() = headers;
        let (head, body) = self.pool.request(request).await?.into_parts();
        let body = Limited::new(body, MAX_BODY).collect().await.map_err(anyhow::Error::from_boxed)?;
        Ok((head.status, body.to_bytes()))
    }
}

/// No answer of the shop is larger.
const MAX_BODY: usize = 64 * 1024;
