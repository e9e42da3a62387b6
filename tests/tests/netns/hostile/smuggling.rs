//! Requests hidden behind what a proxy gives up, expects or passes on: after an application has responded early, behind an upgrade, in
//! trailers, in names of hosts and in fields that ask to be dropped. Byte by byte through the mesh, in both directions and over mesh TLS.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use outrigger_identity::Alpn;
use outrigger_sandbox::Namespace;
use outrigger_tests::{App, Client, Mesh, Pod, enter, wait, yaml};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::WEB;
use super::strict::Strict;
use crate::identity;

/// How often each case is tried: what depends on a race shows in one of them.
const TIMES: usize = 15;

/// A place in which a client and a server meet.
struct Place {
    mesh: Mesh,
    web: Pod,
    client: Pod,
    outside: Namespace,
}

impl Place {
    fn new() -> Option<Self> {
        let sandbox = enter()?;
        let yaml = yaml::service_with("web", WEB, 80, 8080, "      appProtocol: http\n");
        let mut mesh = Mesh::start(sandbox, &yaml);
        let (time, wire) = (["--request-head-timeout", "5s"], ["--wire", "http1"]);
        let web = mesh.pod_with("web-1", "web", "", &time);
        let client = mesh.pod_with("client-1", "client", "", &[time, wire].concat());
        let outside = mesh.bare("outside");
        Some(Self { mesh, web, client, outside })
    }

    /// All ways in which bytes reach a sidecar: as the client's own sidecar reads them, and as the server's does, in plaintext and TLS.
    fn ways(&self) -> [(&'static str, Connect<'_>); 3] {
        let pod = format!("{}:8080", self.web.ip());
        let direct = pod.clone();
        [
            ("outbound", Box::new(|| plain(&self.client, &format!("{WEB}:80")))),
            ("inbound", Box::new(move || plain(&self.outside, &direct))),
            ("inbound over TLS", Box::new(move || self.insider(&pod, Alpn::Http1))),
        ]
    }

    /// A connection over mesh TLS that no sidecar has opened.
    fn insider(&self, address: &str, alpn: Alpn) -> Box<dyn Stream> {
        let id = "spiffe://mesh.local/ns/shop/sa/client";
        let connect = || identity::connect_as(&self.mesh, id, address, alpn).map(|stream| Box::new(stream) as _);
        self.outside.run(connect).unwrap().unwrap()
    }
}

/// Opens a connection.
type Connect<'a> = Box<dyn Fn() -> Box<dyn Stream> + 'a>;

trait Stream: Read + Write + Send {}

impl<T: Read + Write + Send> Stream for T {}

fn plain(from: &Namespace, address: &str) -> Box<dyn Stream> {
    let stream = from.run(|| TcpStream::connect(address)).unwrap().unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    Box::new(stream)
}

/// Reads up to the first `end`, or to the end of the stream.
fn read_until(stream: &mut dyn Stream, end: &str) -> String {
    let mut heard = Vec::new();
    let mut byte = [0];
    while !heard.ends_with(end.as_bytes()) && matches!(stream.read(&mut byte), Ok(1)) {
        heard.push(byte[0]);
    }
    String::from_utf8_lossy(&heard).into_owned()
}

/// Reads to the end, which may be a reset: something was not read any more.
fn read_to_end(stream: &mut dyn Stream) -> String {
    let mut heard = Vec::new();
    let _ = stream.read_to_end(&mut heard);
    String::from_utf8_lossy(&heard).into_owned()
}

/// An application that responds as soon as it has a request's head.
struct Early {
    seen: Arc<Mutex<Vec<String>>>,
    _app: App,
}

impl Early {
    fn start(namespace: &Namespace) -> Self {
        let seen = Arc::<Mutex<Vec<String>>>::default();
        let record = seen.clone();
        let app = App::tcp(namespace, 8080, move |mut stream| {
            let record = record.clone();
            Box::pin(async move {
                loop {
                    let Some(head) = read_head(&mut stream).await else { return };
                    record.lock().unwrap().push(head.lines().next().unwrap_or_default().to_owned());
                    if stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nearly").await.is_err() {
                        return;
                    }
                    let mut body = Vec::new();
                    while head.contains("\r\ntransfer-encoding: chunked\r\n") && !body.ends_with(b"0\r\n\r\n") {
                        let Ok(byte) = stream.read_u8().await else { return };
                        body.push(byte);
                    }
                }
            })
        });
        Self { seen, _app: app }
    }

    fn seen(&self) -> Vec<String> {
        std::mem::take(&mut *self.seen.lock().unwrap())
    }
}

