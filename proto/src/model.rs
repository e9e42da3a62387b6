//! Resources after validation. `TryFrom` of a wire message either yields a value that every reader can trust, or says
//! which field is wrong; the reason travels back to the control plane in a nack.

mod cors;
mod session;

use std::net::SocketAddr;
use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;
use std::time::Duration;

use http::header::{HeaderName, HeaderValue};
use http::{Method, StatusCode};
use outrigger_identity::Identity;

pub use cors::{Cors, CorsHost, CorsList, CorsOrigin};
pub use session::{Session, SessionCarrier};

use crate::{ServicePort, WorkloadName, wire};

mod policy;

pub use policy::{
    Abort, AbortStatus, Delay, Ejection, Fault, HashKey, Limits, LoadBalancer, RetryBudget, TrafficPolicy,
};

/// What an original destination is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A port of a service: its routes apply.
    Service(ServicePort),
    /// One workload, dialled by its own address: no routes apply.
    Workload(Endpoint),
    /// Nothing the mesh knows.
    Unknown,
}

/// What a port carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Protocol {
    /// Not declared: the first bytes tell.
    #[default]
    Detect,
    /// HTTP/1.1, or HTTP/2 when the connection starts with its preface.
    Http,
    /// HTTP/2 with prior knowledge.
    Http2,
    /// The app's own TLS.
    Tls,
    /// Bytes; either side may speak first.
    Opaque,
}

/// One address of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Where the app listens.
    pub address: SocketAddr,
    /// The identity that the endpoint must prove; `None`: it is not meshed and is dialled in plaintext.
    pub identity: Option<Identity>,
    /// The workload behind the address.
    pub workload: WorkloadName,
    /// The zone, empty when unknown.
    pub zone: Arc<str>,
    /// What the port carries.
    pub protocol: Protocol,
    /// When not empty, only clients on this node may dial it (`internalTrafficPolicy: Local`).
    pub only_node: Arc<str>,
    /// Clients in these zones are to prefer it.
    pub for_zones: Box<[Arc<str>]>,
    /// Clients on these nodes are to prefer it.
    pub for_nodes: Box<[Arc<str>]>,
}

/// A service's port with its routes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Which service.
    pub service: ServicePort,
    /// What the port carries.
    pub protocol: Protocol,
    /// Producer routes; `None`: requests go to the service's own endpoints.
    pub routes: Option<RouteSet>,
    /// Consumer routes by client namespace; they take the place of `routes`.
    pub consumers: Vec<(Arc<str>, RouteSet)>,
    /// What was asked for where the service is dialled: faults.
    pub fault: Option<Fault>,
}

impl Service {
    /// Returns the routes that apply to a client of `namespace`.
    #[must_use]
    pub fn routes_for(&self, namespace: &str) -> Option<&RouteSet> {
        let own = self.consumers.iter().find(|(consumer, _)| &**consumer == namespace);
        own.map(|(_, routes)| routes).or(self.routes.as_ref())
    }
}

/// The kind of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RouteKind {
    /// HTTPRoute.
    Http,
    /// GRPCRoute.
    Grpc,
    /// TLSRoute.
    Tls,
    /// TCPRoute.
    Tcp,
}

impl RouteKind {
    /// Returns the Kubernetes kind.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "HTTPRoute",
            Self::Grpc => "GRPCRoute",
            Self::Tls => "TLSRoute",
            Self::Tcp => "TCPRoute",
        }
    }
}

/// All rules that apply to one parent; of one kind (GEP-1426: kinds are never merged).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteSet {
    /// The kind of all routes of the set.
    pub kind: RouteKind,
    /// Ordered by route age, route name and place, which breaks ties between equally specific matches.
    pub rules: Vec<Rule>,
}

/// The route that a rule belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RouteId {
    /// HTTPRoute, GRPCRoute, TLSRoute or TCPRoute.
    pub kind: RouteKind,
    /// Kubernetes namespace.
    pub namespace: Arc<str>,
    /// Object name.
    pub name: Arc<str>,
}

