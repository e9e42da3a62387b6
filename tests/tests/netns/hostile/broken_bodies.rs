//! Clients that break off in the middle of a body: whatever is tried again or copied, no application gets the part that came as a whole
//! request.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use outrigger_tests::{App, Mesh, Pod, enter, wait, yaml};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::WEB;

/// The paths of the route: how long it waits before an attempt is repeated.
const WAITS: [(&str, &str); 2] = [("/soon", "100ms"), ("/late", "600s")];

#[test]
fn a_retry_never_sends_a_part_of_a_body_over_http1() {
    a_retry_never_sends_a_part_of_a_body("http1");
}

#[test]
fn a_retry_never_sends_a_part_of_a_body_over_http2() {
    a_retry_never_sends_a_part_of_a_body("http2");
}

fn a_retry_never_sends_a_part_of_a_body(wire: &str) {
    let Some(sandbox) = enter() else { return };
    let mirror = "{type: RequestMirror, requestMirror: {backendRef: {name: copy, port: 80}}}";
    let rules = WAITS.map(|(path, wait)| {
        format!(
            "    - matches: [{{path: {{value: {path}}}}}]\n      filters: [{mirror}]\n      retry: {{codes: [503], attempts: 3, backoff: {wait}}}\n      \
             backendRefs: [{{name: web, port: 80}}]\n"
        )
    });
    let services = yaml::service("web", WEB, 80, 8080) + &yaml::service("copy", "10.96.0.11", 80, 8080);
    let mut mesh = Mesh::start(sandbox, &(services + &yaml::http_route("web", "web", &rules.concat())));
    let (web, copy) = (mesh.pod("web-1", "web"), mesh.pod("copy-1", "copy"));
    let (_app, requests) = unavailable(&web);
    let (_copies, copied) = unavailable(&copy);
    let client = mesh.pod_with("client-1", "client", "", &["--wire", wire]);

    for (path, _) in WAITS {
        // Whether the application answers before it has the body, so that the client leaves between two attempts, or after.
        for early in [true, false] {
            for (begin, leave) in CASES {
                let before = requests.begun();
                let mut stream = client.run_in(|| TcpStream::connect(format!("{WEB}:80"))).unwrap();
                stream.write_all(&begin(&format!("{path}/{}", if early { "early" } else { "whole" }))).unwrap();
                wait::until_true("the request has come", || requests.begun() > before);
                if early {
                    wait::until_true("an attempt is given up", || requests.broken.load(Ordering::Relaxed) > before);
                }

                let left = leave(stream);

                wait::until_true("the sidecar is done with it", || client.config()["inFlight"] == 0);
                wait::until_true("no attempt goes on", || requests.over() && copied.over());
                assert_eq!((requests.whole(), copied.whole()), (0, 0), "{path} {early}");
                if path == "/late" || !early {
                    assert_eq!(requests.begun(), before + 1, "nobody waits for another attempt: {path} {early}");
                }
                drop(left);
            }
        }
    }
    // The oracle: the same request, whole, is repeated and copied.
    let before = (requests.begun(), copied.begun());
    assert_eq!(client.connect(&format!("{WEB}:80")).send("PUT", "/soon/whole", &[], b"whole").unwrap().status, 503);
    wait::until_true("its copy has come", || copied.begun() > before.1 && copied.over());
    assert_eq!((requests.begun() - before.0, requests.whole(), copied.whole()), (4, 4, 1));
}

#[test]
fn an_answer_that_breaks_off_is_not_whole_for_a_client_that_reads_to_the_end() {
    let Some(sandbox) = enter() else { return };
    let mut mesh = Mesh::start(sandbox, &yaml::service("web", WEB, 80, 8080));
    let web = mesh.pod("web-1", "web");
    let _app = App::tcp(&web, 8080, |mut stream| {
        Box::pin(async move {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let Ok(byte) = stream.read_u8().await else { return };
                head.push(byte);
            }
            let end = if head.starts_with(b"GET /whole ") { "0\r\n\r\n" } else { "" };
            let answer = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n{end}");
            let _ = stream.write_all(answer.as_bytes()).await;
        })
    });
    let client = mesh.pod("client-1", "client");
    let outside = mesh.bare("outside");
    let pod = format!("{}:8080", web.ip());

    for (from, address) in [(&*client, format!("{WEB}:80")), (&outside, pod)] {
        let ask = |path: &str| {
            let mut stream = TcpStream::connect(&address)?;
            stream.set_read_timeout(Some(wait::LIMIT))?;
            stream.write_all(format!("GET {path} HTTP/1.0\r\nhost: web\r\n\r\n").as_bytes())?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).map(|_| answer)
        };
        let whole = from.run(|| ask("/whole")).unwrap().unwrap();
        assert!(whole.starts_with("HTTP/1.0 200 OK\r\n") && whole.ends_with("half"), "{whole}");

        let broken = from.run(|| ask("/broken")).unwrap();

        assert!(broken.as_ref().is_err_and(|error| error.kind() == ErrorKind::ConnectionReset), "{broken:?}");
    }
}

