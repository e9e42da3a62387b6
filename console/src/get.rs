//! One HTTP GET: of admin pages, and of the demo's apps.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// Asks an address that can be dialled from here.
///
/// # Errors
/// When there is no answer in time.
pub async fn page(addr: SocketAddr, path: &str) -> anyhow::Result<(u16, String)> {
    let answer = async {
        let io = TcpStream::connect(addr).await.with_context(|| format!("connect to {addr}"))?;
        on(io, addr, path).await
    };
    let answer = tokio::time::timeout(PATIENCE, answer).await;
    let (status, body) = answer.with_context(|| format!("GET http://{addr}{path}: no answer"))??;
    Ok((status.as_u16(), String::from_utf8_lossy(&body).into_owned()))
}

/// Asks on a connection that is there, which then ends.
///
/// # Errors
/// When the connection ends before the answer does, or the answer is too large.
pub async fn on(
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

/// How long an answer may take.
pub const PATIENCE: Duration = Duration::from_secs(10);
const MAX_PAGE: usize = 16 * 1024 * 1024;
