//! Heads: the start line and the fields, parsed once, as slices of what was read.

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HeaderName, HeaderValue, TRANSFER_ENCODING};
use http::uri::Authority;
use http::{HeaderMap, Method, StatusCode, Uri, Version, request, response};

use super::error::Error;
use super::framing::{self, Length};
use super::{MAX_ASIDE, MAX_HEAD, USUAL_FIELDS};
use crate::MAX_FIELDS;

/// The longest target of a request, bytes; what `http::Uri` can hold is a little more.
const MAX_TARGET: usize = 65_000;

/// The most that may come before a request's line, bytes.
const MAX_LINE_BREAKS: usize = 16;

/// A response's reason phrase, when it is not the usual one; among the extensions of the response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason(pub Bytes);

/// A head, and what it says of the rest.
#[derive(Debug)]
pub(crate) struct Head<T> {
    pub(crate) parts: T,
    /// The head as it was written.
    pub(crate) raw: Bytes,
    pub(crate) length: Length,
    /// Whether the connection may carry another message after this one.
    pub(crate) keep_alive: bool,
    /// The client waits for a word before it sends the body.
    pub(crate) expects_continue: bool,
}

/// How far a head has come.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// A head this long was not complete. What a slow peer sends is not looked at again with every byte.
    seen: usize,
    /// Bytes of responses that only informed.
    informed: usize,
}

impl Progress {
    /// Says whether it is worth a look whether the head is complete.
    fn worth(&mut self, read: &[u8]) -> bool {
        let new = self.seen.saturating_sub(3).min(read.len())..;
        let grown = read.len() >= self.seen * 2;
        self.seen = read.len();
        grown || read[new].windows(2).any(|pair| pair == b"\n\n" || pair == b"\n\r")
    }
}

/// A request's target as it was written, where that is no URI; among the extensions of the request, whose own target has the odd bytes
/// percent-encoded.
#[derive(Clone, Debug)]
pub struct RawTarget {
    written: Bytes,
    stands_for: Uri,
}

impl RawTarget {
    /// Returns the target as it was written, unless the request has another one by now.
    pub(crate) fn of<'a>(head: &'a request::Parts) -> Option<&'a [u8]> {
        let raw: &'a Self = head.extensions.get()?;
        (raw.stands_for == head.uri).then_some(&raw.written)
    }
}

/// Reads a request's head at the beginning of `read`; returns how long it is, too. `None`: it is not complete.
pub(crate) fn request(read: &[u8], progress: &mut Progress) -> Result<Option<(Head<request::Parts>, usize)>, Error> {
    let refused = match strict(read, progress) {
        Err(refused @ Error::Malformed(METHOD_OR_TARGET | TARGET)) => refused,
        read => return read,
    };
    let Some(Odd { target, longer_by, line, rest }) = Odd::find(read) else { return Err(refused) };
    let read = [&line, rest].concat();
    let Some((mut head, used)) = strict(&read, &mut Progress::default())? else { return Ok(None) };
    let raw = RawTarget { written: Bytes::copy_from_slice(target), stands_for: head.parts.uri.clone() };
    head.parts.extensions.insert(raw);
    Ok(Some((head, used - longer_by)))
}

/// A request's line with a target that servers take and that is no URI (RFC 3986): it has bytes that are to be percent-encoded.
struct Odd<'a> {
    target: &'a [u8],
    /// By how many bytes the target is longer when they are.
    longer_by: usize,
    /// The line with the target encoded, and all that stands before it.
    line: Vec<u8>,
    rest: &'a [u8],
}

