//! Apps that answer badly: a client gets one whole answer to its request, or hears that there is none, and nobody gets another's.

use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use outrigger_sandbox::Namespace;
use outrigger_tests::{App, Client, Mesh, Pod, enter, wait, yaml};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{WEB, resident};
use outrigger_tests::attack::neighbour::beside_a_neighbour;

/// What a client asks with, what the app writes, and what of it the client hears; `None`: an answer that is known to have broken off.
type Case = (&'static str, &'static [u8], Option<(u16, &'static str)>);

/// What the sidecar says itself, in the place of the app, which is to blame: some 5xx.
const BROKEN: Option<(u16, &str)> = Some((0, ""));

/// The app keeps the connection, as a client that pools them wants it.
const KEPT: &[Case] = &[
    ("GET", b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\na", Some((200, "a"))),
    // Two answers, or more of one than was said.
    ("GET", b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\naHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nwrong", Some((200, "a"))),
    ("GET", b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nabc", Some((200, "a"))),
    ("GET", b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nwrong", Some((200, ""))),
    ("GET", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nwrong", Some((200, "a"))),
    ("GET", b"HTTP/1.1 204 No Content\r\ncontent-length: 49\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nwrong", Some((204, ""))),
    ("GET", b"HTTP/1.1 304 Not Modified\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nwrong", Some((304, ""))),
    ("HEAD", b"HTTP/1.1 200 OK\r\ncontent-length: 43\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nwrong", Some((200, ""))),
    // Both lengths: chunks count.
    ("GET", b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", Some((200, "abc"))),
    ("GET", b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\na", Some((200, "a"))),
    // Lengths that are none.
    ("GET", b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab", BROKEN),
    ("GET", b"HTTP/1.1 200 OK\r\ncontent-length: 1, 1\r\n\r\na", BROKEN),
    ("GET", b"HTTP/1.1 200 OK\r\ncontent-length: +1\r\n\r\na", BROKEN),
    ("GET", b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\na", BROKEN),
    ("GET", b"HTTP/1.1 200 OK\r\ncontent-length:\r\n\r\na", BROKEN),
    ("GET", b"HTTP/1.1 200 OK\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n", BROKEN),
    ("GET", b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n", BROKEN),
    ("GET", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n", BROKEN),
    ("GET", b"HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", BROKEN),
    ("GET", b"HTTP/1.1 200 OK\r\ntransfer-encoding : chunked\r\n\r\n0\r\n\r\n", BROKEN),
    // Heads that are none.
    ("GET", b"SSH-2.0-OpenSSH_9.2\r\n", BROKEN),
    ("GET", b"HTTP/2.0 200 OK\r\ncontent-length: 0\r\n\r\n", BROKEN),
    ("GET", b"HTTP/1.1 20 OK\r\ncontent-length: 0\r\n\r\n", BROKEN),
    ("GET", b"HTTP/1.1 2000 OK\r\ncontent-length: 0\r\n\r\n", BROKEN),
    ("GET", b"HTTP/1.1 99 Low\r\ncontent-length: 0\r\n\r\n", BROKEN),
    ("GET", b"HTTP/1.1 200 OK\r\nx: a\r\n b\r\ncontent-length: 0\r\n\r\n", BROKEN),
    ("GET", b"HTTP/1.1 200 OK\r\nx: a\x00\r\ncontent-length: 0\r\n\r\n", BROKEN),
    ("GET", b"HTTP/1.1 200 OK\r\nx: a\rb\r\ncontent-length: 0\r\n\r\n", BROKEN),
    ("GET", b"HTTP/1.1 200 OK\r\nno colon\r\ncontent-length: 0\r\n\r\n", BROKEN),
    // What informs is not the answer; nobody asked for another protocol.
    ("GET", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\na", Some((200, "a"))),
    ("GET", b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nwrong", BROKEN),
    // Chunks that are none.
    ("GET", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n", None),
    ("GET", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\n", None),
    ("GET", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\na\n0\n\n", None),
];

/// The app closes after its answer.
const CLOSED: &[Case] = &[
    ("GET", b"HTTP/1.1 200 OK\r\n\r\nabc", Some((200, "abc"))),
    ("GET", b"HTTP/1.0 200 OK\r\n\r\nabc", Some((200, "abc"))),
    ("GET", b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\na", Some((200, "a"))),
    ("GET", b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc", None),
    ("GET", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n", None),
    ("GET", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n", None),
    ("GET", b"HTTP/1.1 200 OK\r\ncontent-le", BROKEN),
    ("GET", b"HTTP/1.1 100 Continue\r\n\r\n", BROKEN),
    // It does not read what is sent, and says so.
    ("POST", b"HTTP/1.1 413 Content Too Large\r\nconnection: close\r\ncontent-length: 1\r\n\r\na", Some((413, "a"))),
];

#[test]
fn an_answer_is_whole_or_known_to_be_broken_over_http1() {
    an_answer_is_whole_or_known_to_be_broken("http1");
}

#[test]
fn an_answer_is_whole_or_known_to_be_broken_over_http2() {
    an_answer_is_whole_or_known_to_be_broken("http2");
}

fn an_answer_is_whole_or_known_to_be_broken(wire: &str) {
    let Some(place) = Place::new(wire, |stream| Box::pin(play(stream))) else { return };
    let Place { client, outside, pod, .. } = &place;

    for (from, address) in [(&**client, &format!("{WEB}:80")), (outside, pod)] {
        let wrong = beside_a_neighbour(from, address, || {
            let mut wrong = Vec::new();
            for (closes, cases) in [("kept", KEPT), ("closed", CLOSED)] {
                for (number, (method, answer, expected)) in cases.iter().enumerate() {
                    let heard = from.run(|| ask(address, method, &format!("/{closes}/{number}"))).unwrap();
                    if heard != expected.map(|(status, body)| (status, body.to_owned())) {
                        wrong.push(format!("{closes}: {method} {}: {heard:?}", answer.escape_ascii()));
                    }
                }
            }
            wrong
        });
        assert!(wrong.is_empty(), "from {}:\n{}", from.name(), wrong.join("\n"));
    }
}

#[test]
fn an_answer_that_nobody_asked_for_reaches_nobody() {
    let late = Arc::new(AtomicUsize::new(0));
    let sent = late.clone();
    let serve = move |mut stream: TcpStream| {
        let late = late.clone();
        Box::pin(async move {
            let mut said = 0;
            while let Some((_, path)) = head(&mut stream).await {
                said += 1;
                let body = format!("{path} {said}");
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                let _ = stream.write_all(answer.as_bytes()).await;
                // Once the answer is with the client.
                tokio::time::sleep(Duration::from_millis(50)).await;
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nwrong").await;
                late.fetch_add(1, Ordering::Relaxed);
            }
        }) as _
    };
    let Some(place) = Place::new("http1", serve) else { return };

    let mut connection = place.client.connect(&format!("{WEB}:80"));
    for number in 0..10 {
        let answer = connection.get(&format!("/{number}")).unwrap();
        assert_eq!((answer.status, answer.text()), (200, format!("/{number} 1")));
        wait::until_true("the app has said more", || sent.load(Ordering::Relaxed) > number);
    }
}

/// What the app says first, then without end, and what the client hears.
type Flood = (&'static str, &'static str, Option<(u16, &'static str)>);

#[test]
fn an_app_that_answers_without_end_is_cut_off_and_costs_no_memory() {
    let floods: [Flood; 6] = [
        ("", "HTTP/1.1 100 Continue\r\n\r\n", BROKEN),
        ("", "HTTP/1.1 103 Early Hints\r\nx: y\r\n\r\n", BROKEN),
        ("HTTP/1.1 200 OK\r\n", "x: y\r\n", BROKEN),
        ("", "\r\n", BROKEN),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1;", "x", None),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n", "x: y\r\n", None),
    ];
    let serve = move |mut stream: TcpStream| {
        Box::pin(async move {
            let Some((_, path)) = head(&mut stream).await else { return };
            let (first, more, _) = floods[path[1..].parse::<usize>().unwrap()];
            let _ = stream.write_all(first.as_bytes()).await;
            let batch = more.repeat(16_384 / more.len());
            // As long as somebody reads.
            for _ in 0..4096 {
                if stream.write_all(batch.as_bytes()).await.is_err() {
                    return;
                }
            }
        }) as _
    };
    let Some(place) = Place::new("http1", serve) else { return };
    let before = place.sidecars.map(resident);

    for (number, (_, more, expected)) in floods.iter().enumerate() {
        let heard = place.client.run_in(|| ask(&format!("{WEB}:80"), "GET", &format!("/{number}")));
        assert_eq!(heard, expected.map(|(status, body)| (status, body.to_owned())), "{more:?}");
        let after = place.sidecars.map(resident);
        for (before, after) in before.into_iter().zip(after) {
            assert!(after < before + 8 * 1024, "{more:?}: {before} KiB, then {after} KiB");
        }
    }
}

struct Place {
    client: Pod,
    outside: Namespace,
    /// The app as it is reached from outside.
    pod: String,
    sidecars: [u32; 2],
    _app: App,
    _web: Pod,
    _mesh: Mesh,
}

impl Place {
    fn new<F>(wire: &str, serve: F) -> Option<Self>
    where
        F: Fn(TcpStream) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync + 'static,
    {
        let sandbox = enter()?;
        let yaml = yaml::service_with("web", WEB, 80, 8080, "      appProtocol: http\n");
        let mut mesh = Mesh::start(sandbox, &yaml);
        let mut web = mesh.pod("web-1", "web");
        let app = App::tcp(&web, 8080, serve);
        let mut client = mesh.pod_with("client-1", "client", "", &["--wire", wire]);
        let outside = mesh.bare("outside");
        let sidecars = [client.sidecar().id(), web.sidecar().id()];
        let pod = format!("{}:8080", web.ip());
        Some(Self { client, outside, pod, sidecars, _app: app, _web: web, _mesh: mesh })
    }
}

/// Answers as the tables say, and others with their path.
async fn play(mut stream: TcpStream) {
    while let Some((method, path)) = head(&mut stream).await {
        let case = |cases: &[Case]| Some(cases[path.rsplit('/').next()?.parse::<usize>().ok()?].1.to_vec());
        let kept = path.strip_prefix("/kept/").and_then(|_| case(KEPT));
        let closed = path.strip_prefix("/closed/").and_then(|_| case(CLOSED));
        let closes = closed.is_some();
        let own = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{path} ", path.len() + 1);
        let answer = kept.or(closed).unwrap_or_else(|| own.into_bytes());
        // Whoever has gone away gets no answer.
        let _ = stream.write_all(&answer).await;
        if closes || method == "POST" {
            let _ = stream.shutdown().await;
            // Closing with something unread would take the answer back.
            let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
            return;
        }
    }
}

/// Method and target of the next request, whose head it reads.
async fn head(stream: &mut TcpStream) -> Option<(String, String)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let mut words = head.split(' ').map(str::to_owned);
    Some((words.next()?, words.next()?))
}

/// Sends a request on a connection of its own; what came is all that came. `None`: no answer, or one that has broken off; status 0: the
/// sidecar's own words.
fn ask(address: &str, method: &str, path: &str) -> Option<(u16, String)> {
    let body = if method == "POST" { vec![b'x'; 1 << 20] } else { Vec::new() };
    let mut client = Client::connect(address).unwrap();
    let length = body.len();
    // The other side may have heard enough before it has read everything.
    let _ = client.write(
        &[format!("{method} {path} HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n").as_bytes(), &body]
            .concat(),
    );
    let answer = client.read(method == "HEAD").ok()?;
    let _ = client.raw().get_ref().shutdown(Shutdown::Write);
    match client.read(false) {
        Ok(more) => panic!("{method} {path}: another answer: {more:?}"),
        Err(_) if answer.status >= 500 && answer.text().starts_with("outrigger: ") => Some((0, String::new())),
        Err(_) => Some((answer.status, answer.text())),
    }
}
