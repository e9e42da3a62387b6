//! What goes on with a request from sidecar to sidecar: for how long its caller still waits, and that it is a repetition.
//!
//! Between sidecars both are headers of the mesh's own, which no app sees. From a request to the app on to what the app sends for it they go by the
//! app's trace context ([`trace_state`], [`hops`]), and back by its id ([`retried`]). A request about which there is nothing to say has none of it.

mod grpc_timeout;
mod hops;
mod retried;
mod trace_state;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Response};
use outrigger_proto::ErrorCode;
use tokio::time::Instant;

use crate::balance::Endpoint;
use crate::destination::Rule;
use crate::direction::Direction;
use crate::error::{Fate, ProxyError};
use crate::flow::{Flow, callers_route};
use crate::trace_context::trace_id;

use hops::Hop;

/// For how many milliseconds the caller still waits. With [`LENT`] that is the time of a request before the caller's own.
const TIMEOUT: HeaderName = HeaderName::from_static("outrigger-timeout");

/// Which attempt it is, from 2; a first one says nothing.
const ATTEMPT: HeaderName = HeaderName::from_static("outrigger-attempt");

/// In answers: what failed behind the app has been repeated as often as its route allows.
pub(crate) const RETRIED: HeaderName = HeaderName::from_static("outrigger-retried");

const LENT: &str = ";lent";

/// With less than this nothing can be done in time.
const LEAST: Duration = Duration::from_millis(1);

/// How much longer than its caller says a request may take: the caller's sidecar ends it first, even on a busy machine, and can say which rule or
/// client set the time. This end is for callers that are gone without a word.
pub(crate) const SLACK: Duration = Duration::from_millis(500);

/// What is known of a request's callers.
pub(crate) struct Onward {
    /// Which attempt it is, or belongs to, from 1.
    attempt: u32,
    limit: Option<Limit>,
    /// Inbound: the request itself. Outbound: the request to the app that the app makes this one for.
    hop: Option<Arc<Hop>>,
}

impl Default for Onward {
    fn default() -> Self {
        Self { attempt: 1, limit: None, hop: None }
    }
}

/// When a request ends at the latest.
struct Limit {
    until: Instant,
    why: Why,
}

/// Who sets the time.
pub(crate) enum Why {
    /// The rule's request timeout.
    Rule(Duration, Arc<Rule>),
    /// The client, by `grpc-timeout`.
    Client(Duration),
    /// The caller's sidecar.
    Caller(Duration),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule(limit, rule) => write!(f, "the request timeout of {} ms set by {rule}", limit.as_millis()),
            Self::Client(limit) => write!(f, "the {} ms that the client set by grpc-timeout", limit.as_millis()),
            Self::Caller(limit) => write!(f, "the {} ms that the caller had left", limit.as_millis()),
        }
    }
}

/// What a sidecar's headers say, as they are taken out of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    left: Option<(Duration, bool)>,
    attempt: Option<u32>,
}

impl Told {
    /// Reads one header; what is not exactly well-formed says nothing.
    pub(crate) fn hear(&mut self, name: &HeaderName, value: &HeaderValue) {
        if *name == TIMEOUT {
            let Ok(text) = value.to_str() else { return };
            let (digits, is_lent) = text.strip_suffix(LENT).map_or((text, false), |digits| (digits, true));
            self.left = number(digits).map(|millis| (Duration::from_millis(millis.into()), is_lent));
        } else if *name == ATTEMPT {
            self.attempt = value.to_str().ok().and_then(number).filter(|attempt| *attempt > 1);
        }
    }
}

/// Up to eight digits.
fn number(text: &str) -> Option<u32> {
    let is_number = (1..=8).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { text.parse().ok() } else { None }
}