impl<'a> Odd<'a> {
    fn find(read: &'a [u8]) -> Option<Self> {
        let breaks = line_breaks(read);
        // The line may not be complete yet.
        let line = read.iter().skip(breaks).take(MAX_HEAD).position(|byte| *byte == b'\n');
        let (line, rest) = read.split_at(line.map_or(read.len(), |length| breaks + length));
        let start = breaks + line[breaks..].iter().position(|byte| *byte == b' ')? + 1;
        let length = line[start..].iter().position(|byte| *byte == b' ').unwrap_or(line.len() - start);
        let target = &line[start..start + length];
        let mut encoded = line[..start].to_vec();
        for byte in target {
            match byte {
                b'"' | b'<' | b'>' | b'^' | b'`' | b'{' | b'|' | b'}' | 0x80.. => {
                    encoded.extend_from_slice(format!("%{byte:02X}").as_bytes());
                }
                _ => encoded.push(*byte),
            }
        }
        let encoded_length = encoded.len() - start;
        encoded.extend_from_slice(&line[start + length..]);
        let longer_by = encoded_length - length;
        (longer_by > 0).then_some(Self { target, longer_by, line: encoded, rest })
    }
}

const METHOD_OR_TARGET: &str = "method or target";
const TARGET: &str = "request target";

