//! Redirects: the answer that a rule gives in place of a backend.

use std::fmt::Write;
use std::num::NonZeroU16;

use http::header::{self, HeaderValue};
use http::uri::Authority;
use http::{Response, StatusCode, request};
use outrigger_proto::model::{self, PathModifier};

use crate::path;
use crate::target::{UriTooLong, compile_path, host_name};
use crate::{CompileError, Matched};

/// A compiled redirect.
#[derive(Debug)]
pub struct Redirect {
    scheme: Option<Scheme>,
    hostname: Option<Box<str>>,
    path: Option<PathModifier>,
    port: Option<NonZeroU16>,
    status: StatusCode,
}

/// How the client reached the service.
#[derive(Debug, Clone, Copy)]
pub struct RequestOrigin {
    /// The client speaks TLS of its own, which ends at this proxy.
    pub https: bool,
    /// The port that the client dialled.
    pub port: u16,
}

impl Redirect {
    pub(crate) fn compile(redirect: &model::Redirect) -> Result<Self, CompileError> {
        let scheme = match redirect.scheme.as_deref() {
            None => None,
            Some("http") => Some(Scheme::Http),
            Some("https") => Some(Scheme::Https),
            Some(other) => return Err(CompileError::at("scheme", format_args!("`{other}` is neither http nor https"))),
        };
        if let Some(hostname) = &redirect.hostname {
            host_name(hostname)?;
        }
        let path = redirect.path.as_ref().map(compile_path).transpose()?;
        Ok(Self { scheme, hostname: redirect.hostname.clone(), path, port: redirect.port, status: redirect.status })
    }

    /// Answers a request; `parts` are as the rule matched them.
    ///
    /// # Errors
    /// When the new location is no header value: a rewritten path on top of one that was as long as a URI may be.
    pub fn respond(
        &self,
        parts: &request::Parts,
        matched: Matched,
        origin: RequestOrigin,
    ) -> Result<Response<()>, UriTooLong> {
        let location = self.location(parts, matched, origin);
        let mut response = Response::new(());
        *response.status_mut() = self.status;
        response.headers_mut().insert(header::LOCATION, HeaderValue::try_from(location).map_err(|_| UriTooLong)?);
        Ok(response)
    }

    fn location(&self, parts: &request::Parts, matched: Matched, origin: RequestOrigin) -> String {
        let mut location = String::with_capacity(64 + parts.uri.path().len());
        let requested = requested_authority(parts);
        let host = self.hostname.as_deref().or_else(|| requested.as_ref().map(Authority::host));
        let old = parts.uri.path();
        let old = if old.starts_with('/') { old } else { "/" };
        let new = self.path.as_ref().map(|modifier| path::modified(modifier, old, usize::from(matched.prefix)));
        let path = new.as_deref().unwrap_or(old);
        if let Some(host) = host {
            let scheme = self.scheme.unwrap_or(if origin.https { Scheme::Https } else { Scheme::Http });
            let port = match (self.port, self.scheme) {
                (Some(port), _) => port.get(),
                (None, Some(scheme)) => scheme.port(),
                (None, None) => origin.port,
            };
            location.push_str(scheme.as_str());
            location.push_str("://");
            location.push_str(host);
            if port != scheme.port() {
                // A String takes every write.
                let _ = write!(location, ":{port}");
            }
        } else if path.starts_with("//") {
            // HTTP/1.0 without Host: a reference to this server, not to a host named by the path.
            location.push_str("/.");
        }
        location.push_str(path);
        if let Some(query) = parts.uri.query() {
            location.push('?');
            location.push_str(query);
        }
        location
    }
}

fn requested_authority(parts: &request::Parts) -> Option<Authority> {
    if let Some(authority) = parts.uri.authority() {
        return Some(authority.clone());
    }
    let host = parts.headers.get(header::HOST)?;
    let authority = Authority::try_from(host.as_bytes()).ok()?;
    (!authority.host().is_empty()).then_some(authority)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    Http,
    Https,
}

impl Scheme {
    fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn redirect() -> model::Redirect {
        model::Redirect { scheme: None, hostname: None, path: None, port: None, status: StatusCode::FOUND }
    }

