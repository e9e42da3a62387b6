//! Desync from HTTP/2 to HTTP/1: fields that become something else once they are lines. Frames are written by hand, and fields as literals
//! without Huffman's code, so that nothing on this side mends them.
//!
//! Each case is the first stream of a connection; the second is a plain request, which may arrive whatever became of the first.

use super::desync::{Case, Request};

/// Where a field's value is tampered with.
const PLACES: &[&str] = &[
    ":path",
    ":authority",
    ":method",
    ":scheme",
    "x",
    "cookie",
    "te",
    "content-type",
    "trailer x",
    "name of x",
    "name of a trailer",
];

/// What is put into it; of `+x` it comes after what is there, of `x+` before.
const BREAKS: &[(&str, &[u8])] = &[
    ("a line", b"+\r\nx: y"),
    ("a line by LF", b"+\nx: y"),
    ("a line by CR", b"+\rx: y"),
    ("chunks", b"+\r\ntransfer-encoding: chunked"),
    ("a length", b"+\r\ncontent-length: 0"),
    ("a request", b"+ HTTP/1.1\r\nhost: {id}.test\r\n\r\nGET /{id}/smuggled HTTP/1.1\r\nx: "),
    ("a request by LF", b"+ HTTP/1.1\nhost: {id}.test\n\nGET /{id}/smuggled HTTP/1.1\nx: "),
    ("CR LF", b"+\r\n"),
    ("NUL", b"+\0"),
    ("CR LF before", b"\r\n+"),
    ("NUL before", b"\0+"),
];

type Field<'a> = (&'a str, &'a [u8]);

