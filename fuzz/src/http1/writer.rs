//! What we write, read back by hyper: requests by its server and by a naive reader, responses by its client. Whatever the head says and
//! the body does, one message is read, with the body that was meant, or none that is whole.

use std::cell::RefCell;
use std::convert::Infallible;
use std::rc::Rc;

use arbitrary::{Arbitrary, Unstructured};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use outrigger_wire::http1::{self, Connection, Served};

use super::reference;
use super::view;
use crate::body::Plan;
use crate::runtime;
use crate::script::{End, Script, Split};

#[derive(Arbitrary, Debug)]
struct Input {
    method: u8,
    target: u8,
    status: u8,
    http10: bool,
    fields: Vec<(u8, Value)>,
    body: Plan,
}

#[derive(Arbitrary, Debug)]
enum Value {
    Number(u16),
    Text(Vec<u8>),
    Word(u8),
}

const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "OPTIONS", "CONNECT", "X-OTHER"];
const TARGETS: [&str; 4] = ["/", "/a?b=c", "http://a.example/x", "//a/..;/%2e"];
const STATUSES: [u16; 8] = [200, 204, 304, 404, 205, 299, 503, 206];
const NAMES: [&str; 10] = [
    "x-a",
    "x-b",
    "content-length",
    "transfer-encoding",
    "connection",
    "te",
    "trailer",
    "host",
    "expect",
    "content-type",
];
const WORDS: [&str; 6] = ["chunked", "close", "keep-alive", "trailers", "gzip, chunked", "100-continue"];

/// Runs the target.
///
/// # Panics
/// When hyper reads something else than was written.
pub fn run(data: &[u8]) {
    let Ok(input) = Input::arbitrary(&mut Unstructured::new(data)) else { return };
    request(&input);
    response(&input);
}

impl Input {
    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.fields {
            let value = match value {
                Value::Number(number) => HeaderValue::from(*number),
                Value::Word(word) => HeaderValue::from_static(WORDS[usize::from(*word) % WORDS.len()]),
                Value::Text(text) => HeaderValue::from_bytes(text.trim_ascii()).unwrap_or(HeaderValue::from_static("")),
            };
            headers.append(HeaderName::from_static(NAMES[usize::from(*name) % NAMES.len()]), value);
        }
        headers
    }
}

/// What of the fields is the message's own, and not how it is framed.
fn own(headers: &HeaderMap) -> view::Fields {
    let mut fields = view::fields(headers);
    fields.retain(|(name, _)| name != "content-length" && name != "transfer-encoding");
    fields
}

fn request(input: &Input) {
    let method = METHODS[usize::from(input.method) % METHODS.len()];
    let target = if method == "CONNECT" { "a.example:80" } else { TARGETS[usize::from(input.target) % TARGETS.len()] };
    let mut request = Request::new(());
    *request.method_mut() = Method::from_bytes(method.as_bytes()).expect("a method");
    *request.uri_mut() = http::Uri::from_static(target);
    *request.headers_mut() = input.headers();
    let (parts, ()) = request.into_parts();
    let (io, written) = Script::new([], End::Open);
    let sent = runtime::run(async {
        let mut connection = Connection::new(io);
        tokio::time::timeout(std::time::Duration::from_secs(9), connection.send(&parts, input.body.body())).await
    });
    let failed = matches!(sent, Some(Ok(Err(http1::Error::Body(_)))));
    let written = written.bytes();
    let messages = reference::requests(&written);
    if messages.is_empty() {
        assert!(written.is_empty() && failed, "no request: {}", String::from_utf8_lossy(&written));
        return;
    }
    let data = input.body.data();
    assert!(messages.len() == 1, "several requests: {}", String::from_utf8_lossy(&written));
    assert!(!messages[0].has_two_lengths(), "two lengths");
    let reference::Body::Whole { data: read, end } = &messages[0].body else {
        assert!(failed, "a request that is not whole: {}", String::from_utf8_lossy(&written));
        return;
    };
    assert_eq!(*end, written.len(), "bytes after the request");
    if failed {
        // All that was announced has left before the body failed, or had more.
        let announced = messages[0].all("content-length").next().is_some();
        assert!(announced && data.starts_with(read), "a body that failed is read as a whole one");
        return;
    }
    assert_eq!(*read, data, "body");
    for (method, uri, headers, body) in by_hyper(&written) {
        assert_eq!((method.as_str(), uri.as_str()), (parts.method.as_str(), parts.uri.to_string().as_str()));
        assert_eq!(own(&headers), own(&parts.headers), "fields");
        if method != "CONNECT" {
            assert!(body.whole && body.data == data, "body: {body:?}");
        }
    }
}

