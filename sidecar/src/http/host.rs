//! Who a request is for: one host that every reader takes for the same (RFC 9110 section 7.2), or the request is refused.

use std::net::Ipv6Addr;

use http::header::{HOST, HeaderValue};
use http::{Method, Request, Version};

use crate::body::Body;

/// Checks the host of a request of any version.
///
/// # Errors
/// What is wrong, in words.
pub(crate) fn check(request: &Request<Body>) -> Result<(), &'static str> {
    let mut hosts = request.headers().get_all(HOST).iter();
    let authority = request.uri().authority();
    match (hosts.next().map(HeaderValue::as_bytes), hosts.next()) {
        (_, Some(_)) => return Err("several Host headers"),
        // It may be empty: the target then has no authority.
        (Some(host), None) if !host.is_empty() && !is_host(host) => return Err("Host is not a host name or address"),
        (Some(_), None) => {}
        (None, None) => match request.version() {
            Version::HTTP_11 if request.method() != Method::CONNECT => return Err("no Host header"),
            Version::HTTP_2 if authority.is_none() => return Err("neither :authority nor Host"),
            _ => {}
        },
    }
    match authority {
        Some(authority) if !is_host(authority.as_str().as_bytes()) => {
            Err("the authority is not a host name or address")
        }
        _ => Ok(()),
    }
}

/// Says whether this is a host and perhaps a port (RFC 3986 section 3.2), and no list of them.
pub(crate) fn is_host(text: &[u8]) -> bool {
    let end = match text.first() {
        Some(b'[') => text.iter().position(|byte| *byte == b']').map_or(0, |end| end + 1),
        _ => text.iter().position(|byte| *byte == b':').unwrap_or(text.len()),
    };
    let (host, port) = text.split_at(end);
    let is_host = match host.strip_prefix(b"[").and_then(|host| host.strip_suffix(b"]")) {
        Some(address) => is_ipv6(address),
        None => is_name(host),
    };
    is_host && (port.is_empty() || port.strip_prefix(b":").is_some_and(is_port))
}

/// A registered name or an IPv4 address. Without the comma that RFC 3986 allows: it joins two `Host` fields into one.
fn is_name(mut name: &[u8]) -> bool {
    if name.is_empty() {
        return false;
    }
    while let [byte, rest @ ..] = name {
        name = match (byte, rest) {
            (b'%', [high, low, rest @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => rest,
            (b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~', rest) => rest,
            (b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b';' | b'=', rest) => rest,
            _ => return false,
        };
    }
    true
}

/// The address of an IP literal, perhaps with a zone (RFC 6874).
fn is_ipv6(address: &[u8]) -> bool {
    let Ok(address) = std::str::from_utf8(address) else { return false };
    match address.split_once("%25") {
        Some((address, zone)) => address.parse::<Ipv6Addr>().is_ok() && is_name(zone.as_bytes()),
        None => address.parse::<Ipv6Addr>().is_ok(),
    }
}

/// Digits, or none.
fn is_port(port: &[u8]) -> bool {
    let number = port.iter().try_fold(0_u16, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| u16::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    });
    number.is_some()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hosts_that_clients_send_are_hosts() {
        for host in [
            "a",
            "a:80",
            "a:",
            "web.shop.svc.cluster.local:8080",
            "a.",
            "under_score-1",
            "10.0.0.1",
            "10.0.0.1:80",
            "[::1]",
            "[::1]:80",
            "[::ffff:10.0.0.1]:",
            "[fe80::1%25eth0]:80",
            "xn--bcher-kva.example",
            "%41",
            "a+b",
            "~u",
            "a:65535",
        ] {
            assert!(is_host(host.as_bytes()), "{host}");
        }
    }

    #[test]
    fn what_two_readers_could_take_for_different_hosts_is_none() {
        for host in [
            "",
            ":80",
            "a b",
            "a\tb",
            "a,b",
            "a, b",
            "a@b",
            "user@a",
            "a/b",
            "/",
            "a\\b",
            "a?b",
            "a#b",
            "a:80:90",
            "a:b",
            "a:+80",
            "a:-1",
            "a: 80",
            "a:65536",
            "::1",
            "[::1",
            "::1]",
            "[::1]x",
            "[::1]:x",
            "[a]",
            "[]",
            "[::1]80",
            "[::1][::2]",
            "a%",
            "a%4",
            "a%zz",
            "a\"b",
            "<a>",
            "a\u{e4}",
            "a\u{7f}",
            "[fe80::1%eth0]",
            "[v1.x]",
            "a{b}",
            "a|b",
            "a^b",
            "a`b",
        ] {
            assert!(!is_host(host.as_bytes()), "{host}");
        }
    }

    #[test]
    fn a_request_names_its_host_once() {
        let http2 = |authority: Option<&str>, hosts: &[&str]| {
            let target = authority.map_or_else(|| "/".to_owned(), |authority| format!("http://{authority}/"));
            with(Request::builder().version(Version::HTTP_2).uri(target), hosts)
        };
        let http1 = |hosts: &[&str]| with(Request::builder().uri("/"), hosts);
        for (request, fine) in [
            (http1(&["a"]), true),
            (http1(&[""]), true),
            (http1(&[]), false),
            (http1(&["a", "a"]), false),
            (http1(&["a", ""]), false),
            (http1(&["a b"]), false),
            (http2(Some("a"), &[]), true),
            (http2(Some("a"), &["a"]), true),
            (http2(None, &["a"]), true),
            (http2(None, &[]), false),
            (http2(None, &["a", "b"]), false),
            (http2(None, &["a@b"]), false),
            (with(Request::builder().uri("http://a,b/"), &["a"]), false),
            (with(Request::builder().version(Version::HTTP_10).uri("/"), &[]), true),
            (with(Request::builder().method(Method::CONNECT).uri("a:80"), &[]), true),
        ] {
            assert_eq!(check(&request).is_ok(), fine, "{:?} {:?}", request.uri(), request.headers());
        }
    }

    fn with(mut request: http::request::Builder, hosts: &[&str]) -> Request<Body> {
        for host in hosts {
            request = request.header(HOST, *host);
        }
        request.body(Body::empty()).unwrap()
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_host_or_none(bytes in prop::collection::vec(any::<u8>(), 0..20)) {
            if is_host(&bytes) {
                prop_assert!(bytes.iter().all(|byte| byte.is_ascii_graphic() && !b"@/\\,#?\"<>".contains(byte)));
            }
        }
    }
}