/// How a request begins, with half of its body, and how its client leaves.
type Case = (fn(&str) -> Vec<u8>, fn(TcpStream) -> Option<TcpStream>);

const CASES: [Case; 9] = [
    (content_length, close),
    (content_length, half_close),
    (content_length, reset),
    (chunked, close),
    (chunked, half_close),
    (chunked, reset),
    (http2, close),
    (http2, reset),
    (http2, reset_stream),
];

fn content_length(path: &str) -> Vec<u8> {
    format!("PUT {path} HTTP/1.1\r\nhost: web\r\ncontent-length: 100\r\n\r\nhalf of a document").into()
}

fn chunked(path: &str) -> Vec<u8> {
    format!("PUT {path} HTTP/1.1\r\nhost: web\r\ntransfer-encoding: chunked\r\n\r\n12\r\nhalf of a document\r\n").into()
}

/// The preface, empty SETTINGS, HEADERS without END_STREAM, and DATA without it.
fn http2(path: &str) -> Vec<u8> {
    let mut block = b"\x86\x02\x03PUT\x01\x03web\x04".to_vec();
    block.push(u8::try_from(path.len()).unwrap());
    block.extend_from_slice(path.as_bytes());
    let parts = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(4, 0, 0, b""), &frame(1, 4, 1, &block)];
    [&parts.concat()[..], &frame(0, 0, 1, b"half of a document")].concat()
}

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    [&[0, 0, length, kind, flags, 0, 0, 0, stream][..], payload].concat()
}

fn close(stream: TcpStream) -> Option<TcpStream> {
    drop(stream);
    None
}

fn half_close(stream: TcpStream) -> Option<TcpStream> {
    stream.shutdown(Shutdown::Write).unwrap();
    Some(stream)
}

fn reset(stream: TcpStream) -> Option<TcpStream> {
    stream.set_nonblocking(true).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    let _inside = runtime.enter();
    tokio::net::TcpStream::from_std(stream).unwrap().set_zero_linger().unwrap();
    None
}

fn reset_stream(mut stream: TcpStream) -> Option<TcpStream> {
    stream.write_all(&frame(3, 0, 1, &8_u32.to_be_bytes())).unwrap();
    Some(stream)
}

/// What an application saw.
#[derive(Default)]
struct Requests {
    begun: AtomicUsize,
    whole: AtomicUsize,
    broken: AtomicUsize,
}

impl Requests {
    fn begun(&self) -> usize {
        self.begun.load(Ordering::Relaxed)
    }

    fn whole(&self) -> usize {
        self.whole.load(Ordering::Relaxed)
    }

    /// Each request has come to its end, good or bad.
    fn over(&self) -> bool {
        self.begun() == self.whole() + self.broken.load(Ordering::Relaxed)
    }
}

/// An application that answers 503: to `…/early` before it has read the body, which it reads in any case.
fn unavailable(pod: &Pod) -> (App, Arc<Requests>) {
    let requests = Arc::<Requests>::default();
    let seen = requests.clone();
    let app = App::tcp(pod, 8080, move |stream| {
        let seen = seen.clone();
        Box::pin(async move {
            let service = service_fn(|request| answer(request, seen.clone()));
            // A connection that breaks is the test's own doing.
            let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
        })
    });
    (app, requests)
}

async fn answer(request: Request<Incoming>, seen: Arc<Requests>) -> hyper::Result<Response<Empty<Bytes>>> {
    seen.begun.fetch_add(1, Ordering::Relaxed);
    let early = request.uri().path().ends_with("early");
    let reading = tokio::spawn(async move {
        let whole = request.into_body().collect().await;
        let count = if whole.is_ok() { &seen.whole } else { &seen.broken };
        count.fetch_add(1, Ordering::Relaxed);
        whole.map(drop)
    });
    if !early && let Ok(Err(error)) = reading.await {
        return Err(error);
    }
    let mut response = Response::new(Empty::new());
    *response.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
    Ok(response)
}
