//! Copies of requests (RequestMirror): each goes to one endpoint of another service, over mutual TLS like any request,
//! once, and what is answered is read and forgotten.
//!
//! A copy never holds up its request. It is sent by a task of its own, its body follows as the request's is read, and
//! where it falls behind or there are too many it is given up. It carries the trace context of its request; metrics and
//! the access log tell of the request alone, and copies have a counter (`outrigger_outbound_mirrored_requests_total`).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::header::UPGRADE;
use http::{Method, Request, Response, request};
use http_body::Body as _;
use http_body_util::BodyExt;
use outrigger_routing::Mirror;

use crate::balance::Backend;
use crate::body::{Body, Progress};
use crate::direction::Direction;
use crate::error::ProxyError;
use crate::flow::Flow;
use crate::http::ResponseBody;
use crate::http::call::To;
use crate::http::dispatch::{Dispatch, Exchange};
use crate::http::server::Version;
use crate::random::random;
use crate::telemetry::MirrorOutcome;
use crate::worker::Worker;

/// Copies that one backend may have in flight; more are dropped and counted.
const IN_FLIGHT: u32 = 100;

/// How long an answer may take, from the end of the request's body to its own.
const PATIENCE: Duration = Duration::from_secs(15);

/// Bytes of an answer that are read, so that its connection can serve others; a longer one is broken off.
const ANSWER: usize = 1024 * 1024;

/// Sends the copies of one connection's requests.
#[derive(Clone)]
pub(crate) struct Mirrors {
    pub(crate) worker: Arc<Worker>,
    pub(crate) version: Version,
}

impl Mirrors {
    /// Copies a request to those of `mirrors` that take it; `body` is then read for them, too.
    pub(crate) fn send(&self, mirrors: &[Mirror<Arc<Backend>>], parts: &request::Parts, body: &mut Body, grpc: bool) {
        // What follows an upgrade is no request, and is not copied; the upgrade alone would leave an app waiting.
        if mirrors.is_empty() || parts.method == Method::CONNECT || parts.headers.contains_key(UPGRADE) {
            return;
        }
        for mirror in mirrors.iter().filter(|mirror| mirror.takes(random())) {
            let Some(place) = Place::take(&mirror.to) else {
                self.worker.telemetry.mirrored(MirrorOutcome::Dropped);
                continue;
            };
            let (copied, progress) = if body.is_end_stream() {
                (Body::empty(), None)
            } else {
                let (copied, progress) = body.copied();
                (copied, Some(progress))
            };
            // Not the extensions: among them is the hold on the client's connection.
            let mut head = Request::new(()).into_parts().0;
            head.method = parts.method.clone();
            head.uri = parts.uri.clone();
            head.version = parts.version;
            head.headers = parts.headers.clone();
            let flow = Flow::copy(grpc);
            let to = To::Backend(mirror.to.clone(), None);
            let dispatch = Dispatch::new(&self.worker, Direction::Outbound, self.version);
            let worker = self.worker.clone();
            // Detached: it ends by itself within a bounded time of the request's end.
            tokio::spawn(async move {
                let outcome = exchange(dispatch.attempt(&mut head, copied, &to, &flow, None), progress).await;
                worker.telemetry.mirrored(outcome);
                drop(place);
            });
        }
    }
}

async fn exchange(
    attempt: impl Future<Output = Result<Response<ResponseBody>, ProxyError>>,
    progress: Option<Progress>,
) -> MirrorOutcome {
    let answered = async {
        let mut body = match attempt.await {
            Ok(response) => response.into_body(),
            Err(error) => {
                tracing::debug!(%error, "a copy of a request failed");
                return MirrorOutcome::Failed;
            }
        };
        let mut read = 0;
        while let Some(Ok(frame)) = body.frame().await {
            read += frame.data_ref().map_or(0, bytes::Bytes::len);
            if read > ANSWER {
                break;
            }
        }
        MirrorOutcome::Answered
    };
    let late = async {
        if let Some(progress) = &progress {
            progress.ended().await;
        }
        tokio::time::sleep(PATIENCE).await;
        MirrorOutcome::Failed
    };
    let outcome = tokio::select! {
        outcome = answered => outcome,
        outcome = late => outcome,
    };
    match progress {
        Some(progress) if progress.is_cut() && outcome == MirrorOutcome::Failed => MirrorOutcome::Cut,
        _ => outcome,
    }
}

/// One of a backend's places for copies in flight.
struct Place(Arc<Backend>);

impl Place {
    fn take(backend: &Arc<Backend>) -> Option<Self> {
        let taken = backend.mirrored.fetch_add(1, Ordering::Relaxed);
        // Made before the check, so that one too many is given back when it goes.
        let place = Self(backend.clone());
        (taken < IN_FLIGHT).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.mirrored.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::BackendName;

    #[test]
    fn a_backend_has_so_many_places_for_copies_and_no_more() {
        let backend = Arc::new(Backend::new(BackendName::Unknown, Vec::new()));
        let places: Vec<Place> = (0..IN_FLIGHT).filter_map(|_| Place::take(&backend)).collect();
        assert_eq!(places.len(), IN_FLIGHT as usize);
        assert!(Place::take(&backend).is_none());

        drop(places);

        assert!(Place::take(&backend).is_some());
        assert_eq!(backend.mirrored.load(Ordering::Relaxed), 0);
    }
}
