//! What a TrafficPolicy asks for.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use http::header::{HeaderName, HeaderValue};

use super::{Invalid, header_name, required};
use crate::wire;

/// How requests are spread over a service's endpoints, and what they may cost them.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct TrafficPolicy {
    /// `NAMESPACE/NAME` of the object.
    pub name: Arc<str>,
    /// How an endpoint is chosen.
    pub load_balancer: LoadBalancer,
    /// When an endpoint is left out; `None`: as without a policy.
    pub ejection: Option<Ejection>,
    /// What is answered with an error in place of being sent.
    pub limits: Limits,
    /// How many retries there may be; `None`: as without a policy.
    pub retry_budget: Option<RetryBudget>,
}

/// How an endpoint is chosen.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum LoadBalancer {
    /// The better of two that are drawn.
    #[default]
    LeastRequest,
    /// One after the other.
    RoundRobin,
    /// Drawn.
    Random,
    /// The same one for the same value.
    ConsistentHash(HashKey),
}

/// What decides under consistent hashing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashKey {
    /// A header's first value.
    Header(HeaderName),
    /// A cookie's value.
    Cookie(Box<str>),
    /// The client's workload.
    Source,
    /// The path without the query.
    Path,
}

/// When an endpoint is left out, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ejection {
    /// Errors in a row.
    pub consecutive_errors: u32,
    /// How long the first ejection lasts; each further one in a row doubles it.
    pub base: Duration,
    /// The longest one.
    pub max: Duration,
    /// Of the endpoints at once.
    pub max_percent: u32,
}

/// Limits of one sidecar for one service's port; `None`: no limit.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Limits {
    /// Open connections to each endpoint.
    pub max_connections: Option<u32>,
    /// Requests that wait for a connection.
    pub max_pending_requests: Option<u32>,
    /// Requests under way.
    pub max_requests: Option<u32>,
    /// Requests until a connection is replaced.
    pub max_requests_per_connection: Option<u32>,
}

/// How many retries there may be (GEP-3388).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryBudget {
    /// Of the requests within the interval.
    pub percent: u32,
    /// How long a request counts.
    pub interval: Duration,
    /// Retries within the interval that are always allowed.
    pub min_retries: u32,
}

/// What is done to requests on purpose.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Fault {
    /// `NAMESPACE/NAME` of the object that asks for it.
    pub policy: Arc<str>,
    /// Requests are held back.
    pub delay: Option<Delay>,
    /// Requests are answered with an error.
    pub abort: Option<Abort>,
}

/// How long which requests are held back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delay {
    /// How long.
    pub fixed: Duration,
    /// Of the requests that match.
    pub percent: u32,
    /// All must be there, with this value.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

/// How which requests are answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Abort {
    /// With what.
    pub status: AbortStatus,
    /// Of the requests that match.
    pub percent: u32,
    /// All must be there, with this value.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

/// The status of an answer that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AbortStatus {
    /// Of HTTP.
    Http(StatusCode),
    /// Of gRPC.
    Grpc(u8),
}

impl TryFrom<wire::TrafficPolicy> for TrafficPolicy {
    type Error = Invalid;

    fn try_from(w: wire::TrafficPolicy) -> Result<Self, Invalid> {
        let within = |field: &'static str| move |e: Invalid| e.within(field);
        let limits = w.limits.unwrap_or_default();
        Ok(Self {
            name: w.name.into(),
            load_balancer: load_balancer(w.load_balancer).map_err(within("loadBalancer"))?,
            ejection: w.ejection.map(ejection).transpose().map_err(within("ejection"))?,
            limits: Limits {
                max_connections: positive("limits.maxConnections", limits.max_connections)?,
                max_pending_requests: limits.max_pending_requests,
                max_requests: positive("limits.maxRequests", limits.max_requests)?,
                max_requests_per_connection: positive(
                    "limits.maxRequestsPerConnection",
                    limits.max_requests_per_connection,
                )?,
            },
            retry_budget: w.retry_budget.map(retry_budget).transpose().map_err(within("retryBudget"))?,
        })
    }
}

/// Reads what counts where a service is dialled.
pub(super) fn fault(policy: Option<wire::TrafficPolicy>) -> Result<Option<Fault>, Invalid> {
    let Some(wire::TrafficPolicy { name, fault: Some(fault), .. }) = policy else { return Ok(None) };
    let delay = fault.delay.map(delay).transpose().map_err(|e| e.within("faultInjection.delay"))?;
    let abort = fault.abort.map(abort).transpose().map_err(|e| e.within("faultInjection.abort"))?;
    Ok(Some(Fault { policy: name.into(), delay, abort }))
}

fn load_balancer(w: Option<wire::LoadBalancer>) -> Result<LoadBalancer, Invalid> {
    use wire::consistent_hash::Key;
    use wire::load_balancer::Choice;
    Ok(match w.and_then(|w| w.choice) {
        None | Some(Choice::LeastRequest(_)) => LoadBalancer::LeastRequest,
        Some(Choice::RoundRobin(_)) => LoadBalancer::RoundRobin,
        Some(Choice::Random(_)) => LoadBalancer::Random,
        Some(Choice::ConsistentHash(hash)) => {
            LoadBalancer::ConsistentHash(match required("consistentHash", hash.key)? {
                Key::Header(name) => HashKey::Header(header_name(&name)?),
                Key::Cookie(name) if is_token(&name) => HashKey::Cookie(name.into()),
                Key::Cookie(name) => {
                    return Err(Invalid::new("cookie.name", format!("`{name}` is not a cookie's name")));
                }
                Key::Source(_) => HashKey::Source,
                Key::Path(_) => HashKey::Path,
            })
        }
    })
}

