//! Turns a rule's session persistence into wire form, or says why it cannot be kept.

use std::time::Duration;

use outrigger_proto::wire;

use crate::objects::{Cookie, CookieLifetime, Route, Rule, Session, SessionKind};

/// Turns a session into wire form; `index` is the rule's place in its route.
pub(super) fn prepared(route: &Route, rule: &Rule, index: u32, session: &Session) -> Result<wire::Session, String> {
    let Session { kind, session_name, absolute_timeout, idle_timeout, cookie_config, cookie, header } = session;
    let none = Cookie::default();
    let cookie = match (kind, cookie_config, cookie) {
        (_, Some(_), Some(_)) => return Err("sessionPersistence: cookie and cookieConfig say the same".to_owned()),
        (SessionKind::Header, Some(_), _) | (SessionKind::Header, _, Some(_)) => {
            return Err("sessionPersistence: cookie is for type Cookie".to_owned());
        }
        (SessionKind::Cookie, config, cookie) => config.as_ref().or(cookie.as_ref()).unwrap_or(&none),
        (SessionKind::Header, None, None) => &none,
    };
    if *kind == SessionKind::Cookie && header.is_some() {
        return Err("sessionPersistence: header is for type Header".to_owned());
    }
    let permanent = cookie.lifetime_type == CookieLifetime::Permanent;
    if permanent && absolute_timeout.is_none_or(|timeout| timeout < Duration::from_secs(1)) {
        return Err(
            "sessionPersistence: a cookie of lifetimeType Permanent needs an absoluteTimeout of 1s or more".into()
        );
    }
    let own = match kind {
        SessionKind::Cookie => cookie.name.clone(),
        SessionKind::Header => header.as_ref().map(|header| header.name.clone()),
    };
    if own.is_some() && session_name.is_some() {
        return Err("sessionPersistence: sessionName and name say the same".to_owned());
    }
    let name = own.or_else(|| session_name.clone()).unwrap_or_else(|| generated(route, rule, index));
    let millis = |limit: &Option<Duration>| limit.map_or(0, |l| u64::try_from(l.as_millis()).unwrap_or(u64::MAX));
    let carrier = match kind {
        SessionKind::Header => wire::session::Carrier::Header(name),
        SessionKind::Cookie => {
            let path = cookie.path.clone().unwrap_or_else(|| "/".to_owned());
            wire::session::Carrier::Cookie(wire::SessionCookie { name, path, permanent })
        }
    };
    Ok(wire::Session { carrier: Some(carrier), absolute_ms: millis(absolute_timeout), idle_ms: millis(idle_timeout) })
}

/// A name that no other rule has, and that stays: in every replica, after restarts, and when the rule's fields change.
fn generated(route: &Route, rule: &Rule, index: u32) -> String {
    let place = if rule.name.is_empty() { index.to_string() } else { rule.name.clone() };
    let of = format!("{}/{}/{}/{place}", route.kind.as_str(), route.meta.namespace, route.meta.name);
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, of.as_bytes());
    let hex: String = digest.as_ref().iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    format!("outrigger-session-{hex}")
}
