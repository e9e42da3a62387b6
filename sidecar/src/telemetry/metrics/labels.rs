//! What requests and connections of one series have in common, whatever became of them.

use outrigger_proto::ServicePort;
use outrigger_proto::model::RouteId;
use outrigger_routing::RuleName;

use crate::balance::BackendName;
use crate::caller::Caller;
use crate::telemetry::trace::Kind;

/// Labels as they are shown.
pub(super) type Pairs = Vec<(&'static str, String)>;

/// What a series is about.
#[derive(Clone, Copy, Debug, Hash)]
pub(crate) struct Labels<'a> {
    /// Client: outbound; server: inbound.
    pub(crate) kind: Kind,
    pub(crate) grpc: bool,
    /// Route, rule index and rule name.
    pub(crate) route: Option<(&'a RouteId, u32, &'a str)>,
    pub(crate) peer: PeerLabel<'a>,
    /// Whether the other side proved its identity.
    pub(crate) mutual: bool,
}

/// The other side.
#[derive(Clone, Copy, Debug, Hash)]
pub(crate) enum PeerLabel<'a> {
    Unknown,
    /// Of a server's metrics: the service account of who asked. Not the pod: pods come and go by the hundred.
    Account {
        namespace: &'a str,
        name: &'a str,
    },
    /// Of a client's metrics: who was asked.
    Service(&'a ServicePort),
}

impl<'a> PeerLabel<'a> {
    /// Returns the label of who asked.
    pub(crate) fn caller(caller: &'a Caller) -> Self {
        caller.peer.as_ref().map_or(Self::Unknown, |peer| Self::Account {
            namespace: peer.identity.namespace(),
            name: peer.identity.service_account(),
        })
    }

    /// Returns the label of who was asked.
    pub(crate) fn backend(name: &'a BackendName) -> Self {
        match name {
            BackendName::Service(service) => Self::Service(service),
            BackendName::Workload(_) | BackendName::Unknown => Self::Unknown,
        }
    }
}

impl Labels<'_> {
    pub(super) fn pairs(&self) -> Pairs {
        let route = |(route, index, name)| RuleName { route, index, name }.to_string();
        let (namespace, name) = match self.peer {
            PeerLabel::Unknown => (String::new(), String::new()),
            PeerLabel::Account { namespace, name } => (namespace.to_owned(), name.to_owned()),
            PeerLabel::Service(ServicePort { namespace, name, port }) => {
                (namespace.to_string(), format!("{name}:{port}"))
            }
        };
        let peer = match self.kind {
            Kind::Client => "peer_service",
            Kind::Server => "peer_service_account",
        };
        let tls = if self.mutual { "mutual" } else { "none" };
        vec![
            ("route", self.route.map_or_else(String::new, route)),
            ("peer_namespace", namespace),
            (peer, name),
            ("tls", tls.to_owned()),
        ]
    }
}
