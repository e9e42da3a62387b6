//! A header field as the table keeps it and a request takes it: parsed once, when it first comes.

use http::header::{self, HeaderName, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, StatusCode};

/// A field, checked as RFC 9113 §8.2 and §8.3 say. One that breaks them is kept too: the table must stay in step with the peer's.
#[derive(Clone, Debug)]
pub(in crate::http2) enum Field {
    Method(Method),
    Scheme(Scheme),
    Authority(Authority),
    Path(PathAndQuery),
    Status(StatusCode),
    Header(HeaderName, HeaderValue, Kind),
    Malformed(Name),
}

/// The fields that a head looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http2) enum Kind {
    Plain,
    ContentLength,
    Cookie,
    Host,
}

/// A field's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::http2) enum Name {
    Method,
    Scheme,
    Authority,
    Path,
    Status,
    Header(HeaderName),
    /// None that may be used; its length counts all the same.
    Bad(usize),
}

impl Field {
    /// A field of these; `sensitive` if it must never be indexed (RFC 7541 §7.1.3).
    pub(super) fn new(name: Name, value: &[u8], sensitive: bool) -> Self {
        let parsed = match &name {
            Name::Method => Method::from_bytes(value).ok().map(Self::Method),
            Name::Scheme => Scheme::try_from(value).ok().map(Self::Scheme),
            Name::Authority => authority(value).map(Self::Authority),
            Name::Path => path(value).map(Self::Path),
            Name::Status => StatusCode::from_bytes(value).ok().map(Self::Status),
            Name::Header(name) => return Self::header(name.clone(), value, sensitive),
            Name::Bad(_) => None,
        };
        parsed.unwrap_or(Self::Malformed(name))
    }

    fn header(name: HeaderName, value: &[u8], sensitive: bool) -> Self {
        let padded = |end: Option<&u8>| matches!(end, Some(b' ' | b'\t'));
        if padded(value.first()) || padded(value.last()) {
            return Self::Malformed(Name::Header(name));
        }
        let Ok(mut parsed) = HeaderValue::from_bytes(value) else {
            return Self::Malformed(Name::Header(name));
        };
        parsed.set_sensitive(sensitive);
        match kind(&name, value) {
            Some(kind) => Self::Header(name, parsed, kind),
            None => Self::Malformed(Name::Header(name)),
        }
    }

    pub(super) fn name(&self) -> Name {
        match self {
            Self::Method(_) => Name::Method,
            Self::Scheme(_) => Name::Scheme,
            Self::Authority(_) => Name::Authority,
            Self::Path(_) => Name::Path,
            Self::Status(_) => Name::Status,
            Self::Header(name, _, _) => Name::Header(name.clone()),
            Self::Malformed(name) => name.clone(),
        }
    }
}

impl Name {
    pub(super) fn length(&self) -> usize {
        match self {
            Self::Method | Self::Scheme | Self::Status => 7,
            Self::Authority => 10,
            Self::Path => 5,
            Self::Header(name) => name.as_str().len(),
            Self::Bad(length) => *length,
        }
    }

    pub(super) fn parse(name: &[u8]) -> Self {
        if name.first() == Some(&b':') {
            return match name {
                b":method" => Self::Method,
                b":scheme" => Self::Scheme,
                b":authority" => Self::Authority,
                b":path" => Self::Path,
                b":status" => Self::Status,
                // Among them `:protocol`: extended CONNECT is not offered.
                _ => Self::Bad(name.len()),
            };
        }
        HeaderName::from_lowercase(name).map_or(Self::Bad(name.len()), Self::Header)
    }
}

/// `None` for what must not be in HTTP/2 (RFC 9113 §8.2.2).
fn kind(name: &HeaderName, value: &[u8]) -> Option<Kind> {
    match *name {
        header::CONTENT_LENGTH => Some(Kind::ContentLength),
        header::COOKIE => Some(Kind::Cookie),
        header::HOST => Some(Kind::Host),
        header::TE => value.eq_ignore_ascii_case(b"trailers").then_some(Kind::Plain),
        header::CONNECTION | header::TRANSFER_ENCODING | header::UPGRADE => None,
        _ => (!matches!(name.as_str(), "keep-alive" | "proxy-connection")).then_some(Kind::Plain),
    }
}

fn authority(value: &[u8]) -> Option<Authority> {
    // RFC 9113 §8.3.1: no user information.
    if value.contains(&b'@') {
        return None;
    }
    Authority::try_from(value).ok()
}

fn path(value: &[u8]) -> Option<PathAndQuery> {
    // A fragment would be cut off in silence, and then the path that is judged were not the one that was sent.
    if value.contains(&b'#') || (value.first() != Some(&b'/') && value != b"*") {
        return None;
    }
    PathAndQuery::try_from(value).ok()
}