/// One rule of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The route.
    pub route: Arc<RouteId>,
    /// Place in the route, from 0.
    pub index: u32,
    /// The rule's name (GEP-995), empty when it has none.
    pub name: Arc<str>,
    /// Any of these; none matches everything.
    pub matches: Vec<Match>,
    /// Applied in order.
    pub filters: Vec<Filter>,
    /// Weighted.
    pub backends: Vec<Backend>,
    /// For the whole request, all attempts together (GEP-1742); `None`: no limit.
    pub request_timeout: Option<Duration>,
    /// For one attempt; `None`: no limit.
    pub attempt_timeout: Option<Duration>,
    /// What may be repeated (GEP-1731).
    pub retry: Option<Retry>,
    /// Which requests go to one endpoint.
    pub session: Option<Session>,
}

/// All of these must hold.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Match {
    /// `None`: any path.
    pub path: Option<PathMatch>,
    /// `None`: any method.
    pub method: Option<Method>,
    /// Each must match.
    pub headers: Vec<(HeaderName, StringMatch)>,
    /// Each must match.
    pub query: Vec<(Box<str>, StringMatch)>,
}

/// A condition on the path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathMatch {
    /// The whole path.
    Exact(Box<str>),
    /// Whole path elements from the start; a trailing `/` does not count.
    Prefix(Box<str>),
    /// The whole path matches, in linear time.
    Regex(Box<str>),
    /// gRPC service and method; `None`: any.
    Grpc {
        /// `package.Service`.
        service: Option<StringMatch>,
        /// Method name.
        method: Option<StringMatch>,
    },
}

/// A condition on a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StringMatch {
    /// Equal, with regard to case.
    Exact(Box<str>),
    /// The whole text matches, in linear time.
    Regex(Box<str>),
}

/// A change to a request or its response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    /// Changes request headers.
    RequestHeaders(HeaderModifier),
    /// Changes response headers.
    ResponseHeaders(HeaderModifier),
    /// Answers with a redirect.
    Redirect(Redirect),
    /// Changes host or path of the request.
    Rewrite(Rewrite),
    /// Copies requests.
    Mirror(Mirror),
    /// Lets pages of other origins in.
    Cors(Box<Cors>),
}

/// Copies numerator / denominator of the requests to another service; nobody waits for the answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// Where to; nothing is copied when it is invalid.
    pub to: BackendRef,
    /// How many of `denominator`.
    pub numerator: u32,
    /// The whole.
    pub denominator: NonZeroU32,
}

/// Set, then add, then remove.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct HeaderModifier {
    /// Takes the place of all values.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// Comes beside the present values.
    pub add: Vec<(HeaderName, HeaderValue)>,
    /// Goes with all values.
    pub remove: Vec<HeaderName>,
}

/// A new path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathModifier {
    /// The whole path; the query stays.
    ReplaceFull(Box<str>),
    /// What the rule's prefix matched.
    ReplacePrefix(Box<str>),
}

/// A redirect; what is `None` stays as the request had it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// `http` or `https`.
    pub scheme: Option<Box<str>>,
    /// Host without port.
    pub hostname: Option<Box<str>>,
    /// New path.
    pub path: Option<PathModifier>,
    /// New port.
    pub port: Option<NonZeroU16>,
    /// 301, 302, 303, 307 or 308.
    pub status: StatusCode,
}

/// A rewrite; what is `None` stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewrite {
    /// New `Host` / `:authority`.
    pub hostname: Option<HeaderValue>,
    /// New path.
    pub path: Option<PathModifier>,
}

/// A weighted destination of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Where to.
    pub to: BackendRef,
    /// Share of the rule's requests: weight / sum of weights.
    pub weight: u32,
    /// Applied only to requests of this backend.
    pub filters: Vec<Filter>,
}

/// Where a backend points.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BackendRef {
    /// The endpoints of a service's port.
    Service(ServicePort),
    /// Nowhere, and why: its share of requests gets status 500.
    Invalid(Box<str>),
}

/// What may be repeated, beyond what provably was not processed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Response statuses that are repeated.
    pub codes: Vec<StatusCode>,
    /// Attempts beyond the first.
    pub attempts: u32,
    /// Least wait before the next attempt.
    pub backoff: Duration,
}

