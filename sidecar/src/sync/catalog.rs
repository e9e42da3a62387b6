//! Turns updates into what the store holds. An update is taken resource by resource: one that cannot be used is
//! refused with the reason and its last good version stays; the others come into force.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use outrigger_proto::model::{self, RouteKind};
use outrigger_proto::{Key, ServicePort, wire};
use outrigger_routing::{CompileError, RouteTable};
use prost::Message;

use crate::destination::TargetKind;
use crate::sync::Store;
use crate::tls::TlsState;

/// Resources held at most; a control plane that sends more is not ours.
const MAX_RESOURCES: usize = 100_000;

pub(crate) struct Catalog {
    store: Arc<Store>,
    tls: Arc<TlsState>,
    held: HashMap<Key, Held>,
    addresses: HashMap<SocketAddr, model::Target>,
    services: HashMap<ServicePort, model::Service>,
    shards: HashMap<ServicePort, Shards>,
}

/// The endpoints of a service's port by shard.
type Shards = BTreeMap<u16, Vec<model::Endpoint>>;

struct Held {
    version: u64,
    value: Bytes,
}

/// What became of an update.
#[derive(Debug, Default)]
pub(crate) struct Applied {
    pub(crate) acked: Vec<wire::Held>,
    pub(crate) refused: Vec<wire::Nack>,
}

impl Catalog {
    pub(crate) fn new(store: Arc<Store>, tls: Arc<TlsState>) -> Self {
        Self {
            store,
            tls,
            held: HashMap::new(),
            addresses: HashMap::new(),
            services: HashMap::new(),
            shards: HashMap::new(),
        }
    }

    /// Puts a committed update in force.
    pub(crate) fn apply(&mut self, mut resources: Vec<wire::Resource>, removed: &[String]) -> Applied {
        // Trust first, then endpoints, so that no route ever points at a backend that is still empty; addresses last.
        resources.sort_by_key(|resource| resource.key.parse::<Key>().map_or(9, |key| rank(&key)));
        let mut applied = Applied::default();
        let mut touched = HashSet::new();
        for resource in resources {
            let wire::Resource { key, version, value } = resource;
            match self.take(&key, version, value, &mut touched) {
                Ok(()) => applied.acked.push(wire::Held { key, version }),
                Err(reason) => {
                    tracing::warn!(key, reason, "refused a resource; its last good version stays in force");
                    applied.refused.push(wire::Nack { key, version, reason });
                }
            }
        }
        for (address, kind) in self.kinds_of(&touched) {
            self.store.set_target(address, kind);
        }
        // What is no longer wanted goes last: until now a route may have pointed at it.
        for key in removed.iter().filter_map(|key| key.parse().ok()) {
            self.remove(&key);
        }
        self.store.committed(format!("{:016x}", self.digest()));
        applied
    }

