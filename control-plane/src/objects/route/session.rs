//! What `sessionPersistence` asks for (GEP-1619), in the form of v1.7 (`cookie`, `header`) and in the one before
//! (`sessionName`, `cookieConfig`, `idleTimeout`).

use std::time::Duration;

use serde::Deserialize;

use super::super::duration;

/// Requests of one session go to one endpoint.
#[derive(Clone, Debug, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Session {
    /// What carries the session.
    #[serde(default, rename = "type")]
    pub kind: SessionKind,
    /// Name of the cookie or header.
    pub session_name: Option<String>,
    /// How long a session lasts at most.
    #[serde(default, deserialize_with = "duration::optional")]
    pub absolute_timeout: Option<Duration>,
    /// How long a session lasts without a request.
    #[serde(default, deserialize_with = "duration::optional")]
    pub idle_timeout: Option<Duration>,
    /// Settings of a cookie, before v1.7.
    pub cookie_config: Option<Cookie>,
    /// Settings of a cookie.
    pub cookie: Option<Cookie>,
    /// Settings of a header.
    pub header: Option<SessionHeader>,
}

/// What carries a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize)]
pub enum SessionKind {
    /// A cookie.
    #[default]
    Cookie,
    /// A header, which the client sends back.
    Header,
}

/// Settings of a cookie.
#[derive(Clone, Debug, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Cookie {
    /// Its name.
    pub name: Option<String>,
    /// Where the browser sends it.
    pub path: Option<String>,
    /// Whether it outlives the browser.
    #[serde(default)]
    pub lifetime_type: CookieLifetime,
}

/// Whether a cookie outlives the browser.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize)]
pub enum CookieLifetime {
    /// It does not.
    #[default]
    Session,
    /// It does, until the absolute timeout.
    Permanent,
}

/// Settings of a header.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionHeader {
    /// Its name.
    pub name: String,
}
