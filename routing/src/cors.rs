//! Cross-origin requests (the Fetch standard, GEP-1767): preflights are answered here, and other answers get the headers
//! that let a browser's page read them. What the app says of the matter itself is replaced.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, HeaderName, HeaderValue, ORIGIN, SET_COOKIE, VARY,
};
use http::{Method, Response, StatusCode, request};
use outrigger_proto::model::{self, CorsHost, CorsList, CorsOrigin};

/// What pages of other origins may do.
#[derive(Debug)]
pub(crate) struct Cors {
    model: model::Cors,
    max_age: HeaderValue,
    /// Every origin gets the same answer.
    same_for_all: bool,
}

impl Cors {
    pub(crate) fn new(model: &model::Cors) -> Self {
        let same_for_all = model.origins.contains(&CorsOrigin::Any) && !model.credentials;
        Self { model: model.clone(), max_age: model.max_age_seconds.into(), same_for_all }
    }

    /// Answers a preflight; `None` when the request is none.
    pub(crate) fn preflight(&self, parts: &request::Parts) -> Option<Response<()>> {
        let wanted_method = parts.headers.get(ACCESS_CONTROL_REQUEST_METHOD)?;
        if parts.method != Method::OPTIONS || !parts.headers.contains_key(ORIGIN) {
            return None;
        }
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        if !self.allow(origin(&parts.headers).as_ref(), headers) {
            return Some(response);
        }
        let wanted_headers = parts.headers.get(ACCESS_CONTROL_REQUEST_HEADERS);
        for (name, list, wanted, because) in [
            (ACCESS_CONTROL_ALLOW_METHODS, &self.model.methods, Some(wanted_method), ACCESS_CONTROL_REQUEST_METHOD),
            (ACCESS_CONTROL_ALLOW_HEADERS, &self.model.headers, wanted_headers, ACCESS_CONTROL_REQUEST_HEADERS),
        ] {
            let value = match list {
                CorsList::Nothing => None,
                CorsList::These(names) => Some(names.clone()),
                // With credentials `*` would be taken for a name.
                CorsList::Any if self.model.credentials => {
                    vary(headers, &because);
                    wanted.cloned()
                }
                CorsList::Any => Some(ANY),
            };
            if let Some(value) = value {
                headers.insert(name, value);
            }
        }
        self.expose(headers);
        headers.insert(ACCESS_CONTROL_MAX_AGE, self.max_age.clone());
        Some(response)
    }

    /// Changes the headers of an answer to a request of `origin`.
    pub(crate) fn answer(&self, origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
        for name in OWN {
            headers.remove(name);
        }
        if self.allow(origin, headers) {
            self.expose(headers);
        }
    }

    /// Says whether the origin is allowed, and tells the browser if so.
    fn allow(&self, origin: Option<&HeaderValue>, headers: &mut HeaderMap) -> bool {
        // A cache must not give one origin's answer to another, nor one without an origin to any.
        if !self.same_for_all {
            vary(headers, &ORIGIN);
        }
        let Some(origin) = origin else { return false };
        if !self.allows(origin) {
            return false;
        }
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, if self.same_for_all { ANY } else { origin.clone() });
        if self.model.credentials {
            headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
        true
    }

    fn expose(&self, headers: &mut HeaderMap) {
        let exposed = match &self.model.exposed {
            CorsList::Nothing => return,
            CorsList::These(names) => names.clone(),
            CorsList::Any if !self.model.credentials => ANY,
            // With credentials `*` would be taken for a name: what is there is named.
            CorsList::Any => {
                let names = headers.keys().filter(|name| **name != SET_COOKIE && !OWN.contains(name));
                let names: Vec<&str> = names.map(HeaderName::as_str).collect();
                match HeaderValue::from_str(&names.join(", ")) {
                    Ok(names) if !names.is_empty() => names,
                    _ => return,
                }
            }
        };
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    }

    fn allows(&self, origin: &HeaderValue) -> bool {
        let asked = origin.to_str().ok().and_then(parse);
        self.model.origins.iter().any(|allowed| match (allowed, &asked) {
            (CorsOrigin::Any, _) => true,
            (CorsOrigin::Of { https, host, port }, Some(asked)) => {
                let host = match host {
                    CorsHost::Any => true,
                    CorsHost::Exact(host) => **host == *asked.host,
                    CorsHost::Below(suffix) => asked.host.len() > suffix.len() && asked.host.ends_with(&**suffix),
                };
                host && *https == asked.https && *port == asked.port
            }
            (CorsOrigin::Of { .. }, None) => false,
        })
    }
}

