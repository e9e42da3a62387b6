//! HTTPRoute, GRPCRoute, TLSRoute and TCPRoute in one form: what the four have in common, and matches by kind.
//!
//! Everything that the API allows is read. What the mesh cannot do stays visible (`Filter::Unsupported`), so that the rule
//! can be refused with a reason.

mod backend;
mod cors;
mod filter;
mod matches;
mod mirror;
mod session;
mod unread;
mod written;

use std::num::NonZeroU16;
use std::time::Duration;

use outrigger_proto::model::RouteKind;
use serde::{Deserialize, Serialize};

use super::duration;
use super::{Kind, Metadata, ObjectId};

pub use backend::BackendRef;
pub use cors::Cors;
pub use filter::{Filter, Header, HeaderModifier, PathModifier, Redirect, UrlRewrite};
pub use matches::{GrpcMatch, GrpcMethod, HttpMatch, Matches, NamedMatch, PathKind, StringKind};
pub use mirror::{Fraction, Mirror};
pub use session::{Cookie, CookieLifetime, Session, SessionHeader, SessionKind};
pub use unread::Unread;
pub(super) use unread::take_out;
pub(super) use written::{WrittenGrpc, WrittenHttp, WrittenTcp, WrittenTls};

/// A route of any kind.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// Name, namespace, age.
    pub meta: Metadata,
    /// Which of the four.
    pub kind: RouteKind,
    /// What it attaches to.
    pub parents: Vec<ParentRef>,
    /// Meaningless on a route of a Service; kept to tell so.
    pub hostnames: Vec<String>,
    /// Its rules.
    pub rules: Vec<Rule>,
    /// What of it cannot be read.
    pub unread: Vec<Unread>,
}

impl Route {
    /// Returns which object it is.
    #[must_use]
    pub fn id(&self) -> ObjectId {
        ObjectId { kind: Kind::Route(self.kind), namespace: self.meta.namespace.arc(), name: self.meta.name.arc() }
    }
}

/// What a route attaches to. A status names it exactly as the route does: what is unset stays unset.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ParentRef {
    /// API group; unset means that of a Gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Kind; unset means Gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The route's own namespace when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
    /// A port's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub section_name: Option<String>,
    /// A port's number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<NonZeroU16>,
}

impl ParentRef {
    /// Says whether it names a Service. `core` is what much documentation writes for the empty group.
    #[must_use]
    pub fn is_service(&self) -> bool {
        matches!(self.group.as_deref(), Some("" | "core")) && self.kind.as_deref() == Some("Service")
    }
}

/// One rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// The rule's name (GEP-995), empty when it has none.
    pub name: String,
    /// Which requests.
    pub matches: Matches,
    /// What happens to them.
    pub filters: Vec<Filter>,
    /// Where they go.
    pub backends: Vec<BackendRef>,
    /// How long they may take.
    pub timeouts: Timeouts,
    /// What is repeated.
    pub retry: Option<Retry>,
    /// Which of them go to one endpoint.
    pub session: Option<Session>,
}

/// Time limits (GEP-1742).
#[derive(Clone, Debug, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Timeouts {
    /// For the whole request; zero is no limit.
    #[serde(default, deserialize_with = "duration::optional")]
    pub request: Option<Duration>,
    /// For one attempt; zero is no limit.
    #[serde(default, deserialize_with = "duration::optional")]
    pub backend_request: Option<Duration>,
}

/// Retries (GEP-1731).
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    /// Statuses that are repeated.
    #[serde(default)]
    pub codes: Vec<u16>,
    /// Attempts beyond the first; 1 when unset.
    pub attempts: Option<u32>,
    /// Least wait between attempts.
    #[serde(default, deserialize_with = "duration::optional")]
    pub backoff: Option<Duration>,
}
