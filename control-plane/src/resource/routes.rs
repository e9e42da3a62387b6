//! Which routes apply to a service's port, in which order, and where their backends lead (GAMMA: GEP-1294, 1324, 1686).
//!
//! Producer routes are of the service's own namespace and apply to all clients; consumer routes apply to the clients of
//! their namespace, in place of the producer's. Within one set only the strongest kind counts: GRPC, HTTP, TLS, TCP.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::sync::Arc;

use outrigger_proto::model::RouteKind;
use outrigger_proto::wire;
use outrigger_proto::wire::backend::Backend as To;
use outrigger_proto::wire::filter::Filter;

use super::refusal::Refusal;
use crate::objects::{BackendRef, ParentRef, Service, ServiceKind, ServicePort};
use crate::snapshot::Snapshot;
use crate::state::{PreparedBackend, PreparedRoute, wire_kind};

/// Returns the producer routes and the consumer routes of a service's port.
pub(super) fn sets(
    snapshot: &Snapshot,
    service: &Service,
    port: &ServicePort,
) -> (Option<wire::RouteSet>, Vec<wire::ConsumerRoutes>) {
    let mut by_namespace = attached(snapshot, service, port);
    let producers = by_namespace.remove(&*service.meta.namespace);
    let consumers = by_namespace.into_iter().filter_map(|(namespace, routes)| {
        Some(wire::ConsumerRoutes { namespace: namespace.to_owned(), routes: Some(set(snapshot, routes)?) })
    });
    let consumers = consumers.collect();
    (producers.and_then(|routes| set(snapshot, routes)), consumers)
}

/// The routes of a service's port by their namespace.
pub(super) fn attached<'a>(
    snapshot: &'a Snapshot,
    service: &Service,
    port: &ServicePort,
) -> BTreeMap<&'a str, Vec<&'a Arc<PreparedRoute>>> {
    let mut by_namespace: BTreeMap<&str, Vec<_>> = BTreeMap::new();
    for prepared in snapshot.routes_of(service) {
        let own = &*prepared.route.meta.namespace;
        let applies = |parent: &&ParentRef| {
            parent.is_service()
                && parent.namespace.as_deref().unwrap_or(own) == &*service.meta.namespace
                && parent.name == *service.meta.name
                && names_port(parent, port)
        };
        if prepared.route.parents.iter().any(|parent| applies(&parent)) {
            by_namespace.entry(own).or_default().push(prepared);
        }
    }
    by_namespace
}

pub(super) fn names_port(parent: &ParentRef, port: &ServicePort) -> bool {
    parent.port.is_none_or(|number| number == port.port)
        && parent.section_name.as_deref().is_none_or(|name| name == port.name)
}

pub(super) fn strongest(routes: &[&Arc<PreparedRoute>]) -> Option<RouteKind> {
    let order = [RouteKind::Grpc, RouteKind::Http, RouteKind::Tls, RouteKind::Tcp];
    order.into_iter().find(|kind| routes.iter().any(|prepared| prepared.route.kind == *kind))
}

/// Joins the rules of all routes of the strongest kind: the oldest route first, then by name, then as written.
fn set(snapshot: &Snapshot, mut routes: Vec<&Arc<PreparedRoute>>) -> Option<wire::RouteSet> {
    let kind = strongest(&routes)?;
    routes.retain(|prepared| prepared.route.kind == kind);
    routes.sort_by_cached_key(|prepared| {
        let meta = &prepared.route.meta;
        // A route without a date (from a file) counts as the youngest.
        let age = meta.creation_timestamp.unwrap_or(jiff::Timestamp::MAX);
        (age, format!("{}/{}", meta.namespace, meta.name))
    });
    let rules = routes.iter().flat_map(|prepared| prepared.rules.iter().map(move |rule| (prepared, rule)));
    let rules = rules.map(|(prepared, rule)| {
        let backends = match &rule.backends {
            Ok(backends) => resolved(snapshot, prepared, &rule.wire, backends),
            Err(reason) => vec![invalid(reason.clone(), 1)],
        };
        let mut wire = wire::Rule { backends, ..rule.wire.clone() };
        lead_mirrors(snapshot, prepared, &mut wire.filters, &rule.mirrors);
        wire
    });
    let rules = rules.collect();
    Some(wire::RouteSet { kind: wire_kind(kind).into(), rules })
}

fn resolved(
    snapshot: &Snapshot,
    prepared: &PreparedRoute,
    rule: &wire::Rule,
    backends: &[PreparedBackend],
) -> Vec<wire::Backend> {
    let redirects = rule.filters.iter().any(|f| matches!(f.filter, Some(Filter::Redirect(_))));
    if backends.is_empty() && !redirects {
        return vec![invalid("the rule has no backends".to_owned(), 1)];
    }
    let one = |backend: &PreparedBackend| {
        let weight = backend.reference.weight;
        match resolve(snapshot, prepared, &backend.reference) {
            Ok(service) => {
                let mut filters = backend.filters.clone();
                lead_mirrors(snapshot, prepared, &mut filters, &backend.mirrors);
                wire::Backend { backend: Some(To::Service(service)), weight, filters }
            }
            Err(refusal) => invalid(refusal.to_string(), weight),
        }
    };
    backends.iter().map(one).collect()
}

/// Says where the mirrors of a list lead; one that leads nowhere does nothing, and the rule goes on without it.
fn lead_mirrors(
    snapshot: &Snapshot,
    prepared: &PreparedRoute,
    filters: &mut [wire::Filter],
    references: &[BackendRef],
) {
    let mirrors = filters.iter_mut().filter_map(|filter| match &mut filter.filter {
        Some(Filter::Mirror(mirror)) => Some(mirror),
        _ => None,
    });
    for (mirror, reference) in mirrors.zip(references) {
        mirror.to = Some(match resolve(snapshot, prepared, reference) {
            Ok(service) => wire::mirror::To::Service(service),
            Err(refusal) => wire::mirror::To::Invalid(refusal.to_string()),
        });
    }
}

fn invalid(reason: String, weight: u32) -> wire::Backend {
    wire::Backend { backend: Some(To::Invalid(reason)), weight, filters: Vec::new() }
}

/// Finds a backend's service and port, in whatever namespace: a mesh needs no ReferenceGrant.
pub(super) fn resolve(
    snapshot: &Snapshot,
    route: &PreparedRoute,
    backend: &BackendRef,
) -> Result<wire::ServiceRef, Refusal> {
    let refused = |reason, message| Err(Refusal::new(reason, message));
    if !backend.is_service() {
        return refused("InvalidKind", format!("backend {} is a {}, not a Service", backend.name, backend.kind));
    }
    let namespace = backend.namespace.as_deref().unwrap_or(&route.route.meta.namespace);
    let name = &backend.name;
    let Some(port) = backend.port.map(NonZeroU16::get) else {
        return refused("UnsupportedValue", format!("backend Service {namespace}/{name} needs a port"));
    };
    let Some(service) = snapshot.state.services.get(namespace, name) else {
        return refused("BackendNotFound", format!("Service {namespace}/{name} does not exist"));
    };
    if service.kind == ServiceKind::ExternalName {
        return refused(
            "UnsupportedValue",
            format!("Service {namespace}/{name} is an ExternalName: it has no endpoints"),
        );
    }
    if !service.ports.iter().any(|candidate| candidate.port.get() == port) {
        return refused("BackendNotFound", format!("Service {namespace}/{name} has no port {port}"));
    }
    Ok(wire::ServiceRef { namespace: namespace.to_owned(), name: name.clone(), port: port.into() })
}
