//! Heads: the start line and the fields, parsed once, as slices of what was read.

use std::mem::MaybeUninit;

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, EXPECT, HeaderName, HeaderValue};
use http::{HeaderMap, Method, StatusCode, Uri, Version, request, response};

use super::error::Error;
use super::framing::{self, Length};
use super::{MAX_FIELDS, MAX_HEAD, decode};

/// The longest target of a request, bytes; what `http::Uri` can hold is a little more.
const MAX_TARGET: usize = 65_000;

/// A response's reason phrase, when it is not the usual one; among the extensions of the response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason(pub Bytes);

/// A head, and what it says of the rest.
#[derive(Debug)]
pub(crate) struct Head<T> {
    pub(crate) parts: T,
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

/// Takes a request's head off `read`; `None`: it is not complete.
pub(crate) fn request(read: &mut BytesMut, progress: &mut Progress) -> Result<Option<Head<request::Parts>>, Error> {
    skip_line_breaks(read);
    if read.is_empty() || !progress.worth(read) {
        return incomplete(read);
    }
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut parsed = httparse::Request::new(&mut []);
    let parsed_bytes = parsed.parse_with_uninit_headers(read, &mut fields);
    let length = match parsed_bytes {
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
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| Error::Malformed("method"))?;
    let target = range(read, target.as_bytes());
    let places = Places::of(read, parsed.headers);
    let bytes = decode::take(read, length);
    let uri = Uri::from_maybe_shared(bytes.slice(target)).map_err(|_| Error::Malformed("request target"))?;
    let mut headers = places.headers(&bytes)?;
    let version = version(minor);
    let (length, spent) = framing::of_request(&mut headers, version)?;
    let expects_continue = version == Version::HTTP_11
        && length != Length::NONE
        && headers.get(EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    let keep_alive = !spent && keeps_alive(&headers, version);
    let mut parts = http::Request::new(()).into_parts().0;
    parts.method = method;
    parts.uri = uri;
    parts.version = version;
    parts.headers = headers;
    Ok(Some(Head { parts, length, keep_alive, expects_continue }))
}

/// Takes the head of the response to a request with this method off `read`; `None`: it is not complete. What only informs is passed over.
pub(crate) fn response(
    read: &mut BytesMut,
    progress: &mut Progress,
    method: &Method,
) -> Result<Option<Head<response::Parts>>, Error> {
    loop {
        if read.is_empty() || !progress.worth(read) {
            return incomplete(read);
        }
        let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
        let mut parsed = httparse::Response::new(&mut []);
        let parsed_bytes =
            httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut parsed, read, &mut fields);
        let length = match parsed_bytes {
            Ok(httparse::Status::Complete(length)) if length <= MAX_HEAD => length,
            Ok(httparse::Status::Complete(_)) => return Err(Error::HeadTooLarge),
            Ok(httparse::Status::Partial) => return incomplete(read),
            Err(error) => return Err(malformed(error)),
        };
        let (Some(code), Some(reason), Some(minor)) = (parsed.code, parsed.reason, parsed.version) else {
            return Err(Error::Malformed("status line"));
        };
        let status = StatusCode::from_u16(code).map_err(|_| Error::Malformed("status"))?;
        let unusual = (status.canonical_reason() != Some(reason)).then(|| range(read, reason.as_bytes()));
        let places = Places::of(read, parsed.headers);
        let bytes = decode::take(read, length);
        if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS {
            *progress = Progress::default();
            continue;
        }
        let mut headers = places.headers(&bytes)?;
        let version = version(minor);
        let length = framing::of_response(&mut headers, version, status, method)?;
        let keep_alive = length != Length::UntilClose && keeps_alive(&headers, version);
        let mut parts = http::Response::new(()).into_parts().0;
        parts.status = status;
        parts.version = version;
        parts.headers = headers;
        if let Some(reason) = unusual {
            parts.extensions.insert(Reason(bytes.slice(reason)));
        }
        return Ok(Some(Head { parts, length, keep_alive, expects_continue: false }));
    }
}

/// Says whether the message's sender keeps the connection open (RFC 9112 section 9.3).
pub(crate) fn keeps_alive(headers: &HeaderMap, version: Version) -> bool {
    // Most messages say nothing.
    if !headers.contains_key(CONNECTION) {
        return version == Version::HTTP_11;
    }
    let says = |word: &str| {
        let mut options = headers.get_all(CONNECTION).iter().flat_map(|value| value.as_bytes().split(|b| *b == b','));
        options.any(|option| option.trim_ascii().eq_ignore_ascii_case(word.as_bytes()))
    };
    !says("close") && (version == Version::HTTP_11 || says("keep-alive"))
}

fn version(minor: u8) -> Version {
    if minor == 1 { Version::HTTP_11 } else { Version::HTTP_10 }
}

fn incomplete<T>(read: &BytesMut) -> Result<Option<T>, Error> {
    if read.len() > MAX_HEAD { Err(Error::HeadTooLarge) } else { Ok(None) }
}

/// Empty lines may come before a request (RFC 9112 section 2.2).
fn skip_line_breaks(read: &mut BytesMut) {
    let breaks = read.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    if breaks > 0 {
        drop(decode::take(read, breaks));
    }
}

fn malformed(error: httparse::Error) -> Error {
    match error {
        httparse::Error::HeaderName => Error::Malformed("name of a field"),
        httparse::Error::HeaderValue => Error::Malformed("value of a field"),
        httparse::Error::NewLine => Error::Malformed("end of a line"),
        httparse::Error::Status => Error::Malformed("status"),
        httparse::Error::Token => Error::Malformed("method or target"),
        httparse::Error::TooManyHeaders => Error::HeadTooLarge,
        httparse::Error::Version => Error::Malformed("version"),
    }
}

/// Where the fields are. Ends of the borrow of what was read: the fields themselves become slices of the head.
struct Places {
    places: [[u32; 4]; MAX_FIELDS],
    count: usize,
}

impl Places {
    #[expect(clippy::cast_possible_truncation, reason = "a head is at most MAX_HEAD long")]
    fn of(bytes: &[u8], fields: &[httparse::Header<'_>]) -> Self {
        let mut places = [[0; 4]; MAX_FIELDS];
        for (place, field) in places.iter_mut().zip(fields) {
            let (name, value) = (range(bytes, field.name.as_bytes()), range(bytes, field.value));
            *place = [name.start as u32, name.end as u32, value.start as u32, value.end as u32];
        }
        Self { places, count: fields.len() }
    }

    fn headers(&self, head: &Bytes) -> Result<HeaderMap, Error> {
        let mut headers = HeaderMap::with_capacity(self.count);
        for [name, name_end, value, value_end] in self.places[..self.count].iter().map(|p| p.map(|p| p as usize)) {
            let name =
                HeaderName::from_bytes(&head[name..name_end]).map_err(|_| Error::Malformed("name of a field"))?;
            let value = HeaderValue::from_maybe_shared(head.slice(value..value_end));
            headers.append(name, value.map_err(|_| Error::Malformed("value of a field"))?);
        }
        Ok(headers)
    }
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
        request(&mut BytesMut::from(text), &mut Progress::default())
    }