/// What hyper's server makes of it.
fn by_hyper(written: &[u8]) -> Vec<(String, String, HeaderMap, view::Read)> {
    let (io, _) = Script::new(Split::Whole.cut(written), End::Closed);
    let seen = Rc::new(RefCell::new(Vec::new()));
    let service = hyper::service::service_fn(|request: Request<hyper::body::Incoming>| {
        let seen = seen.clone();
        async move {
            let (parts, body) = request.into_parts();
            let body = if parts.method == Method::CONNECT {
                view::Read { data: Vec::new(), trailers: Vec::new(), whole: true }
            } else {
                view::read(body).await
            };
            seen.borrow_mut().push((parts.method.to_string(), parts.uri.to_string(), parts.headers, body));
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        }
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.header_read_timeout(None).half_close(true).max_headers(outrigger_wire::MAX_FIELDS);
    // How it ends is of no interest: what was seen is.
    let _ = runtime::run(builder.serve_connection(TokioIo::new(io), service));
    let seen = seen.take();
    assert_eq!(seen.len(), 1, "hyper sees {} requests", seen.len());
    seen
}

fn response(input: &Input) {
    let method = METHODS[usize::from(input.method) % METHODS.len()];
    if method == "CONNECT" {
        return;
    }
    let version = if input.http10 { "1.0" } else { "1.1" };
    let asked = format!("{method} / HTTP/{version}\r\nhost: a\r\nte: trailers\r\n\r\n");
    let (io, written) = Script::new(Split::Whole.cut(asked.as_bytes()), End::Closed);
    let status = StatusCode::from_u16(STATUSES[usize::from(input.status) % STATUSES.len()]).expect("a status");
    let headers = input.headers();
    let served = runtime::run(http1::serve(io, &http1::Options::default(), |_| {
        let mut response = Response::new(input.body.body());
        *response.status_mut() = status;
        *response.headers_mut() = headers.clone();
        async { response }
    }));
    let failed = matches!(served, Some(Err(http1::Error::Body(_)) | Ok(Served::Truncated { .. })));
    let written = written.bytes();
    let (answers, end) = reference::answers(&written, &[method.as_bytes().to_vec()])
        .unwrap_or_else(|at| panic!("no answer at {at}: {}", String::from_utf8_lossy(&written)));
    if answers.is_empty() {
        assert!(written.is_empty() && failed, "no answer: {}", String::from_utf8_lossy(&written));
        return;
    }
    assert_eq!((answers.len(), end), (1, written.len()), "one answer: {}", String::from_utf8_lossy(&written));
    assert!(!answers[0].has_two_lengths(), "two lengths");
    let (parts, body) = to_hyper(method, &written);
    assert_eq!((parts.status, own(&parts.headers)), (status, expected(&parts, &headers)), "head");
    let bodiless = method == "HEAD" || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED;
    if bodiless {
        assert!(body.whole && body.data.is_empty(), "a body where there is none: {body:?}");
    } else if failed {
        // All that was announced has left before the body failed, or had more; or nothing was.
        let until_close = matches!(answers[0].body, reference::Body::UntilClose { .. });
        let announced = answers[0].all("content-length").next().is_some();
        assert!(!body.whole || announced || until_close, "a body that failed is read as a whole one: {body:?}");
    } else {
        assert!(body.whole && body.data == input.body.data(), "body: {body:?}");
    }
}

/// The fields that were given, and what the writer says about the connection.
fn expected(parts: &http::response::Parts, given: &HeaderMap) -> view::Fields {
    let mut fields = own(given);
    if !given.contains_key("connection") {
        let said = parts.headers.get_all("connection").iter();
        fields.extend(said.map(|value| ("connection".to_owned(), value.as_bytes().to_vec())));
        fields.sort_by(|(a, _), (b, _)| a.cmp(b));
    }
    fields
}

/// What hyper's client makes of it.
fn to_hyper(method: &str, written: &[u8]) -> (http::response::Parts, view::Read) {
    let (io, _) = Script::new(Split::Whole.cut(written), End::Closed);
    let read = runtime::run(async {
        let mut builder = hyper::client::conn::http1::Builder::new();
        let shaken = builder.max_headers(outrigger_wire::MAX_FIELDS).handshake(TokioIo::new(io)).await;
        let (mut sender, connection) = shaken.expect("hyper's handshake needs no peer");
        let connection = tokio::spawn(connection);
        let request = Request::builder().method(method).uri("/").header("host", "a").body(Empty::<Bytes>::new());
        let response = sender.send_request(request.expect("a request")).await;
        let response = response.unwrap_or_else(|error| panic!("{error:?}: {}", String::from_utf8_lossy(written)));
        let (parts, body) = response.into_parts();
        let body = view::read(body).await;
        connection.abort();
        (parts, body)
    });
    read.expect("hyper reads to the end")
}
