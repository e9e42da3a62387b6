//! Sessions (GEP-1619): what an answer carries away and a request brings back, so that it goes to the same endpoint.
//!
//! The value is the endpoint's token (the sidecar's `balance`), and two dates where the session has a limit. Any sidecar that has
//! the endpoint knows its token, so clients' sidecars share nothing. The value is not secret and is not signed: whoever
//! makes one up chooses among the endpoints that the rule would balance over anyway, or makes his own session longer. It
//! is read as what it is, a stranger's text, and what does not fit exactly is no session.

use std::time::Duration;

use http::header::{COOKIE, HeaderMap, HeaderValue, SET_COOKIE};
use outrigger_proto::model::{self, SessionCarrier};

/// How a rule keeps sessions.
#[derive(Debug)]
pub struct Session {
    model: model::Session,
}

/// What a request brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Presented {
    /// Which endpoint.
    pub token: u128,
    /// When the session began and was last used, seconds since 1970; 0 where it has no limit.
    began: u64,
    used: u64,
}

impl Session {
    pub(crate) fn new(model: &model::Session) -> Self {
        Self { model: model.clone() }
    }

    /// Returns the session of a request, unless its time is up; `now` is in seconds since 1970.
    #[must_use]
    pub fn presented(&self, headers: &HeaderMap, now: u64) -> Option<Presented> {
        let presented = match &self.model.carrier {
            SessionCarrier::Header(name) => parse(headers.get(name)?.as_bytes())?,
            SessionCarrier::Cookie { name, .. } => {
                let pairs = headers.get_all(COOKIE).iter().flat_map(|line| line.as_bytes().split(|b| *b == b';'));
                let mut values = pairs.filter_map(|pair| {
                    let pair = pair.trim_ascii().strip_prefix(name.as_bytes())?;
                    parse(pair.strip_prefix(b"=")?)
                });
                values.next()?
            }
        };
        // Clocks differ a little; a date of next year is made up.
        let over = |since: u64, limit: Option<Duration>| {
            limit.is_some_and(|limit| since > now + SKEW || now.saturating_sub(since) >= limit.as_secs().max(1))
        };
        (!over(presented.began, self.model.absolute) && !over(presented.used, self.model.idle)).then_some(presented)
    }

    /// Tells the client of its session with the endpoint that has answered, whose token is `token`; `presented` is what its request
    /// brought, `now` is in seconds since 1970.
    pub fn answer(&self, token: u128, presented: Option<Presented>, now: u64, headers: &mut HeaderMap) {
        let same = presented.filter(|presented| presented.token == token);
        let fresh = same.is_some_and(|same| !self.stale(same, now));
        let timed = self.model.absolute.is_some() || self.model.idle.is_some();
        let value = match same {
            _ if !timed => format!("{token:032x}"),
            Some(same) => format!("{token:032x}.{:x}.{now:x}", same.began),
            None => format!("{token:032x}.{now:x}.{now:x}"),
        };
        match &self.model.carrier {
            SessionCarrier::Header(name) => {
                if let Ok(value) = HeaderValue::from_str(&value) {
                    headers.insert(name, value);
                }
            }
            // What the browser has already is not repeated: such an answer can be cached.
            SessionCarrier::Cookie { .. } if fresh => {}
            SessionCarrier::Cookie { name, path, permanent } => {
                let mut cookie = format!("{name}={value}; Path={path}; HttpOnly");
                if let Some(limit) = self.model.absolute.filter(|_| *permanent) {
                    let spent = same.map_or(0, |same| now.saturating_sub(same.began));
                    cookie.push_str(&format!("; Max-Age={}", limit.as_secs().saturating_sub(spent)));
                }
                if let Ok(cookie) = HeaderValue::from_str(&cookie) {
                    headers.append(SET_COOKIE, cookie);
                }
            }
        }
    }

    /// Says whether the date of last use is worth a new cookie: each tenth of the idle timeout.
    fn stale(&self, presented: Presented, now: u64) -> bool {
        self.model.idle.is_some_and(|idle| now.saturating_sub(presented.used) >= (idle.as_secs() / 10).max(1))
    }
}

/// Reads a token in 32 digits, alone or with two dates.
fn parse(value: &[u8]) -> Option<Presented> {
    if value.len() > MAX {
        return None;
    }
    let mut parts = value.split(|b| *b == b'.');
    let token = u128::from_str_radix(hex(parts.next().filter(|token| token.len() == 32)?)?, 16).ok()?;
    let mut date = || u64::from_str_radix(hex(parts.next()?)?, 16).ok();
    let (began, used) = match (date(), date()) {
        (None, None) if value.len() == 32 => (0, 0),
        (Some(began), Some(used)) => (began, used),
        _ => return None,
    };
    parts.next().is_none().then_some(Presented { token, began, used })
}

/// Digits in the one form that we write.
fn hex(text: &[u8]) -> Option<&str> {
    let digits = !text.is_empty() && text.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    digits.then(|| std::str::from_utf8(text).ok())?
}

/// Token, dot, date, dot, date.
const MAX: usize = 32 + 17 + 17;

