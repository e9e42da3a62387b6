//! Requests of peers without an identity, when there is no room for them or they are for more than such peers may read: refused before anything
//! else is done.

use std::task::{Context, Poll};

use futures_util::future::{Either, Ready, ready};
use http::Response;
use outrigger_proto::ErrorCode;
use tower::Service;

use crate::caller::Reach;
use crate::error::ProxyError;
use crate::http::ResponseBody;
use crate::http::call::Call;
use crate::scrape;

/// Refuses what there is no room for, and what is not for peers without an identity.
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

    fn call(&mut self, mut call: Call) -> Self::Future {
        match admit(&mut call) {
            Ok(()) => Either::Left(self.inner.call(call)),
            Err(error) => Either::Right(ready(Err(error))),
        }
    }
}

fn admit(call: &mut Call) -> Result<(), ProxyError> {
    let Some(caller) = call.flow.caller.as_ref().filter(|caller| caller.peer.is_none()) else { return Ok(()) };
    caller.place.stranger()?;
    match &caller.reach {
        Reach::Application | Reach::Metrics => Ok(()),
        Reach::Pages(paths) if scrape::admits(paths, &mut call.request) => Ok(()),
        Reach::Pages(paths) => {
            let detail =
                format!("the port's mode is strict: plaintext may GET {} and nothing else", paths.join(" or "));
            Err(ProxyError::new(ErrorCode::RequestDenied, detail))
        }
    }
}
