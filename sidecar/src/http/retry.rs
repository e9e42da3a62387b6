//! Repeats what may be repeated.
//!
//! Without a word from the route that is only what provably was not processed, and idempotent requests whose reused
//! connection ended before a response. A route's `retry` says how often, and adds statuses. A budget over all requests of the backend
//! bounds it all, so that retries never become the load that keeps a service down.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Method, Response, request};
use http_body::Body as _;
use outrigger_proto::{ErrorCode, model};
use tower::{Layer, Service};

use crate::balance::BackendName;
use crate::body::Body;
use crate::body::BodyError;
use crate::body::Replay;
use crate::direction::Direction;
use crate::error::{Fate, ProxyError};
use crate::flow::Flow;
use crate::flow::RetryOutcome;
use crate::flow::onward::{self, Onward, is_marked};
use crate::http::ResponseBody;
use crate::http::call::{Call, To};
use crate::http::dispatch::{Exchange, Failed};
use crate::http::timeout::expired;
use crate::random::random;

/// Attempts beyond the first for what was not processed, where no route says otherwise.
const UNPROCESSED_ATTEMPTS: u32 = 2;

/// The same for what was refused with HTTP/2's word for it: clients know that word and repeat by themselves.
const REFUSED_STREAM_ATTEMPTS: u32 = 1;

/// Attempts beyond the first, where no route says otherwise, as long as each is refused and there is an endpoint that has not refused.
const REFUSED_ATTEMPTS: u32 = 8;

/// The first wait before a repetition to the same set of endpoints; it doubles each time.
const BACKOFF: Duration = Duration::from_millis(25);

/// The longest wait.
const MAX_BACKOFF: Duration = Duration::from_millis(250);

/// Makes [`Retry`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct RetryLayer;

impl<E> Layer<E> for RetryLayer {
    type Service = Retry<E>;

    fn layer(&self, inner: E) -> Retry<E> {
        Retry { inner }
    }
}

/// Sends a request again where that is safe.
#[derive(Clone)]
pub(crate) struct Retry<E> {
    inner: E,
}

impl<E: Exchange> Service<Call> for Retry<E> {
    type Response = Response<ResponseBody>;
    type Error = ProxyError;
    // The one place of the path that waits for the network: its future is boxed once a request.
    type Future = Pin<Box<dyn Future<Output = Result<Response<ResponseBody>, ProxyError>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), ProxyError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: Call) -> Self::Future {
        Box::pin(attempts(self.inner.clone(), call))
    }
}

