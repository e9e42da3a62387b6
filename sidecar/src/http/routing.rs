//! Step 7: the routes of the destination decide. A rule matches, its filters apply, and a backend is drawn; a service
//! without routes sends to its own endpoints.

use std::borrow::Cow;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{SystemTime, UNIX_EPOCH};

use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Request, Response, Uri};
use outrigger_proto::ErrorCode;
use outrigger_routing::{
    Destination, Matched, Presented, Reject, RequestOrigin, RequestView, normalize, readings, unresolved,
};
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use crate::balance::Endpoint;
use crate::body::Body;
use crate::destination::{Rule, Target, TargetKind};
use crate::error::{Fate, ProxyError};
use crate::flow::Flow;
use crate::http::Mirrors;
use crate::http::ResponseBody;
use crate::http::call::{Call, To};
use crate::http::fault::Drawn;
use crate::random::random;

/// Makes [`Routing`].
#[derive(Clone)]
pub(crate) struct RoutingLayer {
    /// Sends copies where a rule wants them.
    pub(crate) mirrors: Mirrors,
}

impl<S> Layer<S> for RoutingLayer {
    type Service = Routing<S>;

    fn layer(&self, inner: S) -> Routing<S> {
        Routing { inner, mirrors: self.mirrors.clone() }
    }
}

/// Turns a destination into a backend.
#[derive(Clone)]
pub(crate) struct Routing<S> {
    inner: S,
    mirrors: Mirrors,
}

impl<S> Service<Call> for Routing<S>
where
    S: Service<Call, Response = Response<ResponseBody>, Error = ProxyError>,
{
    type Response = Response<ResponseBody>;
    type Error = ProxyError;
    type Future = RoutingFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ProxyError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut call: Call) -> Self::Future {
        let To::Target(target) = call.to.clone() else {
            return RoutingFuture::Sent { inner: self.inner.call(call), applied: None };
        };
        match route(&target, &mut call, &self.mirrors) {
            Ok(Routed::Sent(applied)) => RoutingFuture::Sent { inner: self.inner.call(call), applied },
            Ok(Routed::Answered(response)) => RoutingFuture::Answered { result: Some(Ok(*response)) },
            Err(error) => RoutingFuture::Answered { result: Some(Err(error)) },
        }
    }
}

enum Routed {
    /// On to a backend; the response passes these filters.
    Sent(Option<Applied>),
    /// The rule itself answers.
    Answered(Box<Response<ResponseBody>>),
}

/// Whose filters the response passes: first those of the drawn backend (by its place), then the rule's.
struct Applied {
    rule: Arc<Rule>,
    draw: u64,
    /// The request's, where a filter wants it.
    origin: Option<HeaderValue>,
    session: Option<Box<Kept>>,
}

/// The session of a request whose rule keeps sessions.
struct Kept {
    flow: Arc<Flow>,
    presented: Option<Presented>,
}