    fn take(
        &mut self,
        key: &str,
        version: u64,
        value: Bytes,
        touched: &mut HashSet<ServicePort>,
    ) -> Result<(), String> {
        let parsed: Key = key.parse().map_err(|error: outrigger_proto::KeyError| error.to_string())?;
        if self.held.len() >= MAX_RESOURCES && !self.held.contains_key(&parsed) {
            return Err(format!("more than {MAX_RESOURCES} resources"));
        }
        match &parsed {
            Key::Mesh => {
                let settings: model::MeshSettings = decoded::<wire::MeshSettings, _>(&value)?;
                self.tls.set_bundle(settings.bundle.clone()).map_err(|error| error.to_string())?;
                self.store.set_settings(settings);
            }
            Key::Workload(name) => {
                let workload: model::Workload = decoded::<wire::Workload, _>(&value)?;
                if name == self.store.own() {
                    let before = self.store.workload();
                    let place = before.as_ref().map(|workload| (&workload.node, &workload.zone));
                    let moved = place != Some((&workload.node, &workload.zone));
                    self.store.set_workload(workload);
                    if moved {
                        self.shards.iter().for_each(|(service, shards)| self.set_endpoints(service, shards));
                    }
                }
            }
            Key::Endpoints(service, shard) => {
                let message = wire::Endpoints::decode(value.clone()).map_err(|error| error.to_string())?;
                let model::Endpoints { endpoints, policy, affinity, not_ready } =
                    message.try_into().map_err(|error: model::Invalid| error.to_string())?;
                let shards = self.shards.entry(service.clone()).or_default();
                shards.insert(*shard, endpoints);
                if *shard == 0 {
                    let backend = self.store.backend(service);
                    backend.set_policy(policy, self.store.own());
                    backend.set_affinity(affinity);
                    backend.set_not_ready(not_ready);
                }
                self.set_endpoints(service, &self.shards[service]);
            }
            Key::Service(port) => {
                let service: model::Service = decoded::<wire::Service, _>(&value)?;
                // Compiled here once to learn whether it can be used; the targets compile their own.
                self.kind(&service).map_err(|error| error.to_string())?;
                self.services.insert(port.clone(), service);
                touched.insert(port.clone());
            }
            Key::Address(address) => {
                let target: model::Target = decoded::<wire::Address, _>(&value)?;
                match &target {
                    model::Target::Service(service) => {
                        touched.insert(service.clone());
                    }
                    model::Target::Workload(endpoint) => self.store.set_target(*address, self.store.direct(endpoint)),
                    model::Target::Unknown => self.store.set_target(*address, self.store.unknown(*address)),
                }
                self.addresses.insert(*address, target);
            }
        }
        self.held.insert(parsed, Held { version, value });
        Ok(())
    }

    fn remove(&mut self, key: &Key) {
        self.held.remove(key);
        match key {
            Key::Mesh | Key::Workload(_) => {}
            Key::Address(address) => {
                self.addresses.remove(address);
                self.store.remove_target(*address);
            }
            Key::Service(service) => {
                self.services.remove(service);
            }
            Key::Endpoints(service, shard) => {
                let Some(shards) = self.shards.get_mut(service) else { return };
                shards.remove(shard);
                if shards.is_empty() {
                    self.shards.remove(service);
                    // Its endpoints stay with the requests that have just been sent there by the route of before.
                    self.store.remove_backend(service);
                } else {
                    self.set_endpoints(service, &self.shards[service]);
                }
            }
        }
    }

    /// Puts the endpoints that this workload may dial in force.
    fn set_endpoints(&self, service: &ServicePort, shards: &Shards) {
        let node = self.store.node();
        let mine = |endpoint: &&model::Endpoint| endpoint.only_node.is_empty() || endpoint.only_node == node;
        let endpoints: Vec<_> = shards.values().flatten().filter(mine).cloned().collect();
        self.store.set_endpoints(service, &endpoints);
    }

    /// The kinds of all destinations whose service has changed.
    fn kinds_of(&self, touched: &HashSet<ServicePort>) -> Vec<(SocketAddr, TargetKind)> {
        let mut kinds = Vec::new();
        for (address, target) in &self.addresses {
            if let model::Target::Service(service) = target
                && touched.contains(service)
                && let Some(service) = self.services.get(service)
                && let Ok(kind) = self.kind(service)
            {
                kinds.push((*address, kind));
            }
        }
        kinds
    }

    fn kind(&self, service: &model::Service) -> Result<TargetKind, CompileError> {
        let compiled = service.routes_for(&self.store.own().namespace).map(|routes| {
            RouteTable::compile(routes, |service| self.store.backend(service)).map(|table| (routes.kind, table))
        });
        let (routes, tcp) = match compiled.transpose()? {
            Some((RouteKind::Http | RouteKind::Grpc, table)) => (Some(table), None),
            Some((RouteKind::Tls | RouteKind::Tcp, table)) => (None, table.rules().first().cloned()),
            None => (None, None),
        };
        Ok(TargetKind::Service {
            service: service.service.clone(),
            protocol: service.protocol,
            routes,
            tcp,
            backend: self.store.backend(&service.service),
            fault: service.fault.clone().map(Arc::new),
        })
    }

