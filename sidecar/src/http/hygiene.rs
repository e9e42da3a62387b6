//! What a proxy must clean before it passes a message on (RFC 9110 section 7.6): hop-by-hop headers go, and a request
//! that two readers could understand differently is refused.

use std::net::SocketAddr;
use std::task::{Context, Poll};

use futures_util::future::{Either, MapOk, Ready, TryFutureExt, ready};
use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONNECTION, COOKIE, DATE, ETAG, EXPECT, HOST, HeaderName, HeaderValue, LOCATION,
    ORIGIN, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, RANGE, REFERER, RETRY_AFTER, SET_COOKIE, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE, USER_AGENT, VARY, WWW_AUTHENTICATE,
};
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use http_body::Body as _;
use outrigger_proto::ErrorCode;
use tower::{Layer, Service};

use crate::body::Body;
use crate::error::ProxyError;
use crate::flow::callers_route::{self, ROUTE};
use crate::flow::onward::{Onward, RETRIED, Told, tell_marked};
use crate::headers::leaving::LEAVING;
use crate::headers::trailers;
use crate::headers::{Asserted, ClientNames};
use crate::http::ResponseBody;
use crate::http::call::Call;
use crate::http::respond::UNPROCESSED;
use crate::http::{host, upgrade};

/// Makes [`Hygiene`].
#[derive(Clone, Debug)]
pub(crate) struct HygieneLayer {
    /// What a request may not say of its sender.
    pub(crate) asserted: Asserted,
    /// What it says of its sender in their place.
    pub(crate) client: Option<ClientNames>,
}

impl<S> Layer<S> for HygieneLayer {
    type Service = Hygiene<S>;

    fn layer(&self, inner: S) -> Hygiene<S> {
        Hygiene { inner, asserted: self.asserted, client: self.client.clone() }
    }
}

/// Cleans requests and responses.
#[derive(Clone, Debug)]
pub(crate) struct Hygiene<S> {
    inner: S,
    asserted: Asserted,
    client: Option<ClientNames>,
}

type Clean = fn(Response<ResponseBody>) -> Response<ResponseBody>;

impl<S> Service<Call> for Hygiene<S>
where
    S: Service<Call, Response = Response<ResponseBody>, Error = ProxyError>,
{
    type Response = Response<ResponseBody>;
    type Error = ProxyError;
    type Future = Either<MapOk<S::Future, Clean>, Ready<Result<Response<ResponseBody>, ProxyError>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ProxyError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut call: Call) -> Self::Future {
        if let Err(error) = clean_request(&mut call.request, || call.to.address()) {
            return Either::Right(ready(Err(error)));
        }
        let mut told = Told::default();
        let headers = call.request.headers_mut();
        self.asserted.remove(headers, |name, value| {
            if *name == ROUTE {
                callers_route::hear(&call.flow, value);
            } else {
                told.hear(name, value);
            }
        });
        call.onward = Onward::of(&call.flow, told, headers);
        if let Some(client) = &self.client {
            client.write(call.request.headers_mut());
        }
        Either::Left(self.inner.call(call).map_ok(clean_response))
    }
}

fn refused(what: &str) -> ProxyError {
    ProxyError::new(ErrorCode::HttpProtocol, format!("malformed request: {what}"))
}

fn clean_request(request: &mut Request<Body>, address: impl Fn() -> Option<SocketAddr>) -> Result<(), ProxyError> {
    host::check(request).map_err(refused)?;
    if request.method() != Method::CONNECT
        && request.uri().authority().is_some()
        && request.version() != Version::HTTP_2
    {
        // The absolute form names the host; it wins over the header (RFC 9112 section 3.2.2). The target itself stays as it is: the app may be
        // the proxy that is meant.
        let authority = request.uri().authority().map(|a| HeaderValue::from_str(a.as_str()));
        if let Some(Ok(host)) = authority
            && request.headers().get(HOST) != Some(&host)
        {
            request.headers_mut().insert(HOST, host);
        }
    }
    if request.version() == Version::HTTP_10
        && request.method() != Method::CONNECT
        && !request.headers().contains_key(HOST)
    {
        // It leaves as HTTP/1.1, where a server may refuse a request without one.
        let host = address().and_then(|address| HeaderValue::try_from(address.to_string()).ok());
        let host = host.ok_or_else(|| refused("no Host header"))?;
        request.headers_mut().insert(HOST, host);
    }
    if speaks_h2c(request.headers()) {
        // What follows would be requests that nobody routes and no policy sees.
        request.headers_mut().remove(UPGRADE);
        request.headers_mut().remove("http2-settings");
    }
    let upgrade = request.method() != Method::CONNECT
        && (request.body().is_end_stream() || request.body().size_hint().exact().is_some())
        && upgrade::asks(request.version(), request.headers());
    let codings = |te: &HeaderValue| {
        te.as_bytes().split(|byte| *byte == b',').any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"trailers"))
    };
    let trailers_wanted = request.headers().get_all(TE).iter().any(codings);
    let headers = request.headers_mut();
    remove_hop_by_hop(headers, upgrade);
    if headers.remove(TE).is_some() && trailers_wanted {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    Ok(())
}