fn route(target: &Arc<Target>, call: &mut Call, mirrors: &Mirrors) -> Result<Routed, ProxyError> {
    // Read once: the whole request follows one version of the routes.
    let kind = target.kind();
    if let TargetKind::Service { fault: Some(fault), .. } = &**kind {
        call.fault = Drawn::of(fault, call.request.headers());
    }
    let table = match &**kind {
        TargetKind::Service { routes: Some(table), .. } => table,
        TargetKind::Service { backend, .. } | TargetKind::Direct { backend, .. } => {
            call.flow.routed(backend, None);
            call.to = To::Backend(backend.clone(), None);
            return Ok(Routed::Sent(None));
        }
        TargetKind::Denied => {
            let detail = format!("{} is not part of the mesh, and egress is denied", target.destination);
            return Err(ProxyError::new(ErrorCode::RequestDenied, detail));
        }
    };
    let Readings { ambiguous, written } = normalize_path(&mut call.request)?;
    let request = &call.request;
    let find = |path: &str| {
        table.find(&RequestView {
            method: request.method(),
            path,
            query: request.uri().query(),
            authority: request.uri().authority().map(http::uri::Authority::as_str),
            headers: request.headers(),
        })
    };
    let found = find(request.uri().path());
    let rule = found.as_ref().map(|found| Arc::as_ptr(found.rule));
    let leads_elsewhere = |reading: &str| find(reading).map(|found| Arc::as_ptr(found.rule)) != rule;
    if let Some((reject, readings)) = ambiguous
        && readings.iter().any(|reading| leads_elsewhere(reading))
    {
        let detail = format!("{reject}: its readings are of different rules");
        return Err(ProxyError::new(ErrorCode::HttpProtocol, detail).fate(Fate::NotProcessed));
    }
    let Some(found) = found else {
        let detail = format!("no rule of {kind} matches {} {}", request.method(), request.uri().path());
        return Err(ProxyError::new(ErrorCode::DestinationNotFound, detail));
    };
    let (rule, matched) = (found.rule.clone(), found.matched);
    if let Some(written) = written
        && !rule.changes_path
        && !unresolved(written.path()).any(|reading| leads_elsewhere(&reading))
    {
        *call.request.uri_mut() = written;
    }
    apply(rule, matched, target, call, mirrors)
}

fn apply(
    rule: Arc<Rule>,
    mut matched: Matched,
    target: &Target,
    call: &mut Call,
    mirrors: &Mirrors,
) -> Result<Routed, ProxyError> {
    call.flow.matched(&rule, matched);
    let too_long = |error| ProxyError::new(ErrorCode::HttpProtocol, format!("{error} (by {rule})"));
    let request = std::mem::replace(&mut call.request, Request::new(Body::empty()));
    let (mut parts, mut body) = request.into_parts();
    let origin = rule.filters.origin(&parts);
    if let Some(response) = rule.filters.preflight(&parts) {
        return Ok(Routed::Answered(Box::new(response.map(|()| ResponseBody::empty()))));
    }
    let (draw, session) = draw(&rule, &call.flow, &parts.headers);
    let changed = rule.filters.apply_request(&mut parts, &mut matched);
    changed.map_err(too_long)?;
    if let Some(redirect) = rule.filters.redirect() {
        let as_came = RequestOrigin { https: false, port: target.destination.port() };
        let response = redirect.respond(&parts, matched, as_came).map_err(too_long)?;
        let mut response = response.map(|()| ResponseBody::empty());
        rule.filters.apply_response(response.headers_mut(), origin.as_ref());
        return Ok(Routed::Answered(Box::new(response)));
    }
    let drawn = rule.backends.pick(draw);
    let backend = match &drawn.to {
        Destination::Service { backend, .. } => backend.clone(),
        Destination::Invalid(why) => {
            return Err(ProxyError::new(ErrorCode::BackendInvalid, format!("{rule}: {why}")));
        }
    };
    if let Some(response) = drawn.filters.preflight(&parts) {
        return Ok(Routed::Answered(Box::new(response.map(|()| ResponseBody::empty()))));
    }
    let origin = origin.or_else(|| drawn.filters.origin(&parts));
    // What no backend gets has no copy either.
    let leaves = !call.fault.as_ref().is_some_and(|fault| fault.aborts());
    if leaves {
        mirrors.send(&rule.mirrors, &parts, &mut body, call.flow.grpc);
    }
    let changed = drawn.filters.apply_request(&mut parts, &mut matched);
    changed.map_err(too_long)?;
    if leaves {
        mirrors.send(&drawn.mirrors, &parts, &mut body, call.flow.grpc);
    }
    call.request = Request::from_parts(parts, body);
    call.flow.routed(&backend, Some(&rule));
    call.to = To::Backend(backend, Some(rule.clone()));
    Ok(Routed::Sent(Some(Applied { rule, draw, origin, session })))
}

