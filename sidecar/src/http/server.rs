//! Serves HTTP on one accepted connection: decodes requests, gives each to the stack, encodes the answers.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use http::{Request, Response};
use outrigger_proto::ErrorCode;
use outrigger_wire::{http1, http2};
use tokio::io::{AsyncRead, AsyncWrite};
use tower::Service;

use crate::body::Body;
use crate::caller::Caller;
use crate::direction::Direction;
use crate::error::{Fate, ProxyError};
use crate::flow::Flow;
use crate::headers::leaving::FAREWELL;
use crate::http::ResponseBody;
use crate::http::call::{Call, To};
use crate::http::farewell::{Farewell, farewell};
use crate::http::respond::{is_grpc, last_word, too_large, unreadable};
use crate::http::upgrade;
use crate::stream::Reset;
use crate::worker::Worker;

/// The HTTP version of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    Http1,
    Http2,
}

/// Between the requests of a peer outside the mesh. Longer than any load balancer keeps a connection that it may use again, so that it never
/// meets one which was closed just then; what nobody has left does not hold its place for ever.
const UNMESHED_IDLE: Duration = Duration::from_secs(2 * 60 * 60);

/// What serves one connection.
pub(crate) struct Server {
    pub(crate) worker: Arc<Worker>,
    pub(crate) direction: Direction,
    pub(crate) to: To,
    /// Who is at the other end (inbound).
    pub(crate) caller: Option<Arc<Caller>>,
    pub(crate) version: Version,
    /// What a connection of HTTP/2 grants its peer.
    pub(crate) settings: &'static http2::Settings,
}

impl Server {
    /// Serves until either side closes, or until the drain lets the last request finish.
    pub(crate) async fn serve<I, S>(self, io: I, stack: S) -> Result<(), ProxyError>
    where
        I: AsyncRead + AsyncWrite + Reset + Unpin + Send + 'static,
        S: Service<Call, Response = Response<ResponseBody>, Error = Infallible> + Clone + Send + 'static,
        S::Future: Send,
    {
        let Self { worker, direction, to, caller, version, settings } = self;
        let drain = worker.drains.of(direction);
        // The application keeps its own connections for as long as it likes.
        let max_age = worker.max_connection_age.filter(|_| direction == Direction::Inbound);
        let meshed = caller.as_ref().is_some_and(|caller| caller.peer.is_some());
        let unmeshed = caller.as_ref().is_some_and(|caller| caller.peer.is_none());
        let call = move |request: Request<Body>| {
            let flow = Arc::new(Flow::new(direction, is_grpc(request.headers()), caller.clone()));
            // A stack is a few pointers; the clone takes no allocation.
            stack.clone().call(Call { request, to: to.clone(), flow, fault: None, onward: None })
        };
        match version {
            Version::Http1 => {
                // A drain tells the client with the next answer (see `respond`), which no request can cross; another sidecar is told at once.
                let refusal: http1::Refusal = match direction {
                    Direction::Inbound => |error, status| unreadable(Direction::Inbound, error, status),
                    Direction::Outbound => |error, status| unreadable(Direction::Outbound, error, status),
                };
                let options = http1::Options {
                    idle: unmeshed.then_some(UNMESHED_IDLE),
                    head: worker.request_head_timeout,
                    refusal,
                };
                let service =
                    |request: Request<http1::Incoming>| call(request.map(Body::http1)).map(|Ok(response)| response);
                let farewell = farewell(drain, max_age).map(|why| meshed.then(|| last_word(why == Farewell::Drain)));
                let served = http1::serve_until(io, &options, service, farewell).await.map_err(|error| {
                    if matches!(error, http1::Error::HeadTimeout(_)) {
                        worker.telemetry.head_timed_out(direction);
                    }
                    let code = if error.is_malformed() { ErrorCode::HttpProtocol } else { ErrorCode::ClientClosed };
                    failed(direction, code, &error)
                })?;
                match served {
                    http1::Served::Ended => Ok(()),
                    http1::Served::Switched { io, read, mut extensions } => {
                        let _in_flight = worker.telemetry.upgraded();
                        upgrade::join(io, read, &mut extensions).await;
                        Ok(())
                    }
                    http1::Served::Truncated { io, error } => {
                        io.reset_when_dropped();
                        Err(failed(direction, ErrorCode::ClientClosed, &error))
                    }
                }
            }
            Version::Http2 => {
                let service =
                    |request: Request<http2::Incoming>| call(request.map(Body::http2)).map(|Ok(response)| response);
                let refusal: http2::Refusal = match direction {
                    Direction::Inbound => |came| too_large(Direction::Inbound, came),
                    Direction::Outbound => |came| too_large(Direction::Outbound, came),
                };
                let half = worker.request_head_timeout;
                let settings = &http2::Settings { refusal, half, ..settings.clone() };
                // A drain is told by GOAWAY: what is in flight ends, and what is not processed may go elsewhere.
                let told = |why| if meshed && why == Farewell::Drain { FAREWELL } else { b"" };
                let drain = farewell(drain, max_age).map(told);
                http2::serve_until(io, settings, service, drain).await.map_err(|error| {
                    let code = if error.is_protocol() { ErrorCode::HttpProtocol } else { ErrorCode::ClientClosed };
                    failed(direction, code, &error)
                })
            }
        }
    }
}

fn failed(direction: Direction, code: ErrorCode, error: &dyn std::error::Error) -> ProxyError {
    ProxyError::new(code, format!("{direction:?} connection: {error}")).fate(Fate::MayHaveBeenProcessed)
}