/// What a sidecar needs to know of its own workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Which workload.
    pub name: WorkloadName,
    /// Kubernetes service account.
    pub service_account: Arc<str>,
    /// OpenTelemetry `service.name`.
    pub service_name: Arc<str>,
    /// Who may speak plaintext to it.
    pub mode: InboundMode,
    /// Declared protocols by port.
    pub ports: Vec<(NonZeroU16, Protocol)>,
    /// The node it runs on, empty outside of Kubernetes.
    pub node: Arc<str>,
    /// The zone of its node, empty when unknown.
    pub zone: Arc<str>,
    /// Attributes of the OpenTelemetry resource that its telemetry is of, at most [`Workload::MAX_RESOURCE`]; empty from an older control plane.
    pub resource: Vec<(String, String)>,
}

impl Workload {
    /// The most attributes of its resource.
    pub const MAX_RESOURCE: usize = 64;
}

/// Who may dial a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum InboundMode {
    /// Mesh TLS, and plaintext from peers without a sidecar.
    #[default]
    Permissive,
    /// Mesh TLS only.
    Strict,
}

/// Settings of the whole mesh.
#[derive(Clone, Debug, PartialEq)]
pub struct MeshSettings {
    /// Who is trusted.
    pub bundle: outrigger_identity::TrustBundle,
    /// What happens to unknown destinations.
    pub egress: Egress,
}

/// What happens to destinations that the mesh does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Egress {
    /// They pass through.
    #[default]
    Allow,
    /// They are refused.
    Deny,
}

/// A field of a resource that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct Invalid {
    /// Path of the field.
    pub field: String,
    /// What is wrong with it.
    pub problem: String,
}

impl Invalid {
    fn new(field: impl Into<String>, problem: impl ToString) -> Self {
        Self { field: field.into(), problem: problem.to_string() }
    }

    fn within(self, outer: impl std::fmt::Display) -> Self {
        Self { field: format!("{outer}.{}", self.field), problem: self.problem }
    }
}

fn required<T>(field: &str, value: Option<T>) -> Result<T, Invalid> {
    value.ok_or_else(|| Invalid::new(field, "missing"))
}

fn each<W, M>(field: &str, items: Vec<W>) -> Result<Vec<M>, Invalid>
where
    M: TryFrom<W, Error = Invalid>,
{
    let convert = |(index, item)| M::try_from(item).map_err(|e: Invalid| e.within(format_args!("{field}[{index}]")));
    items.into_iter().enumerate().map(convert).collect()
}

fn protocol(value: i32) -> Protocol {
    // An unknown protocol of a newer control plane is found out from the bytes.
    match wire::Protocol::try_from(value).unwrap_or_default() {
        wire::Protocol::Detect => Protocol::Detect,
        wire::Protocol::Http => Protocol::Http,
        wire::Protocol::Http2 => Protocol::Http2,
        wire::Protocol::Tls => Protocol::Tls,
        wire::Protocol::Opaque => Protocol::Opaque,
    }
}

fn header_name(name: &str) -> Result<HeaderName, Invalid> {
    HeaderName::from_bytes(name.as_bytes()).map_err(|_| Invalid::new("name", format!("`{name}` is not a header name")))
}

fn port(value: u32) -> Result<NonZeroU16, Invalid> {
    let port = u16::try_from(value).ok().and_then(NonZeroU16::new);
    port.ok_or_else(|| Invalid::new("port", format!("{value} is not a port")))
}

impl TryFrom<wire::ServiceRef> for ServicePort {
    type Error = Invalid;

    fn try_from(w: wire::ServiceRef) -> Result<Self, Invalid> {
        Ok(Self { namespace: w.namespace.into(), name: w.name.into(), port: port(w.port)? })
    }
}

impl TryFrom<wire::Address> for Target {
    type Error = Invalid;

    fn try_from(w: wire::Address) -> Result<Self, Invalid> {
        match required("target", w.target)? {
            wire::address::Target::Service(service) => Ok(Self::Service(service.try_into()?)),
            wire::address::Target::Workload(endpoint) => Ok(Self::Workload(endpoint.try_into()?)),
            wire::address::Target::Unknown(_) => Ok(Self::Unknown),
        }
    }
}

impl TryFrom<wire::Endpoint> for Endpoint {
    type Error = Invalid;

