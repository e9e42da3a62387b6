//! Connections that leave HTTP: `Upgrade` (WebSocket, RFC 9110 section 7.8) and `CONNECT`.
//!
//! No byte of the client's goes to the app before the app has agreed with 101 or, for `CONNECT`, 2xx: hyper holds
//! back what follows the request until the response is written. An upgraded connection never returns to a pool.

use http::header::UPGRADE;
use http::{Method, Request, Response, Version};
use hyper::body::Incoming;
use hyper::upgrade::{OnUpgrade, on};
use hyper_util::rt::TokioIo;
use outrigger_proto::ErrorCode;

use crate::balance::Lease;
use crate::error::{Fate, ProxyError};
use crate::http::Body;
use crate::tcp;

/// Says whether the request asks to leave HTTP, and takes hold of its connection if so.
pub(crate) fn requested(request: &mut Request<Body>) -> Option<OnUpgrade> {
    is_upgrade(request).then(|| on(request))
}

pub(crate) fn is_upgrade<B>(request: &Request<B>) -> bool {
    let upgrade = request.version() == Version::HTTP_11 && request.headers().contains_key(UPGRADE);
    upgrade || request.method() == Method::CONNECT
}

/// Joins both sides once the app has agreed.
pub(crate) fn join(
    client: Option<OnUpgrade>,
    mut response: Response<Incoming>,
    lease: Lease,
) -> Result<Response<Body>, ProxyError> {
    let Some(client) = client else {
        let detail = "the app switched protocols without being asked to";
        return Err(ProxyError::new(ErrorCode::HttpProtocol, detail).fate(Fate::MayHaveBeenProcessed));
    };
    let app = on(&mut response);
    // Ends when either side closes, or when the client never takes up the upgrade and its connection ends.
    tokio::spawn(async move {
        match tokio::try_join!(client, app) {
            Ok((client, app)) => {
                let copied = tcp::copy(TokioIo::new(client), TokioIo::new(app), |_, _| {}).await;
                tracing::debug!(?copied, "upgraded connection ended");
            }
            Err(error) => tracing::debug!(%error, "upgrade failed"),
        }
        drop(lease);
    });
    Ok(response.map(|_| Body::empty()))
}