impl Onward {
    /// Gathers what a request says that has just come; `None`: nothing. What the mesh alone reads is taken out.
    pub(crate) fn of(flow: &Flow, told: Told, headers: &mut HeaderMap) -> Option<Box<Self>> {
        match flow.direction {
            Direction::Inbound => {
                let is_meshed = flow.caller.as_ref().is_some_and(|caller| caller.peer.is_some());
                if is_meshed && told != Told::default() { Some(Self::inbound(flow, told, headers)) } else { None }
            }
            Direction::Outbound => Self::outbound(flow, headers),
        }
    }

    fn inbound(flow: &Flow, told: Told, headers: &mut HeaderMap) -> Box<Self> {
        let attempt = told.attempt.unwrap_or(1);
        let (left, is_lent) = told.left.unzip();
        let is_lent = is_lent.unwrap_or(false);
        let until = left.and_then(|left| flow.start.checked_add(left));
        let hop = Hop::new(attempt, until, is_lent);
        trace_state::put(headers, hops::remember(&hop));
        let limit = until.zip(left).filter(|_| !is_lent);
        let limit = limit.map(|(until, left)| Limit { until, why: Why::Caller(left) });
        Box::new(Self { attempt, limit, hop: Some(hop) })
    }

    fn outbound(flow: &Flow, headers: &mut HeaderMap) -> Option<Box<Self>> {
        let hop = trace_state::take(headers).and_then(hops::find);
        let client = if flow.grpc { grpc_timeout::read(headers) } else { None };
        if hop.is_none() && client.is_none() {
            return None;
        }
        let mut this = Self { attempt: hop.as_ref().map_or(1, |hop| hop.attempt), limit: None, hop };
        if let Some(client) = client {
            this.limit(flow.start, client, Why::Client(client));
        }
        Some(Box::new(this))
    }

    /// Limits a request that has come at `start`.
    pub(crate) fn limit(&mut self, start: Instant, limit: Duration, why: Why) {
        let Some(until) = start.checked_add(limit) else { return };
        if self.limit.as_ref().is_none_or(|own| until <= own.until) {
            self.limit = Some(Limit { until, why });
        }
    }

    /// Returns when the request ends, whatever it is made for.
    pub(crate) fn until(&self) -> Option<Instant> {
        self.limit.as_ref().map(|limit| limit.until)
    }

    /// Returns when to look whether the request that it is made for is over, if that may be before its own end.
    pub(crate) fn until_over(&self) -> Option<Instant> {
        let hop = self.hop.as_ref()?;
        let until = if hop.is_lent { hop.until?.checked_add(SLACK)? } else { hop.until? };
        self.until().is_none_or(|own| until < own).then_some(until)
    }

    /// The caller has its answer.
    pub(crate) fn answered(&self) {
        self.hop.iter().for_each(|hop| hop.answered());
    }

    /// The caller has none, and waits no more.
    pub(crate) fn left(&self) {
        self.hop.iter().for_each(|hop| hop.left());
    }

    /// Says whether it belongs to a repetition, so that what it repeats would be repeated once more.
    pub(crate) fn is_repetition(&self) -> bool {
        self.attempt > 1
    }

    /// Says whether an attempt can begin after a pause.
    pub(crate) fn has_time_for(&self, pause: Duration) -> bool {
        self.until().is_none_or(|until| until.saturating_duration_since(Instant::now()) >= pause + LEAST)
    }

    /// Returns why no attempt is to begin any more.
    pub(crate) fn refusal(&self) -> Option<ProxyError> {
        if let Some(limit) = self.limit.as_ref().filter(|_| !self.has_time_for(Duration::ZERO)) {
            let detail = format!("less than 1 ms is left of {}: the request was not sent", limit.why);
            return Some(ProxyError::new(ErrorCode::ResponseTimeout, detail));
        }
        self.over().map(|error| error.fate(Fate::NotProcessed))
    }

    /// Makes the error of a request whose time is up.
    pub(crate) fn expired(&self) -> ProxyError {
        let why = self.limit.as_ref().map(|limit| limit.why.to_string()).unwrap_or_default();
        let detail = format!("no response within {why}");
        ProxyError::new(ErrorCode::ResponseTimeout, detail).fate(Fate::MayHaveBeenProcessed)
    }