/// Fields that an HTTP/2 message must not have (RFC 9113 section 8.2.2), and lengths that lie: name, fields, body, whether what is left may
/// arrive.
const FIELDS: &[(&str, &[Field<'_>], &[u8], bool)] = &[
    ("transfer-encoding", &[("transfer-encoding", b"chunked")], b"0\r\n\r\n{S}", false),
    ("transfer-encoding, other letters", &[("transfer-encoding", b"Chunked")], b"0\r\n\r\n{S}", false),
    ("transfer-encoding, none", &[("transfer-encoding", b"identity")], b"{S}", false),
    ("transfer-encoding, empty", &[("transfer-encoding", b"")], b"{S}", false),
    (
        "transfer-encoding and a length",
        &[("transfer-encoding", b"chunked"), ("content-length", b"{L5}")],
        b"0\r\n\r\n{S}",
        false,
    ),
    ("transfer-encoding and no body", &[("transfer-encoding", b"chunked")], b"", false),
    ("transfer_encoding", &[("transfer_encoding", b"chunked")], b"0\r\n\r\n{S}", true),
    ("connection", &[("connection", b"close")], b"", false),
    ("connection, keep-alive", &[("connection", b"keep-alive")], b"", false),
    ("connection of a length", &[("connection", b"content-length"), ("content-length", b"{L}")], b"{S}", false),
    ("connection of a host", &[("connection", b"host")], b"", false),
    ("proxy-connection", &[("proxy-connection", b"keep-alive")], b"", false),
    ("keep-alive", &[("keep-alive", b"timeout=5")], b"", false),
    ("upgrade", &[("upgrade", b"websocket")], b"", false),
    (
        "upgrade to h2c",
        &[("connection", b"upgrade, http2-settings"), ("upgrade", b"h2c"), ("http2-settings", b"AAMAAABk")],
        b"",
        false,
    ),
    ("te", &[("te", b"chunked")], b"", false),
    ("te, two", &[("te", b"trailers, chunked")], b"", false),
    ("te of trailers", &[("te", b"trailers")], b"", true),
    ("a length that is right", &[("content-length", b"{L}")], b"{S}", true),
    ("a length too small", &[("content-length", b"5")], b"{S}", false),
    ("a length of nothing", &[("content-length", b"0")], b"{S}", false),
    ("a length too large", &[("content-length", b"999")], b"{S}", false),
    ("a length without a body", &[("content-length", b"5")], b"", false),
    ("two lengths", &[("content-length", b"0"), ("content-length", b"{L}")], b"{S}", false),
    ("two lengths, turned", &[("content-length", b"{L}"), ("content-length", b"0")], b"{S}", false),
    ("twice a length", &[("content-length", b"{L}"), ("content-length", b"{L}")], b"{S}", true),
    ("a list of lengths", &[("content-length", b"{L}, 0")], b"{S}", false),
    ("a length with a sign", &[("content-length", b"+{L}")], b"{S}", false),
    ("a length below nothing", &[("content-length", b"-1")], b"{S}", false),
    ("a length in hexadecimal", &[("content-length", b"0x34")], b"{S}", false),
    ("a length with a space", &[("content-length", b"5 2")], b"{S}", false),
    ("a length with a letter", &[("content-length", b"{L}h")], b"{S}", false),
    ("an empty length", &[("content-length", b"")], b"{S}", false),
    ("a length beyond 64 bits", &[("content-length", b"18446744073709551668")], b"{S}", false),
    ("a length of small zeros", &[("content-length", b"0{L}")], b"{S}", true),
    ("a name in capitals", &[("X", b"y")], b"", false),
    ("a length in capitals", &[("Content-Length", b"0")], b"{S}", false),
    ("chunks in capitals", &[("Transfer-Encoding", b"chunked")], b"0\r\n\r\n{S}", false),
    ("no name", &[("", b"x")], b"", false),
    ("a name of a colon", &[(":", b"x")], b"", false),
    ("a name with a colon", &[("x:y", b"z")], b"", false),
    ("a name that is a line", &[("x: y", b"z")], b"", false),
    ("a name with a space", &[("x y", b"z")], b"", false),
    ("a name with a space after", &[("content-length ", b"0")], b"{S}", false),
    ("a name with a space before", &[(" content-length", b"0")], b"{S}", false),
    ("a name with a tab", &[("x\t", b"z")], b"", false),
    ("a name with NUL", &[("x\0", b"z")], b"", false),
    ("a name with a delimiter", &[("x(", b"z")], b"", false),
    ("a name beyond ASCII", &[("é", b"z")], b"", false),
    ("another host", &[("host", b"other.test")], b"", false),
    ("the same host", &[("host", b"{id}.test")], b"", true),
    ("two other hosts", &[("host", b"{id}.test"), ("host", b"other.test")], b"", false),
    ("an unknown pseudo-field", &[(":x", b"y")], b"", false),
    ("a pseudo-field of answers", &[(":status", b"200")], b"", false),
    ("a protocol without CONNECT", &[(":protocol", b"websocket")], b"", false),
    ("a method after fields", &[("x", b"y"), (":method", b"DELETE")], b"", false),
    ("a path after fields", &[("x", b"y"), (":path", b"/{id}/smuggled")], b"", false),
    ("two methods", &[(":method", b"DELETE")], b"", false),
    ("two paths", &[(":path", b"/{id}/smuggled")], b"", false),
    ("two authorities", &[(":authority", b"other.test")], b"", false),
    ("two schemes", &[(":scheme", b"https")], b"", false),
    ("expect", &[("expect", b"100-continue"), ("content-length", b"{L}")], b"{S}", true),
    ("cookies in crumbs", &[("cookie", b"a=b"), ("cookie", b"c=d")], b"", true),
];

/// Pseudo-fields as a whole: name, method, path, authority; the empty bytes leave one out. The target that a strict reader sees, if any.
type Pseudo = (&'static str, [&'static [u8]; 3], Option<&'static str>);

const PSEUDO: &[Pseudo] = &[
    ("no method", [b"", b"/{id}/a", b"{id}.test"], None),
    ("no path", [b"GET", b"", b"{id}.test"], None),
    ("no authority", [b"GET", b"/{id}/a", b""], None),
    ("a method with a space", [b"GET ", b"/{id}/a", b"{id}.test"], None),
    ("a method that is a line", [b"GET /{id}/smuggled HTTP/1.1", b"/{id}/a", b"{id}.test"], None),
    ("a method with a tab", [b"GET\t/{id}/smuggled", b"/{id}/a", b"{id}.test"], None),
    ("a method with a delimiter", [b"G(T", b"/{id}/a", b"{id}.test"], None),
    ("CONNECT with a path", [b"CONNECT", b"/{id}/a", b"{id}.test"], None),
    ("a path without a slash", [b"GET", b"{id}/a", b"{id}.test"], None),
    ("a path of an asterisk", [b"GET", b"*", b"{id}.test"], None),
    ("a path of a space", [b"GET", b" ", b"{id}.test"], None),
    ("a path with a space", [b"GET", b"/{id}/a b", b"{id}.test"], None),
    ("a path with a version", [b"GET", b"/{id}/a HTTP/1.1", b"{id}.test"], None),
    ("a path with a tab", [b"GET", b"/{id}/a\tb", b"{id}.test"], None),
    ("a path with a fragment", [b"GET", b"/{id}/a#b", b"{id}.test"], None),
    ("a path with a control", [b"GET", b"/{id}/a\x01", b"{id}.test"], None),
    ("an absolute path", [b"GET", b"http://other.test/{id}/a", b"{id}.test"], None),
    ("a path of two slashes", [b"GET", b"//{id}/a", b"{id}.test"], Some("//{id}/a")),
    ("an authority with a space", [b"GET", b"/{id}/a", b"{id}.test other.test"], None),
    ("an authority with a slash", [b"GET", b"/{id}/a", b"{id}.test/other"], None),
    ("an authority with a user", [b"GET", b"/{id}/a", b"user@{id}.test"], None),
    ("an authority with a list", [b"GET", b"/{id}/a", b"{id}.test, other.test"], None),
    ("an authority with a port that is none", [b"GET", b"/{id}/a", b"{id}.test:80x"], None),
];

/// Trailers that would be dangerous as fields, or as lines: name, field, whether the request may arrive without it.
const TRAILERS: &[(&str, Field<'_>, bool)] = &[
    ("a field", ("x-sum", b"1"), true),
    ("chunks", ("transfer-encoding", b"chunked"), false),
    ("a length", ("content-length", b"0"), true),
    ("a host", ("host", b"other.test"), true),
    ("a pseudo-field", (":path", b"/{id}/smuggled"), false),
    ("a method", (":method", b"DELETE"), false),
    ("capitals", ("X", b"y"), false),
    ("a line", ("x", b"y\r\n\r\nGET /{id}/smuggled HTTP/1.1"), false),
    ("a line in the name", ("x: y\r\n\r\nGET /{id}/smuggled", b"z"), false),
    ("connection", ("connection", b"close"), false),
];

/// All cases from HTTP/2 to HTTP/1.
#[must_use]
pub fn cases() -> Vec<Case> {
    let mut cases = Cases(Vec::new());
    for place in PLACES {
        for (what, bytes) in BREAKS {
            cases.broken(place, what, bytes);
        }
    }
    for (name, fields, body, may) in FIELDS {
        for method in ["GET", "POST"] {
            let mut stream = Stream::plain(method);
            stream.fields.extend(fields.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.to_vec())));
            stream.body = body.to_vec();
            cases.add(&format!("fields: {name}, {method}"), &stream, may.then_some("/{id}/a"));
        }
    }
    for (name, pseudo, target) in PSEUDO {
        let mut stream = Stream::plain("GET");
        let names = [":method", ":path", ":authority"].map(str::as_bytes);
        stream.fields = names.into_iter().zip(pseudo).map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
        stream.fields.retain(|(_, value)| !value.is_empty());
        stream.fields.push((b":scheme".to_vec(), b"http".to_vec()));
        cases.add(&format!("pseudo-fields: {name}"), &stream, *target);
    }
    for (name, (field, value), may) in TRAILERS {
        let mut stream = Stream::plain("POST");
        stream.body = b"abc".to_vec();
        stream.trailers = vec![(field.as_bytes().to_vec(), value.to_vec())];
        cases.add(&format!("trailers: {name}"), &stream, may.then_some("/{id}/a"));
    }
    cases.0
}

/// Counts the streams that ended, and the connection if it did.
#[must_use]
pub fn answers(heard: &[u8]) -> usize {
    let (mut at, mut ended) = (0, 0);
    while let Some(head) = heard.get(at..at + 9) {
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let (kind, flags) = (head[3], head[4]);
        match kind {
            DATA | HEADERS if flags & END_STREAM != 0 => ended += 1,
            RST_STREAM => ended += 1,
            GO_AWAY => ended += 2,
            _ => {}
        }
        at += 9 + length;
    }
    ended
}

struct Stream {
    fields: Vec<(Vec<u8>, Vec<u8>)>,
    body: Vec<u8>,
    trailers: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Stream {
    fn plain(method: &str) -> Self {
        let fields = [(":method", method), (":path", "/{id}/a"), (":authority", "{id}.test"), (":scheme", "http")];
        let fields = fields.map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec())).into();
        Self { fields, body: Vec::new(), trailers: Vec::new() }
    }

    /// The value of a field that is there but once.
    fn value(&self, name: &[u8]) -> String {
        let found = self.fields.iter().find(|(own, _)| own == name);
        found.map(|(_, value)| super::http1::text(value)).unwrap_or_default()
    }
}

