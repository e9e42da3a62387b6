//! From fields to the head of a request or response, or to trailers (RFC 9113 §8.1 to §8.3).

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::{self, Authority, PathAndQuery, Scheme};
use http::{Method, Request, Response, StatusCode, Uri, Version};

use super::hpack::{FIELD_OVERHEAD, Field, Kind, Sink, TABLE_SIZE};
use crate::MAX_FIELDS;

/// The fields of one header block.
#[derive(Debug, Default)]
pub(super) struct Fields {
    method: Option<Method>,
    scheme: Option<Scheme>,
    authority: Option<Authority>,
    path: Option<PathAndQuery>,
    status: Option<StatusCode>,
    headers: HeaderMap,
    /// The crumbs of a cookie that came as several fields.
    cookies: Option<Vec<u8>>,
    content_length: Option<u64>,
    /// A field that is no pseudo-header came: no pseudo-header may follow.
    regular: bool,
    malformed: bool,
    too_large: bool,
    count: usize,
    /// The octets of names and values.
    octets: usize,
    /// What came as references to the table.
    referred: usize,
    room: usize,
}

/// What a block turned out to be.
#[derive(Debug)]
pub(super) enum Parsed<T> {
    Head(T),
    /// The stream is to be reset (RFC 9113 §8.1.1).
    Malformed,
    /// More than was allowed; what came of the fields before that.
    TooLarge(HeaderMap),
}

impl Fields {
    /// For a block of at most `room`, in which about `expected` fields come.
    pub(super) fn new(room: usize, expected: usize) -> Self {
        Self { room, headers: HeaderMap::with_capacity(expected), ..Self::default() }
    }

    /// Whether the response will have no content, whatever it is.
    pub(super) fn is_head(&self) -> bool {
        self.method == Some(Method::HEAD)
    }

    /// How many headers there are.
    pub(super) fn count(&self) -> usize {
        self.headers.len()
    }

    /// What the fields take of memory, as if no value were shared with the table: an entry that is replaced there lives on in the heads.
    pub(super) fn memory(&self) -> usize {
        let more = self.headers.len() - self.headers.keys_len();
        self.headers.capacity() * FIELD_MEMORY + more * MORE_MEMORY + self.octets
    }

    /// Whether the block refers to more than an honest one can: each entry of the table once makes half of it.
    pub(super) fn is_bomb(&self) -> bool {
        self.referred > MOST_REFERRED
    }

    /// How many fields came beyond those that are enough for anything.
    pub(super) fn beyond(&self) -> usize {
        self.count.saturating_sub(MOST_FIELDS)
    }

    pub(super) fn content_length(&self) -> Option<u64> {
        self.content_length
    }

    pub(super) fn request(mut self) -> Parsed<Request<()>> {
        let parts = (self.method.take(), self.scheme.take(), self.authority.take(), self.path.take());
        let (method, uri) = match parts {
            // RFC 9113 §8.5.
            (Some(Method::CONNECT), None, Some(authority), None) => {
                let mut parts = uri::Parts::default();
                parts.authority = Some(authority);
                (Method::CONNECT, Uri::from_parts(parts))
            }
            (Some(method), Some(scheme), authority, Some(path)) if method != Method::CONNECT => {
                if path == "*" && method != Method::OPTIONS {
                    self.malformed = true;
                }
                let mut parts = uri::Parts::default();
                // Without an authority there can be no scheme in a URI; the Host field then says what is meant.
                parts.scheme = authority.as_ref().map(|_| scheme);
                parts.authority = authority;
                parts.path_and_query = Some(path);
                (method, Uri::from_parts(parts))
            }
            _ => {
                self.malformed |= !self.too_large;
                (Method::GET, Ok(Uri::default()))
            }
        };
        self.malformed |= self.status.is_some();
        if self.malformed {
            return Parsed::Malformed;
        }
        if self.too_large {
            return Parsed::TooLarge(self.headers);
        }
        let Ok(uri) = uri else { return Parsed::Malformed };
        if self.hosts_differ(&uri) {
            return Parsed::Malformed;
        }
        let mut request = Request::new(());
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        *request.version_mut() = Version::HTTP_2;
        *request.headers_mut() = self.into_headers();
        Parsed::Head(request)
    }

