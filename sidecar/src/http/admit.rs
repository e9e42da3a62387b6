//! Requests of peers without an identity, when there is no room for them: refused before anything else is done.

use std::task::{Context, Poll};

use futures_util::future::{Either, Ready, ready};
use http::Response;
use tower::Service;

use crate::error::ProxyError;
use crate::http::ResponseBody;
use crate::http::call::Call;

/// Refuses what there is no room for.
#[derive(Clone, Debug)]
pub(crate) struct Admit<S> {
    inner: S,
}

impl<S> Admit<S> {
    pub(crate) fn new(inner: S) -> Self {
        Self { inner }
    }
}

impl<S> Service<Call> for Admit<S>
where
    S: Service<Call, Response = Response<ResponseBody>, Error = ProxyError>,
{
    type Response = Response<ResponseBody>;
    type Error = ProxyError;
    type Future = Either<S::Future, Ready<Result<Response<ResponseBody>, ProxyError>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ProxyError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, call: Call) -> Self::Future {
        let stranger = call.flow.caller.as_ref().filter(|caller| caller.peer.is_none());
        match stranger.map_or(Ok(()), |caller| caller.place.stranger()) {
            Ok(()) => Either::Left(self.inner.call(call)),
            Err(error) => Either::Right(ready(Err(error))),
        }
    }
}