    fn try_from(w: wire::Endpoint) -> Result<Self, Invalid> {
        let identity = match w.identity.as_str() {
            "" => None,
            text => Some(text.parse().map_err(|e| Invalid::new("identity", e))?),
        };
        Ok(Self {
            address: w
                .address
                .parse()
                .map_err(|_| Invalid::new("address", format!("`{}` is not IP:PORT", w.address)))?,
            identity,
            workload: WorkloadName { namespace: w.namespace.into(), name: w.workload.into() },
            zone: w.zone.into(),
            protocol: protocol(w.protocol),
            only_node: w.only_node.into(),
            for_zones: w.for_zones.into_iter().map(Arc::from).collect(),
            for_nodes: w.for_nodes.into_iter().map(Arc::from).collect(),
        })
    }
}

/// One shard of a service's endpoints.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Endpoints {
    /// The endpoints.
    pub endpoints: Vec<Endpoint>,
    /// How requests are spread over those of all shards; only the first shard says.
    pub policy: Option<TrafficPolicy>,
    /// How long a client keeps its endpoint after it last used it (a Service's `sessionAffinity: ClientIP`); only the first shard says.
    pub affinity: Option<Duration>,
    /// How many endpoints are not ready, when none is; only the first shard says.
    pub not_ready: u32,
}

impl TryFrom<wire::Endpoints> for Endpoints {
    type Error = Invalid;

    fn try_from(w: wire::Endpoints) -> Result<Self, Invalid> {
        let policy = w.policy.map(TrafficPolicy::try_from).transpose().map_err(|e| e.within("policy"))?;
        let affinity = (w.affinity_seconds > 0).then(|| Duration::from_secs(w.affinity_seconds.into()));
        Ok(Self { endpoints: each("endpoints", w.endpoints)?, policy, affinity, not_ready: w.not_ready })
    }
}

impl TryFrom<wire::Service> for Service {
    type Error = Invalid;

    fn try_from(w: wire::Service) -> Result<Self, Invalid> {
        let consumer = |c: wire::ConsumerRoutes| {
            let routes = required("routes", c.routes)?;
            let field = format!("consumers[{}]", c.namespace);
            Ok((c.namespace.into(), RouteSet::try_from(routes).map_err(|e| e.within(field))?))
        };
        Ok(Self {
            service: required("service", w.service)?.try_into()?,
            protocol: protocol(w.protocol),
            routes: w.routes.map(RouteSet::try_from).transpose().map_err(|e| e.within("routes"))?,
            consumers: w.consumers.into_iter().map(consumer).collect::<Result<_, _>>()?,
            fault: policy::fault(w.policy).map_err(|e| e.within("policy"))?,
        })
    }
}

fn route_kind(value: i32) -> Result<RouteKind, Invalid> {
    match wire::RouteKind::try_from(value).map_err(|_| Invalid::new("kind", "unknown route kind"))? {
        wire::RouteKind::Http => Ok(RouteKind::Http),
        wire::RouteKind::Grpc => Ok(RouteKind::Grpc),
        wire::RouteKind::Tls => Ok(RouteKind::Tls),
        wire::RouteKind::Tcp => Ok(RouteKind::Tcp),
    }
}

impl TryFrom<wire::RouteSet> for RouteSet {
    type Error = Invalid;

    fn try_from(w: wire::RouteSet) -> Result<Self, Invalid> {
        Ok(Self { kind: route_kind(w.kind)?, rules: each("rules", w.rules)? })
    }
}

impl TryFrom<wire::Rule> for Rule {
    type Error = Invalid;

    fn try_from(w: wire::Rule) -> Result<Self, Invalid> {
        let route = required("route", w.route)?;
        let timeouts = w.timeouts.unwrap_or_default();
        let limit = |ms: u64| (ms > 0).then(|| Duration::from_millis(ms));
        Ok(Self {
            route: Arc::new(RouteId {
                kind: route_kind(route.kind)?,
                namespace: route.namespace.into(),
                name: route.name.into(),
            }),
            index: w.index,
            name: w.name.into(),
            matches: each("matches", w.matches)?,
            filters: each("filters", w.filters)?,
            // As the Gateway API calls it: a route's status says so.
            backends: each("backendRefs", w.backends)?,
            request_timeout: limit(timeouts.request_ms),
            attempt_timeout: limit(timeouts.backend_request_ms),
            retry: w.retry.map(Retry::try_from).transpose()?,
            session: w.session.map(Session::try_from).transpose().map_err(|e| e.within("session"))?,
        })
    }
}

impl TryFrom<wire::Match> for Match {
    type Error = Invalid;