    pub(super) fn response(mut self) -> Parsed<Response<()>> {
        let pseudo = self.method.is_some() || self.scheme.is_some() || self.authority.is_some() || self.path.is_some();
        let status = self.status.take();
        // RFC 9113 §8.6: there is no 101.
        if self.malformed || pseudo || status == Some(StatusCode::SWITCHING_PROTOCOLS) {
            return Parsed::Malformed;
        }
        if self.too_large {
            return Parsed::TooLarge(self.headers);
        }
        let Some(status) = status else { return Parsed::Malformed };
        let mut response = Response::new(());
        *response.status_mut() = status;
        *response.version_mut() = Version::HTTP_2;
        *response.headers_mut() = self.into_headers();
        Parsed::Head(response)
    }

    pub(super) fn trailers(self) -> Parsed<HeaderMap> {
        let pseudo = self.method.is_some() || self.scheme.is_some() || self.authority.is_some() || self.path.is_some();
        if self.malformed || pseudo || self.status.is_some() {
            return Parsed::Malformed;
        }
        if self.too_large {
            return Parsed::TooLarge(self.headers);
        }
        Parsed::Head(self.into_headers())
    }

    /// A Host field that names another place than `:authority` (RFC 9113 §8.3.1) would lead a proxy and its endpoint apart.
    fn hosts_differ(&self, uri: &Uri) -> bool {
        let (Some(authority), Some(host)) = (uri.authority(), self.headers.get(header::HOST)) else { return false };
        !host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes())
    }

    fn into_headers(self) -> HeaderMap {
        let mut headers = self.headers;
        // What was joined of valid values with "; " is valid.
        if let Some(value) = self.cookies.and_then(|cookies| HeaderValue::from_maybe_shared(cookies).ok()) {
            headers.insert(header::COOKIE, value);
        }
        headers
    }

    fn header(&mut self, name: HeaderName, value: HeaderValue, kind: Kind) {
        match kind {
            Kind::Plain => {}
            Kind::ContentLength => {
                let length = length(&value);
                self.malformed |= length.is_none() || self.content_length.is_some_and(|other| Some(other) != length);
                if self.content_length.is_some() {
                    return;
                }
                self.content_length = length;
            }
            Kind::Cookie => {
                if let Some(before) = self.headers.get(header::COOKIE) {
                    let cookies = self.cookies.get_or_insert_with(|| before.as_bytes().to_vec());
                    cookies.extend_from_slice(b"; ");
                    cookies.extend_from_slice(value.as_bytes());
                    return;
                }
            }
            Kind::Host => self.malformed |= self.headers.contains_key(header::HOST),
        }
        self.malformed |= self.headers.try_append(name, value).is_err();
    }

    fn pseudo<T>(&mut self, place: impl FnOnce(&mut Self) -> &mut Option<T>, value: T) {
        let late = self.regular;
        let twice = place(self).replace(value).is_some();
        self.malformed |= late || twice;
    }
}

impl Sink for Fields {
    fn admits(&mut self, size: usize, referred: usize) -> bool {
        self.count += 1;
        self.referred += referred;
        match self.room.checked_sub(size) {
            Some(room) if self.count <= MOST_FIELDS && self.referred <= MOST_REFERRED => {
                self.room = room;
                self.octets += size - FIELD_OVERHEAD;
            }
            Some(_) | None => {
                self.room = 0;
                self.too_large = true;
            }
        }
        !self.too_large
    }

    fn take(&mut self, field: Field) {
        match field {
            Field::Header(name, value, kind) => {
                self.regular = true;
                self.header(name, value, kind);
            }
            Field::Method(method) => self.pseudo(|fields| &mut fields.method, method),
            Field::Scheme(scheme) => self.pseudo(|fields| &mut fields.scheme, scheme),
            Field::Authority(authority) => self.pseudo(|fields| &mut fields.authority, authority),
            Field::Path(path) => self.pseudo(|fields| &mut fields.path, path),
            Field::Status(status) => self.pseudo(|fields| &mut fields.status, status),
            Field::Malformed(_) => self.malformed = true,
        }
    }
}

/// RFC 9110 §8.6: digits and nothing else.
fn length(value: &HeaderValue) -> Option<u64> {
    let digits = value.as_bytes();
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |length, digit| {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit < 10)?;
        length.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// A field takes more memory than it counts octets. To what another reader may have accepted come the pseudo-headers, and what a sidecar adds.
const MOST_FIELDS: usize = MAX_FIELDS + 48;
/// What a block may refer to: all of the dynamic table, all of the static one, and some again.
const MOST_REFERRED: usize = 2 * TABLE_SIZE;
/// What a header takes in a map, with its place in the index, and what another of the same name does; the map's memory grows by doubling.
const FIELD_MEMORY: usize = 112;
const MORE_MEMORY: usize = 144;