fn ejection(w: wire::Ejection) -> Result<Ejection, Invalid> {
    positive("consecutiveErrors", Some(w.consecutive_errors))?;
    if w.base_ms == 0 {
        return Err(Invalid::new("baseEjectionTime", "must be longer than 0"));
    }
    if w.max_ms < w.base_ms {
        return Err(Invalid::new("maxEjectionTime", "is shorter than baseEjectionTime"));
    }
    if w.max_ms > LONGEST_MS {
        return Err(Invalid::new("maxEjectionTime", "is longer than a day"));
    }
    Ok(Ejection {
        consecutive_errors: w.consecutive_errors,
        base: Duration::from_millis(w.base_ms),
        max: Duration::from_millis(w.max_ms),
        max_percent: percent("maxEjectionPercent", w.max_percent)?,
    })
}

fn retry_budget(w: wire::RetryBudget) -> Result<RetryBudget, Invalid> {
    let interval = Duration::from_millis(w.interval_ms);
    if !(Duration::from_secs(1)..=Duration::from_secs(3600)).contains(&interval) {
        return Err(Invalid::new("interval", "must be from 1s to 1h"));
    }
    Ok(RetryBudget { percent: percent("percent", w.percent)?, interval, min_retries: w.min_retries })
}

fn delay(w: wire::Delay) -> Result<Delay, Invalid> {
    if !(1..=HOUR_MS).contains(&w.fixed_ms) {
        return Err(Invalid::new("fixedDelay", "must be from 1ms to 1h"));
    }
    let percent = percent("percent", w.percent)?;
    Ok(Delay { fixed: Duration::from_millis(w.fixed_ms), percent, headers: headers(w.headers)? })
}

fn abort(w: wire::Abort) -> Result<Abort, Invalid> {
    let status = match required("status", w.status)? {
        wire::abort::Status::Http(code) => {
            let status = u16::try_from(code).ok().filter(|code| (200..600).contains(code));
            let status = status.and_then(|code| StatusCode::from_u16(code).ok());
            AbortStatus::Http(
                status.ok_or_else(|| Invalid::new("httpStatus", format!("{code} is not from 200 to 599")))?,
            )
        }
        wire::abort::Status::Grpc(code) => {
            let status = u8::try_from(code).ok().filter(|code| (1..=16).contains(code));
            AbortStatus::Grpc(status.ok_or_else(|| Invalid::new("grpcStatus", format!("{code} is not from 1 to 16")))?)
        }
    };
    Ok(Abort { status, percent: percent("percent", w.percent)?, headers: headers(w.headers)? })
}

fn headers(w: Vec<wire::Header>) -> Result<Vec<(HeaderName, HeaderValue)>, Invalid> {
    let one = |header: wire::Header| {
        let value = HeaderValue::from_str(&header.value)
            .map_err(|_| Invalid::new("headers", format!("the value of `{}` is not a header value", header.name)))?;
        Ok((header_name(&header.name)?, value))
    };
    w.into_iter().map(one).collect()
}

fn positive(field: &str, value: Option<u32>) -> Result<Option<u32>, Invalid> {
    if value == Some(0) { Err(Invalid::new(field, "must be at least 1")) } else { Ok(value) }
}

fn percent(field: &str, value: u32) -> Result<u32, Invalid> {
    if value > 100 { Err(Invalid::new(field, format!("{value} is more than 100"))) } else { Ok(value) }
}

/// RFC 6265 takes a cookie's name from RFC 9110's tokens, as header names are.
fn is_token(name: &str) -> bool {
    HeaderName::from_bytes(name.as_bytes()).is_ok()
}

const HOUR_MS: u64 = 3_600_000;
const LONGEST_MS: u64 = 24 * HOUR_MS;

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(policy: wire::TrafficPolicy) -> String {
        TrafficPolicy::try_from(policy).expect_err("accepted").to_string()
    }

    #[test]
    fn names_the_field_that_cannot_be_used() {
        let ejection = |base_ms, max_ms, max_percent| wire::TrafficPolicy {
            ejection: Some(wire::Ejection { consecutive_errors: 5, base_ms, max_ms, max_percent }),
            ..wire::TrafficPolicy::default()
        };
        let hash = |key| wire::TrafficPolicy {
            load_balancer: Some(wire::LoadBalancer {
                choice: Some(wire::load_balancer::Choice::ConsistentHash(wire::ConsistentHash { key })),
            }),
            ..wire::TrafficPolicy::default()
        };
        let budget = |percent, interval_ms| wire::TrafficPolicy {
            retry_budget: Some(wire::RetryBudget { percent, interval_ms, min_retries: 0 }),
            ..wire::TrafficPolicy::default()
        };
        let limits = |limits| wire::TrafficPolicy { limits: Some(limits), ..wire::TrafficPolicy::default() };
        for (policy, field) in [
            (ejection(0, 1, 1), "ejection.baseEjectionTime"),
            (ejection(2, 1, 1), "ejection.maxEjectionTime"),
            (ejection(1, 1, 101), "ejection.maxEjectionPercent"),
            (hash(None), "loadBalancer.consistentHash"),
            (hash(Some(wire::consistent_hash::Key::Header("a b".to_owned()))), "loadBalancer.name"),
            (hash(Some(wire::consistent_hash::Key::Cookie("a=b".to_owned()))), "loadBalancer.cookie.name"),
            (budget(20, 10), "retryBudget.interval"),
            (budget(101, 10_000), "retryBudget.percent"),
            (limits(wire::Limits { max_requests: Some(0), ..wire::Limits::default() }), "limits.maxRequests"),
        ] {
            assert!(refusal(policy).starts_with(&format!("{field}: ")), "{field}");
        }
    }
}
