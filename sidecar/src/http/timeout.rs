//! The time that a request has, all attempts together: by its rule (GEP-1742 `request`), its client, or those who wait for the request that it is
//! made for.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Response;
use outrigger_proto::ErrorCode;
use pin_project_lite::pin_project;
use tokio::time::Sleep;
use tower::{Layer, Service};

use crate::destination::Rule;
use crate::direction::Direction;
use crate::error::{Fate, ProxyError};
use crate::flow::Flow;
use crate::flow::onward::{SLACK, Why};
use crate::http::ResponseBody;
use crate::http::call::{Call, To};

/// Makes [`Timeout`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct TimeoutLayer;

impl<S> Layer<S> for TimeoutLayer {
    type Service = Timeout<S>;

    fn layer(&self, inner: S) -> Timeout<S> {
        Timeout { inner }
    }
}

/// Ends a request with E008 when its time is up.
#[derive(Clone, Debug)]
pub(crate) struct Timeout<S> {
    inner: S,
}

impl<S> Service<Call> for Timeout<S>
where
    S: Service<Call, Response = Response<ResponseBody>, Error = ProxyError>,
{
    type Response = Response<ResponseBody>;
    type Error = ProxyError;
    type Future = TimeoutFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ProxyError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut call: Call) -> Self::Future {
        let rule = match &call.to {
            To::Backend(_, Some(rule)) => rule.request_timeout.map(|limit| (limit, rule)),
            To::Backend(_, None) | To::App(_) | To::Target(_) => None,
        };
        if rule.is_none() && call.onward.is_none() {
            return TimeoutFuture { inner: self.inner.call(call), limited: None };
        }
        let mut onward = call.onward.take().unwrap_or_default();
        if let Some((limit, rule)) = rule {
            // The limit counts from when the request came, not from when it got here.
            onward.limit(call.flow.start, limit, Why::Rule(limit, rule.clone()));
        }
        call.flow.goes_on(onward);
        let limited = Limited::new(&call.flow).map(Box::new);
        TimeoutFuture { inner: self.inner.call(call), limited }
    }
}

/// Makes the error of an attempt's timeout that a rule sets.
pub(crate) fn expired(limit: Duration, rule: &Rule) -> ProxyError {
    let detail = format!("no response within the backendRequest timeout of {} ms set by {rule}", limit.as_millis());
    ProxyError::new(ErrorCode::ResponseTimeout, detail).fate(Fate::MayHaveBeenProcessed)
}

/// A request that ends at its time, if it has not ended before.
struct Limited {
    flow: Arc<Flow>,
    end: Option<Pin<Box<Sleep>>>,
    /// When the request that it is made for may be over.
    over: Option<Pin<Box<Sleep>>>,
}

impl Limited {
    fn new(flow: &Arc<Flow>) -> Option<Self> {
        let onward = flow.onward()?;
        let timer = |until| Box::pin(tokio::time::sleep_until(until));
        let (end, over) = match flow.direction {
            Direction::Inbound => (onward.until().and_then(|until| until.checked_add(SLACK)), None),
            Direction::Outbound => (onward.until(), onward.until_over()),
        };
        Some(Self { flow: flow.clone(), end: end.map(timer), over: over.map(timer) })
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<ProxyError> {
        let Some(onward) = self.flow.onward() else { return Poll::Pending };
        if self.end.as_mut().is_some_and(|end| end.as_mut().poll(cx).is_ready()) {
            return Poll::Ready(onward.expired());
        }
        if self.over.as_mut().is_some_and(|over| over.as_mut().poll(cx).is_ready()) {
            // Looked at once: the app may have answered and go on by itself.
            self.over = None;
            return onward.over().map_or(Poll::Pending, Poll::Ready);
        }
        Poll::Pending
    }

    fn answered(&self) {
        if self.flow.direction == Direction::Inbound {
            self.flow.onward().iter().for_each(|onward| onward.answered());
        }
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        if self.flow.direction == Direction::Inbound {
            self.flow.onward().iter().for_each(|onward| onward.left());
        }
    }
}

pin_project! {
    pub(crate) struct TimeoutFuture<F> {
        #[pin]
        inner: F,
        // Boxed: timers are large, and most requests have none.
        limited: Option<Box<Limited>>,
    }
}

impl<F> Future for TimeoutFuture<F>
where
    F: Future<Output = Result<Response<ResponseBody>, ProxyError>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(done) = this.inner.poll(cx) {
            this.limited.iter().for_each(|limited| limited.answered());
            return Poll::Ready(done);
        }
        match this.limited {
            Some(limited) => limited.poll_end(cx).map(Err),
            None => Poll::Pending,
        }
    }
}