    /// Returns what a reconnect tells the control plane.
    pub(crate) fn held(&self) -> Vec<wire::Held> {
        self.held.iter().map(|(key, held)| wire::Held { key: key.to_string(), version: held.version }).collect()
    }

    /// Returns all resources, to be saved.
    pub(crate) fn resources(&self) -> Vec<wire::Resource> {
        let resource = |(key, held): (&Key, &Held)| wire::Resource {
            key: key.to_string(),
            version: held.version,
            value: held.value.clone(),
        };
        self.held.iter().map(resource).collect()
    }

    /// Returns the destinations that are held.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.addresses.keys().copied()
    }

    /// One number for everything in force, the same whatever the order in which it came.
    fn digest(&self) -> u64 {
        self.held.iter().fold(0, |digest, (key, held)| {
            use std::hash::{Hash, Hasher};
            let mut hasher = std::hash::DefaultHasher::new();
            key.hash(&mut hasher);
            held.version.hash(&mut hasher);
            digest ^ hasher.finish()
        })
    }
}

fn rank(key: &Key) -> u8 {
    match key {
        Key::Mesh => 0,
        Key::Workload(_) => 1,
        Key::Endpoints(..) => 2,
        Key::Service(_) => 3,
        Key::Address(_) => 4,
    }
}