struct Cases(Vec<Case>);

impl Cases {
    fn broken(&mut self, place: &str, what: &str, bytes: &[u8]) {
        let mut stream = Stream::plain("POST");
        stream.body = b"{S}".to_vec();
        let field = |name: &str, value: &[u8]| (name.as_bytes().to_vec(), value.to_vec());
        let (list, name, is_name) = match place {
            "trailer x" => (&mut stream.trailers, "x", false),
            "name of x" => (&mut stream.fields, "x", true),
            "name of a trailer" => (&mut stream.trailers, "x", true),
            name => (&mut stream.fields, name, false),
        };
        if !list.iter().any(|(own, _)| own == name.as_bytes()) {
            list.push(field(name, b"v"));
        }
        let (own, value) = list.iter_mut().find(|(own, _)| own == name.as_bytes()).expect("it was put there");
        let whole = if is_name { own } else { value };
        *whole = match bytes.split_first() {
            Some((b'+', after)) => [whole, after].concat(),
            _ => [&bytes[..bytes.len() - 1], whole].concat(),
        };
        self.add(&format!("{place}: {what}"), &stream, None);
    }

    fn add(&mut self, name: &str, stream: &Stream, target: Option<&str>) {
        let id = format!("c{:05}", self.0.len());
        let fill = |bytes: &[u8]| super::http1::fill(bytes, &id);
        let block = |fields: &[(Vec<u8>, Vec<u8>)]| {
            fields.iter().flat_map(|(name, value)| literal(&fill(name), &fill(value))).collect::<Vec<u8>>()
        };
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        frame(&mut bytes, SETTINGS, 0, 0, &[]);
        let body = fill(&stream.body);
        let (has_body, has_trailers) = (!body.is_empty(), !stream.trailers.is_empty());
        let end = |last: bool| if last { END_STREAM } else { 0 };
        frame(&mut bytes, HEADERS, END_HEADERS | end(!has_body && !has_trailers), 1, &block(&stream.fields));
        if has_body {
            frame(&mut bytes, DATA, end(!has_trailers), 1, &body);
        }
        if has_trailers {
            frame(&mut bytes, HEADERS, END_HEADERS | END_STREAM, 1, &block(&stream.trailers));
        }
        let next = Stream::plain("GET")
            .fields
            .into_iter()
            .map(|(name, value)| if name == b":path" { (name, b"/{id}/next-one".to_vec()) } else { (name, value) });
        frame(&mut bytes, HEADERS, END_HEADERS | END_STREAM, 3, &block(&next.collect::<Vec<_>>()));

        let request = |method: String, target: &str, body| Request {
            method,
            target: super::http1::text(&fill(target.as_bytes())),
            host: format!("{id}.test"),
            body: Some(body),
            whole: true,
        };
        let first = target.map(|target| request(stream.value(b":method"), target, super::http1::text(&body)));
        let next = request("GET".to_owned(), "/{id}/next-one", String::new());
        let reading = first.into_iter().chain([next]).collect();
        self.0.push(Case { name: name.to_owned(), bytes, pause: None, reading, least: 0, id });
    }
}

