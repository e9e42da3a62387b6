//! The rule's timeout for the whole request, all attempts together (GEP-1742 `request`).

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

use crate::error::{Fate, ProxyError};
use crate::http::Body;
use crate::http::call::{Call, To};
use crate::outbound::Rule;

/// Makes [`Timeout`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct TimeoutLayer;

impl<S> Layer<S> for TimeoutLayer {
    type Service = Timeout<S>;

    fn layer(&self, inner: S) -> Timeout<S> {
        Timeout { inner }
    }
}

/// Ends a request with E008 when its rule's time is up.
#[derive(Clone, Debug)]
pub(crate) struct Timeout<S> {
    inner: S,
}

impl<S> Service<Call> for Timeout<S>
where
    S: Service<Call, Response = Response<Body>, Error = ProxyError>,
{
    type Response = Response<Body>;
    type Error = ProxyError;
    type Future = TimeoutFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ProxyError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, call: Call) -> Self::Future {
        let limited = match &call.to {
            To::Backend(_, Some(rule)) => rule.request_timeout.map(|limit| {
                // The limit counts from when the request came, not from when it got here.
                (Box::pin(tokio::time::sleep_until(call.flow.start + limit)), limit, rule.clone())
            }),
            To::Backend(_, None) | To::App(_) | To::Target(_) => None,
        };
        TimeoutFuture { inner: self.inner.call(call), limited }
    }
}

/// Makes the error of a timeout that a rule sets.
pub(crate) fn expired(which: &str, limit: Duration, rule: &Rule) -> ProxyError {
    let detail = format!("no response within the {which} timeout of {} ms set by {}", limit.as_millis(), rule);
    ProxyError::new(ErrorCode::ResponseTimeout, detail).fate(Fate::MayHaveBeenProcessed)
}

pin_project! {
    pub(crate) struct TimeoutFuture<F> {
        #[pin]
        inner: F,
        // Boxed: a timer is large, and most requests have none.
        limited: Option<(Pin<Box<Sleep>>, Duration, Arc<Rule>)>,
    }
}

impl<F> Future for TimeoutFuture<F>
where
    F: Future<Output = Result<Response<Body>, ProxyError>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(done) = this.inner.poll(cx) {
            return Poll::Ready(done);
        }
        if let Some((sleep, limit, rule)) = this.limited
            && sleep.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Err(expired("request", *limit, rule)));
        }
        Poll::Pending
    }
}
