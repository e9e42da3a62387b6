//! Cross-origin requests: who may make which (GEP-1767).

use http::{HeaderName, HeaderValue, Method};

use super::Invalid;
use crate::wire;

/// What pages of other origins may ask for, and read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cors {
    /// Origins, any of them.
    pub origins: Vec<CorsOrigin>,
    /// Cookies and the like may come along.
    pub credentials: bool,
    /// Methods beyond those that are always allowed.
    pub methods: CorsList,
    /// Request headers beyond those that are always allowed.
    pub headers: CorsList,
    /// Response headers that a page may read beyond those that it always may.
    pub exposed: CorsList,
    /// How long an answer to a preflight holds.
    pub max_age_seconds: u32,
}

/// A pattern of origins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CorsOrigin {
    /// `*`
    Any,
    /// Of one scheme and port.
    Of {
        /// Not plain HTTP.
        https: bool,
        /// The host.
        host: CorsHost,
        /// The scheme's own when none was written.
        port: u16,
    },
}

/// A pattern of hosts, in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CorsHost {
    /// `*`
    Any,
    /// `*.example.com`: this is `.example.com`, and any labels come before it.
    Below(Box<str>),
    /// One host.
    Exact(Box<str>),
}

/// Names, as they stand in a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CorsList {
    /// None.
    Nothing,
    /// `*`
    Any,
    /// These, joined.
    These(HeaderValue),
}

impl TryFrom<wire::Cors> for Cors {
    type Error = Invalid;

    fn try_from(w: wire::Cors) -> Result<Self, Invalid> {
        let is_method = |name: &str| Method::from_bytes(name.as_bytes()).is_ok();
        let is_header = |name: &str| HeaderName::from_bytes(name.as_bytes()).is_ok();
        Ok(Self {
            origins: w.allow_origins.iter().map(|text| origin(text)).collect::<Result<_, _>>()?,
            credentials: w.allow_credentials,
            methods: list("allow_methods", &w.allow_methods, is_method)?,
            headers: list("allow_headers", &w.allow_headers, is_header)?,
            exposed: list("expose_headers", &w.expose_headers, is_header)?,
            max_age_seconds: w.max_age_s,
        })
    }
}

fn origin(text: &str) -> Result<CorsOrigin, Invalid> {
    if text == "*" {
        return Ok(CorsOrigin::Any);
    }
    let of = || {
        let (scheme, rest) = text.split_once("://")?;
        let https = match scheme {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        let (host, port) = match rest.split_once(':') {
            Some((host, port)) => (host, port.parse().ok().filter(|port| *port > 0)?),
            None => (rest, if https { 443 } else { 80 }),
        };
        let labels = |name: &str| {
            let label =
                |label: &str| !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
            name.split('.').all(label)
        };
        let host = match host.strip_prefix('*') {
            Some("") => CorsHost::Any,
            Some(below) if below.strip_prefix('.').is_some_and(labels) => CorsHost::Below(lower(below)),
            None if labels(host) => CorsHost::Exact(lower(host)),
            _ => return None,
        };
        Some(CorsOrigin::Of { https, host, port })
    };
    let problem = || format!("`{text}` is neither `*` nor like https://example.com, https://*.example.com:8443");
    of().ok_or_else(|| Invalid::new("allow_origins", problem()))
}

fn lower(text: &str) -> Box<str> {
    text.to_ascii_lowercase().into()
}

fn list(field: &str, names: &[String], is_one: impl Fn(&str) -> bool) -> Result<CorsList, Invalid> {
    if let Some(wrong) = names.iter().find(|name| *name != "*" && !is_one(name)) {
        return Err(Invalid::new(field, format!("`{wrong}` can be none")));
    }
    if names.iter().any(|name| name == "*") {
        return Ok(CorsList::Any);
    }
    if names.is_empty() {
        return Ok(CorsList::Nothing);
    }
    let joined = HeaderValue::from_str(&names.join(", ")).map_err(|_| Invalid::new(field, "not a header value"))?;
    Ok(CorsList::These(joined))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_origins() {
        let of = |https, host, port| Some(CorsOrigin::Of { https, host, port });
        for (text, expected) in [
            ("*", Some(CorsOrigin::Any)),
            ("https://Example.com", of(true, CorsHost::Exact("example.com".into()), 443)),
            ("http://10.0.0.1:8080", of(false, CorsHost::Exact("10.0.0.1".into()), 8080)),
            ("https://*.example.com", of(true, CorsHost::Below(".example.com".into()), 443)),
            ("http://*", of(false, CorsHost::Any, 80)),
            ("http://*:81", of(false, CorsHost::Any, 81)),
            ("example.com", None),
            ("ftp://example.com", None),
            ("https://", None),
            ("https://*example.com", None),
            ("https://a.*.com", None),
            ("https://example.com/", None),
            ("https://user@example.com", None),
            ("https://example.com:0", None),
            ("https://example.com:65536", None),
            ("https://a..b", None),
        ] {
            assert_eq!(origin(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn joins_names_and_refuses_what_is_none() {
        let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let is_header = |name: &str| HeaderName::from_bytes(name.as_bytes()).is_ok();
        for (given, expected) in [
            (&[][..], Some(CorsList::Nothing)),
            (&["X-A", "x-b"], Some(CorsList::These(HeaderValue::from_static("X-A, x-b")))),
            (&["x-a", "*"], Some(CorsList::Any)),
            (&["a b"], None),
            (&["x\r\ny"], None),
        ] {
            assert_eq!(list("allow_headers", &names(given), is_header).ok(), expected, "{given:?}");
        }
    }
}