    /// Makes the error of a request that is made for another one, when that one is over.
    pub(crate) fn over(&self) -> Option<ProxyError> {
        self.hop.as_ref().filter(|hop| hop.is_over(Instant::now()))?;
        let detail = "the time of the request that this one is made for is up, and it has no answer";
        Some(ProxyError::new(ErrorCode::ResponseTimeout, detail).fate(Fate::MayHaveBeenProcessed))
    }

    /// The time that is left, in whole milliseconds, and whether it is lent.
    fn to_tell(&self, now: Instant) -> Option<(u32, bool)> {
        let own = self.until().map(|until| (until, false));
        let lent = self.hop.as_ref().filter(|hop| !hop.is_answered()).and_then(|hop| Some((hop.until?, true)));
        let (until, is_lent) = own.into_iter().chain(lent).min()?;
        let left = u32::try_from(until.checked_duration_since(now)?.as_millis()).ok()?;
        (1..100_000_000).contains(&left).then_some((left, is_lent))
    }
}

/// Says in an attempt's headers what its receiver is to know.
pub(crate) fn tell(flow: &Flow, to: &Endpoint, headers: &mut HeaderMap) {
    callers_route::tell(flow, to, headers);
    let (onward, repeats) = (flow.onward(), flow.repeats());
    if onward.is_none() && repeats == 0 {
        return;
    }
    // An earlier attempt's.
    headers.remove(&TIMEOUT);
    headers.remove(&ATTEMPT);
    let now = Instant::now();
    if let Some(until) = onward.and_then(Onward::until).filter(|_| flow.grpc) {
        grpc_timeout::reduce(headers, until.saturating_duration_since(now));
    }
    if flow.direction == Direction::Inbound || !to.has_sidecar() {
        return;
    }
    let attempt = onward.map_or(1, |onward| onward.attempt).saturating_add(repeats);
    if attempt > 1 {
        headers.insert(ATTEMPT, HeaderValue::from(attempt.min(MOST)));
    }
    if let Some((left, is_lent)) = onward.and_then(|onward| onward.to_tell(now)) {
        let value = if is_lent { HeaderValue::try_from(format!("{left}{LENT}")).ok() } else { Some(left.into()) };
        headers.extend(value.map(|value| (TIMEOUT, value)));
    }
}

/// The most that is written as a number of attempts.
const MOST: u32 = 99_999_999;

/// What a request of the app was made for is to fail without being repeated: this one has been.
pub(crate) fn gave_up(headers: &HeaderMap) {
    if let Some(trace) = trace_id(headers) {
        retried::failed(trace);
    }
}

/// Marks an app's answer that says it failed, when something behind the app has been repeated for it; `headers` are the request's.
pub(crate) fn mark<B>(flow: &Flow, headers: &HeaderMap, response: &mut Response<B>) {
    let is_meshed = flow.caller.as_ref().is_some_and(|caller| caller.peer.is_some());
    if is_meshed && response.status().is_server_error() && trace_id(headers).is_some_and(retried::has_failed) {
        response.extensions_mut().insert(Marked);
    }
}

/// In the extensions of an answer: it is to say that what failed has been repeated.
#[derive(Clone, Copy)]
pub(crate) struct Marked;

/// Says in an answer's headers what its mark says, and nothing that an app has written there.
pub(crate) fn tell_marked<B>(response: &mut Response<B>) {
    if response.extensions().get::<Marked>().is_some() {
        response.headers_mut().insert(RETRIED, HeaderValue::from_static("1"));
    }
}

/// Says whether what failed has been repeated already, by the word of the endpoint's sidecar.
pub(crate) fn is_marked<B>(response: &Response<B>, endpoint: Option<&Endpoint>) -> bool {
    endpoint.is_some_and(Endpoint::has_sidecar) && response.headers().contains_key(&RETRIED)
}

#[cfg(test)]
mod tests;
