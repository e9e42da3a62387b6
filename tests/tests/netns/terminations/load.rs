//! What clients do meanwhile: requests at a fixed rate, whatever becomes of them, and streams that stay open. Whatever ends before the application
//! ends it is a failure.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use outrigger_sandbox::Namespace;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::sync::RwLock;

use super::app::{BYE, DOWNLOAD, message};

/// What has become of all clients' requests.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) done: Mutex<BTreeMap<&'static str, usize>>,
    pub(super) failures: Mutex<Vec<String>>,
    /// POSTs that were answered.
    pub(super) posted: Mutex<Vec<String>>,
    numbers: AtomicUsize,
    over: AtomicBool,
    /// Held while an application refuses connections and the control plane does not know: who opens one for bytes then could not be helped.
    pub(super) refusing: RwLock<()>,
    /// Held by each POST of HTTP/1 until it is answered: one that an application closes its connection on unread, because it ends at that very
    /// moment, is lost without a mesh as well.
    posting: RwLock<()>,
}

impl Tally {
    pub(super) fn stop(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    /// Waits until what clients had sent before they knew of a pod's end is answered, as a `preStop` hook that sleeps has an application do.
    pub(super) fn answered(&self) {
        drop(self.posting.blocking_write());
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    fn ended(&self, what: &'static str, result: Result<(), String>) {
        match result {
            Ok(()) => *self.done.lock().unwrap().entry(what).or_default() += 1,
            Err(_) if self.is_over() => {}
            Err(error) => self.failures.lock().unwrap().push(format!("{what}: {error}")),
        }
    }

    fn number(&self) -> String {
        format!("number {}", self.numbers.fetch_add(1, Ordering::Relaxed))
    }
}

/// A client in a pod: its requests a second, until the tally stops it.
pub(super) fn start(
    namespace: &Namespace,
    (web, lines): (SocketAddr, SocketAddr),
    rate: u32,
    tally: &Arc<Tally>,
) -> std::thread::JoinHandle<std::io::Result<()>> {
    let tally = tally.clone();
    let run = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let mut all = Vec::new();
            let each = Duration::from_secs(1) * REQUESTING / rate;
            for n in 0..REQUESTING {
                all.push(tokio::spawn(requests(n, web, each, tally.clone())));
            }
            for _ in 0..3 {
                all.push(tokio::spawn(streams(web, tally.clone())));
                all.push(tokio::spawn(downloads(web, tally.clone())));
                all.push(tokio::spawn(conversations("upgraded", web, tally.clone())));
                all.push(tokio::spawn(conversations("bytes", lines, tally.clone())));
            }
            for one in all {
                one.await.unwrap();
            }
        });
    };
    namespace.spawn(run).unwrap()
}

/// Tasks that request: each on a connection of its own.
const REQUESTING: u32 = 12;