/// Says whether a client would go on in HTTP/2 (RFC 7540 section 3.2; RFC 9113 has done away with it).
fn speaks_h2c(headers: &HeaderMap) -> bool {
    let mut protocols = headers.get_all(UPGRADE).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    protocols.any(|protocol| protocol.trim_ascii().to_ascii_lowercase().starts_with(b"h2c"))
}

fn clean_response(mut response: Response<ResponseBody>) -> Response<ResponseBody> {
    let switched = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    remove_hop_by_hop(response.headers_mut(), switched);
    let told = |name: &&HeaderName| TOLD.contains(name);
    // Hardly any message has one: a look at the names costs less than hashing each that may not be there.
    while let Some(name) = response.headers().keys().find(told).cloned() {
        response.headers_mut().remove(name);
    }
    tell_marked(&mut response);
    response
}

/// What sidecars tell each other in answers.
static TOLD: [HeaderName; 3] = [UNPROCESSED, LEAVING, RETRIED];

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
/// What goes even if `Connection` does not list it.
///
/// `Proxy-Authorization` and `Proxy-Authenticate` stay. They are between a client and the proxy that it addresses, which an app may be and a
/// sidecar never is: RFC 9110 section 11.7 lets a proxy that is not meant relay them.
static HOP_BY_HOP: [HeaderName; 4] = [UPGRADE, TRANSFER_ENCODING, KEEP_ALIVE, PROXY_CONNECTION];

fn remove_hop_by_hop(headers: &mut HeaderMap, upgrade: bool) {
    if headers.contains_key(CONNECTION) {
        let listed: Vec<HeaderName> = headers
            .get_all(CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok())
            .filter(|name| !is_end_to_end(name))
            .collect();
        for name in listed {
            headers.remove(name);
        }
        if upgrade {
            headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        } else {
            headers.remove(CONNECTION);
        }
    }
    // Most messages have none of these: a look at the names costs less than hashing each of them.
    if headers.keys().any(|name| HOP_BY_HOP.contains(name)) {
        HOP_BY_HOP.iter().filter(|name| !(upgrade && *name == UPGRADE)).for_each(|name| drop(headers.remove(name)));
    }
}

/// Says whether a field is for the last reader by its definition, or is dealt with elsewhere. A sender must not list it in `Connection`
/// (RFC 9110 section 7.6.1), and if it does the field stays, as it would with no proxy between: else a client could have a proxy take away
/// what frames, routes, authenticates or traces the message, and what another proxy has written on it. Envoy refuses such a request, Go's
/// proxy obeys it, nginx looks at `close` and `keep-alive` only.
fn is_end_to_end(name: &HeaderName) -> bool {
    // Of names that begin like this all are meant.
    const PREFIXES: [&str; 8] =
        ["content-", "accept", "if-", "sec-", "access-control-", "grpc-", "x-b3-", "x-request-id"];
    END_TO_END.contains(name)
        || matches!(name.as_str(), "traceparent" | "tracestate" | "baggage" | "idempotency-key")
        || PREFIXES.iter().any(|prefix| name.as_str().starts_with(prefix))
        || trailers::names_the_sender(name)
}

static END_TO_END: [HeaderName; 22] = [
    AUTHORIZATION,
    CACHE_CONTROL,
    CONNECTION,
    COOKIE,
    DATE,
    ETAG,
    EXPECT,
    HOST,
    LOCATION,
    ORIGIN,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    RANGE,
    REFERER,
    RETRY_AFTER,
    SET_COOKIE,
    TE,
    TRAILER,
    UPGRADE,
    USER_AGENT,
    VARY,
    WWW_AUTHENTICATE,
];

#[cfg(test)]
mod tests {
    use super::*;

    fn request(lines: &[(&'static str, &'static str)]) -> Request<Body> {
        let mut request = Request::new(Body::empty());
        for (name, value) in lines {
            request.headers_mut().append(*name, HeaderValue::from_static(value));
        }
        request
    }

    fn address() -> Option<SocketAddr> {
        Some(SocketAddr::from(([10, 0, 0, 1], 80)))
    }

    #[test]
    fn an_upgrade_to_http2_does_not_pass() {
        for protocol in ["h2c", "H2C", "websocket, h2c", "h2c-17"] {
            let mut request =
                request(&[("host", "a"), ("connection", "Upgrade, HTTP2-Settings"), ("http2-settings", "x")]);
            request.headers_mut().insert(UPGRADE, HeaderValue::from_static(protocol));

            clean_request(&mut request, address).unwrap();

            let names: Vec<_> = request.headers().keys().map(HeaderName::as_str).collect();
            assert_eq!(names, ["host"], "{protocol}");
        }
    }

