//! The four kinds as they stand in YAML. Unknown fields are errors.

use outrigger_proto::model::RouteKind;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{
    BackendRef, Filter, GrpcMatch, HttpMatch, Matches, Metadata, ParentRef, Retry, Route, Rule, Session, Timeouts,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written<R> {
    #[serde(rename = "apiVersion")]
    _api_version: IgnoredAny,
    #[serde(rename = "kind")]
    _kind: IgnoredAny,
    metadata: Metadata,
    spec: Spec<R>,
    #[serde(rename = "status")]
    _status: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Spec<R> {
    #[serde(default)]
    parent_refs: Vec<ParentRef>,
    #[serde(rename = "useDefaultGateways")]
    _use_default_gateways: Option<IgnoredAny>,
    #[serde(default)]
    hostnames: Vec<String>,
    #[serde(default = "Vec::new")]
    rules: Vec<R>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct HttpRule {
    #[serde(default)]
    name: String,
    #[serde(default)]
    matches: Vec<HttpMatch>,
    #[serde(default)]
    filters: Vec<Filter>,
    #[serde(default)]
    backend_refs: Vec<BackendRef>,
    #[serde(default)]
    timeouts: Timeouts,
    retry: Option<Retry>,
    session_persistence: Option<Session>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct GrpcRule {
    #[serde(default)]
    name: String,
    #[serde(default)]
    matches: Vec<GrpcMatch>,
    #[serde(default)]
    filters: Vec<Filter>,
    #[serde(default)]
    backend_refs: Vec<BackendRef>,
    session_persistence: Option<Session>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ConnectionRule {
    #[serde(default)]
    name: String,
    #[serde(default)]
    backend_refs: Vec<BackendRef>,
}

impl From<HttpRule> for Rule {
    fn from(rule: HttpRule) -> Self {
        Self {
            name: rule.name,
            matches: Matches::Http(rule.matches),
            filters: rule.filters,
            backends: rule.backend_refs,
            timeouts: rule.timeouts,
            retry: rule.retry,
            session: rule.session_persistence,
        }
    }
}

impl From<GrpcRule> for Rule {
    fn from(rule: GrpcRule) -> Self {
        Self {
            name: rule.name,
            matches: Matches::Grpc(rule.matches),
            filters: rule.filters,
            backends: rule.backend_refs,
            timeouts: Timeouts::default(),
            retry: None,
            session: rule.session_persistence,
        }
    }
}

impl From<ConnectionRule> for Rule {
    fn from(rule: ConnectionRule) -> Self {
        Self {
            name: rule.name,
            matches: Matches::All,
            filters: Vec::new(),
            backends: rule.backend_refs,
            timeouts: Timeouts::default(),
            retry: None,
            session: None,
        }
    }
}

impl<R: Into<Rule>> Written<R> {
    fn into_route(self, kind: RouteKind) -> Route {
        Route {
            meta: self.metadata,
            kind,
            parents: self.spec.parent_refs,
            hostnames: self.spec.hostnames,
            rules: self.spec.rules.into_iter().map(Into::into).collect(),
            unread: Vec::new(),
        }
    }
}

/// An HTTPRoute as written.
#[derive(Deserialize)]
#[serde(transparent)]
pub(in crate::objects) struct WrittenHttp(Written<HttpRule>);

/// A GRPCRoute as written.
#[derive(Deserialize)]
#[serde(transparent)]
pub(in crate::objects) struct WrittenGrpc(Written<GrpcRule>);

/// A TLSRoute as written.
#[derive(Deserialize)]
#[serde(transparent)]
pub(in crate::objects) struct WrittenTls(Written<ConnectionRule>);

/// A TCPRoute as written.
#[derive(Deserialize)]
#[serde(transparent)]
pub(in crate::objects) struct WrittenTcp(Written<ConnectionRule>);

impl From<WrittenHttp> for Route {
    fn from(written: WrittenHttp) -> Self {
        written.0.into_route(RouteKind::Http)
    }
}

impl From<WrittenGrpc> for Route {
    fn from(written: WrittenGrpc) -> Self {
        written.0.into_route(RouteKind::Grpc)
    }
}

impl From<WrittenTls> for Route {
    fn from(written: WrittenTls) -> Self {
        written.0.into_route(RouteKind::Tls)
    }
}

impl From<WrittenTcp> for Route {
    fn from(written: WrittenTcp) -> Self {
        written.0.into_route(RouteKind::Tcp)
    }
}
