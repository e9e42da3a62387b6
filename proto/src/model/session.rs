//! Sessions: requests of one client that go to one endpoint (GEP-1619).

use std::time::Duration;

use http::HeaderName;

use super::{Invalid, header_name, required};
use crate::wire;

/// How a rule keeps sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// What carries it.
    pub carrier: SessionCarrier,
    /// How long it lasts at most; `None`: no limit.
    pub absolute: Option<Duration>,
    /// How long it lasts without a request; `None`: no limit.
    pub idle: Option<Duration>,
}

/// What carries a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionCarrier {
    /// A header of this name, in answers and requests.
    Header(HeaderName),
    /// A cookie.
    Cookie {
        /// Its name.
        name: Box<str>,
        /// Where a browser sends it.
        path: Box<str>,
        /// It outlives the browser, for as long as the session.
        permanent: bool,
    },
}

impl TryFrom<wire::Session> for Session {
    type Error = Invalid;

    fn try_from(w: wire::Session) -> Result<Self, Invalid> {
        let limit = |ms: u64| (ms > 0).then(|| Duration::from_millis(ms));
        let carrier = match required("carrier", w.carrier)? {
            wire::session::Carrier::Header(name) => SessionCarrier::Header(header(&name)?),
            wire::session::Carrier::Cookie(cookie) => {
                // RFC 6265 section 4.1.1: a name is a token, and a path holds neither controls nor `;`.
                if HeaderName::from_bytes(cookie.name.as_bytes()).is_err() {
                    return Err(Invalid::new("cookie.name", format!("`{}` is not a cookie's name", cookie.name)));
                }
                let fits = |b: u8| (b' '..=b'~').contains(&b) && b != b';';
                if !cookie.path.starts_with('/') || !cookie.path.bytes().all(fits) {
                    return Err(Invalid::new("cookie.path", format!("`{}` is not a cookie's path", cookie.path)));
                }
                let permanent = cookie.permanent;
                SessionCarrier::Cookie { name: cookie.name.into(), path: cookie.path.into(), permanent }
            }
        };
        Ok(Self { carrier, absolute: limit(w.absolute_ms), idle: limit(w.idle_ms) })
    }
}

/// A header that a session may have for itself.
fn header(name: &str) -> Result<HeaderName, Invalid> {
    let name = header_name(name)?;
    let others = [
        "host",
        "cookie",
        "set-cookie",
        "connection",
        "content-length",
        "content-type",
        "te",
        "trailer",
        "upgrade",
        "transfer-encoding",
        "keep-alive",
        "proxy-connection",
    ];
    if others.contains(&name.as_str()) {
        return Err(Invalid::new("header", format!("`{name}` has another meaning")));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_break_out_of_its_header_is_refused() {
        let cookie = |name: &str, path: &str| {
            let cookie = wire::SessionCookie { name: name.into(), path: path.into(), permanent: false };
            wire::session::Carrier::Cookie(cookie)
        };
        for (carrier, fits) in [
            (cookie("session", "/"), true),
            (cookie("session", "/a b"), true),
            (cookie("", "/"), false),
            (cookie("a;b", "/"), false),
            (cookie("a=b", "/"), false),
            (cookie("a b", "/"), false),
            (cookie("a", ""), false),
            (cookie("a", "a"), false),
            (cookie("a", "/; Domain=x"), false),
            (cookie("a", "/\r\nx: y"), false),
            (wire::session::Carrier::Header("x-session".into()), true),
            (wire::session::Carrier::Header("Content-Length".into()), false),
            (wire::session::Carrier::Header("a b".into()), false),
        ] {
            let session = wire::Session { carrier: Some(carrier.clone()), absolute_ms: 0, idle_ms: 0 };
            assert_eq!(Session::try_from(session).is_ok(), fits, "{carrier:?}");
        }
    }
}