/// A connection that requests go over.
enum Connection {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Connection {
    async fn open(http2: bool, web: SocketAddr) -> Result<Self, String> {
        let stream = TcpStream::connect(web).await.map_err(|error| error.to_string())?;
        stream.set_nodelay(true).unwrap();
        let (io, told) = (TokioIo::new(stream), |error: hyper::Error| format!("{error:?}"));
        if http2 {
            let (sender, driver) = http2::handshake(TokioExecutor::new(), io).await.map_err(told)?;
            tokio::spawn(driver);
            Ok(Self::Http2(sender))
        } else {
            let (sender, driver) = http1::handshake(io).await.map_err(told)?;
            tokio::spawn(driver);
            Ok(Self::Http1(sender))
        }
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, String> {
        // Nothing ends the connections that a workload has to its own sidecar.
        let ended = |error: hyper::Error| format!("the client's own connection has ended: {error:?}");
        let failed = |error: hyper::Error| format!("{error:?}");
        match self {
            Self::Http1(sender) => {
                sender.ready().await.map_err(ended)?;
                sender.send_request(request).await.map_err(failed)
            }
            Self::Http2(sender) => {
                sender.ready().await.map_err(ended)?;
                sender.send_request(request).await.map_err(failed)
            }
        }
    }
}

fn request(method: Method, path: &str, web: SocketAddr, body: Bytes) -> Request<Full<Bytes>> {
    let request = Request::builder().method(method).uri(format!("http://{web}{path}")).header("host", web.to_string());
    let content = if path.starts_with("/grpc") { "application/grpc" } else { "text/plain" };
    request.header("content-type", content).body(Full::new(body)).unwrap()
}

async fn requests(n: u32, web: SocketAddr, each: Duration, tally: Arc<Tally>) {
    let (what, http2, method, path) = match n % 4 {
        0 => ("HTTP/1 GET", false, Method::GET, "/"),
        1 => ("HTTP/1 POST", false, Method::POST, "/"),
        2 => ("HTTP/2 POST", true, Method::POST, "/"),
        _ => ("gRPC unary", true, Method::POST, "/grpc.Test/Unary"),
    };
    let mut ticks = tokio::time::interval(each);
    let mut connection = None;
    while !tally.is_over() {
        ticks.tick().await;
        let result = async {
            if connection.is_none() {
                connection = Some(Connection::open(http2, web).await?);
            }
            let Some(open) = &mut connection else { return Ok(()) };
            let _unanswered = if what == "HTTP/1 POST" { Some(tally.posting.read().await) } else { None };
            let number = tally.number();
            let body = match path {
                _ if method == Method::GET => Bytes::new(),
                "/" => Bytes::from(number.clone()),
                _ => message(number.as_bytes()),
            };
            let response = open.send(request(method.clone(), path, web, body.clone())).await?;
            let (status, closes) = (response.status(), response.headers().contains_key("connection"));
            let whole = response.into_body().collect().await.map_err(|error| format!("{error:?}"))?;
            let grpc = whole.trailers().and_then(|trailers| trailers.get("grpc-status")).cloned();
            let told = whole.to_bytes();
            if status != 200 || told != body || closes || (path != "/" && grpc.is_none_or(|grpc| grpc != "0")) {
                return Err(format!("{status}, closes: {closes}, {}", String::from_utf8_lossy(&told)));
            }
            if method == Method::POST {
                tally.posted.lock().unwrap().push(String::from_utf8_lossy(&body).into_owned());
            }
            Ok(())
        };
        let result = result.await;
        if result.is_err() {
            connection = None;
        }
        tally.ended(what, result);
    }
}

/// Streams of gRPC, each until the server ends it.
async fn streams(web: SocketAddr, tally: Arc<Tally>) {
    let mut connection = None;
    while !tally.is_over() {
        let result = async {
            if connection.is_none() {
                connection = Some(Connection::open(true, web).await?);
            }
            let Some(open) = &mut connection else { return Ok(()) };
            let asked = request(Method::POST, "/grpc.Test/Stream", web, message(b"go"));
            let mut body = open.send(asked).await?.into_body();
            let (mut last, mut grpc) = (Bytes::new(), None);
            while !tally.is_over() {
                match body.frame().await {
                    None => break,
                    Some(Err(error)) => return Err(format!("{error:?} after {last:?}")),
                    Some(Ok(frame)) => match frame.into_data() {
                        Ok(data) => last = data,
                        Err(frame) => grpc = frame.trailers_ref().and_then(|all| all.get("grpc-status")).cloned(),
                    },
                }
            }
            let whole = last.ends_with(BYE.as_bytes()) && grpc.as_ref().is_some_and(|grpc| grpc == "0");
            if whole || tally.is_over() { Ok(()) } else { Err(format!("ended after {last:?} with {grpc:?}")) }
        };
        let result = result.await;
        if result.is_err() {
            connection = None;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tally.ended("gRPC stream", result);
    }
}

async fn downloads(web: SocketAddr, tally: Arc<Tally>) {
    while !tally.is_over() {
        let result = async {
            let mut connection = Connection::open(false, web).await?;
            let response = connection.send(request(Method::GET, "/download", web, Bytes::new())).await?;
            let (status, whole) = (response.status(), response.into_body().collect().await);
            let bytes = whole.map_err(|error| format!("{error:?}"))?.to_bytes();
            let right = status == 200 && bytes.len() == DOWNLOAD && bytes.iter().all(|byte| *byte == 7);
            if right { Ok(()) } else { Err(format!("{status}, {} bytes", bytes.len())) }
        };
        tally.ended("download", result.await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Lines that are said back, over a connection that has left HTTP or never spoke it, until the server says the last one.
async fn conversations(what: &'static str, to: SocketAddr, tally: Arc<Tally>) {
    while !tally.is_over() {
        let told = |error: std::io::Error| error.to_string();
        let result = async {
            let refusing = if what == "bytes" { Some(tally.refusing.read().await) } else { None };
            let stream = TcpStream::connect(to).await.map_err(told)?;
            stream.set_nodelay(true).unwrap();
            let mut io = BufReader::new(stream);
            let mut line = String::new();
            if what == "upgraded" {
                let asked = "GET /lines HTTP/1.1\r\nhost: web\r\nconnection: upgrade\r\nupgrade: lines\r\n\r\n";
                io.write_all(asked.as_bytes()).await.map_err(told)?;
                while line != "\r\n" {
                    let first = line.is_empty();
                    line.clear();
                    if io.read_line(&mut line).await.map_err(told)? == 0 || (first && !line.contains("101")) {
                        return Err(format!("not agreed: {line:?}"));
                    }
                }
            }
            let mut held = refusing;
            for n in 0.. {
                // No protocol of anybody's begins like this.
                let said = format!("\u{1} line {n}\n");
                io.write_all(said.as_bytes()).await.map_err(|error| format!("line {n}: {error}"))?;
                line.clear();
                let read = io.read_line(&mut line).await.map_err(|error| format!("line {n}: {error}"))?;
                drop(held.take());
                if line.trim_end() == BYE || tally.is_over() {
                    return Ok(());
                }
                if line != said {
                    return Err(format!("line {n} was answered with {line:?} ({read} bytes)"));
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Ok(())
        };
        tally.ended(what, result.await);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