    fn try_from(w: wire::Match) -> Result<Self, Invalid> {
        use wire::r#match::Path;
        let path = w.path.map(|path| match path {
            Path::PathExact(path) => PathMatch::Exact(path.into()),
            Path::PathPrefix(path) => PathMatch::Prefix(path.into()),
            Path::PathRegex(path) => PathMatch::Regex(path.into()),
            Path::Grpc(grpc) => {
                let part = |text: String| match (text.as_str(), grpc.regex) {
                    ("", _) => None,
                    (_, true) => Some(StringMatch::Regex(text.into())),
                    (_, false) => Some(StringMatch::Exact(text.into())),
                };
                PathMatch::Grpc { service: part(grpc.service), method: part(grpc.method) }
            }
        });
        let method = match w.method.as_str() {
            "" => None,
            text => Some(text.parse().map_err(|_| Invalid::new("method", format!("`{text}` is not a method")))?),
        };
        let headers = w.headers.into_iter().map(|m| Ok((header_name(&m.name)?, string_match(m.value)?)));
        let query = w.query.into_iter().map(|m| Ok((m.name.into(), string_match(m.value)?)));
        Ok(Self { path, method, headers: headers.collect::<Result<_, _>>()?, query: query.collect::<Result<_, _>>()? })
    }
}

fn string_match(value: Option<wire::value_match::Value>) -> Result<StringMatch, Invalid> {
    match required("value", value)? {
        wire::value_match::Value::Exact(text) => Ok(StringMatch::Exact(text.into())),
        wire::value_match::Value::Regex(text) => Ok(StringMatch::Regex(text.into())),
    }
}

impl TryFrom<wire::Filter> for Filter {
    type Error = Invalid;

    fn try_from(w: wire::Filter) -> Result<Self, Invalid> {
        match required("filter", w.filter)? {
            wire::filter::Filter::RequestHeaders(headers) => Ok(Self::RequestHeaders(headers.try_into()?)),
            wire::filter::Filter::ResponseHeaders(headers) => Ok(Self::ResponseHeaders(headers.try_into()?)),
            wire::filter::Filter::Redirect(redirect) => Ok(Self::Redirect(redirect.try_into()?)),
            wire::filter::Filter::Rewrite(rewrite) => Ok(Self::Rewrite(rewrite.try_into()?)),
            wire::filter::Filter::Mirror(mirror) => Ok(Self::Mirror(mirror.try_into()?)),
            wire::filter::Filter::Cors(cors) => {
                Ok(Self::Cors(Box::new(cors.try_into().map_err(|e: Invalid| e.within("cors"))?)))
            }
        }
    }
}

impl TryFrom<wire::HeaderModifier> for HeaderModifier {
    type Error = Invalid;

    fn try_from(w: wire::HeaderModifier) -> Result<Self, Invalid> {
        let header = |h: wire::Header| {
            let value = HeaderValue::from_str(&h.value)
                .map_err(|_| Invalid::new("value", format!("of `{}` is not a header value", h.name)))?;
            Ok((header_name(&h.name)?, value))
        };
        Ok(Self {
            set: w.set.into_iter().map(header).collect::<Result<_, _>>()?,
            add: w.add.into_iter().map(header).collect::<Result<_, _>>()?,
            remove: w.remove.iter().map(|name| header_name(name)).collect::<Result<_, _>>()?,
        })
    }
}

fn path_modifier(w: wire::PathModifier) -> Result<PathModifier, Invalid> {
    match required("path", w.path)? {
        wire::path_modifier::Path::ReplaceFull(path) => Ok(PathModifier::ReplaceFull(path.into())),
        wire::path_modifier::Path::ReplacePrefix(path) => Ok(PathModifier::ReplacePrefix(path.into())),
    }
}

impl TryFrom<wire::Redirect> for Redirect {
    type Error = Invalid;

    fn try_from(w: wire::Redirect) -> Result<Self, Invalid> {
        let status = u16::try_from(w.status).ok().filter(|status| matches!(status, 301 | 302 | 303 | 307 | 308));
        let status = status.and_then(|status| StatusCode::from_u16(status).ok());
        Ok(Self {
            scheme: (!w.scheme.is_empty()).then(|| w.scheme.into()),
            hostname: (!w.hostname.is_empty()).then(|| w.hostname.into()),
            path: w.path.map(path_modifier).transpose()?,
            port: if w.port == 0 { None } else { Some(port(w.port)?) },
            status: status.ok_or_else(|| Invalid::new("status", format!("{} is not a redirect", w.status)))?,
        })
    }
}