async fn attempts(exchange: impl Exchange, call: Call) -> Result<Response<ResponseBody>, ProxyError> {
    let Call { request, to, flow, fault, onward: _ } = call;
    if let Some(fault) = fault {
        Box::pin(fault.inject(&flow)).await?;
    }
    let rule = match &to {
        To::Backend(_, rule) => rule.clone(),
        To::App(_) | To::Target(_) => None,
    };
    let policy = rule.as_ref().and_then(|rule| rule.retry.as_ref());
    let attempt_timeout = rule.as_ref().and_then(|rule| rule.attempt_timeout);
    let budget = match &to {
        To::Backend(backend, _) => {
            backend.budget.deposit();
            Some(backend.clone())
        }
        To::App(_) | To::Target(_) => None,
    };
    let (mut head, body) = request.into_parts();
    let mut replay = (!body.is_end_stream()).then(|| Replay::new(body));
    let mut last = None;
    let mut causes: Vec<String> = Vec::new();
    // Who repeats this already is enough: else each hop of a chain would multiply what fails at its end.
    let by_policy = policy.filter(|_| !flow.onward().is_some_and(Onward::is_repetition));

    for attempt in 0.. {
        if let Some(late) = flow.onward().and_then(Onward::refusal) {
            return Err(exhausted(late, causes));
        }
        let body = replay.as_mut().map_or_else(Body::empty, Replay::attempt);
        let mut result = {
            // In one place for both ways to wait: the future is large.
            let answer = pin!(exchange.attempt(&mut head, body, &to, &flow, last.as_ref()));
            match (attempt_timeout, rule.as_ref()) {
                (Some(limit), Some(rule)) => match tokio::time::timeout(limit, answer).await {
                    Ok(result) => result,
                    Err(_) => Err(expired(limit, rule)),
                },
                _ => answer.await,
            }
        };
        // Of many that end together the next one may have ended, too: the one that stays must be found.
        let elsewhere = policy.is_none()
            && attempt < REFUSED_ATTEMPTS
            && matches!(&result, Err(error) if error.code == ErrorCode::ConnectionRefused)
            && budget.as_ref().is_some_and(|backend| backend.has_usable());
        let wanted = match &result {
            Ok(response) => {
                attempt < by_policy.map_or(0, |p| p.attempts)
                    && repeats_status(by_policy, response.status().as_u16())
                    && !is_marked(response, flow.facts().endpoint.as_deref())
            }
            // The same app again would do the same again, unless it had only closed a connection that was idle; the caller's sidecar may try
            // another one, and counts.
            Err(error) if matches!(to, To::App(_)) && (!error.reused || error.is_refusal()) => false,
            Err(error) => {
                (attempt < limit(policy, error) || elsewhere) && repeats_error(by_policy, attempt, error, &head.method)
            }
        };
        let pauses = !elsewhere && (attempt > 0 || result.is_ok() || policy.is_some());
        let pause = (wanted && pauses).then(|| backoff(policy, attempt));
        // What cannot begin in time has its answer now, not when the time is up.
        let wanted = wanted && flow.onward().is_none_or(|onward| onward.has_time_for(pause.unwrap_or_default()));
        let denied = if replay.as_ref().is_some_and(|replay| !replay.possible()) {
            Some(RetryOutcome::NotReplayable)
        } else if wanted && budget.as_ref().is_some_and(|backend| !backend.budget.withdraw()) {
            Some(RetryOutcome::OverBudget)
        } else {
            None
        };
        if let Some(why) = denied.filter(|_| wanted) {
            flow.deny_retry(why);
        }
        if !wanted || denied.is_some() {
            tell_callers(policy, &flow, &head, &mut result);
        }
        if wanted
            && denied == Some(RetryOutcome::OverBudget)
            && let Some(backend) = budget.as_ref().filter(|backend| backend.budget.is_set())
        {
            return Err(over_budget(&backend.name, &result, causes));
        }
        if !wanted || denied.is_some() {
            return result.map_err(|error| exhausted(error, causes));
        }
        // An idle connection's end is nobody's load.
        if !matches!(&result, Err(error) if matches!(error.fate, Fate::NotProcessed | Fate::Unknown)) {
            flow.repeat();
        }
        causes.push(cause(&result));
        let was_idle = matches!(&result, Err(error) if error.reused);
        drop(result);
        last = flow.facts().endpoint.map(|endpoint| Failed { endpoint, was_idle });
        // A client that is gone waits for no answer, and part of a body is not the request that it meant.
        wait(pause, replay.as_mut()).await.map_err(|error| ProxyError::body_broke_off(&error))?;
    }
    // `0..` does not end; the compiler cannot know.
    Err(ProxyError::new(ErrorCode::Internal, "the retry loop ended"))
}

/// Has the callers of what failed for good not repeat it: it has been repeated as often as the route and the budget allow.
fn tell_callers(
    policy: Option<&model::Retry>,
    flow: &Flow,
    head: &request::Parts,
    result: &mut Result<Response<ResponseBody>, ProxyError>,
) {
    match flow.direction {
        Direction::Inbound => result.iter_mut().for_each(|response| onward::mark(flow, &head.headers, response)),
        Direction::Outbound => {
            let has_failed = match result {
                Ok(response) => repeats_status(policy, response.status().as_u16()),
                // What could not be reached from here is no load, and may be reached from elsewhere.
                Err(error) => error.fate == Fate::MayHaveBeenProcessed,
            };
            if has_failed && policy.is_some_and(|policy| policy.attempts > 0) {
                onward::gave_up(&head.headers);
            }
        }
    }
}

/// Waits before the next attempt, and looks whether the client still stands by its body.
async fn wait(pause: Option<Duration>, replay: Option<&mut Replay>) -> Result<(), BodyError> {
    let Some(replay) = replay else {
        if let Some(pause) = pause {
            tokio::time::sleep(pause).await;
        }
        return Ok(());
    };
    replay.end_attempt();
    if let Some(pause) = pause {
        // The time is up: that is the usual end.
        let _ = tokio::time::timeout(pause, poll_fn(|cx| replay.poll_broken(cx))).await;
    }
    let broken = poll_fn(|cx| Poll::Ready(replay.poll_broken(cx)));
    match broken.await {
        Poll::Ready(error) => Err(error),
        Poll::Pending => Ok(()),
    }
}