/// Seconds by which clocks may differ.
const SKEW: u64 = 300;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TOKEN: u128 = 0xabc;
    const NOW: u64 = 1_800_000_000;

    fn cookie(permanent: bool, absolute: Option<u64>, idle: Option<u64>) -> Session {
        let carrier = SessionCarrier::Cookie { name: "s".into(), path: "/shop".into(), permanent };
        let seconds = |limit: Option<u64>| limit.map(Duration::from_secs);
        Session::new(&model::Session { carrier, absolute: seconds(absolute), idle: seconds(idle) })
    }

    /// What a client sends that got the answer to a request without a session.
    fn kept(session: &Session, at: u64) -> HeaderMap {
        let mut answer = HeaderMap::new();
        session.answer(TOKEN, None, at, &mut answer);
        let set = answer[SET_COOKIE].to_str().unwrap();
        let pair = set.split(';').next().unwrap();
        HeaderMap::from_iter([(COOKIE, HeaderValue::from_str(&format!("a=b; {pair}; c")).unwrap())])
    }

    #[test]
    fn a_client_brings_back_what_it_was_given() {
        let session = cookie(false, None, None);
        let presented = session.presented(&kept(&session, NOW), NOW).unwrap();
        assert_eq!(presented.token, TOKEN);

        let mut answer = HeaderMap::new();
        session.answer(TOKEN, Some(presented), NOW, &mut answer);
        assert!(answer.is_empty(), "it has the cookie already");

        session.answer(7, Some(presented), NOW, &mut answer);
        let set = answer[SET_COOKIE].to_str().unwrap();
        assert_eq!(set, format!("s={:032x}; Path=/shop; HttpOnly", 7), "its endpoint is another one now");
    }

    #[test]
    fn a_header_is_in_every_answer() {
        let carrier = SessionCarrier::Header("x-session".parse().unwrap());
        let session = Session::new(&model::Session { carrier, absolute: None, idle: None });
        let mut headers = HeaderMap::new();
        for presented in [None, Some(Presented { token: TOKEN, began: 0, used: 0 })] {
            headers.clear();
            session.answer(TOKEN, presented, NOW, &mut headers);
            assert_eq!(session.presented(&headers, NOW).unwrap().token, TOKEN);
        }
    }

    #[test]
    fn a_session_ends_with_its_time() {
        for (session, lasts) in [
            (cookie(false, None, None), 1_000_000_000),
            (cookie(false, Some(100), None), 99),
            (cookie(true, Some(100), None), 99),
            (cookie(false, None, Some(30)), 29),
            (cookie(false, Some(100), Some(30)), 29),
        ] {
            let headers = kept(&session, NOW);
            assert!(session.presented(&headers, NOW + lasts).is_some(), "{session:?}");
            if lasts < 100 {
                assert!(session.presented(&headers, NOW + lasts + 1).is_none(), "{session:?}");
                assert!(session.presented(&headers, NOW - 1000).is_none(), "of the future: {session:?}");
            }
        }
    }

    #[test]
    fn use_prolongs_an_idle_session_and_not_its_absolute_end() {
        let session = cookie(true, Some(100), Some(30));
        let mut now = NOW;
        let mut headers = kept(&session, now);
        for step in 1..=4 {
            now += 20;
            let presented = session.presented(&headers, now).unwrap();
            let mut answer = HeaderMap::new();
            session.answer(TOKEN, Some(presented), now, &mut answer);
            let set = answer[SET_COOKIE].to_str().unwrap();
            assert!(set.ends_with(&format!("; Max-Age={}", 100 - step * 20)), "{set}");
            headers.insert(COOKIE, HeaderValue::from_str(set.split(';').next().unwrap()).unwrap());
        }
        assert!(session.presented(&headers, now + 19).is_some());
        assert!(session.presented(&headers, now + 20).is_none());
    }

    #[test]
    fn what_does_not_fit_is_no_session() {
        let good = format!("{TOKEN:032x}");
        assert!(parse(good.as_bytes()).is_some());
        for bad in [
            String::new(),
            good[1..].to_owned(),
            format!("0{good}"),
            good.to_uppercase(),
            format!("+{}", &good[1..]),
            format!("{good}."),
            format!("{good}.1"),
            format!("{good}.1."),
            format!("{good}.1.2.3"),
            format!("{good}.1.+2"),
            format!("{good}.1.11111111111111111"),
            format!("{good} "),
        ] {
            assert_eq!(parse(bad.as_bytes()), None, "{bad:?}");
        }
        let session = cookie(false, Some(10), None);
        let dateless = HeaderMap::from_iter([(COOKIE, HeaderValue::from_str(&format!("s={good}")).unwrap())]);
        assert_eq!(session.presented(&dateless, NOW), None, "from before the session had a limit");
    }

    proptest! {
        #[test]
        fn no_text_is_too_strange(value in proptest::collection::vec(any::<u8>(), 0..80), line in "[sS=;. 0-9a-f\\PC]{0,80}") {
            let _ = parse(&value);
            if let Ok(line) = HeaderValue::from_str(&line) {
                let headers = HeaderMap::from_iter([(COOKIE, line)]);
                let _ = cookie(false, Some(10), Some(10)).presented(&headers, NOW);
            }
        }
    }
}