/// Reads a request whose target is a URI.
fn strict(read: &[u8], progress: &mut Progress) -> Result<Option<(Head<request::Parts>, usize)>, Error> {
    let breaks = line_breaks(read);
    if breaks > MAX_LINE_BREAKS {
        return Err(Error::Malformed("empty lines"));
    }
    let read = &read[breaks..];
    if read.is_empty() || !progress.worth(read) {
        return incomplete(read);
    }
    let (mut usual, mut many) = ([const { MaybeUninit::uninit() }; USUAL_FIELDS], Vec::new());
    let mut parsed = httparse::Request::new(&mut []);
    let mut read_as = parsed.parse_with_uninit_headers(read, &mut usual);
    if matches!(read_as, Err(httparse::Error::TooManyHeaders)) {
        many.resize_with(MAX_FIELDS, MaybeUninit::uninit);
        parsed = httparse::Request::new(&mut []);
        read_as = parsed.parse_with_uninit_headers(read, &mut many);
    }
    let length = match read_as {
        Ok(httparse::Status::Complete(length)) if length <= MAX_HEAD => length,
        Ok(httparse::Status::Complete(_)) => return Err(Error::HeadTooLarge),
        Ok(httparse::Status::Partial) => return incomplete(read),
        Err(error) => return Err(malformed(error)),
    };
    let (Some(method), Some(target), Some(minor)) = (parsed.method, parsed.path, parsed.version) else {
        return Err(Error::Malformed("request line"));
    };
    if target.len() > MAX_TARGET {
        return Err(Error::TargetTooLong);
    }
    if target.contains('#') {
        // It would be cut off silently, and the application would see another target than the client sent (RFC 9112 section 3.2).
        return Err(Error::Malformed("request target: it has a fragment"));
    }
    let bytes = Bytes::copy_from_slice(&read[..length]);
    let version = version(minor);
    let mut parts = http::Request::new(()).into_parts().0;
    parts.version = version;
    parts.method = Method::from_bytes(method.as_bytes()).map_err(|_| Error::Malformed("method"))?;
    let target = bytes.slice(range(read, target.as_bytes()));
    let is_path = target.starts_with(b"/");
    parts.uri = Uri::from_maybe_shared(target).map_err(|_| Error::Malformed(TARGET))?;
    if !is_path && !fits(&parts.uri, &parts.method) || is_path && parts.method == Method::CONNECT {
        return Err(Error::Malformed(TARGET));
    }
    let noted;
    (parts.headers, noted) = headers(read, parsed.headers, &bytes)?;
    let (body, spent) =
        if noted.framing { framing::of_request(&mut parts.headers, version)? } else { (Length::NONE, false) };
    if parts.method == Method::CONNECT && body != Length::NONE {
        // What follows belongs to the tunnel, if there is one, and is not content (RFC 9110 section 9.3.6).
        return Err(Error::Malformed("CONNECT with a body"));
    }
    let expects_continue = noted.expect
        && version == Version::HTTP_11
        && body != Length::NONE
        && parts.headers.get(EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    let keep_alive = !spent && noted.keeps_alive(&parts.headers, version);
    let head = Head { parts, raw: bytes, length: body, keep_alive, expects_continue };
    Ok(Some((head, breaks + length)))
}

/// A response's head.
#[derive(Debug)]
pub(crate) enum Answer {
    /// It only informs, and another one follows.
    Informs(response::Parts),
    Final(Head<response::Parts>),
}

/// Reads the head of a response to a request with this method at the beginning of `read`; returns how long it is, too. `None`: it is not
/// complete.
pub(crate) fn response(
    read: &[u8],
    progress: &mut Progress,
    method: &Method,
) -> Result<Option<(Answer, usize)>, Error> {
    if read.is_empty() || !progress.worth(read) {
        return incomplete(read);
    }
    let (mut usual, mut many) = ([const { MaybeUninit::uninit() }; USUAL_FIELDS], Vec::new());
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let mut read_as = config.parse_response_with_uninit_headers(&mut parsed, read, &mut usual);
    if matches!(read_as, Err(httparse::Error::TooManyHeaders)) {
        many.resize_with(MAX_FIELDS, MaybeUninit::uninit);
        parsed = httparse::Response::new(&mut []);
        read_as = config.parse_response_with_uninit_headers(&mut parsed, read, &mut many);
    }
    let length = match read_as {
        Ok(httparse::Status::Complete(length)) if length <= MAX_HEAD => length,
        Ok(httparse::Status::Complete(_)) => return Err(Error::HeadTooLarge),
        Ok(httparse::Status::Partial) => return incomplete(read),
        Err(error) => return Err(malformed(error)),
    };
    let (Some(code), Some(reason), Some(minor)) = (parsed.code, parsed.reason, parsed.version) else {
        return Err(Error::Malformed("status line"));
    };
    let status = StatusCode::from_u16(code).map_err(|_| Error::Malformed("status"))?;
    if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS {
        let informed = progress.informed + length;
        *progress = Progress { seen: 0, informed };
        // Each costs little, and who sends them without end never answers.
        if informed > MAX_ASIDE {
            return Err(Error::HeadTooLarge);
        }
        let bytes = Bytes::copy_from_slice(&read[..length]);
        let mut parts = http::Response::new(()).into_parts().0;
        parts.status = status;
        parts.headers = headers(read, parsed.headers, &bytes)?.0;
        return Ok(Some((Answer::Informs(parts), length)));
    }
    let bytes = Bytes::copy_from_slice(&read[..length]);
    let version = version(minor);
    let mut parts = http::Response::new(()).into_parts().0;
    parts.status = status;
    parts.version = version;
    if status.canonical_reason() != Some(reason) {
        parts.extensions.insert(Reason(bytes.slice(range(read, reason.as_bytes()))));
    }
    let noted;
    (parts.headers, noted) = headers(read, parsed.headers, &bytes)?;
    let (body, spent) = framing::of_response(&mut parts.headers, version, status, method)?;
    let keep_alive = !spent && noted.keeps_alive(&parts.headers, version);
    Ok(Some((Answer::Final(Head { parts, raw: bytes, length: body, keep_alive, expects_continue: false }), length)))
}

/// Says whether the message's sender keeps the connection open (RFC 9112 section 9.3).
pub(crate) fn keeps_alive(headers: &HeaderMap, version: Version) -> bool {
    let says = |word: &str| {
        let mut options = headers.get_all(CONNECTION).iter().flat_map(|value| value.as_bytes().split(|b| *b == b','));
        options.any(|option| option.trim_ascii().eq_ignore_ascii_case(word.as_bytes()))
    };
    !says("close") && (version == Version::HTTP_11 || says("keep-alive"))
}

fn version(minor: u8) -> Version {
    if minor == 1 { Version::HTTP_11 } else { Version::HTTP_10 }
}

fn incomplete<T>(read: &[u8]) -> Result<Option<T>, Error> {
    if read.len() > MAX_HEAD { Err(Error::HeadTooLarge) } else { Ok(None) }
}

/// Says whether a target that is no path may stand in a request with this method (RFC 9112 section 3.2). An authority alone names the
/// far end of a tunnel: elsewhere one reader would take it for the host, and another for a path.
fn fits(target: &Uri, method: &Method) -> bool {
    match (target.scheme(), target.authority()) {
        (None, None) => *method == Method::OPTIONS && target.path() == "*",
        (None, Some(authority)) => *method == Method::CONNECT && authority.port().is_some() && is_plain(authority),
        (Some(_), authority) => *method != Method::CONNECT && authority.is_some_and(is_plain),
    }
}

/// Says whether it has no user information, which is not to be sent (RFC 9110 section 4.2.4) and looks like a host to some.
fn is_plain(authority: &Authority) -> bool {
    !authority.as_str().contains('@')
}

/// Says whether a head has begun: empty lines may come before it.
pub(crate) fn has_begun(read: &[u8]) -> bool {
    line_breaks(read) < read.len()
}

/// How long the empty lines are that may come before a request (RFC 9112 section 2.2). A carriage return alone is no end of a line.
fn line_breaks(read: &[u8]) -> usize {
    let mut length = 0;
    loop {
        match &read[length..] {
            [b'\n', ..] => length += 1,
            [b'\r', b'\n', ..] => length += 2,
            _ => return length,
        }
    }
}

fn malformed(error: httparse::Error) -> Error {
    match error {
        httparse::Error::HeaderName => Error::Malformed("name of a field"),
        httparse::Error::HeaderValue => Error::Malformed("value of a field"),
        httparse::Error::NewLine => Error::Malformed("end of a line"),
        httparse::Error::Status => Error::Malformed("status"),
        httparse::Error::Token => Error::Malformed(METHOD_OR_TARGET),
        httparse::Error::TooManyHeaders => Error::HeadTooLarge,
        httparse::Error::Version => Error::Malformed("version"),
    }
}

/// Which fields that matter here are there at all: a look at each name as it comes is cheaper than asking the map for each later.
#[derive(Clone, Copy, Debug, Default)]
struct Noted {
    framing: bool,
    connection: bool,
    expect: bool,
}

impl Noted {
    fn keeps_alive(self, headers: &HeaderMap, version: Version) -> bool {
        if self.connection { keeps_alive(headers, version) } else { version == Version::HTTP_11 }
    }
}

/// Makes the fields, parsed from `read`, slices of `head`, its copy.
fn headers(read: &[u8], fields: &[httparse::Header<'_>], head: &Bytes) -> Result<(HeaderMap, Noted), Error> {
    let mut headers = HeaderMap::with_capacity(fields.len());
    let mut noted = Noted::default();
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| Error::Malformed("name of a field"))?;
        noted.framing |= name == CONTENT_LENGTH || name == TRANSFER_ENCODING;
        noted.connection |= name == CONNECTION;
        noted.expect |= name == EXPECT;
        let value = HeaderValue::from_maybe_shared(head.slice(range(read, field.value)));
        headers.append(name, value.map_err(|_| Error::Malformed("value of a field"))?);
    }
    Ok((headers, noted))
}

