//! The admin endpoints, on loopback: `/live`, `/ready`, `/metrics`, and pages of the binary's own. Read-only.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tracing::{debug, warn};

use crate::{Drain, Metrics};

/// Connections served at once; more wait in the kernel's queue.
const CONNECTIONS: usize = 32;

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

    /// Adds something that a POST does.
    #[must_use]
    pub fn action(mut self, path: &'static str, run: impl Fn() + Send + Sync + 'static) -> Self {
        self.actions.push(Action { path, run: Box::new(run) });
        self
    }

    /// Serves until the drain has finished; spawn it on the runtime that does not carry traffic.
    pub async fn serve(self, listener: TcpListener, drain: Drain) {
        Arc::new(self).accept(listener, drain, Shown::All).await;
    }

    /// Serves everything on `listener`, and on `health` nothing but `/ready` and `/live`: whoever reaches that one learns
    /// nothing else and changes nothing.
    pub async fn serve_with_health(self, listener: TcpListener, health: TcpListener, drain: Drain) {
        let admin = Arc::new(self);
        let shown = admin.clone().accept(health, drain.clone(), Shown::Health);
        tokio::join!(admin.accept(listener, drain, Shown::All), shown);
    }

    async fn accept(self: Arc<Self>, listener: TcpListener, drain: Drain, shown: Shown) {
        let permits = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let Ok(permit) = permits.clone().acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, _)) => {
                    let (admin, drain) = (self.clone(), drain.clone());
                    tokio::spawn(async move {
                        admin.connection(stream, &drain, shown).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    // Out of descriptors, most likely: others must be closed first.
                    warn!(%error, "admin accept failed");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn connection(self: &Arc<Self>, stream: TcpStream, drain: &Drain, shown: Shown) {
        let service = service_fn(|request| {
            let admin = self.clone();
            async move {
                if shown == Shown::Health && request.uri().path() == "/ready" {
                    admin.await_ready(drain).await;
                }
                Ok::<_, Infallible>(admin.answer(&request, drain.is_started(), shown))
            }
        });
        let served = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(Duration::from_secs(5))
            .max_buf_size(16 * 1024)
            .serve_connection(TokioIo::new(stream), service)
            .await;
        if let Err(error) = served {
            debug!(%error, "admin connection failed");
        }
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
        if shown == Shown::Health && !["/ready", "/live"].contains(&path) {
            return text(StatusCode::NOT_FOUND, "no such page; there are /live /ready\n".to_owned());
        }
        if let Some(action) = self.actions.iter().find(|action| action.path == path)
            && request.method() == Method::POST
        {
            (action.run)();
            return text(StatusCode::OK, "done\n".to_owned());
        }
        if request.method() != Method::GET && request.method() != Method::HEAD {
            let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n".to_owned());
            refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return refused;
        }
        match path {
            "/live" => text(StatusCode::OK, "live\n".to_owned()),
            "/ready" if draining => text(StatusCode::SERVICE_UNAVAILABLE, "draining\n".to_owned()),
            "/ready" if (self.ready)() => text(StatusCode::OK, "ready\n".to_owned()),
            "/ready" => text(StatusCode::SERVICE_UNAVAILABLE, "not ready\n".to_owned()),
            "/metrics" => typed(
                StatusCode::OK,
                "application/openmetrics-text; version=1.0.0; charset=utf-8",
                self.metrics.encode(),
            ),
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
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    typed(status, "text/plain; charset=utf-8", body)
}

fn typed(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
