//! Faults on purpose, as the TrafficPolicy of the dialled service asks for them. Whether a request gets one is drawn
//! before its route changes it; it happens where the request would leave, so that timeouts see it and retries do not.

use std::sync::Arc;
use std::time::Duration;

use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};
use outrigger_proto::ErrorCode;
use outrigger_proto::model::{AbortStatus, Fault};

use crate::error::{Fate, ProxyError, Status};
use crate::flow::Flow;
use crate::random::random;

/// What one request gets.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Drawn {
    policy: Arc<str>,
    delay: Option<Duration>,
    abort: Option<AbortStatus>,
}

impl Drawn {
    /// Draws for a request with these headers.
    pub(crate) fn of(fault: &Fault, headers: &HeaderMap) -> Option<Box<Self>> {
        let delay = fault.delay.as_ref().filter(|delay| hits(delay.percent, &delay.headers, headers));
        let abort = fault.abort.as_ref().filter(|abort| hits(abort.percent, &abort.headers, headers));
        if delay.is_none() && abort.is_none() {
            return None;
        }
        let (delay, abort) = (delay.map(|delay| delay.fixed), abort.map(|abort| abort.status));
        Some(Box::new(Self { policy: fault.policy.clone(), delay, abort }))
    }

    /// Whether the request will not leave.
    pub(crate) fn aborts(&self) -> bool {
        self.abort.is_some()
    }

    /// Makes it happen.
    ///
    /// # Errors
    /// E018 when it is to fail.
    pub(crate) async fn inject(self, flow: &Flow) -> Result<(), ProxyError> {
        if let Some(delay) = self.delay {
            flow.delayed(delay);
            tokio::time::sleep(delay).await;
        }
        let Some(abort) = self.abort else { return Ok(()) };
        let detail = format!("TrafficPolicy {} asks for this fault", self.policy);
        let status = match abort {
            AbortStatus::Http(status) => Status { http: status, grpc: grpc_of(status) },
            AbortStatus::Grpc(status) => Status { http: http_of(status), grpc: status },
        };
        Err(ProxyError::new(ErrorCode::FaultInjected, detail).fate(Fate::Withheld).status(status))
    }
}

fn hits(percent: u32, wanted: &[(HeaderName, HeaderValue)], headers: &HeaderMap) -> bool {
    let there = |(name, value): &(HeaderName, HeaderValue)| headers.get_all(name).iter().any(|own| own == value);
    wanted.iter().all(there) && random() % 100 < u64::from(percent)
}

/// gRPC's own mapping of HTTP statuses that a proxy answers with.
fn grpc_of(status: StatusCode) -> u8 {
    match status.as_u16() {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        _ => 2,
    }
}

/// The mapping of `google.rpc.Code`.
fn http_of(grpc: u8) -> StatusCode {
    match grpc {
        1 => StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
        3 | 9 | 11 => StatusCode::BAD_REQUEST,
        4 => StatusCode::GATEWAY_TIMEOUT,
        5 => StatusCode::NOT_FOUND,
        6 | 10 => StatusCode::CONFLICT,
        7 => StatusCode::FORBIDDEN,
        8 => StatusCode::TOO_MANY_REQUESTS,
        12 => StatusCode::NOT_IMPLEMENTED,
        14 => StatusCode::SERVICE_UNAVAILABLE,
        16 => StatusCode::UNAUTHORIZED,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

#[cfg(test)]
mod tests {
    use outrigger_proto::model::{Abort, Delay};

    use super::*;

    fn fault(percent: u32, header: Option<(&'static str, &'static str)>) -> Fault {
        let headers: Vec<_> = header
            .into_iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect();
        Fault {
            policy: "shop/web".into(),
            delay: Some(Delay { fixed: Duration::from_secs(3), percent, headers: headers.clone() }),
            abort: Some(Abort { status: AbortStatus::Grpc(14), percent, headers }),
        }
    }

    #[test]
    fn a_share_of_the_requests_is_drawn() {
        let none = HeaderMap::new();
        let drawn = |percent| (0..10_000).filter(|_| Drawn::of(&fault(percent, None), &none).is_some()).count();

        assert_eq!((drawn(0), drawn(100)), (0, 10_000));
        // Delay and abort are drawn apart: 1 - 0.9².
        assert!((1700..2100).contains(&drawn(10)), "{}", drawn(10));
    }

    #[test]
    fn only_requests_with_the_header_are_drawn() {
        let fault = fault(100, Some(("x-test", "yes")));
        let with = |value: &'static str| {
            HeaderMap::from_iter([(HeaderName::from_static("x-test"), HeaderValue::from_static(value))])
        };

        assert!(Drawn::of(&fault, &with("yes")).is_some());
        assert!(Drawn::of(&fault, &with("YES")).is_none());
        assert!(Drawn::of(&fault, &HeaderMap::new()).is_none());
    }
}
