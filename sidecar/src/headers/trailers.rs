//! Trailers, in both directions and of both versions of HTTP: what a reader could merge into the head, and then believe, does not pass
//! (RFC 9110 section 6.5.1).

use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use http_body::Frame;
use outrigger_wire::http1;

use crate::headers::asserted::asserts_identity;

/// Takes from a frame of trailers what is to be in the head only.
pub(crate) fn cleaned(frame: Frame<Bytes>) -> Frame<Bytes> {
    if !frame.is_trailers() {
        return frame;
    }
    match frame.into_trailers() {
        Ok(mut trailers) => {
            clean(&mut trailers);
            Frame::trailers(trailers)
        }
        Err(frame) => frame,
    }
}

/// Removes what frames, routes, authenticates or describes a message, or names its sender.
pub(crate) fn clean(trailers: &mut HeaderMap) {
    let forbidden = |name: &&HeaderName| !http1::may_be_trailer(name) || names_the_sender(name);
    let names: Vec<HeaderName> = trailers.keys().filter(forbidden).cloned().collect();
    for name in names {
        trailers.remove(name);
    }
}

/// Says whether proxies write this field of a request to say whom it came from, and by which way.
pub(crate) fn names_the_sender(name: &HeaderName) -> bool {
    if asserts_identity(name) {
        return true;
    }
    let name = name.as_str();
    // Of names that begin like this all are meant.
    const PREFIXES: [&str; 3] = ["x-forwarded-", "l5d-", "x-envoy-"];
    matches!(name, "forwarded" | "via" | "x-real-ip" | "x-client-ip" | "true-client-ip")
        || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn what_belongs_into_the_head_does_not_pass_as_a_trailer() {
        let mut trailers = HeaderMap::new();
        for name in [
            "content-length",
            "transfer-encoding",
            "host",
            "connection",
            "authorization",
            "cookie",
            "set-cookie",
            "te",
            "trailer",
            "upgrade",
            "keep-alive",
            "content-type",
            "content-encoding",
            "expect",
            "forwarded",
            "x-forwarded-for",
            "x-forwarded-client-cert",
            "l5d-client-id",
            "x-real-ip",
            "proxy-authorization",
            "x-sum",
            "grpc-status",
            "grpc-message",
            "server-timing",
            "etag",
        ] {
            trailers.append(name, HeaderValue::from_static("1"));
            trailers.append(name, HeaderValue::from_static("2"));
        }

        let passed = cleaned(Frame::trailers(trailers)).into_trailers().unwrap();

        let mut names: Vec<_> = passed.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["etag", "grpc-message", "grpc-status", "server-timing", "x-sum"]);
        assert_eq!(passed.len(), 10, "each twice");
    }
}