/// Returns a request's one origin; several are none.
pub(crate) fn origin(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut all = headers.get_all(ORIGIN).iter();
    let first = all.next()?;
    all.next().is_none().then(|| first.clone())
}

struct Asked {
    https: bool,
    host: String,
    port: u16,
}

/// Reads `https://example.com:8443`.
fn parse(origin: &str) -> Option<Asked> {
    let (scheme, rest) = origin.split_once("://")?;
    let https = match scheme {
        "http" => false,
        "https" => true,
        _ => return None,
    };
    // The port is behind the brackets of an IPv6 address.
    let colon = rest.rfind(':').filter(|colon| !rest[*colon..].contains(']'));
    let (host, port) = match colon {
        Some(colon) => (&rest[..colon], rest[colon + 1..].parse().ok()?),
        None => (rest, if https { 443 } else { 80 }),
    };
    let fits = !host.is_empty() && !host.contains(['/', '@', '?', '#', ' ']);
    fits.then(|| Asked { https, host: host.to_ascii_lowercase(), port })
}

/// Says that the answer depends on a request header, unless that is said already.
fn vary(headers: &mut HeaderMap, name: &HeaderName) {
    let says = |value: &HeaderValue| {
        let names = value.to_str().unwrap_or_default().split(',');
        names.map(str::trim).any(|said| said == "*" || said.eq_ignore_ascii_case(name.as_str()))
    };
    if !headers.get_all(VARY).iter().any(says) {
        headers.append(VARY, HeaderValue::from_str(&title(name)).unwrap_or_else(|_| HeaderValue::from_static("*")));
    }
}

fn title(name: &HeaderName) -> String {
    let words = name.as_str().split('-').map(|word| word[..1].to_ascii_uppercase() + &word[1..]);
    words.collect::<Vec<_>>().join("-")
}

const ANY: HeaderValue = HeaderValue::from_static("*");

/// What only this filter says.
const OWN: [HeaderName; 6] = [
    ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_ALLOW_CREDENTIALS,
    ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_HEADERS,
    ACCESS_CONTROL_EXPOSE_HEADERS,
    ACCESS_CONTROL_MAX_AGE,
];

#[cfg(test)]
mod tests {
    use http::Request;
    use outrigger_proto::wire;

    use super::*;

    fn cors(origins: &[&str], credentials: bool, names: &[&str]) -> Cors {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let wire = wire::Cors {
            allow_origins: list(origins),
            allow_credentials: credentials,
            allow_methods: list(names),
            allow_headers: list(names),
            expose_headers: list(names),
            max_age_s: 7,
        };
        Cors::new(&wire.try_into().unwrap())
    }

    fn shown(headers: &HeaderMap) -> String {
        let mut all: Vec<String> = headers
            .iter()
            .map(|(name, value)| {
                format!("{}={}", name.as_str().replace("access-control-", ""), value.to_str().unwrap())
            })
            .collect();
        all.sort();
        all.join("; ")
    }

    fn preflight(cors: &Cors, headers: &[(&str, &str)]) -> Option<String> {
        let request =
            headers.iter().fold(Request::options("/"), |request, (name, value)| request.header(*name, *value));
        let response = cors.preflight(&request.body(()).unwrap().into_parts().0)?;
        assert_eq!(response.status(), 204);
        Some(shown(response.headers()))
    }

    const ASKS: [(&str, &str); 3] = [
        ("origin", "https://a.com"),
        ("access-control-request-method", "PUT"),
        ("access-control-request-headers", "x-1, x-2"),
    ];

    #[test]
    fn origins_are_compared_by_scheme_host_and_port() {
        for (allowed, origin, expected) in [
            ("https://a.com", "https://a.com", true),
            ("https://a.com", "https://A.com:443", true),
            ("https://a.com", "http://a.com", false),
            ("https://a.com", "https://a.com:444", false),
            ("https://a.com:444", "https://a.com:444", true),
            ("https://a.com", "https://b.a.com", false),
            ("https://*.a.com", "https://b.a.com", true),
            ("https://*.a.com", "https://c.b.a.com", true),
            ("https://*.a.com", "https://a.com", false),
            ("https://*.a.com", "https://.a.com", false),
            ("https://*.a.com", "https://evil-a.com", false),
            ("https://*.a.com", "https://b.a.com.evil.org", false),
            ("https://*.a.com", "https://evil.org/.a.com", false),
            ("https://*.a.com", "https://evil.org#.a.com", false),
            ("http://*", "http://[::1]", true),
            ("http://*:81", "http://[::1]:81", true),
            ("http://*", "https://a.com", false),
            ("http://*", "null", false),
            ("*", "null", true),
            ("*", "anything", true),
        ] {
            let cors = cors(&[allowed], true, &[]);
            assert_eq!(cors.allows(&HeaderValue::from_static(origin)), expected, "{allowed} {origin}");
        }
    }

