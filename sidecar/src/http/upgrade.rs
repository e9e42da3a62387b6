//! HTTP/1 connections that leave HTTP: `Upgrade` (WebSocket, RFC 9110 section 7.8) and `CONNECT`.
//!
//! No byte of the client's goes to the app before the app has agreed with 101 or, for `CONNECT`, 2xx: what follows the request stays
//! unread until the answer is written. An upgraded connection never returns to a pool.
//!
//! A `CONNECT` with content is refused where it is read. An `Upgrade` may have content of a known length, as `docker exec` sends it: it is told
//! apart from what follows by its length, and an answer that switches before all of it has been read is refused. Content in chunks is passed on
//! without the `Upgrade`, which a server may ignore anyway: the content is content then, and nothing else.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONNECTION, UPGRADE};
use http::{Extensions, HeaderMap, Method, Response, Version};
use outrigger_proto::ErrorCode;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::balance::Lease;
use crate::detect::Prefixed;
use crate::error::{Fate, ProxyError};
use crate::http::ResponseBody;
use crate::stream::Reset;
use crate::tcp;

/// Says whether a request may end in something else than HTTP.
pub(crate) fn is_upgrade(method: &Method, version: Version, headers: &HeaderMap) -> bool {
    *method == Method::CONNECT || asks(version, headers)
}

/// Says whether a message asks for another protocol. `Upgrade` alone does not: without the option in `Connection` it was meant for the hop
/// before, or was put there by who hopes that somebody adds the option (RFC 9110 section 7.8).
pub(crate) fn asks(version: Version, headers: &HeaderMap) -> bool {
    let mut options = headers.get_all(CONNECTION).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    version == Version::HTTP_11
        && headers.contains_key(UPGRADE)
        && options.any(|option| option.trim_ascii().eq_ignore_ascii_case(b"upgrade"))
}

/// The app's side of a connection that leaves HTTP; travels with the answer that says so.
#[derive(Clone)]
struct AppSide(Arc<Mutex<Option<Lease>>>);

/// The app has agreed: its connection goes with the answer.
pub(crate) fn agreed(
    asked: bool,
    mut response: Response<ResponseBody>,
    mut lease: Lease,
) -> Result<Response<ResponseBody>, ProxyError> {
    if !asked {
        let detail = "the app switched protocols without being asked to";
        let error = ProxyError::new(ErrorCode::HttpProtocol, detail).fate(Fate::MayHaveBeenProcessed).by_server();
        lease.in_flight().failed(&error);
        return Err(error);
    }
    lease.in_flight().complete();
    response.extensions_mut().insert(AppSide(Arc::new(Mutex::new(Some(lease)))));
    Ok(response)
}

/// Joins both sides, once the client has its answer.
pub(crate) async fn join<I>(client: I, read: Bytes, extensions: &mut Extensions)
where
    I: AsyncRead + AsyncWrite + Reset + Unpin,
{
    let app = extensions.remove::<AppSide>().and_then(|AppSide(lease)| lease.lock().take());
    let Some(mut lease) = app else { return };
    let Some((app, app_read)) = lease.take_stream() else { return };
    let (mut client, mut app) = (Prefixed::with(client, read), Prefixed::with(app, app_read));
    let copied = tcp::copy(&mut client, &mut app, |_, _| Ok(())).await;
    tracing::debug!(?copied, "upgraded connection ended");
}