fn decoded<W, M>(value: &Bytes) -> Result<M, String>
where
    W: Message + Default,
    M: TryFrom<W, Error = model::Invalid>,
{
    let message = W::decode(value.clone()).map_err(|error| error.to_string())?;
    M::try_from(message).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::store::tests::store;

    fn resource(key: &str, version: u64, message: &impl Message) -> wire::Resource {
        wire::Resource { key: key.to_owned(), version, value: message.encode_to_vec().into() }
    }

    fn web() -> wire::ServiceRef {
        wire::ServiceRef { namespace: "shop".to_owned(), name: "web".to_owned(), port: 80 }
    }

    fn service(regex: &str) -> wire::Service {
        let rule = wire::Rule {
            route: Some(wire::RouteRef { kind: 0, namespace: "shop".to_owned(), name: "r".to_owned() }),
            matches: vec![wire::Match {
                path: Some(wire::r#match::Path::PathRegex(regex.to_owned())),
                ..wire::Match::default()
            }],
            ..wire::Rule::default()
        };
        wire::Service {
            service: Some(web()),
            routes: Some(wire::RouteSet { kind: 0, rules: vec![rule] }),
            ..wire::Service::default()
        }
    }

    fn endpoints(addresses: &[&str]) -> wire::Endpoints {
        let endpoint = |address: &&str| wire::Endpoint { address: (*address).to_owned(), ..wire::Endpoint::default() };
        wire::Endpoints { endpoints: addresses.iter().map(endpoint).collect(), ..Default::default() }
    }

    fn address() -> wire::Address {
        wire::Address { target: Some(wire::address::Target::Service(web())) }
    }

    fn catalog() -> (Catalog, Arc<Store>) {
        let store = Arc::new(store());
        (Catalog::new(store.clone(), Arc::new(TlsState::new())), store)
    }

    #[tokio::test]
    async fn an_endpoint_that_stays_keeps_its_state_when_others_change() {
        let (mut catalog, store) = catalog();
        let service: ServicePort = web().try_into().unwrap();
        catalog.apply(vec![resource("endpoints/shop/web/80/0", 1, &endpoints(&["10.0.0.1:80", "10.0.0.2:80"]))], &[]);
        let before = store.backend(&service).endpoints();

        catalog.apply(vec![resource("endpoints/shop/web/80/0", 2, &endpoints(&["10.0.0.2:80", "10.0.0.3:80"]))], &[]);

        let after = store.backend(&service).endpoints();
        assert_eq!(after.len(), 2);
        assert!(Arc::ptr_eq(&before[1], &after[0]));
    }

    #[tokio::test]
    async fn shards_add_up_and_go_one_by_one() {
        let (mut catalog, store) = catalog();
        let service: ServicePort = web().try_into().unwrap();
        catalog.apply(vec![resource("endpoints/shop/web/80/0", 1, &endpoints(&["10.0.0.1:80"]))], &[]);
        catalog.apply(vec![resource("endpoints/shop/web/80/1", 1, &endpoints(&["10.0.0.2:80"]))], &[]);
        assert_eq!(store.backend(&service).endpoints().len(), 2);

        catalog.apply(vec![], &["endpoints/shop/web/80/0".to_owned()]);

        assert_eq!(store.backend(&service).endpoints().len(), 1);
    }

    #[tokio::test]
    async fn a_request_that_was_routed_before_the_route_changed_still_finds_an_endpoint() {
        let (mut catalog, store) = catalog();
        let service: ServicePort = web().try_into().unwrap();
        catalog.apply(vec![resource("endpoints/shop/web/80/0", 1, &endpoints(&["10.0.0.1:80"]))], &[]);
        let routed = store.backend(&service);

        catalog.apply(vec![], &["endpoints/shop/web/80/0".to_owned()]);

        assert_eq!(routed.endpoints().len(), 1);
        assert_eq!(store.backend(&service).endpoints().len(), 0, "who comes later");
    }

    #[tokio::test]
    async fn endpoints_for_one_node_only_are_dialled_from_there() {
        let (mut catalog, store) = catalog();
        let service: ServicePort = web().try_into().unwrap();
        let on = |address: &str, node: &str| wire::Endpoint {
            address: address.to_owned(),
            only_node: node.to_owned(),
            ..wire::Endpoint::default()
        };
        let local =
            wire::Endpoints { endpoints: vec![on("10.0.0.1:80", "n1"), on("10.0.0.2:80", "n2")], ..Default::default() };
        let workload = |node: &str| wire::Workload {
            namespace: "shop".to_owned(),
            name: "cart-1".to_owned(),
            node: node.to_owned(),
            ..wire::Workload::default()
        };
        let addresses =
            || store.backend(&service).endpoints().iter().map(|e| e.address.to_string()).collect::<Vec<_>>();

        catalog.apply(vec![resource("endpoints/shop/web/80/0", 1, &local)], &[]);
        assert!(addresses().is_empty(), "not before it is known where this is: {:?}", addresses());

        catalog.apply(vec![resource("workload/shop/cart-1", 1, &workload("n2"))], &[]);
        assert_eq!(addresses(), ["10.0.0.2:80"]);
    }

    #[tokio::test]
    async fn a_bad_version_is_refused_and_the_last_good_one_stays() {
        let (mut catalog, store) = catalog();
        let first = vec![
            resource("address/10.96.0.1:80", 1, &address()),
            resource("service/shop/web/80", 1, &service("/good")),
            resource("endpoints/shop/web/80/0", 1, &endpoints(&["10.0.0.1:80"])),
        ];
        let applied = catalog.apply(first, &[]);
        assert_eq!((applied.acked.len(), applied.refused.len()), (3, 0));

        let second = vec![
            resource("service/shop/web/80", 2, &service("(unclosed")),
            resource("endpoints/shop/web/80/0", 2, &endpoints(&["10.0.0.2:80"])),
        ];
        let applied = catalog.apply(second, &[]);

        assert_eq!(applied.acked.len(), 1, "the endpoints are good");
        assert_eq!(applied.refused[0].key, "service/shop/web/80");
        assert!(applied.refused[0].reason.contains("shop/r/0"), "{}", applied.refused[0].reason);
        assert_eq!(store.describe().len(), 1);
        let held: Vec<_> = catalog.held().into_iter().filter(|held| held.key.starts_with("service")).collect();
        assert_eq!(held[0].version, 1);
    }

    #[tokio::test]
    async fn garbage_is_refused() {
        let (mut catalog, _) = catalog();
        let garbage =
            |key: &str| wire::Resource { key: key.to_owned(), version: 1, value: Bytes::from_static(b"\xff\xff\xff") };

        let applied = catalog.apply(vec![garbage("mesh"), garbage("nonsense"), garbage("address/10.0.0.1:80")], &[]);

        assert_eq!(applied.refused.len(), 3);
    }
}
