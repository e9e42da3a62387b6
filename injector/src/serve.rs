//! The webhook: TLS, HTTP, limits.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use outrigger_daemon::{Drain, Incoming, Place, Places};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, info};

use crate::body::Bodies;
use crate::certificate::Files;
use crate::events::Events;
use crate::patch::{ProbeSecret, Settings};
use crate::review::{Decision, review};

/// The webhook's service.
#[derive(Debug)]
pub(crate) struct Webhook {
    pub(crate) files: Arc<Files>,
    /// Without the trust anchors, which come from a file.
    pub(crate) settings: Settings,
    pub(crate) decisions: Family<Decided, Counter>,
    pub(crate) events: Events,
}

/// Label of the decisions' metric.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Decided {
    reason: &'static str,
}

/// Accepts until the drain starts. No client proves who it is here, so a new connection always gets a place: the address with the most
/// connections loses one, after what it has asked was answered.
pub(crate) async fn accept(listener: TcpListener, webhook: Arc<Webhook>, drain: Drain) {
    let (places, bodies) = (Places::new(MAX_CONNECTIONS), Bodies::of_all());
    let mut incoming = Incoming::new(listener, "webhook");
    loop {
        let (io, address) = tokio::select! {
            accepted = incoming.accept() => accepted,
            () = drain.started() => return,
        };
        let place = places.take(address.ip());
        let (webhook, drain_too, bodies) = (webhook.clone(), drain.clone(), Arc::new(Bodies::new(bodies.clone())));
        drain.spawn(async move { webhook.connection(io, &bodies, Arc::new(place), &drain_too).await });
    }
}

/// Registers the metric of decisions.
pub(crate) fn register(decisions: &Family<Decided, Counter>, registry: &mut Registry) {
    let help = "Pods that came to the webhook, by what became of them";
    registry.register("outrigger_injections", help, decisions.clone());
}

/// Returns a page of metrics that has all of them, in OpenMetrics: for the reference.
#[doc(hidden)]
#[must_use]
pub fn sample_metrics() -> String {
    let decisions = Family::<Decided, Counter>::default();
    drop(decisions.get_or_create(&Decided { reason: "Injected" }));
    let metrics = outrigger_daemon::Metrics::new();
    metrics.register(|registry| register(&decisions, registry));
    metrics.encode()
}

impl Webhook {
    async fn connection(self: &Arc<Self>, io: TcpStream, bodies: &Arc<Bodies>, place: Arc<Place>, drain: &Drain) {
        let _ = io.set_nodelay(true);
        // The certificate of this moment: it changes while the listener stays.
        let Some(tls) = self.files.tls.load_full() else { return };
        let handshake = tokio::time::timeout(HANDSHAKE_LIMIT, TlsAcceptor::from(tls).accept(io));
        let handshake = tokio::select! {
            handshake = handshake => handshake,
            () = place.lost() => return debug!("a handshake makes room for others"),
        };
        let io = match handshake {
            Ok(Ok(io)) => io,
            Ok(Err(error)) => return debug!(%error, "TLS handshake failed"),
            Err(_) => return debug!(limit = ?HANDSHAKE_LIMIT, "TLS handshake took too long"),
        };
        let service = service_fn(|request| {
            let (webhook, bodies, place) = (self.clone(), bodies.clone(), place.clone());
            async move { Ok::<_, Infallible>(webhook.answer(request, &bodies, &place).await) }
        });
        let mut server = auto::Builder::new(TokioExecutor::new());
        server.http1().timer(TokioTimer::new()).header_read_timeout(REQUEST_LIMIT).max_buf_size(64 * 1024);
        let mut http2 = server.http2();
        http2.timer(TokioTimer::new()).max_concurrent_streams(MAX_STREAMS).max_header_list_size(16 * 1024);
        http2.keep_alive_interval(PING_INTERVAL).keep_alive_timeout(PING_INTERVAL);
        let connection = server.serve_connection(TokioIo::new(io), service);
        tokio::pin!(connection);
        let served = tokio::select! {
            served = connection.as_mut() => served,
            () = drain.started() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
            () = place.lost() => {
                connection.as_mut().graceful_shutdown();
                match tokio::time::timeout(REQUEST_LIMIT, connection).await {
                    Ok(served) => served,
                    Err(_) => return debug!(limit = ?REQUEST_LIMIT, "a connection that made room for others did not end"),
                }
            }
        };
        if let Err(error) = served {
            debug!(%error, "connection ended");
        }
    }

    async fn answer(&self, request: Request<body::Incoming>, bodies: &Bodies, place: &Place) -> Response<Full<Bytes>> {
        if request.method() != Method::POST || request.uri().path() != PATH {
            return text(StatusCode::NOT_FOUND, format!("POST an AdmissionReview to {PATH}\n"));
        }
        let body = match bodies.read(request.into_body()).await {
            Ok(body) => body,
            Err(unread) => return text(unread.status(), format!("{unread}\n")),
        };
        place.asked();
        let Some(trust_anchors) = self.files.trust_anchors.load_full() else {
            return text(StatusCode::SERVICE_UNAVAILABLE, "no trust anchors yet\n".to_owned());
        };
        let settings = Settings { trust_anchors: trust_anchors.as_ref().clone(), ..self.settings.clone() };
        let decided =
            serde_json::from_slice::<Value>(&body.bytes).map_err(|error| error.to_string()).and_then(|question| {
                let decision =
                    review(&question, &settings, &ProbeSecret::random()).map_err(|error| error.to_string())?;
                Ok((question, decision))
            });
        match decided {
            Ok((question, decision)) => {
                self.tell(&question, &decision);
                let mut response = Response::new(Full::new(Bytes::from(decision.response.to_string())));
                response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
                response
            }
            Err(reason) => text(StatusCode::BAD_REQUEST, format!("{reason}\n")),
        }
    }

    fn tell(&self, question: &Value, decision: &Decision) {
        self.decisions.get_or_create(&Decided { reason: decision.reason }).inc();
        let request = &question["request"];
        self.events.tell(request, decision);
        let metadata = &request["object"]["metadata"];
        // A pod of a Deployment has no name yet.
        let name = metadata["name"].as_str().or_else(|| metadata["generateName"].as_str()).unwrap_or_default();
        let namespace = request["namespace"].as_str().unwrap_or_default();
        info!(namespace, name, reason = decision.reason, "pod");
    }
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// Where the webhook configuration points to.
const PATH: &str = "/inject";
/// Each replica of the API server has a few.
const MAX_CONNECTIONS: usize = 256;
/// Of one connection: the API server waits for a free one.
const MAX_STREAMS: u32 = 32;
/// Peers that vanished are found within two of them.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(5);
const REQUEST_LIMIT: Duration = Duration::from_secs(10);
