//! What rules look at of a request, and what they have found.

use http::{HeaderMap, Method};

/// What a match looks at.
#[derive(Debug, Clone, Copy)]
pub struct RequestView<'a> {
    /// The method.
    pub method: &'a Method,
    /// The path after [`crate::normalize`].
    pub path: &'a str,
    /// The query, undecoded.
    pub query: Option<&'a str>,
    /// The request target's authority, when it has one: all of HTTP/2, and HTTP/1's absolute form.
    pub authority: Option<&'a str>,
    /// The headers.
    pub headers: &'a HeaderMap,
}

impl<'a> From<&'a http::request::Parts> for RequestView<'a> {
    #[inline]
    fn from(parts: &'a http::request::Parts) -> Self {
        Self {
            method: &parts.method,
            path: parts.uri.path(),
            query: parts.uri.query(),
            authority: parts.uri.authority().map(http::uri::Authority::as_str),
            headers: &parts.headers,
        }
    }
}

/// The match that a request met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Matched {
    /// Place of the match in its rule; 0 for a rule without matches.
    pub place: u16,
    /// Bytes of the path that a prefix match covers, without a trailing `/`; filters keep it true.
    pub prefix: u16,
}