/// Where `part` lies in `whole`, which it is a part of.
fn range(whole: &[u8], part: &[u8]) -> std::ops::Range<usize> {
    let start = (part.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize).min(whole.len());
    start..(start + part.len()).min(whole.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<Option<Head<request::Parts>>, Error> {
        Ok(request(text.as_bytes(), &mut Progress::default())?.map(|(head, _)| head))
    }

    fn answer(text: &str) -> Result<Option<Head<response::Parts>>, Error> {
        let (mut read, mut progress) = (text.as_bytes(), Progress::default());
        while let Some((head, used)) = response(read, &mut progress, &Method::GET)? {
            if let Answer::Final(head) = head {
                return Ok(Some(head));
            }
            read = &read[used..];
        }
        Ok(None)
    }

    #[test]
    fn a_head_is_read_however_it_is_split() {
        let text = "\r\nPOST /a?b=c HTTP/1.1\r\nHost: example.com\r\nX-Many: 1\r\nx-many:\t2 \r\nContent-Length: 3\r\n\r\nabcGET";
        for piece in 1..text.len() {
            let (mut read, mut progress) = (Vec::new(), Progress::default());
            let mut head = None;
            for bytes in text.as_bytes().chunks(piece) {
                read.extend_from_slice(bytes);
                if head.is_none() {
                    head = request(&read, &mut progress).unwrap();
                }
            }
            let (Head { parts, length, keep_alive, .. }, used) = head.expect("a whole head");
            assert_eq!((parts.method, parts.uri.to_string()), (Method::POST, "/a?b=c".to_owned()));
            assert_eq!((parts.headers["host"].as_bytes(), parts.headers.len()), (&b"example.com"[..], 4));
            let many: Vec<_> = parts.headers.get_all("x-many").iter().collect();
            assert_eq!(many, ["1", "2"]);
            assert_eq!(
                (length, keep_alive, &read[used..]),
                (Length::Exact(3), true, &b"abcGET"[..]),
                "pieces of {piece}"
            );
        }
    }

    #[test]
    fn a_target_that_is_no_uri_is_read_however_it_is_split() {
        // Latin-1: no UTF-8 either.
        let text = b"\r\nGET /`caf\xe9?{a} HTTP/1.1\r\nhost: a\r\n\r\nnext";
        for piece in 1..text.len() {
            let (mut read, mut progress) = (Vec::new(), Progress::default());
            let mut head = None;
            for bytes in text.chunks(piece) {
                read.extend_from_slice(bytes);
                if head.is_none() {
                    head = request(&read, &mut progress).unwrap_or_else(|error| panic!("pieces of {piece}: {error}"));
                }
            }
            let (Head { parts, .. }, used) = head.expect("a whole head");
            assert_eq!(parts.uri.to_string(), "/%60caf%E9?%7Ba%7D");
            assert_eq!(RawTarget::of(&parts), Some(&b"/`caf\xe9?{a}"[..]));
            assert_eq!(&read[used..], b"next", "pieces of {piece}");
        }
        let hopeless = request(b"GET /\xe9 HTTP/1.1\x01", &mut Progress::default());
        assert!(hopeless.is_err_and(|error| error.is_malformed()), "what cannot become a head");
    }

    #[test]
    fn what_is_not_http_is_refused() {
        for text in [
            "GET / HTTP/1.1\r\nhost : a\r\n\r\n",
            "GET / HTTP/1.1\r\n host: a\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a\r\n folded: b\r\n\r\n",
            "GET / HTTP/2.0\r\n\r\n",
            "\rGET / HTTP/1.1\r\n\r\n",
            "\r\r\nGET / HTTP/1.1\r\n\r\n",
            "GET /\r\n\r\n",
            "GET  / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nx: a\0b\r\n\r\n",
            "GET / HTTP/1.1\r\nx: a\rb\r\n\r\n",
            "G<T / HTTP/1.1\r\n\r\n",
            "GET http://[::1 HTTP/1.1\r\n\r\n",
            "GET example.com HTTP/1.1\r\n\r\n",
            "GET example.com:80 HTTP/1.1\r\n\r\n",
            "GET * HTTP/1.1\r\n\r\n",
            "GET http://user@example.com/ HTTP/1.1\r\n\r\n",
            "CONNECT / HTTP/1.1\r\n\r\n",
            "CONNECT example.com HTTP/1.1\r\n\r\n",
            "CONNECT http://example.com:80/ HTTP/1.1\r\n\r\n",
            "CONNECT user@example.com:80 HTTP/1.1\r\n\r\n",
            "CONNECT example.com:80 HTTP/1.1\r\ncontent-length: 3\r\n\r\nabc",
            "CONNECT example.com:80 HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n",
            "GET /a#b HTTP/1.1\r\n\r\n",
            "GET /#/../b HTTP/1.1\r\n\r\n",
            "GET /a?b#c HTTP/1.1\r\n\r\n",
            "GET # HTTP/1.1\r\n\r\n",
            "GET http://example.com/a#b HTTP/1.1\r\n\r\n",
            "GET http://example.com#@evil.com/ HTTP/1.1\r\n\r\n",
            "OPTIONS *# HTTP/1.1\r\n\r\n",
            "CONNECT example.com:80# HTTP/1.1\r\n\r\n",
        ] {
            assert!(parse(text).is_err_and(|error| error.is_malformed()), "{text:?}");
        }
    }

    #[test]
    fn a_target_has_the_form_that_its_method_wants() {
        for (line, target) in [
            ("GET /a?b HTTP/1.1", "/a?b"),
            ("GET //a/b HTTP/1.1", "//a/b"),
            ("GET http://example.com/a HTTP/1.1", "http://example.com/a"),
            ("OPTIONS * HTTP/1.1", "*"),
            ("CONNECT example.com:80 HTTP/1.1", "example.com:80"),
        ] {
            let head = parse(&format!("{line}\r\n\r\n")).unwrap().expect(line);
            assert_eq!(head.parts.uri.to_string(), target);
        }
    }

    #[test]
    fn heads_are_bounded() {
        let long = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(MAX_HEAD));
        assert!(matches!(parse(&long), Err(Error::HeadTooLarge)));
        let endless = format!("GET / HTTP/1.1\r\nx: {}", "y".repeat(MAX_HEAD));
        assert!(matches!(parse(&endless), Err(Error::HeadTooLarge)));
        let with = |many| format!("GET / HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(many));
        for many in [USUAL_FIELDS, USUAL_FIELDS + 1, MAX_FIELDS] {
            assert_eq!(parse(&with(many)).unwrap().unwrap().parts.headers.len(), many);
        }
        assert!(matches!(parse(&with(MAX_FIELDS + 1)), Err(Error::HeadTooLarge)));
        let target = format!("GET /{} HTTP/1.1\r\n\r\n", "y".repeat(MAX_TARGET));
        assert!(matches!(parse(&target), Err(Error::TargetTooLong)));
        assert!(parse(&"\r\n".repeat(8)).unwrap().is_none());
        assert!(parse(&"\r\n".repeat(9)).is_err_and(|error| error.is_malformed()));
    }

    #[test]
    fn what_only_informs_is_bounded_too() {
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(MAX_FIELDS));
        assert_eq!(answer(&many).unwrap().unwrap().parts.headers.len(), MAX_FIELDS);
        let informs = "HTTP/1.1 100 Continue\r\n\r\n";
        assert!(answer(&informs.repeat(2_000)).unwrap().is_none());
        assert!(matches!(answer(&informs.repeat(3_000)), Err(Error::HeadTooLarge)));
    }

    #[test]
    fn a_connection_is_kept_as_its_head_says() {
        for (version, fields, want) in [
            ("1.1", "", true),
            ("1.1", "connection: close\r\n", false),
            ("1.1", "connection: keep-alive, Close\r\n", false),
            ("1.1", "connection: close\r\nconnection: keep-alive\r\n", false),
            ("1.1", "connection: closed\r\n", true),
            ("1.1", "transfer-encoding: chunked\r\ncontent-length: 3\r\n", false),
            ("1.0", "", false),
            ("1.0", "connection: Keep-Alive\r\n", true),
        ] {
            let head = parse(&format!("GET / HTTP/{version}\r\n{fields}\r\n")).unwrap().unwrap();
            assert_eq!(head.keep_alive, want, "{version} {fields:?}");
        }
    }

    #[test]
    fn what_informs_is_passed_over_and_an_unusual_reason_is_kept() {
        let head =
            answer("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\nHTTP/1.1 200 Fine\r\n\r\n");
        let head = head.unwrap().unwrap();
        assert_eq!((head.parts.status, head.length, head.keep_alive), (StatusCode::OK, Length::UntilClose, false));
        assert_eq!(head.parts.extensions.get(), Some(&Reason(Bytes::from_static(b"Fine"))));
        assert!(head.parts.headers.is_empty());

        assert!(answer("HTTP/1.1 100 Continue\r\n\r\n").unwrap().is_none());
        assert!(answer("HTTP/1.1 99 Low\r\n\r\n").is_err() && answer("SSH-2.0-x\r\n\r\n").is_err());
    }

    #[test]
    fn a_client_that_waits_for_a_word_is_known() {
        let with = |fields: &str| parse(&format!("POST / HTTP/1.1\r\nexpect: 100-Continue\r\n{fields}\r\n"));
        assert!(with("content-length: 1\r\n").unwrap().unwrap().expects_continue);
        assert!(!with("").unwrap().unwrap().expects_continue);
    }

    proptest! {
        #[test]
        fn any_bytes_end_in_a_head_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = request(&bytes, &mut Progress::default());
            let _ = response(&bytes, &mut Progress::default(), &Method::GET);
        }
    }
}
