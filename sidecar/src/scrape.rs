//! What Prometheus may read of the workload without mesh TLS: the sidecar's own metrics, and pages of the application that its owner lists.
//!
//! The port of the sidecar's metrics is captured like the application's, so that one port serves a scraper inside the mesh by mutual TLS and one
//! outside in plaintext. Behind it is a listener on loopback that has nothing but `/metrics`. A page of the application is let in by exact path,
//! for GET and HEAD, without query, body and upgrade, with the headers that a scraper sends: the rest of its port stays as strict as it was.

use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use clap::ValueEnum;
use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, HOST, UPGRADE, USER_AGENT};
use http::{HeaderName, Method, Request};
use http_body::Body;

use crate::caller::Reach;

/// Who may read the sidecar's metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum MetricsFrom {
    /// Clients inside the mesh by mutual TLS, and clients outside in plaintext
    #[default]
    Everyone,
    /// Clients inside the mesh only
    Mesh,
}

/// A page of the application, written `PORT/PATH`, such as `9090/metrics`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    port: u16,
    path: Arc<str>,
}

impl FromStr for Page {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not PORT/PATH such as 9090/metrics");
        let (port, path) = text.find('/').map(|at| text.split_at(at)).ok_or_else(wrong)?;
        let port = port.parse().ok().filter(|port| *port > 0).ok_or_else(wrong)?;
        let is_path = path.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#,\\".contains(&byte));
        if is_path { Ok(Self { port, path: path.into() }) } else { Err(wrong()) }
    }
}

/// What may be read, by port.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scrape {
    pub(crate) metrics: Option<u16>,
    pub(crate) from: MetricsFrom,
    pub(crate) pages: Vec<Page>,
}

impl Scrape {
    /// Returns the listener behind the port, if it is that of the sidecar's metrics.
    pub(crate) fn metrics(&self, port: u16) -> Option<SocketAddr> {
        (self.metrics == Some(port)).then(|| (Ipv4Addr::LOCALHOST, port).into())
    }

    /// Returns what a client may read of the port in plaintext although its mode is strict.
    pub(crate) fn plaintext(&self, port: u16) -> Option<Reach> {
        if self.metrics == Some(port) {
            return (self.from == MetricsFrom::Everyone).then_some(Reach::Metrics);
        }
        let paths: Vec<_> = self.pages.iter().filter(|page| page.port == port).map(|page| page.path.clone()).collect();
        (!paths.is_empty()).then(|| Reach::Pages(paths.into()))
    }
}

/// Says whether a request is for one of these pages and nothing more, and takes out what a scraper does not send: a header may make a
/// framework serve another path (`x-original-url`), or another method.
pub(crate) fn admits<B: Body>(paths: &[Arc<str>], request: &mut Request<B>) -> bool {
    let uri = request.uri();
    let is_page = paths.iter().any(|path| **path == *uri.path()) && uri.query().is_none();
    let reads = [Method::GET, Method::HEAD].contains(request.method());
    if !is_page || !reads || !request.body().is_end_stream() || request.headers().contains_key(UPGRADE) {
        return false;
    }
    // A scrape comes every few seconds: that this allocates does not matter.
    let headers = request.headers_mut();
    let others: Vec<HeaderName> = headers.keys().filter(|name| !HEADERS.contains(name)).cloned().collect();
    for name in others {
        headers.remove(name);
    }
    true
}

/// What a scraper sends.
const HEADERS: [HeaderName; 7] = [
    ACCEPT,
    ACCEPT_ENCODING,
    AUTHORIZATION,
    CONTENT_LENGTH,
    HOST,
    USER_AGENT,
    HeaderName::from_static("x-prometheus-scrape-timeout-seconds"),
];

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::Full;

    use super::*;

    #[test]
    fn reads_pages_as_they_are_written() {
        let page = |text: &str| text.parse::<Page>().ok().map(|page| (page.port, page.path.to_string()));
        assert_eq!(page("9090/metrics"), Some((9090, "/metrics".to_owned())));
        assert_eq!(page("8081/actuator/prometheus"), Some((8081, "/actuator/prometheus".to_owned())));
        for wrong in
            ["", "9090", "/metrics", "0/metrics", "70000/metrics", "9090/a?b", "9090/a b", "9090/a\\b", "9090/ä"]
        {
            assert_eq!(page(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_port_without_a_page_lets_nothing_in() {
        let scrape = Scrape {
            metrics: Some(4194),
            from: MetricsFrom::Mesh,
            pages: vec!["9090/metrics".parse().unwrap(), "9090/more".parse().unwrap()],
        };
        assert!(scrape.plaintext(8080).is_none());
        assert!(scrape.plaintext(4194).is_none(), "only the mesh");
        assert!(matches!(scrape.plaintext(9090), Some(Reach::Pages(paths)) if paths.len() == 2));
        let everyone = Scrape { from: MetricsFrom::Everyone, ..scrape };
        assert!(matches!(everyone.plaintext(4194), Some(Reach::Metrics)));
        assert_eq!(everyone.metrics(4194), Some(([127, 0, 0, 1], 4194).into()));
        assert_eq!(everyone.metrics(9090), None);
    }

    #[test]
    fn a_page_is_read_and_nothing_else_is_done() {
        let paths: [Arc<str>; 1] = ["/metrics".into()];
        let admitted = |method: &str, uri: &str, headers: &[(&str, &str)], body: &'static str| {
            let mut request = Request::builder().method(method).uri(uri);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let mut request = request.body(Full::new(Bytes::from_static(body.as_bytes()))).unwrap();
            let names = |request: &Request<Full<Bytes>>| {
                request.headers().keys().map(|name| name.as_str().to_owned()).collect::<Vec<_>>()
            };
            admits(&paths, &mut request).then(|| names(&request))
        };
        let scraper = [("host", "x"), ("accept", "*/*"), ("x-original-url", "/admin"), ("cookie", "a=b")];
        assert_eq!(admitted("GET", "/metrics", &scraper, ""), Some(vec!["host".to_owned(), "accept".to_owned()]));
        assert_eq!(admitted("HEAD", "http://x/metrics", &[], ""), Some(vec![]));
        for (method, uri, headers, body) in [
            ("POST", "/metrics", &[][..], ""),
            ("GET", "/metrics/", &[], ""),
            ("GET", "/metrics/../admin", &[], ""),
            ("GET", "/Metrics", &[], ""),
            ("GET", "/metrics?target=x", &[], ""),
            ("GET", "/metrics?", &[], ""),
            ("GET", "/%6detrics", &[], ""),
            ("GET", "/", &[], ""),
            ("GET", "/metrics", &[("upgrade", "h2c")], ""),
            ("GET", "/metrics", &[], "x"),
        ] {
            assert_eq!(admitted(method, uri, headers, body), None, "{method} {uri} {headers:?}");
        }
    }
}
