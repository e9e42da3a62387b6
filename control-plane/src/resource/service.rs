//! A service's port: what it carries, and the routes that apply to it.

use std::sync::Arc;

use outrigger_proto::wire::backend::Backend as To;
use outrigger_proto::wire::filter::Filter;
use outrigger_proto::{MAX_UPDATE_BYTES, ServicePort, wire};
use tracing::error;

use super::{Published, Resource, address, encode, policy, routes};
use crate::state::declared;

/// An encoded service with what it leads to.
#[derive(Clone, Debug)]
pub(super) struct Compiled {
    pub(super) resource: Resource,
    /// Backends and mirrors of all its routes, sorted, each once.
    pub(super) backends: Arc<[ServicePort]>,
    /// Why none of its routes is in force.
    #[cfg_attr(not(feature = "kubernetes"), expect(dead_code, reason = "only a status tells of it"))]
    pub(super) too_large: Option<Arc<str>>,
}

/// Compiles a service's port; `None` when there is no such thing.
pub(super) fn compiled(snapshot: &Published, port: &ServicePort) -> Option<Compiled> {
    let service = snapshot.state.services.get(&port.namespace, &port.name)?;
    let service_port = service.port(port.port)?;
    Some(snapshot.memo.service(port, || {
        let (routes, consumers) = routes::sets(snapshot, service, service_port);
        let mut message = wire::Service {
            service: Some(wire::ServiceRef {
                namespace: port.namespace.to_string(),
                name: port.name.to_string(),
                port: port.port.get().into(),
            }),
            protocol: declared(service_port.app_protocol.as_deref(), &service_port.name).into(),
            routes,
            consumers,
            policy: policy::of_dialled(snapshot, service, service_port),
        };
        let mut resource = encode(&message);
        let mut too_large = None;
        if resource.value.len() > MAX_SERVICE {
            // Half the routes would send requests where nobody wants them: all get an error that says why.
            error!(service = %port, bytes = resource.value.len(), limit = MAX_SERVICE, "the routes are too large");
            let reason = format!("the routes of {port} are larger than {MAX_SERVICE} bytes: split or shorten them");
            message.routes.iter_mut().for_each(|set| refuse_all(set, &reason));
            message.consumers.iter_mut().filter_map(|c| c.routes.as_mut()).for_each(|set| refuse_all(set, &reason));
            resource = encode(&message);
            too_large = Some(reason.into());
        }
        Compiled { backends: backends(&message).into(), resource, too_large }
    }))
}

fn refuse_all(set: &mut wire::RouteSet, reason: &str) {
    set.rules.truncate(1);
    for rule in &mut set.rules {
        let backend = wire::Backend { backend: Some(To::Invalid(reason.to_owned())), weight: 1, filters: Vec::new() };
        *rule = wire::Rule { route: rule.route.take(), backends: vec![backend], ..wire::Rule::default() };
    }
}

fn backends(service: &wire::Service) -> Vec<ServicePort> {
    let consumers = service.consumers.iter().filter_map(|consumer| consumer.routes.as_ref());
    let rules = service.routes.iter().chain(consumers).flat_map(|set| &set.rules);
    let mut backends: Vec<ServicePort> = rules.flat_map(of_rule).filter_map(address::service_port).collect();
    backends.sort_unstable();
    backends.dedup();
    backends
}

/// Everything to which a rule sends requests or copies of them.
fn of_rule(rule: &wire::Rule) -> impl Iterator<Item = &wire::ServiceRef> {
    let backends = rule.backends.iter().filter_map(|backend| match &backend.backend {
        Some(To::Service(service)) => Some(service),
        Some(To::Invalid(_)) | None => None,
    });
    let filters = rule.filters.iter().chain(rule.backends.iter().flat_map(|backend| &backend.filters));
    let mirrors = filters.filter_map(|filter| match &filter.filter {
        Some(Filter::Mirror(wire::Mirror { to: Some(wire::mirror::To::Service(service)), .. })) => Some(service),
        _ => None,
    });
    backends.chain(mirrors)
}

/// Leaves room for the rest of the update.
const MAX_SERVICE: usize = MAX_UPDATE_BYTES - 4096;