/// Draws among the rule's backends, unless the request belongs to a session with an endpoint of one of them.
fn draw(rule: &Rule, flow: &Arc<Flow>, headers: &HeaderMap) -> (u64, Option<Box<Kept>>) {
    let Some(session) = &rule.session else { return (random(), None) };
    let presented = session.presented(headers, now());
    let endpoint =
        |token| rule.backends.services().find_map(|(number, backend)| Some((number, backend.with_token(token)?)));
    // An endpoint that is gone, ends or keeps failing, and a backend whose weight has become 0, end the session.
    let stays = |(_, endpoint): &(_, Arc<Endpoint>)| !endpoint.is_left_out();
    let found = presented.and_then(|presented| endpoint(presented.token)).filter(stays);
    let number = match found {
        Some((number, endpoint)) => {
            flow.pin(endpoint);
            number
        }
        None => random(),
    };
    (number, Some(Box::new(Kept { flow: flow.clone(), presented })))
}

impl Kept {
    fn tell(&self, rule: &Rule, headers: &mut HeaderMap) {
        if let (Some(session), Some(endpoint)) = (&rule.session, self.flow.facts().endpoint) {
            session.answer(endpoint.token(), self.presented, now(), headers);
        }
    }
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// What a path may be read as, beside its normal form.
#[derive(Default)]
struct Readings {
    /// Why it is ambiguous, and what it is for programs other than ours.
    ambiguous: Option<(Reject, Vec<String>)>,
    /// The target as it was written, if it has dot segments and is not ambiguous for more than those.
    written: Option<Uri>,
}

/// Rules see the path in one normal form. The app gets that same form where another could be of another rule, else the target as it was
/// written. A path that is ambiguous passes if all of its readings are of one rule.
fn normalize_path(request: &mut Request<Body>) -> Result<Readings, ProxyError> {
    let uri = request.uri();
    let mut ambiguous = None;
    let normal = match normalize(uri.path()) {
        Ok(Cow::Borrowed(_)) => return Ok(Readings::default()),
        Ok(Cow::Owned(path)) => path,
        Err(reject) if reject.is_ambiguous() => {
            let mut readings = readings(uri.path());
            let literal = readings.next().unwrap_or_default();
            ambiguous = Some((reject, readings.collect()));
            if literal == uri.path() {
                return Ok(Readings { ambiguous, written: None });
            }
            literal
        }
        Err(reject) => {
            let error = ProxyError::new(ErrorCode::HttpProtocol, format!("{reject}: routes would be ambiguous"));
            return Err(error.fate(Fate::NotProcessed));
        }
    };
    let text = match uri.query() {
        Some(query) => format!("{normal}?{query}"),
        None => normal,
    };
    let malformed = |_| ProxyError::new(ErrorCode::HttpProtocol, "malformed request target");
    let path = PathAndQuery::try_from(text).map_err(malformed)?;
    let written = std::mem::take(request.uri_mut());
    let mut parts = written.clone().into_parts();
    parts.path_and_query = Some(path);
    let internal = |_| ProxyError::new(ErrorCode::HttpProtocol, "malformed request target");
    *request.uri_mut() = Uri::from_parts(parts).map_err(internal)?;
    Ok(Readings { written: ambiguous.is_none().then_some(written), ambiguous })
}

pin_project! {
    #[project = RoutingProjection]
    pub(crate) enum RoutingFuture<F> {
        Sent { #[pin] inner: F, applied: Option<Applied> },
        Answered { result: Option<Result<Response<ResponseBody>, ProxyError>> },
    }
}

impl<F> Future for RoutingFuture<F>
where
    F: Future<Output = Result<Response<ResponseBody>, ProxyError>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            RoutingProjection::Sent { inner, applied } => inner.poll(cx).map_ok(|mut response| {
                if let Some(Applied { rule, draw, origin, session }) = applied {
                    rule.backends.pick(*draw).filters.apply_response(response.headers_mut(), origin.as_ref());
                    rule.filters.apply_response(response.headers_mut(), origin.as_ref());
                    if let Some(kept) = session {
                        kept.tell(rule, response.headers_mut());
                    }
                }
                response
            }),
            RoutingProjection::Answered { result } => match result.take() {
                Some(result) => Poll::Ready(result),
                None => Poll::Pending,
            },
        }
    }
}