    #[test]
    fn an_old_request_without_a_host_gets_one() {
        let mut request = request(&[]);
        *request.version_mut() = Version::HTTP_10;

        clean_request(&mut request, address).unwrap();

        assert_eq!(request.headers()["host"], "10.0.0.1:80");
    }

    #[test]
    fn hop_by_hop_headers_do_not_pass() {
        let mut request = request(&[
            ("host", "a"),
            ("connection", "close, X-Secret"),
            ("x-secret", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("x-kept", "2"),
        ]);

        clean_request(&mut request, address).unwrap();

        let mut names: Vec<_> = request.headers().keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["host", "te", "x-kept"]);
    }

    #[test]
    fn what_sidecars_tell_each_other_does_not_pass() {
        let mut response = Response::new(ResponseBody::empty());
        for name in ["outrigger-unprocessed", "outrigger-leaving", "outrigger-retried", "x-kept"] {
            response.headers_mut().insert(name, HeaderValue::from_static("1"));
        }

        let response = clean_response(response);

        assert_eq!(response.headers().keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-kept"]);
    }

    #[test]
    fn an_upgrade_keeps_its_headers() {
        let mut request = request(&[("host", "a"), ("connection", "Upgrade"), ("upgrade", "websocket")]);

        clean_request(&mut request, address).unwrap();

        assert_eq!(request.headers()["connection"], "upgrade");
        assert_eq!(request.headers()["upgrade"], "websocket");
    }

    #[test]
    fn an_upgrade_wants_its_option_and_an_option_its_upgrade() {
        for (lines, passed) in [
            (&[("host", "a"), ("upgrade", "websocket")][..], &["host"][..]),
            (&[("host", "a"), ("upgrade", "websocket"), ("connection", "keep-alive")], &["host"]),
            (&[("host", "a"), ("upgrade", "websocket"), ("connection", "xupgrade, upgrade-x")], &["host"]),
            (&[("host", "a"), ("connection", "upgrade")], &["host"]),
            (
                &[("host", "a"), ("connection", "close"), ("connection", "x, UPGRADE"), ("upgrade", "y")],
                &["connection", "host", "upgrade"],
            ),
        ] {
            let mut request = request(lines);
            clean_request(&mut request, address).unwrap();
            let mut names: Vec<_> = request.headers().keys().map(HeaderName::as_str).collect();
            names.sort_unstable();
            assert_eq!(names, passed, "{lines:?}");
            assert_eq!(request.headers().get_all(CONNECTION).iter().count(), passed.len() / 2, "{lines:?}");
        }
    }

    #[test]
    fn a_request_with_content_of_known_length_may_ask_for_another_protocol() {
        let mut with_content =
            request(&[("host", "a"), ("connection", "upgrade"), ("upgrade", "tcp"), ("content-length", "3")]);
        *with_content.body_mut() = Body::full("abc");
        clean_request(&mut with_content, address).unwrap();
        let mut names: Vec<_> = with_content.headers().keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["connection", "content-length", "host", "upgrade"]);
    }

    #[test]
    fn a_tunnel_is_asked_for_by_its_method_alone() {
        let mut connect = request(&[("host", "a:80"), ("connection", "keep-alive, upgrade"), ("upgrade", "x")]);
        *connect.method_mut() = Method::CONNECT;
        *connect.uri_mut() = http::Uri::from_static("a:80");
        clean_request(&mut connect, address).unwrap();
        let names: Vec<_> = connect.headers().keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["host"]);
    }

    #[test]
    fn a_peer_cannot_have_dropped_what_is_for_the_app() {
        for name in [
            "authorization",
            "cookie",
            "host",
            "content-length",
            "content-type",
            "content-encoding",
            "x-forwarded-for",
            "x-forwarded-client-cert",
            "forwarded",
            "traceparent",
            "tracestate",
            "baggage",
            "l5d-client-id",
            "x-real-ip",
            "x-request-id",
            "origin",
            "range",
            "if-match",
            "accept",
            "grpc-timeout",
            "sec-websocket-key",
            "set-cookie",
        ] {
            let mut request = request(&[("host", "a")]);
            request.headers_mut().insert(name, HeaderValue::from_static("a"));
            request.headers_mut().insert(CONNECTION, format!("close, {name}").try_into().unwrap());
            clean_request(&mut request, address).unwrap();
            assert!(request.headers().contains_key(name), "{name}");
            assert!(!request.headers().contains_key(CONNECTION), "{name}");
        }
    }

    #[test]
    fn ambiguous_requests_are_refused() {
        for lines in [&[("x", "no host")][..], &[("host", "a"), ("host", "b")], &[("host", "a, b")], &[("host", "a b")]]
        {
            assert!(clean_request(&mut request(lines), address).is_err(), "{lines:?}");
        }
    }

    #[test]
    fn a_peer_cannot_have_framing_headers_dropped() {
        let mut request = request(&[("host", "a"), ("connection", "content-length, host"), ("content-length", "3")]);

        clean_request(&mut request, address).unwrap();

        assert!(request.headers().contains_key("content-length") && request.headers().contains_key("host"));
    }
}
