//! HTTP requests of the demo's own, as a program at some site would make them: to admin pages, and to apps' counters.

use std::net::SocketAddr;

use anyhow::Context as _;
use bytes::Bytes;
use hyper::StatusCode;
use outrigger_console::get::{PATIENCE, on};
use serde::de::DeserializeOwned;

use super::place::Site;

/// One GET of a page, on a connection of its own.
pub(super) async fn get(site: &Site, addr: SocketAddr, path: &str) -> anyhow::Result<(StatusCode, Bytes)> {
    let answer = async {
        let io = site.connect(addr).await.with_context(|| format!("connect to {addr}"))?;
        on(io, addr, path).await
    };
    tokio::time::timeout(PATIENCE, answer).await.with_context(|| format!("GET http://{addr}{path}: no answer"))?
}

/// One GET of a JSON page.
pub(super) async fn json<T: DeserializeOwned>(site: &Site, addr: SocketAddr, path: &str) -> anyhow::Result<T> {
    let (status, body) = get(site, addr, path).await?;
    anyhow::ensure!(status == StatusCode::OK, "GET http://{addr}{path}: {status}: {}", String::from_utf8_lossy(&body));
    serde_json::from_slice(&body).with_context(|| format!("GET http://{addr}{path}: not the JSON that was expected"))
}
