//! Servers of the tests' own, each on a thread in a namespace.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, Version};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use outrigger_sandbox::Namespace;
use tokio::net::TcpListener;

/// A request as an app saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// `HTTP/1.1` or `HTTP/2.0`.
    pub version: String,
    /// Values of a repeated header are joined by `, `.
    pub headers: BTreeMap<String, String>,
    /// All of the body.
    pub body: Vec<u8>,
}

/// What an app answers.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// Headers.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// How long the app works before it answers.
    pub after: Duration,
}

impl Reply {
    /// An answer of status 200.
    #[must_use]
    pub fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self { status: 200, headers: Vec::new(), body: body.into(), after: Duration::ZERO }
    }

    /// An answer of another status.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self { status, ..Self::ok("") }
    }

    /// An answer that takes its time.
    #[must_use]
    pub fn after(mut self, after: Duration) -> Self {
        self.after = after;
        self
    }
}

/// A running server. Dropping it ends its thread and closes its connections.
#[derive(Debug)]
pub struct App {
    seen: Arc<Mutex<Vec<Seen>>>,
    address: SocketAddr,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<std::io::Result<()>>>,
}

impl App {
    /// Serves HTTP/1.1 and HTTP/2 (prior knowledge) on `port` of all addresses; `answer` makes each reply.
    ///
    /// # Panics
    /// When the port is taken.
    pub fn http(namespace: &Namespace, port: u16, answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (recorded, answer) = (seen.clone(), Arc::new(answer));
        Self::run(namespace, port, seen, move |stream| {
            let (recorded, answer) = (recorded.clone(), answer.clone());
            Box::pin(async move {
                let service = service_fn(|request| handle(request, recorded.clone(), answer.clone()));
                let mut server = auto::Builder::new(TokioExecutor::new());
                // Like most servers, and unlike hyper as it comes: a client that has ended its side still gets its answer.
                server.http1().half_close(true);
                // A connection that breaks is the test's own doing.
                let _ = server.serve_connection(TokioIo::new(stream), service).await;
            })
        })
    }

    /// Answers every request with JSON: `app`, `method`, `path`, `version`, `headers`, `body`.
    pub fn echo(namespace: &Namespace, port: u16, name: &str) -> Self {
        let name = name.to_owned();
        Self::http(namespace, port, move |seen| {
            let body = String::from_utf8_lossy(&seen.body);
            let told = serde_json::json!({
                "app": name, "method": seen.method, "path": seen.path, "version": seen.version,
                "headers": seen.headers, "body": body,
            });
            Reply { headers: vec![("x-app".to_owned(), name.clone())], ..Reply::ok(told.to_string()) }
        })
    }

    /// Gives each accepted connection to `serve`.
    ///
    /// # Panics
    /// When the port is taken.
    pub fn tcp<F>(namespace: &Namespace, port: u16, serve: F) -> Self
    where
        F: Fn(tokio::net::TcpStream) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync + 'static,
    {
        Self::run(namespace, port, Arc::default(), serve)
    }

    /// The requests seen so far, in order.
    ///
    /// # Panics
    /// When a handler panicked.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("no handler panicked").clone()
    }

    /// How many requests were seen so far.
    ///
    /// # Panics
    /// When a handler panicked.
    #[must_use]
    pub fn count(&self) -> usize {
        self.seen.lock().expect("no handler panicked").len()
    }

    /// Forgets the requests seen so far.
    ///
    /// # Panics
    /// When a handler panicked.
    pub fn forget(&self) {
        self.seen.lock().expect("no handler panicked").clear();
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    fn run<F>(namespace: &Namespace, port: u16, seen: Arc<Mutex<Vec<Seen>>>, serve: F) -> Self
    where
        F: Fn(tokio::net::TcpStream) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync + 'static,
    {
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let (bound, address) = mpsc::channel();
        let serving = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
            runtime.block_on(async move {
                let listener = match TcpListener::bind(("::", port)).await {
                    Ok(listener) => listener,
                    Err(_) => TcpListener::bind(("0.0.0.0", port)).await.expect("the port is free"),
                };
                bound.send(listener.local_addr().expect("a listener has an address")).expect("the test waits");
                let accept = async {
                    loop {
                        if let Ok((stream, _)) = listener.accept().await {
                            // A reply is often two writes.
                            let _ = stream.set_nodelay(true);
                            tokio::spawn(serve(stream));
                        }
                    }
                };
                tokio::select! {
                    never = accept => never,
                    _ = stopped => {}
                }
            });
        };
        let thread = Some(namespace.spawn(serving).expect("a thread starts"));
        let address = address.recv().expect("the server binds its port");
        Self { seen, address, stop: Some(stop), thread }
    }
}

impl Drop for App {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // Fails only when its thread has ended already.
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            // Waits until the port is free again; a panic of the thread has failed the test already.
            let _ = thread.join();
        }
    }
}

async fn handle(
    request: Request<Incoming>,
    recorded: Arc<Mutex<Vec<Seen>>>,
    answer: Arc<impl Fn(&Seen) -> Reply>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(|all| all.to_bytes().to_vec()).unwrap_or_default();
    let mut headers = BTreeMap::<String, String>::new();
    for (name, value) in &parts.headers {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        headers.entry(name.to_string()).and_modify(|all| *all = format!("{all}, {value}")).or_insert(value);
    }
    let http2 = parts.version == Version::HTTP_2;
    if let Some(authority) = parts.uri.authority().filter(|_| http2) {
        headers.entry("host".to_owned()).or_insert_with(|| authority.to_string());
    }
    // As it was said: only a proxy is asked for more than a path (RFC 9112 section 3.2.2).
    let path = parts.uri.path_and_query().filter(|_| http2 || parts.uri.authority().is_none());
    let path = path.map_or_else(|| parts.uri.to_string(), ToString::to_string);
    let seen = Seen { method: parts.method.to_string(), path, version: format!("{:?}", parts.version), headers, body };
    // As servers must (RFC 9112 section 3.2).
    let named = parts.version != Version::HTTP_11 || seen.headers.contains_key("host");
    let reply = if named { answer(&seen) } else { Reply::status(400) };
    recorded.lock().expect("no handler panicked").push(seen);
    tokio::time::sleep(reply.after).await;
    let mut response = Response::new(Full::new(Bytes::from(reply.body)));
    *response.status_mut() = StatusCode::from_u16(reply.status).expect("a test's status is one");
    for (name, value) in reply.headers {
        let name: http::HeaderName = name.parse().expect("a test's header is one");
        response.headers_mut().append(name, value.parse().expect("a test's header value is one"));
    }
    Ok(response)
}
