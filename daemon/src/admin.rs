//! The admin endpoints, on loopback: `/live`, `/ready`, `/metrics`, and pages and actions of the binary's own.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HOST, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{Drain, Format, Metrics, Places, one_request::serve_one, text};

/// Connections at once of a listener; one more takes the place of another.
const CONNECTIONS: usize = 128;

/// The same of the listener for metrics alone.
const METRICS_CONNECTIONS: usize = 16;

/// Pages of a listener in memory at once: they can be large, and a client can be slow to read.
const PAGES: usize = 4;

/// The same of the listener for metrics alone, which anyone may reach.
const METRICS_PAGES: usize = 2;

/// How long a page may wait for others, and how long answering and sending may take in all.
const PAGE_WAIT: Duration = Duration::from_secs(5);
const LIMIT: Duration = Duration::from_secs(20);

/// What a request for an action must carry, with the action's name: no web page, and no server that was talked into a request, can send it.
const ACTION: HeaderName = HeaderName::from_static("outrigger-action");

/// How long a health check waits for the answer to become yes; probes must have more patience.
const HOLD: Duration = Duration::from_secs(3);
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// A page of the admin server.
pub struct Page {
    path: &'static str,
    content_type: &'static str,
    render: Box<dyn Fn() -> String + Send + Sync>,
}

/// The admin server of one process.
pub struct Admin {
    metrics: Metrics,
    ready: Box<dyn Fn() -> bool + Send + Sync>,
    pages: Vec<Page>,
    actions: Vec<Action>,
}

/// Where an admin server listens. Each listener has its own bound on connections: clients of one cannot take the places of another's.
#[derive(Debug)]
pub struct Listeners {
    /// Serves everything.
    pub all: TcpListener,
    /// Serves `/ready` and `/live` and nothing else: a client there reads nothing else and changes nothing. It is for the kubelet, which
    /// knows of the pod's end: `/ready` does not change with it.
    pub health: Option<TcpListener>,
    /// Serves `/metrics` and nothing else.
    pub metrics: Option<TcpListener>,
}

/// What a POST does.
struct Action {
    path: &'static str,
    run: Box<dyn Fn() + Send + Sync>,
}

impl Admin {
    /// Makes a server that is ready at once and has no pages of its own.
    #[must_use]
    pub fn new(metrics: Metrics) -> Self {
        Self { metrics, ready: Box::new(|| true), pages: Vec::new(), actions: Vec::new() }
    }

    /// Sets what `/ready` asks.
    #[must_use]
    pub fn ready(mut self, ready: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        self.ready = Box::new(ready);
        self
    }

    /// Adds a page.
    #[must_use]
    pub fn page(
        mut self,
        path: &'static str,
        content_type: &'static str,
        render: impl Fn() -> String + Send + Sync + 'static,
    ) -> Self {
        self.pages.push(Page { path, content_type, render: Box::new(render) });
        self
    }

    /// Adds something that a POST does, which carries the header `outrigger-action` with the path after its slash, and is addressed to loopback.
    #[must_use]
    pub fn action(mut self, path: &'static str, run: impl Fn() + Send + Sync + 'static) -> Self {
        self.actions.push(Action { path, run: Box::new(run) });
        self
    }

    /// Serves until the drain has finished; spawn it on the runtime that does not carry traffic.
    pub async fn serve(self, listener: TcpListener, drain: Drain) {
        Arc::new(self).accept(listener, drain, Shown::All).await;
    }

    /// Serves each listener what is meant for it.
    pub async fn serve_on(self, listeners: Listeners, drain: Drain) {
        let admin = Arc::new(self);
        let serve = |listener: Option<TcpListener>, shown| {
            let (admin, drain) = (admin.clone(), drain.clone());
            async move {
                if let Some(listener) = listener {
                    admin.accept(listener, drain, shown).await;
                }
            }
        };
        let Listeners { all, health, metrics } = listeners;
        tokio::join!(serve(Some(all), Shown::All), serve(health, Shown::Health), serve(metrics, Shown::Metrics));
    }

    async fn accept(self: Arc<Self>, listener: TcpListener, drain: Drain, shown: Shown) {
        let (places, pages) = match shown {
            Shown::All | Shown::Health => (CONNECTIONS, PAGES),
            Shown::Metrics => (METRICS_CONNECTIONS, METRICS_PAGES),
        };
        let (places, pages) = (Places::new(places), Arc::new(Semaphore::new(pages)));
        let mut connections = crate::Incoming::new(listener, "admin");
        loop {
            let (stream, peer) = connections.accept().await;
            let (admin, drain, place) = (self.clone(), drain.clone(), places.take(peer.ip()));
            let pages = pages.clone();
            tokio::spawn(async move {
                let answer = |request| admin.clone().page_for(request, &drain, (shown, &pages));
                serve_one(stream, place, LIMIT, answer).await;
            });
        }
    }

