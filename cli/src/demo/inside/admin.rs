//! HTTP requests of the demo's own: to admin pages, and to the apps' counters.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};

use super::place::Site;

/// One GET of a page, on a connection of its own.
pub(super) async fn get(site: &Site, addr: SocketAddr, path: &str) -> anyhow::Result<(StatusCode, Bytes)> {
    let answer = async {
        let io = site.connect(addr).await.with_context(|| format!("connect to {addr}"))?;
        get_on(io, addr, path).await
    };
    tokio::time::timeout(PATIENCE, answer).await.with_context(|| format!("GET http://{addr}{path}: no answer"))?
}

/// One GET on a connection that is there.
pub(super) async fn get_on(
    io: impl AsyncRead + AsyncWrite + Unpin,
    addr: SocketAddr,
    path: &str,
) -> anyhow::Result<(StatusCode, Bytes)> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(io)).await?;
    let request = Request::get(path).header("host", addr.to_string()).body(Empty::<Bytes>::new())?;
    let exchange = async {
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, MAX_PAGE).collect().await.map_err(anyhow::Error::from_boxed)?;
        anyhow::Ok((head.status, body.to_bytes()))
    };
    // The connection must be driven while the answer is read; which of them ends first is no matter.
    let mut connection = std::pin::pin!(connection);
    let mut exchange = std::pin::pin!(exchange);
    let answer = tokio::select! {
        answer = &mut exchange => answer,
        ended = &mut connection => match ended {
            Ok(()) => exchange.await,
            Err(error) => Err(error.into()),
        },
    };
    answer.with_context(|| format!("GET http://{addr}{path}"))
}

/// One GET of a JSON page.
pub(super) async fn json<T: DeserializeOwned>(site: &Site, addr: SocketAddr, path: &str) -> anyhow::Result<T> {
    let (status, body) = get(site, addr, path).await?;
    anyhow::ensure!(status == StatusCode::OK, "GET http://{addr}{path}: {status}: {}", String::from_utf8_lossy(&body));
    serde_json::from_slice(&body).with_context(|| format!("GET http://{addr}{path}: not the JSON that was expected"))
}

const PATIENCE: Duration = Duration::from_secs(10);
const MAX_PAGE: usize = 16 * 1024 * 1024;