fn repeats_status(policy: Option<&model::Retry>, status: u16) -> bool {
    policy.is_some_and(|policy| policy.codes.iter().any(|code| code.as_u16() == status))
}

/// How often an error may be followed by another attempt.
fn limit(policy: Option<&model::Retry>, error: &ProxyError) -> u32 {
    match (policy, error.code) {
        // An idle connection's end says nothing of the backend, and is not what a route's author counts.
        (Some(policy), ErrorCode::ConnectionTerminated) if !error.is_refusal() => {
            policy.attempts.max(UNPROCESSED_ATTEMPTS)
        }
        // The author's word holds for what could not be reached as well: 0 is not even one (v1.7 of the Gateway API).
        (Some(policy), _) => policy.attempts,
        (None, _) if error.is_refusal() => REFUSED_STREAM_ATTEMPTS,
        (None, _) => UNPROCESSED_ATTEMPTS,
    }
}

fn repeats_error(policy: Option<&model::Retry>, attempt: u32, error: &ProxyError, method: &Method) -> bool {
    match error.fate {
        // A peer that fails to prove its identity will not prove it the next moment, but another endpoint may.
        Fate::NotProcessed => {
            // Nor is there more time the next moment.
            !matches!(
                error.code,
                ErrorCode::DestinationUnavailable
                    | ErrorCode::CircuitOpen
                    | ErrorCode::Internal
                    | ErrorCode::ResponseTimeout
            )
        }
        Fate::Unknown => method.is_idempotent(),
        Fate::Withheld => false,
        // A timeout of one attempt counts as the status that it would be answered with.
        Fate::MayHaveBeenProcessed => {
            error.code == ErrorCode::ResponseTimeout
                && attempt < policy.map_or(0, |policy| policy.attempts)
                && repeats_status(policy, 504)
        }
    }
}

fn backoff(policy: Option<&model::Retry>, attempt: u32) -> Duration {
    let base = policy.map(|policy| policy.backoff).filter(|backoff| !backoff.is_zero()).unwrap_or(BACKOFF);
    let wait = base.saturating_mul(1 << attempt.min(10)).min(MAX_BACKOFF.max(base));
    // Spread over half of it, so that callers do not come back together.
    wait.mul_f64(0.75 + (random() % 1000) as f64 / 2000.0).max(base.min(wait))
}

fn cause(result: &Result<Response<ResponseBody>, ProxyError>) -> String {
    match result {
        Ok(response) => response.status().to_string(),
        Err(error) => error.to_string(),
    }
}

/// GEP-3388: who would be repeated over a budget that somebody has set gets 503.
fn over_budget(
    backend: &BackendName,
    last: &Result<Response<ResponseBody>, ProxyError>,
    mut causes: Vec<String>,
) -> ProxyError {
    causes.push(cause(last));
    let detail = format!("the retry budget of {backend} is spent, and an attempt ended with {}", causes.join(", "));
    let fate = last.as_ref().err().map_or(Fate::MayHaveBeenProcessed, |error| error.fate);
    let answered_as = Some(ErrorCode::DestinationUnavailable);
    ProxyError { fate, answered_as, ..ProxyError::new(ErrorCode::RetriesExhausted, detail) }
}

fn exhausted(last: ProxyError, mut causes: Vec<String>) -> ProxyError {
    if causes.is_empty() {
        return last;
    }
    let last_cause = last.to_string();
    let mut detail = format!("{} attempts failed", causes.len() + 1);
    if causes.iter().all(|cause| *cause == last_cause) {
        detail.push_str(&format!(", each with {last_cause}"));
    } else {
        causes.push(last_cause);
        for (index, cause) in causes.iter().enumerate() {
            detail.push_str(&format!("{} {}) {cause}", if index == 0 { ":" } else { "" }, index + 1));
        }
    }
    ProxyError { code: ErrorCode::RetriesExhausted, detail, answered_as: Some(last.code), ..last }
}

#[cfg(test)]
#[path = "retry_tests.rs"]
mod tests;