    #[test]
    fn a_preflight_is_answered_with_what_is_allowed() {
        const LISTED: &str = "allow-headers=a, b; allow-methods=a, b; allow-origin=https://a.com; expose-headers=a, b; \
                              max-age=7; vary=Origin";
        const ANY: &str = "allow-headers=*; allow-methods=*; allow-origin=*; expose-headers=*; max-age=7";
        const CREDENTIALS: &str = "allow-credentials=true; allow-headers=x-1, x-2; allow-methods=PUT; \
                                   allow-origin=https://a.com; expose-headers=vary; max-age=7; \
                                   vary=Access-Control-Request-Headers; vary=Access-Control-Request-Method; vary=Origin";
        for (cors, expected) in [
            (cors(&["https://a.com"], false, &["a", "b"]), LISTED),
            (cors(&["https://b.com"], false, &["a", "b"]), "vary=Origin"),
            (cors(&[], false, &[]), "vary=Origin"),
            (cors(&["*"], false, &["*"]), ANY),
            (cors(&["*"], true, &["*"]), CREDENTIALS),
            (cors(&["*"], false, &[]), "allow-origin=*; max-age=7"),
        ] {
            assert_eq!(preflight(&cors, &ASKS).unwrap(), expected, "{cors:?}");
        }
        let without_headers = preflight(&cors(&["*"], true, &["*"]), &ASKS[..2]).unwrap();
        assert!(!without_headers.contains("allow-headers"), "{without_headers}");
    }

    #[test]
    fn only_a_preflight_is_one() {
        let cors = cors(&["*"], false, &["*"]);
        assert!(preflight(&cors, &ASKS).is_some());
        assert!(preflight(&cors, &ASKS[..1]).is_none(), "no method is asked for");
        assert!(preflight(&cors, &ASKS[1..]).is_none(), "no origin");
        let get = ASKS.iter().fold(Request::get("/"), |request, (name, value)| request.header(*name, *value));
        assert!(cors.preflight(&get.body(()).unwrap().into_parts().0).is_none(), "not OPTIONS");
        let two = [&ASKS[..], &[("origin", "https://b.com")]].concat();
        assert_eq!(preflight(&cors, &two).unwrap(), "", "two origins are none");
    }

    #[test]
    fn an_answer_says_what_the_route_says_and_not_what_the_app_says() {
        let said = [
            ("access-control-allow-origin", "https://evil.org"),
            ("access-control-allow-credentials", "true"),
            ("access-control-max-age", "99"),
            ("vary", "accept"),
            ("set-cookie", "a"),
            ("x-app", "1"),
        ];
        for (cors, origin, expected) in [
            (
                cors(&["https://a.com"], false, &["x-app"]),
                Some("https://a.com"),
                "allow-origin=https://a.com; expose-headers=x-app; set-cookie=a; vary=Origin; vary=accept; x-app=1",
            ),
            (
                cors(&["https://a.com"], true, &["*"]),
                Some("https://b.com"),
                "set-cookie=a; vary=Origin; vary=accept; x-app=1",
            ),
            (cors(&["https://a.com"], true, &["*"]), None, "set-cookie=a; vary=Origin; vary=accept; x-app=1"),
            (
                cors(&["*"], false, &["*"]),
                Some("https://a.com"),
                "allow-origin=*; expose-headers=*; set-cookie=a; vary=accept; x-app=1",
            ),
            (
                cors(&["*"], true, &["*"]),
                Some("https://a.com"),
                "allow-credentials=true; allow-origin=https://a.com; expose-headers=vary, x-app; set-cookie=a; vary=Origin; vary=accept; x-app=1",
            ),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in said {
                headers.append(name, HeaderValue::from_static(value));
            }
            let origin = origin.map(HeaderValue::from_static);

            cors.answer(origin.as_ref(), &mut headers);

            let expected = expected.replace("expose-headers=vary, x-app", &listed(&headers));
            assert_eq!(shown(&headers), expected, "{cors:?} {origin:?}");
        }
    }

    /// The two names in the order in which the map has them.
    fn listed(headers: &HeaderMap) -> String {
        let names = headers.keys().map(HeaderName::as_str).filter(|name| ["vary", "x-app"].contains(name));
        format!("expose-headers={}", names.collect::<Vec<_>>().join(", "))
    }
}