#[test]
fn nothing_is_a_request_after_a_body_that_cannot_be_read_however_early_the_response() {
    let Some(place) = Place::new() else { return };
    let app = Early::start(&place.web);

    let mut wrong = Vec::new();
    for (way, connect) in place.ways() {
        for bad in ["zz\r\n", "+5\r\n", "5 x\r\n", "5\n", "5;a\n", "3\r\nabcd\r\n", "0\r\nx y: z\r\n\r\n"] {
            for _ in 0..TIMES {
                let mut stream = connect();
                stream.write_all(b"POST /first HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n").unwrap();
                let first = read_until(&mut *stream, "early");
                // At once, so that it is read at once. The other side may close before it has read everything.
                let rest = format!("{bad}0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n");
                let _ = stream.write_all(rest.as_bytes());
                let second = read_to_end(&mut *stream);
                let seen = app.seen();
                if !first.starts_with("HTTP/1.1 200") || !second.is_empty() || seen != ["post /first http/1.1"] {
                    wrong.push(format!("{way}: {bad:?}: the app got {seen:?}, the client {first:?}, then {second:?}"));
                }
            }
        }
        // What is in good order is answered as before, also early.
        let mut stream = connect();
        stream.write_all(b"POST /first HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n").unwrap();
        read_until(&mut *stream, "early");
        stream
            .write_all(b"5\r\nabcde\r\n0\r\n\r\nGET /second HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
            .unwrap();
        let second = read_to_end(&mut *stream);
        assert!(second.starts_with("HTTP/1.1 200") && second.ends_with("early"), "{way}: {second:?}");
        assert_eq!(app.seen(), ["post /first http/1.1", "get /second http/1.1"], "{way}");
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// What a client writes, what the app gets of it (as [`Strict::seen`]), and the statuses that the client hears for what the app does not get.
type Case = (&'static [u8], &'static [&'static str], &'static [&'static str]);

const REFUSED: &[&str] = &["400"];

/// No byte goes to an app as something else than HTTP before it has agreed.
const EARLY: &[Case] = &[
    // A tunnel has no content.
    (b"CONNECT a:80 HTTP/1.1\r\nhost: a:80\r\ncontent-length: 3\r\n\r\nabc", &[], REFUSED),
    (
        b"CONNECT a:80 HTTP/1.1\r\nhost: a:80\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        &[],
        REFUSED,
    ),
    (b"CONNECT a:80 HTTP/1.1\r\nhost: a:80\r\ncontent-length: 0\r\n\r\n", &["CONNECT a:80 a:80 "], &[]),
    // An upgrade with content is a request with content.
    (
        b"POST / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        &["POST / a abc"],
        &[],
    ),
    (
        b"POST / HTTP/1.1\r\nhost: a\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\ncontent-length: 3\r\n\r\nabc",
        &["POST / a abc"],
        &[],
    ),
];

const HOSTS: &[Case] = &[
    (b"GET / HTTP/1.1\r\nhost: a:80\r\n\r\n", &["GET / a:80 "], &[]),
    (b"GET / HTTP/1.1\r\nhost: [::1]:80\r\n\r\n", &["GET / [::1]:80 "], &[]),
    (b"GET / HTTP/1.1\r\nhost: a_b-c.d\r\n\r\n", &["GET / a_b-c.d "], &[]),
    (b"GET / HTTP/1.1\r\nhost: a b\r\n\r\n", &[], REFUSED),
    (b"GET / HTTP/1.1\r\nhost: a, b\r\n\r\n", &[], REFUSED),
    (b"GET / HTTP/1.1\r\nhost: a,b\r\n\r\n", &[], REFUSED),
    (b"GET / HTTP/1.1\r\nhost: user@a\r\n\r\n", &[], REFUSED),
    (b"GET / HTTP/1.1\r\nhost: a/b\r\n\r\n", &[], REFUSED),
    (b"GET / HTTP/1.1\r\nhost: a?b\r\n\r\n", &[], REFUSED),
    (b"GET / HTTP/1.1\r\nhost: a#b\r\n\r\n", &[], REFUSED),
    (b"GET / HTTP/1.1\r\nhost: a:b\r\n\r\n", &[], REFUSED),
    (b"GET / HTTP/1.1\r\nhost: a:80:90\r\n\r\n", &[], REFUSED),
    (b"GET / HTTP/1.1\r\nhost: a\xc3\xa4\r\n\r\n", &[], REFUSED),
    (b"GET / HTTP/1.1\r\nhost: http://a\r\n\r\n", &[], REFUSED),
    (b"GET / HTTP/1.1\r\nhost: [::1\r\n\r\n", &[], REFUSED),
    (b"GET http://b/ HTTP/1.1\r\nhost: a b\r\n\r\n", &[], REFUSED),
    (b"GET http://b,c/ HTTP/1.1\r\nhost: a\r\n\r\n", &[], REFUSED),
];

const TARGETS: &[Case] = &[
    (b"GET /a#b HTTP/1.1\r\nhost: a\r\n\r\n", &[], REFUSED),
    (b"GET /a?b#c HTTP/1.1\r\nhost: a\r\n\r\n", &[], REFUSED),
    (b"GET /# HTTP/1.1\r\nhost: a\r\n\r\n", &[], REFUSED),
    (b"GET http://b/a#c HTTP/1.1\r\nhost: a\r\n\r\n", &[], REFUSED),
    (b"GET http://b#/a HTTP/1.1\r\nhost: a\r\n\r\n", &[], REFUSED),
    (b"OPTIONS *#a HTTP/1.1\r\nhost: a\r\n\r\n", &[], REFUSED),
    (b"GET /a%23b HTTP/1.1\r\nhost: a\r\n\r\n", &["GET /a%23b a "], &[]),
    (b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 05\r\n\r\nabcde", &["POST / a abcde"], &[]),
    (b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 010\r\n\r\nabcdefghij", &["POST / a abcdefghij"], &[]),
];

/// An app that reads by the letter refuses trailers that are not `x-…`, and records that.
const TRAILERS: &[Case] = &[(
    b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\
      authorization: x\r\ncookie: x\r\nforwarded: for=x\r\nl5d-client-id: x\r\nx-sum: 1\r\nexpect: x\r\nvia: x\r\nupgrade: x\r\n\r\n",
    &["POST / a abc"],
    &[],
)];

const TABLES: &[(&str, &[Case])] = &[("early", EARLY), ("hosts", HOSTS), ("targets", TARGETS), ("trailers", TRAILERS)];

#[test]
fn each_request_arrives_as_one_that_nobody_reads_otherwise_or_not_at_all() {
    let Some(place) = Place::new() else { return };
    let app = Strict::start(&place.web, 8080);

    let mut wrong = Vec::new();
    for (way, connect) in place.ways() {
        for (table, cases) in TABLES {
            for (bytes, sees, refused) in *cases {
                let mut stream = connect();
                // The other side may close before it has read everything.
                let _ = stream.write_all(bytes);
                // A request that says so has the connection end, and with it all that is heard.
                let _ = stream.write_all(b"GET /last HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
                let heard = read_to_end(&mut *stream);
                let seen: Vec<_> = app.seen().into_iter().filter(|said| said != "GET /last a ").collect();
                let statuses =
                    heard.match_indices("HTTP/1.1 ").filter_map(|(at, line)| heard.get(at + line.len()..)?.get(..3));
                let all_refused = refused.iter().all(|status| statuses.clone().any(|heard| heard == *status));
                if seen != *sees || !all_refused || (refused.is_empty() && statuses.clone().any(|heard| heard == "400"))
                {
                    wrong.push(format!(
                        "{way}: {table}: {}\n  the app saw {seen:?}\n  the client heard {heard:?}",
                        bytes.escape_ascii()
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// Fields of a request, names that the app gets, and names that it does not.
type Fields = (&'static [(&'static str, &'static str)], &'static [&'static str], &'static [&'static str]);

const FIELDS: &[Fields] = &[
    // An upgrade wants both of its fields, and we add neither.
    (&[("upgrade", "websocket")], &[], &["upgrade", "connection"]),
    (&[("connection", "upgrade")], &[], &["upgrade", "connection"]),
    (&[("connection", "close, xupgrade"), ("upgrade", "x")], &[], &["upgrade", "connection"]),
    (&[("connection", "Upgrade"), ("upgrade", "x")], &["upgrade", "connection"], &[]),
    // Nobody has taken away what is for the app.
    (&[("connection", "authorization"), ("authorization", "x")], &["authorization"], &["connection"]),
    (
        &[("connection", "cookie, baggage"), ("cookie", "x=y"), ("baggage", "a=b")],
        &["cookie", "baggage"],
        &["connection"],
    ),
    (
        &[("connection", "content-type, x-own"), ("content-type", "x/y"), ("x-own", "x")],
        &["content-type"],
        &["x-own", "connection"],
    ),
];

#[test]
fn fields_arrive_that_are_for_the_app_and_none_that_are_for_the_hop_before() {
    let Some(place) = Place::new() else { return };
    let app = App::echo(&place.web, 8080, "web-1");

    for (from, address) in [(&*place.client, format!("{WEB}:80")), (&place.outside, format!("{}:8080", place.web.ip()))]
    {
        for (fields, present, absent) in FIELDS {
            app.forget();
            let request = || Client::connect(&address).unwrap().send("GET", "/", fields, b"").unwrap();
            assert_eq!(from.run(request).unwrap().status, 200, "{fields:?}");
            let seen = &app.seen()[0].headers;
            let has = |name: &&&str| seen.contains_key(**name);
            assert!(present.iter().all(|name| has(&name)), "{} {fields:?}: {seen:?}", from.name());
            assert!(!absent.iter().any(|name| has(&name)), "{} {fields:?}: {seen:?}", from.name());
        }
    }
}

#[test]
fn what_follows_an_upgrade_waits_for_the_app_and_goes_to_nobody_else() {
    let Some(place) = Place::new() else { return };
    let early = Arc::<Mutex<Vec<String>>>::default();
    let record = early.clone();
    let (agree, agreed) = tokio::sync::watch::channel(false);
    let _app = App::tcp(&place.web, 8080, move |mut stream| {
        let (record, mut agreed) = (record.clone(), agreed.clone());
        Box::pin(async move {
            while let Some(head) = read_head(&mut stream).await {
                let answer: &[u8] = match &*head {
                    head if head.contains("\r\nupgrade: ") => {
                        b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n"
                    }
                    head if head.starts_with("connect ") => b"HTTP/1.1 200 OK\r\n\r\n",
                    _ => b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nplain",
                };
                let switches = answer.starts_with(b"HTTP/1.1 101") || head.starts_with("connect ");
                if switches {
                    record.lock().unwrap().push("asked".to_owned());
                    let mut byte = [0];
                    // Nothing comes before it agrees.
                    tokio::select! {
                        _ = agreed.wait_for(|agreed| *agreed) => {}
                        read = stream.read(&mut byte) => record.lock().unwrap().push(format!("early: {read:?}")),
                    }
                }
                if stream.write_all(answer).await.is_err() {
                    return;
                }
                if switches {
                    // It sends back what comes, whatever it looks like.
                    let (mut read, mut write) = stream.split();
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                    return;
                }
            }
        })
    });

    for (way, connect) in place.ways() {
        for asks in [
            "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
            "CONNECT a:80 HTTP/1.1\r\nhost: a:80\r\n\r\n",
        ] {
            agree.send(false).unwrap();
            let mut stream = connect();
            let pipelined = "GET /tunnelled HTTP/1.1\r\nhost: a\r\n\r\n";
            stream.write_all(format!("{asks}{pipelined}").as_bytes()).unwrap();
            wait::until_true("the app is asked", || !early.lock().unwrap().is_empty());
            // Others meanwhile, and after: each hears what is its own.
            let others = || {
                for _ in 0..10 {
                    let mut other = connect();
                    other.write_all(b"GET /other HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").unwrap();
                    let heard = read_to_end(&mut *other);
                    assert!(
                        heard.starts_with("HTTP/1.1 200 OK\r\n") && heard.ends_with("\r\n\r\nplain"),
                        "{way}: {heard:?}"
                    );
                }
            };
            others();
            agree.send(true).unwrap();
            let heard = read_until(&mut *stream, pipelined);
            assert!(heard.starts_with("HTTP/1.1 ") && heard.ends_with(pipelined), "{way}: {asks:?}: {heard:?}");
            assert_eq!(std::mem::take(&mut *early.lock().unwrap()), ["asked"], "{way}: {asks:?}");
            drop(stream);
            others();
        }
    }
}

async fn read_head(stream: &mut tokio::net::TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8_lossy(&head).to_ascii_lowercase())
}

#[test]
fn half_a_head_ends_with_408_on_every_way() {
    let Some(place) = Place::new() else { return };
    let app = App::echo(&place.web, 8080, "web-1");

    let mut halves = place.ways().map(|(way, connect)| (way, connect()));
    for (_, stream) in &mut halves {
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nx-half: ").unwrap();
    }
    for (way, stream) in &mut halves {
        let heard = read_to_end(&mut **stream);
        assert!(heard.starts_with("HTTP/1.1 408 ") && heard.contains("\r\nconnection: close\r\n"), "{way}: {heard:?}");
    }
    assert_eq!(app.count(), 0);
    let count = |pod: &Pod, side: &str| pod.metric(&format!("outrigger_{side}_request_head_timeouts_total"), &[]);
    wait::until_true("all three are counted", || {
        (count(&place.client, "outbound"), count(&place.web, "inbound")) == (1.0, 2.0)
    });
}

/// A header block, data behind it, what the app gets, and the status that comes back.
type Block = (&'static [u8], &'static [u8], &'static [&'static str], u8);

/// Header blocks of HTTP/2 (RFC 7541) and what follows them as data, what an app that is spoken to in HTTP/1 gets, and the status as it comes back.
const HTTP2: &[Block] = &[
    // CONNECT: what comes before the app has agreed would be chunks of its content.
    (b"\x02\x07CONNECT\x01\x04a:80", b"GET /s HTTP/1.1\r\nhost: a\r\n\r\n", &[], STATUS_400),
    // GET http / without an authority, and with a Host in its place.
    (b"\x82\x86\x84", b"", &[], STATUS_400),
    (b"\x82\x86\x84\x0f\x17\x01a", b"", &["GET / a "], STATUS_200),
    (b"\x82\x86\x84\x01\x01a", b"", &["GET / a "], STATUS_200),
    (b"\x82\x86\x84\x01\x03a,b", b"", &[], STATUS_400),
];

/// Indices of the static table.
const STATUS_200: u8 = 0x88;
const STATUS_400: u8 = 0x8c;

#[test]
fn what_http1_cannot_say_does_not_leave_http2() {
    let Some(place) = Place::new() else { return };
    let app = Strict::start(&place.web, 8080);

    for (block, data, sees, status) in HTTP2 {
        let mut stream = place.insider(&format!("{}:8080", place.web.ip()), Alpn::Http1InHttp2);
        let frame = |kind: u8, flags: u8, stream: u8, payload: &[u8]| {
            let length = u8::try_from(payload.len()).unwrap();
            [&[0, 0, length, kind, flags, 0, 0, 0, stream], payload].concat()
        };
        const END_HEADERS: u8 = 4;
        let end = u8::from(data.is_empty());
        let mut bytes = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &frame(4, 0, 0, b"")[..]].concat();
        bytes.extend(frame(1, END_HEADERS | end, 1, block));
        if !data.is_empty() {
            bytes.extend(frame(0, 0, 1, data));
        }
        stream.write_all(&bytes).unwrap();
        let answer = loop {
            let mut head = [0; 9];
            stream.read_exact(&mut head).unwrap();
            let mut payload = vec![0; usize::from(u16::from_be_bytes([head[1], head[2]]))];
            stream.read_exact(&mut payload).unwrap();
            if head[3] == 1 {
                break payload;
            }
        };
        assert_eq!((answer[0], app.seen()), (*status, sees.iter().map(ToString::to_string).collect()), "{block:?}");
    }
}