    fn answer(text: &str) -> Result<Option<Head<response::Parts>>, Error> {
        response(&mut BytesMut::from(text), &mut Progress::default(), &Method::GET)
    }

    #[test]
    fn a_head_is_read_however_it_is_split() {
        let text = "\r\nPOST /a?b=c HTTP/1.1\r\nHost: example.com\r\nX-Many: 1\r\nx-many:\t2 \r\nContent-Length: 3\r\n\r\nabcGET";
        for piece in 1..text.len() {
            let (mut read, mut progress) = (BytesMut::new(), Progress::default());
            let mut head = None;
            for bytes in text.as_bytes().chunks(piece) {
                read.extend_from_slice(bytes);
                if head.is_none() {
                    head = request(&mut read, &mut progress).unwrap();
                }
            }
            let Head { parts, length, keep_alive, .. } = head.expect("a whole head");
            assert_eq!((parts.method, parts.uri.to_string()), (Method::POST, "/a?b=c".to_owned()));
            assert_eq!((parts.headers["host"].as_bytes(), parts.headers.len()), (&b"example.com"[..], 4));
            let many: Vec<_> = parts.headers.get_all("x-many").iter().collect();
            assert_eq!(many, ["1", "2"]);
            assert_eq!((length, keep_alive, &read[..]), (Length::Exact(3), true, &b"abcGET"[..]), "pieces of {piece}");
        }
    }

    #[test]
    fn what_is_not_http_is_refused() {
        for text in [
            "GET / HTTP/1.1\r\nhost : a\r\n\r\n",
            "GET / HTTP/1.1\r\n host: a\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a\r\n folded: b\r\n\r\n",
            "GET / HTTP/2.0\r\n\r\n",
            "GET /\r\n\r\n",
            "GET  / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nx: a\0b\r\n\r\n",
            "GET / HTTP/1.1\r\nx: a\rb\r\n\r\n",
            "G<T / HTTP/1.1\r\n\r\n",
            "GET http://[::1 HTTP/1.1\r\n\r\n",
        ] {
            assert!(parse(text).is_err_and(|error| error.is_malformed()), "{text:?}");
        }
    }

    #[test]
    fn heads_are_bounded() {
        let long = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(MAX_HEAD));
        assert!(matches!(parse(&long), Err(Error::HeadTooLarge)));
        let endless = format!("GET / HTTP/1.1\r\nx: {}", "y".repeat(MAX_HEAD));
        assert!(matches!(parse(&endless), Err(Error::HeadTooLarge)));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(MAX_FIELDS + 1));
        assert!(matches!(parse(&many), Err(Error::HeadTooLarge)));
        let target = format!("GET /{} HTTP/1.1\r\n\r\n", "y".repeat(MAX_TARGET));
        assert!(matches!(parse(&target), Err(Error::TargetTooLong)));
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
            let _ = request(&mut BytesMut::from(&bytes[..]), &mut Progress::default());
            let _ = response(&mut BytesMut::from(&bytes[..]), &mut Progress::default(), &Method::GET);
        }
    }
}
