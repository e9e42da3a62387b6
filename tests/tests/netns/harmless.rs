//! A meshed application hears and says what it would without a mesh. Each test compares with the same two programs that no sidecar stands between.

mod endings;
mod heads;
mod interim;
mod upgrade;
mod who;

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use outrigger_sandbox::Namespace;
use outrigger_tests::{App, Mesh, Pod, enter, yaml};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const WEB: &str = "10.96.0.10";

/// What an app has heard, in its words.
type Heard = Arc<Mutex<Vec<String>>>;

/// One app beside a sidecar and the same without; clients of all kinds.
struct Place {
    _apps: [App; 2],
    heard: Heard,
    web: Pod,
    origin: Namespace,
    clients: [Pod; 2],
    outside: Namespace,
    _mesh: Mesh,
}

/// From where to where.
struct Way<'a> {
    name: &'static str,
    from: &'a Namespace,
    address: String,
}

impl Place {
    /// `serve` gets each connection and the list of what the app has heard.
    fn new<F, S>(yaml: &str, serve: S) -> Option<Self>
    where
        S: Fn(tokio::net::TcpStream, Heard) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let sandbox = enter()?;
        let mut mesh = Mesh::start(sandbox, &format!("{}---\n{yaml}", yaml::service("web", WEB, 80, 8080)));
        let web = mesh.pod("web-1", "web");
        let origin = mesh.bare("origin");
        let heard = Heard::default();
        let serve = |namespace: &Namespace| {
            let (serve, heard) = (serve.clone(), heard.clone());
            App::tcp(namespace, 8080, move |stream| Box::pin(serve(stream, heard.clone())))
        };
        let apps = [serve(&web), serve(&origin)];
        let clients = [("client-1", "http1"), ("client-2", "http2")];
        let clients = clients.map(|(name, wire)| mesh.pod_with(name, "client", "", &["--wire", wire]));
        let outside = mesh.bare("outside");
        Some(Self { _apps: apps, heard, web, origin, clients, outside, _mesh: mesh })
    }

    /// The way without a mesh.
    fn plain(&self) -> Way<'_> {
        Way { name: "no mesh", from: &self.outside, address: format!("{}:8080", self.origin.v4()) }
    }

    /// The ways that a sidecar stands on.
    fn meshed(&self) -> [Way<'_>; 4] {
        let [http1, http2] = &self.clients;
        let (service, pod) = (format!("{WEB}:80"), format!("{}:8080", self.web.ip()));
        [
            Way { name: "meshed, over HTTP/1", from: http1, address: service.clone() },
            Way { name: "meshed, over HTTP/2", from: http2, address: service },
            Way { name: "client alone meshed", from: http1, address: self.plain().address },
            Way { name: "server alone meshed", from: &self.outside, address: pod },
        ]
    }

    /// Those on which a sidecar reads the messages: what is not of the mesh passes as bytes.
    fn over_http(&self) -> [Way<'_>; 3] {
        let [http1, http2, _, server] = self.meshed();
        [http1, http2, server]
    }

    /// Takes what the app has heard since the last time.
    fn take_heard(&self) -> Vec<String> {
        std::mem::take(&mut self.heard.lock().unwrap())
    }
}

impl Way<'_> {
    fn dial(&self) -> TcpStream {
        let stream = self.from.run(|| TcpStream::connect(&self.address)).unwrap().unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    /// Sends bytes, and returns all that comes back until the server closes.
    fn say(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = self.dial();
        stream.write_all(bytes).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        answer
    }
}

/// Reads on until what has been read holds `text`.
fn read_until(stream: &mut TcpStream, text: &str) -> String {
    let mut read = Vec::new();
    while !read.windows(text.len()).any(|part| part == text.as_bytes()) {
        let mut byte = [0];
        let n = stream.read(&mut byte).unwrap();
        assert!(n > 0, "ended without {text:?}: {}", read.escape_ascii());
        read.push(byte[0]);
    }
    String::from_utf8(read).unwrap()
}

/// Reads a request's head as it is; `None` at the end.
async fn head(stream: &mut tokio::net::TcpStream) -> Option<Vec<u8>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    Some(head)
}

/// The target of a request's head.
fn target(head: &[u8]) -> String {
    head.split(|byte| *byte == b' ').nth(1).map(|target| target.escape_ascii().to_string()).unwrap_or_default()
}

/// Answers with this body and closes.
async fn answer(stream: &mut tokio::net::TcpStream, body: &[u8]) {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    // Whoever has left gets no answer.
    let _ = stream.write_all(&[head.as_bytes(), body].concat()).await;
    let _ = stream.shutdown().await;
    let _ = tokio::io::copy(stream, &mut tokio::io::sink()).await;
}

/// The end of this side, and then all that still comes.
fn ends(stream: &mut TcpStream) -> String {
    stream.shutdown(Shutdown::Write).unwrap();
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => rest.escape_ascii().to_string(),
        Err(error) => format!("{} {:?}", rest.escape_ascii(), error.kind()),
    }
}
