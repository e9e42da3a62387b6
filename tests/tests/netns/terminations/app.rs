//! An application that ends in good order, as Kubernetes asks of it: at SIGTERM it closes its listeners, answers what it has, and ends its streams
//! with a last word.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::UPGRADE;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use outrigger_sandbox::Namespace;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

/// The last word of what the application ends.
pub(super) const BYE: &str = "bye";

/// What a download has.
pub(super) const DOWNLOAD: usize = 512 * 1024;

/// How often each POST was processed, by all applications.
pub(super) type Processed = Arc<Mutex<BTreeMap<String, usize>>>;

/// A running application: HTTP on port 8080, lines on port 8081.
pub(super) struct App {
    stop: watch::Sender<bool>,
    thread: std::thread::JoinHandle<std::io::Result<()>>,
}

impl App {
    pub(super) fn start(namespace: &Namespace, processed: &Processed) -> Self {
        let (stop, stopped) = watch::channel(false);
        let (bound, is_bound) = std::sync::mpsc::channel();
        let processed = processed.clone();
        let serve = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let http = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 8080)).await.unwrap();
                let lines = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 8081)).await.unwrap();
                bound.send(()).unwrap();
                // Each that serves holds one: the last one's end is the application's.
                let (working, mut done) = mpsc::channel::<()>(1);
                let mut stopping = stopped.clone();
                let accept = async {
                    loop {
                        let (stopped, processed, working) = (stopped.clone(), processed.clone(), working.clone());
                        tokio::select! {
                            Ok((stream, _)) = http.accept() => {
                                stream.set_nodelay(true).unwrap();
                                tokio::spawn(serve_http(stream, stopped, processed, working));
                            }
                            Ok((stream, _)) = lines.accept() => {
                                stream.set_nodelay(true).unwrap();
                                tokio::spawn(echo_lines(stream, stopped, working));
                            }
                        }
                    }
                };
                tokio::select! {
                    () = accept => {}
                    () = has_stopped(&mut stopping) => {}
                }
                drop((http, lines, working));
                let _ = done.recv().await;
            });
        };
        let thread = namespace.spawn(serve).unwrap();
        is_bound.recv().unwrap();
        Self { stop, thread }
    }

    /// Sends it SIGTERM, as it were, and waits until it has ended.
    pub(super) fn terminate(self) {
        self.stop.send(true).unwrap();
        self.thread.join().unwrap().unwrap();
    }
}

async fn has_stopped(stopped: &mut watch::Receiver<bool>) {
    // An application that is dropped has ended, too.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

async fn serve_http(
    stream: tokio::net::TcpStream,
    mut stopped: watch::Receiver<bool>,
    processed: Processed,
    working: mpsc::Sender<()>,
) {
    let during = (stopped.clone(), working.clone());
    let service = service_fn(move |request| answer(request, during.0.clone(), processed.clone(), during.1.clone()));
    let server = auto::Builder::new(TokioExecutor::new());
    let mut connection = pin!(server.serve_connection_with_upgrades(TokioIo::new(stream), service));
    tokio::select! {
        _ = connection.as_mut() => return,
        () = has_stopped(&mut stopped) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
    drop(working);
}

/// A body that is sent bit by bit.
pub(super) struct Fed(mpsc::Receiver<Frame<Bytes>>);

impl Body for Fed {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|frame| frame.map(Ok))
    }
}

/// A message of gRPC.
pub(super) fn message(text: &[u8]) -> Bytes {
    Bytes::from([&[0][..], &(text.len() as u32).to_be_bytes(), text].concat())
}

fn ok() -> Frame<Bytes> {
    Frame::trailers(HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from_static("0"))]))
}

async fn answer(
    request: Request<Incoming>,
    mut stopped: watch::Receiver<bool>,
    processed: Processed,
    working: mpsc::Sender<()>,
) -> Result<Response<UnsyncBoxBody<Bytes, Infallible>>, Infallible> {
    let (head, body) = request.into_parts();
    let (feed, fed) = mpsc::channel(4);
    let mut response = Response::new(Fed(fed).boxed_unsync());
    match head.uri.path() {
        "/lines" => {
            let upgrade = hyper::upgrade::on(Request::from_parts(head, body));
            tokio::spawn(async move {
                if let Ok(upgraded) = upgrade.await {
                    echo_lines(TokioIo::new(upgraded), stopped, working).await;
                }
            });
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            response.headers_mut().insert(UPGRADE, HeaderValue::from_static("lines"));
            response.headers_mut().insert("connection", HeaderValue::from_static("upgrade"));
            *response.body_mut() = Full::default().boxed_unsync();
        }
        "/download" => {
            tokio::spawn(async move {
                for _ in 0..DOWNLOAD / (16 * 1024) {
                    if feed.send(Frame::data(Bytes::from_static(&[7; 16 * 1024]))).await.is_err() {
                        return;
                    }
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            });
        }
        "/grpc.Test/Stream" => {
            response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
            tokio::spawn(async move {
                let mut count = 0;
                while !*stopped.borrow() {
                    if feed.send(Frame::data(message(format!("{count}").as_bytes()))).await.is_err() {
                        return;
                    }
                    count += 1;
                    let _ = tokio::time::timeout(Duration::from_millis(50), stopped.changed()).await;
                }
                let _ = feed.send(Frame::data(message(BYE.as_bytes()))).await;
                let _ = feed.send(ok()).await;
            });
        }
        path => {
            let Ok(body) = body.collect().await else { return Ok(response) };
            let body = body.to_bytes();
            if head.method == http::Method::POST {
                let id = String::from_utf8_lossy(&body).into_owned();
                *processed.lock().unwrap().entry(id).or_default() += 1;
            }
            if path == "/grpc.Test/Unary" {
                response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
                feed.try_send(Frame::data(body)).unwrap();
                feed.try_send(ok()).unwrap();
            } else {
                *response.body_mut() = Full::new(body).boxed_unsync();
            }
        }
    }
    Ok(response)
}

/// Says every line back, until the application ends.
async fn echo_lines<I: AsyncRead + AsyncWrite + Unpin>(
    io: I,
    mut stopped: watch::Receiver<bool>,
    working: mpsc::Sender<()>,
) {
    let mut io = BufReader::new(io);
    let mut line = String::new();
    loop {
        line.clear();
        let read = tokio::select! {
            read = io.read_line(&mut line) => read.unwrap_or_default(),
            () = has_stopped(&mut stopped) => break,
        };
        if read == 0 || io.write_all(line.as_bytes()).await.is_err() {
            return;
        }
    }
    let _ = io.write_all(format!("{BYE}\n").as_bytes()).await;
    let _ = io.shutdown().await;
    // What is under way is read: to close with it unread would be a reset.
    let _ = io.read_to_end(&mut Vec::new()).await;
    drop(working);
}