/// A literal field without indexing (RFC 7541 section 6.2.2), its strings as they are.
fn literal(name: &[u8], value: &[u8]) -> Vec<u8> {
    [&[0][..], &string(name), &string(value)].concat()
}

fn string(bytes: &[u8]) -> Vec<u8> {
    let (length, mut out) = (bytes.len(), Vec::new());
    match u8::try_from(length) {
        Ok(length) if length < 127 => out.push(length),
        _ => {
            let mut rest = length - 127;
            out.push(127);
            while rest >= 128 {
                out.push(u8::try_from(rest % 128).unwrap_or_default() | 128);
                rest /= 128;
            }
            out.push(u8::try_from(rest).unwrap_or_default());
        }
    }
    out.extend_from_slice(bytes);
    out
}

/// Writes a frame.
///
/// # Panics
/// When the payload is longer than a frame may be.
pub fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, id: u32, payload: &[u8]) {
    out.extend_from_slice(&u32::try_from(payload.len()).expect("a frame is short").to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&id.to_be_bytes());
    out.extend_from_slice(payload);
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GO_AWAY: u8 = 7;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_at_least_one_hundred_and_fifty_and_each_has_a_name_of_its_own() {
        let cases = cases();
        let mut names: Vec<&str> = cases.iter().map(|case| &*case.name).collect();
        names.sort_unstable();
        names.dedup();

        assert!(cases.len() >= 150 && names.len() == cases.len(), "{} cases, {} names", cases.len(), names.len());
    }

    #[test]
    fn long_strings_have_long_lengths() {
        assert_eq!(string(&[b'x'; 10])[0], 10);
        assert_eq!(string(&[b'x'; 200])[..2], [127, 73]);
        assert_eq!(string(&[b'x'; 127 + 300])[..3], [127, 0xac, 2]);
    }
}