    async fn page_for(
        self: Arc<Self>,
        request: Request<Incoming>,
        drain: &Drain,
        (shown, pages): (Shown, &Arc<Semaphore>),
    ) -> Option<Response<Held>> {
        let path = request.uri().path();
        if shown == Shown::Health && path == "/ready" {
            self.await_ready(drain).await;
        }
        let is_health = ["/ready", "/live"].contains(&path);
        let permit = if is_health || shown == Shown::Health {
            None
        } else {
            let place = tokio::time::timeout(PAGE_WAIT, pages.clone().acquire_owned()).await;
            let Ok(Ok(permit)) = place else {
                return Some(text(StatusCode::SERVICE_UNAVAILABLE, "too many pages are being read\n").map(Held::small));
            };
            Some(permit)
        };
        // A pod that ends is left out by everybody who knows that it ends; to the kubelet a container that does its work is ready,
        // and one that is not would be reported as unhealthy.
        let draining = drain.is_started() && shown == Shown::All;
        let answer = self.answer(&request, draining, shown);
        Some(answer.map(|body| Held { body, _permit: permit }))
    }

    /// Holds the question back for a moment: whoever asks at the start learns when it is ready, not a second later.
    async fn await_ready(&self, drain: &Drain) {
        let asked = tokio::time::Instant::now();
        while !(self.ready)() && !drain.is_started() && asked.elapsed() < HOLD {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    fn answer(&self, request: &Request<Incoming>, draining: bool, shown: Shown) -> Response<Full<Bytes>> {
        let path = request.uri().path();
        match shown {
            Shown::All => {}
            Shown::Health if ["/ready", "/live"].contains(&path) => {}
            Shown::Health => return text(StatusCode::NOT_FOUND, "no such page; there are /live /ready\n"),
            Shown::Metrics if path == "/metrics" => {}
            Shown::Metrics => return text(StatusCode::NOT_FOUND, "no such page; there is /metrics\n"),
        }
        let is_action = self.actions.iter().any(|action| action.path == path);
        if is_action && !is_for_loopback(request) {
            // A web page whose name was made to mean this address (DNS rebinding).
            return text(StatusCode::MISDIRECTED_REQUEST, "only for loopback: the Host header is another name\n");
        }
        if let Some(action) = self.actions.iter().find(|action| action.path == path)
            && request.method() == Method::POST
        {
            let name = path.trim_start_matches('/');
            if request.headers().get(ACTION).is_none_or(|value| value != name) {
                return text(StatusCode::FORBIDDEN, format!("a request for this carries `{ACTION}: {name}`\n"));
            }
            (action.run)();
            return text(StatusCode::OK, "done\n");
        }
        if is_action || (request.method() != Method::GET && request.method() != Method::HEAD) {
            let allowed = if is_action { "POST" } else { "GET, HEAD" };
            let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, format!("only {allowed}\n"));
            refused.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
            return refused;
        }
        match path {
            "/live" => text(StatusCode::OK, "live\n"),
            "/ready" if draining => text(StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
            "/ready" if (self.ready)() => text(StatusCode::OK, "ready\n"),
            "/ready" => text(StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
            "/metrics" => {
                let format = Format::of(request.headers());
                typed(StatusCode::OK, format.content_type(), self.metrics.encode_as(format))
            }
            path => match self.pages.iter().find(|page| page.path == path) {
                Some(page) => typed(StatusCode::OK, page.content_type, (page.render)()),
                None => {
                    let mut known = "no such page; there are /live /ready /metrics".to_owned();
                    for page in &self.pages {
                        known.push(' ');
                        known.push_str(page.path);
                    }
                    known.push('\n');
                    text(StatusCode::NOT_FOUND, known)
                }
            },
        }
    }
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").field("pages", &self.pages).finish_non_exhaustive()
    }
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.path)
    }
}

/// What one of the listeners shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    All,
    Health,
    Metrics,
}

/// Says whether a request is meant for this machine: `Host` is an address or `localhost`, and no name that could mean anything.
fn is_for_loopback(request: &Request<Incoming>) -> bool {
    let host = request.uri().authority().map(|authority| authority.as_str().as_bytes());
    let Some(host) = host.or_else(|| request.headers().get(HOST).map(HeaderValue::as_bytes)) else { return true };
    let Ok(host) = std::str::from_utf8(host) else { return false };
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// A page, which holds one of the places for pages until it is sent.
struct Held {
    body: Full<Bytes>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Held {
    fn small(body: Full<Bytes>) -> Self {
        Self { body, _permit: None }
    }
}

impl hyper::body::Body for Held {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, Infallible>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.body.size_hint()
    }
}

fn typed(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