    /// Name, scheme, host name, port and path of a redirect, and the Location it gives to one request.
    type Case = (Option<&'static str>, Option<&'static str>, Option<u16>, Option<PathModifier>, &'static str);

    fn location(
        uri: &str,
        host: Option<&str>,
        matched: &str,
        origin: RequestOrigin,
        model: &model::Redirect,
    ) -> String {
        let mut request = Request::get(uri);
        if let Some(host) = host {
            request = request.header("host", host);
        }
        let parts = request.body(()).unwrap().into_parts().0;
        let matched = Matched { place: 0, prefix: matched.len().try_into().unwrap() };
        let response = Redirect::compile(model).unwrap().respond(&parts, matched, origin).unwrap();
        assert_eq!(response.status(), model.status);
        response.headers()["location"].to_str().unwrap().to_owned()
    }

    // What MeshHTTPRouteRedirect{HostAndStatus,Path,Port} and MeshHTTPRouteSchemeRedirect name, with the Location
    // that the official suite does not look at.
    #[test]
    fn redirects_keep_what_they_do_not_change() {
        let prefix = |path: &str| Some(PathModifier::ReplacePrefix(path.into()));
        let full = |path: &str| Some(PathModifier::ReplaceFull(path.into()));
        let cases: [Case; 12] = [
            (None, None, None, None, "http://echo/original/lemon?q=1"),
            (None, Some("example.org"), None, None, "http://example.org/original/lemon?q=1"),
            (None, None, None, prefix("/replaced"), "http://echo/replaced/lemon?q=1"),
            (None, None, None, prefix("/"), "http://echo/lemon?q=1"),
            (None, None, None, full("/full"), "http://echo/full?q=1"),
            (None, Some("example.org"), None, full("/full"), "http://example.org/full?q=1"),
            (None, None, Some(8083), None, "http://echo:8083/original/lemon?q=1"),
            (None, Some("example.org"), Some(8083), None, "http://example.org:8083/original/lemon?q=1"),
            (Some("https"), None, None, None, "https://echo/original/lemon?q=1"),
            (Some("https"), Some("example.org"), None, None, "https://example.org/original/lemon?q=1"),
            (Some("https"), None, Some(443), None, "https://echo/original/lemon?q=1"),
            (Some("https"), None, Some(80), None, "https://echo:80/original/lemon?q=1"),
        ];
        let origin = RequestOrigin { https: false, port: 80 };
        for (scheme, hostname, port, path, want) in cases {
            let model = model::Redirect {
                scheme: scheme.map(Into::into),
                hostname: hostname.map(Into::into),
                port: port.and_then(NonZeroU16::new),
                path,
                ..redirect()
            };
            let got = location("/original/lemon?q=1", Some("echo"), "/original", origin, &model);
            assert_eq!(got, want, "{model:?}");
        }
    }

    #[test]
    fn the_port_is_the_requests_unless_the_scheme_is_given() {
        for (https, port, scheme, want) in [
            (false, 80, None, "http://echo/"),
            (false, 8080, None, "http://echo:8080/"),
            (true, 443, None, "https://echo/"),
            (true, 80, None, "https://echo:80/"),
            (false, 443, None, "http://echo:443/"),
            (false, 8080, Some("https"), "https://echo/"),
            (false, 8080, Some("http"), "http://echo/"),
        ] {
            let model = model::Redirect { scheme: scheme.map(Into::into), ..redirect() };
            let origin = RequestOrigin { https, port };
            assert_eq!(location("/", Some("echo:99"), "", origin, &model), want);
        }
    }

    #[test]
    fn the_host_is_the_one_that_was_asked_for() {
        let origin = RequestOrigin { https: false, port: 80 };
        for (uri, host, want) in [
            ("/x", Some("echo:8080"), "http://echo/x"),
            ("/x", Some("[::1]:8080"), "http://[::1]/x"),
            ("http://web:1/x", Some("echo"), "http://web/x"),
            ("/x", None, "/x"),
            ("//evil.example/x", None, "/.//evil.example/x"),
            ("/x", Some("a b"), "/x"),
        ] {
            assert_eq!(location(uri, host, "", origin, &redirect()), want, "{uri} {host:?}");
        }
    }

    #[test]
    fn answers_with_the_status_of_the_rule() {
        for status in [301, 302, 303, 307, 308] {
            let model = model::Redirect { status: StatusCode::from_u16(status).unwrap(), ..redirect() };
            location("/", Some("echo"), "", RequestOrigin { https: false, port: 80 }, &model);
        }
    }

    #[test]
    fn refuses_what_is_no_scheme_or_host() {
        let with = |scheme: Option<&str>, hostname: Option<&str>| model::Redirect {
            scheme: scheme.map(Into::into),
            hostname: hostname.map(Into::into),
            ..redirect()
        };
        for (model, want) in [
            (with(Some("ftp"), None), "scheme"),
            (with(None, Some("a:80")), "hostname"),
            (with(None, Some("a/b")), "hostname"),
            (with(None, Some("u@a")), "hostname"),
        ] {
            assert_eq!(Redirect::compile(&model).unwrap_err().field, want);
        }
    }
}