impl TryFrom<wire::Rewrite> for Rewrite {
    type Error = Invalid;

    fn try_from(w: wire::Rewrite) -> Result<Self, Invalid> {
        let hostname = match w.hostname.as_str() {
            "" => None,
            text => Some(HeaderValue::from_str(text).map_err(|_| Invalid::new("hostname", "not a header value"))?),
        };
        Ok(Self { hostname, path: w.path.map(path_modifier).transpose()? })
    }
}

impl TryFrom<wire::Mirror> for Mirror {
    type Error = Invalid;

    fn try_from(w: wire::Mirror) -> Result<Self, Invalid> {
        let to = match required("to", w.to)? {
            wire::mirror::To::Service(service) => BackendRef::Service(service.try_into()?),
            wire::mirror::To::Invalid(why) => BackendRef::Invalid(why.into()),
        };
        let denominator = NonZeroU32::new(w.denominator).ok_or_else(|| Invalid::new("denominator", "is 0"))?;
        if w.numerator > w.denominator {
            return Err(Invalid::new("numerator", format!("{} is more than {denominator}", w.numerator)));
        }
        Ok(Self { to, numerator: w.numerator, denominator })
    }
}

impl TryFrom<wire::Backend> for Backend {
    type Error = Invalid;

    fn try_from(w: wire::Backend) -> Result<Self, Invalid> {
        let to = match required("backend", w.backend)? {
            wire::backend::Backend::Service(service) => BackendRef::Service(service.try_into()?),
            wire::backend::Backend::Invalid(why) => BackendRef::Invalid(why.into()),
        };
        Ok(Self { to, weight: w.weight, filters: each("filters", w.filters)? })
    }
}

impl TryFrom<wire::Retry> for Retry {
    type Error = Invalid;

    fn try_from(w: wire::Retry) -> Result<Self, Invalid> {
        let code = |code: u32| {
            let status = u16::try_from(code).ok().and_then(|code| StatusCode::from_u16(code).ok());
            status.ok_or_else(|| Invalid::new("retry.codes", format!("{code} is not a status")))
        };
        Ok(Self {
            codes: w.codes.into_iter().map(code).collect::<Result<_, _>>()?,
            attempts: w.attempts,
            backoff: Duration::from_millis(w.backoff_ms),
        })
    }
}

impl TryFrom<wire::Workload> for Workload {
    type Error = Invalid;

    fn try_from(w: wire::Workload) -> Result<Self, Invalid> {
        let mode = match wire::InboundMode::try_from(w.mode) {
            Ok(wire::InboundMode::InboundPermissive) => InboundMode::Permissive,
            // What is not understood must not open the door.
            Ok(wire::InboundMode::InboundStrict) | Err(_) => InboundMode::Strict,
        };
        Ok(Self {
            name: WorkloadName { namespace: w.namespace.into(), name: w.name.into() },
            service_account: w.service_account.into(),
            service_name: w.service_name.into(),
            mode,
            ports: w.ports.into_iter().map(|p| Ok((port(p.port)?, protocol(p.protocol)))).collect::<Result<_, _>>()?,
            node: w.node.into(),
            zone: w.zone.into(),
            resource: w.resource.into_iter().take(Self::MAX_RESOURCE).map(|a| (a.name, a.value)).collect(),
        })
    }
}

impl TryFrom<wire::MeshSettings> for MeshSettings {
    type Error = Invalid;

    fn try_from(w: wire::MeshSettings) -> Result<Self, Invalid> {
        let domain = w.trust_domain.parse().map_err(|e| Invalid::new("trust_domain", e))?;
        let anchors = w.trust_anchors.into_iter().map(|der| der.to_vec().into()).collect();
        let bundle =
            outrigger_identity::TrustBundle::new(domain, anchors).map_err(|e| Invalid::new("trust_anchors", e))?;
        let egress = match wire::Egress::try_from(w.egress) {
            Ok(wire::Egress::Allow) => Egress::Allow,
            Ok(wire::Egress::Deny) | Err(_) => Egress::Deny,
        };
        Ok(Self { bundle, egress })
    }
}
