//! What the sidecar knows. The request path reads it; only the sync client writes it.
//!
//! Objects that carry live state (balancers, pools) keep their identity while their configuration changes: a new
//! version of the routes or endpoints meets the same connections.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Weak};
use std::time::Duration;

use ahash::RandomState;
use arc_swap::{ArcSwap, ArcSwapOption};
use outrigger_proto::model::{self, Egress, MeshSettings, Protocol};
use outrigger_proto::{ErrorCode, ServicePort, WorkloadName};
use parking_lot::{Mutex, RwLock};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::balance::{Backend, BackendName, Endpoint};
use crate::destination::PortPolicy;
use crate::destination::{Target, TargetKind};
use crate::detect::Learned;
use crate::error::ProxyError;
use crate::headers::Leaving;
use crate::orig_dst::OrigDst;
use crate::zone::Zone;

/// How long a connection waits for the answer about a destination that nobody asked about before.
const LOOKUP: Duration = Duration::from_secs(2);

/// Destinations remembered; beyond it the one unused for the longest time goes.
pub(crate) const MAX_TARGETS: usize = 4096;

/// Apps (own ports) remembered.
const MAX_APPS: usize = 1024;

type Map<K, V> = HashMap<K, V, RandomState>;

pub(crate) struct Store {
    workers: usize,
    own: WorkloadName,
    targets: RwLock<Map<SocketAddr, Arc<Target>>>,
    backends: Mutex<Map<ServicePort, Arc<Backend>>>,
    /// What workloads have said of their end, for all of their ports together. The endpoints hold it.
    leaving: Mutex<Map<(IpAddr, WorkloadName), Weak<Leaving>>>,
    apps: RwLock<Map<SocketAddr, Arc<Endpoint>>>,
    workload: ArcSwapOption<model::Workload>,
    learned: RwLock<Map<u16, Arc<Learned>>>,
    settings: ArcSwapOption<MeshSettings>,
    /// Set by the sync client: is there anyone to ask?
    connected: watch::Sender<bool>,
    /// Wakes who waits for a destination.
    changed: watch::Sender<()>,
    wanted: mpsc::Sender<SocketAddr>,
    started: Instant,
    version: ArcSwap<String>,
}

impl Store {
    /// Makes an empty store and the queue of destinations that somebody waits for.
    pub(crate) fn new(own: WorkloadName, workers: usize) -> (Self, mpsc::Receiver<SocketAddr>) {
        let (wanted, asked) = mpsc::channel(1024);
        let store = Self {
            workers,
            own,
            targets: RwLock::default(),
            backends: Mutex::default(),
            leaving: Mutex::default(),
            apps: RwLock::default(),
            workload: ArcSwapOption::empty(),
            learned: RwLock::default(),
            settings: ArcSwapOption::empty(),
            connected: watch::Sender::new(false),
            changed: watch::Sender::new(()),
            wanted,
            started: Instant::now(),
            version: ArcSwap::from_pointee(String::new()),
        };
        (store, asked)
    }

    // ---- read by the request path ----

    /// Looks up a destination, asking the control plane when it is new.
    ///
    /// # Errors
    /// E015 when there is no answer and strict egress forbids to go without.
    pub(crate) async fn target(&self, OrigDst(destination): OrigDst) -> Result<Arc<Target>, ProxyError> {
        if let Some(target) = self.known(destination) {
            return Ok(target);
        }
        let mut changed = self.changed.subscribe();
        // A full queue means that the sync client is behind; it looks at the queue before anything else.
        if self.wanted.send(destination).await.is_ok() {
            let answered = tokio::time::timeout(LOOKUP, async {
                loop {
                    if let Some(target) = self.known(destination) {
                        return target;
                    }
                    if changed.changed().await.is_err() {
                        std::future::pending::<()>().await;
                    }
                }
            });
            if let Ok(target) = answered.await {
                return Ok(target);
            }
        }
        let detail = if *self.connected.borrow() {
            format!("the control plane did not answer about {destination} within {} s", LOOKUP.as_secs())
        } else {
            format!("nothing is known about {destination}, and the control plane is not reachable")
        };
        match self.settings.load().as_ref().map(|settings| settings.egress) {
            Some(Egress::Deny) => Err(ProxyError::new(ErrorCode::ProxyConfiguration, detail)),
            // Do no harm: without the mesh the connection would have gone there too. Not remembered.
            Some(Egress::Allow) | None => {
                tracing::warn!(%destination, detail, "passing through unknown destination");
                Ok(Arc::new(Target::new(destination, Self::by_itself(Endpoint::local(destination, self.workers)))))
            }
        }
    }

    fn known(&self, destination: SocketAddr) -> Option<Arc<Target>> {
        let targets = self.targets.read();
        let target = targets.get(&destination)?;
        target.used(self.seconds());
        Some(target.clone())
    }

    /// Returns what applies to a port of the own workload; waits a little for the first configuration.
    ///
    /// # Errors
    /// E015 when there is none: who may come in is not guessed.
    pub(crate) async fn inbound(&self, port: u16) -> Result<PortPolicy, ProxyError> {
        let workload = self.own_workload().await?;
        let mode = workload.mode;
        let declared = workload.ports.iter().find(|(declared, _)| declared.get() == port);
        let protocol = declared.map_or(Protocol::Detect, |(_, protocol)| *protocol);
        if let Some(learned) = self.learned.read().get(&port) {
            return Ok(PortPolicy { mode, protocol, learned: learned.clone() });
        }
        let mut learned = self.learned.write();
        if learned.len() >= MAX_APPS {
            learned.clear();
        }
        Ok(PortPolicy { mode, protocol, learned: learned.entry(port).or_default().clone() })
    }

    async fn own_workload(&self) -> Result<Arc<model::Workload>, ProxyError> {
        let mut changed = self.changed.subscribe();
        let wait = async {
            loop {
                if let Some(workload) = self.workload() {
                    return workload;
                }
                if changed.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        tokio::time::timeout(LOOKUP, wait).await.map_err(|_| {
            let detail = format!("no configuration for {} yet: is the control plane reachable?", self.own);
            ProxyError::new(ErrorCode::ProxyConfiguration, detail)
        })
    }

    /// Returns the own app behind an address, with its connections.
    pub(crate) fn app(&self, address: SocketAddr) -> Arc<Endpoint> {
        if let Some(app) = self.apps.read().get(&address) {
            return app.clone();
        }
        let mut apps = self.apps.write();
        if apps.len() >= MAX_APPS {
            // More ports than any app has: somebody is scanning. The pools fill again.
            apps.clear();
        }
        apps.entry(address).or_insert_with(|| Arc::new(Endpoint::local(address, self.workers))).clone()
    }

    pub(crate) fn own(&self) -> &WorkloadName {
        &self.own
    }

    pub(crate) fn workload(&self) -> Option<Arc<model::Workload>> {
        self.workload.load_full()
    }

    /// The node that the own workload runs on; empty outside of Kubernetes, and before it is known.
    pub(crate) fn node(&self) -> Arc<str> {
        self.workload.load().as_ref().map_or_else(Arc::default, |workload| workload.node.clone())
    }

    // ---- written by the sync client ----

    pub(crate) fn set_connected(&self, connected: bool) {
        self.connected.send_replace(connected);
    }

    pub(crate) fn connected(&self) -> watch::Receiver<bool> {
        self.connected.subscribe()
    }

    pub(crate) fn set_settings(&self, settings: MeshSettings) {
        self.settings.store(Some(Arc::new(settings)));
    }

    pub(crate) fn set_workload(&self, workload: model::Workload) {
        self.workload.store(Some(Arc::new(workload)));
    }

    /// Returns the balancer of a service's port, the same one for as long as anything uses it.
    pub(crate) fn backend(&self, service: &ServicePort) -> Arc<Backend> {
        let mut backends = self.backends.lock();
        let make = || Arc::new(Backend::new(BackendName::Service(service.clone()), Vec::new()));
        backends.entry(service.clone()).or_insert_with(make).clone()
    }

    fn endpoint(&self, endpoint: &model::Endpoint) -> Endpoint {
        let of = (endpoint.address.ip(), endpoint.workload.clone());
        let mut all = self.leaving.lock();
        let leaving = all.get(&of).and_then(Weak::upgrade).unwrap_or_else(|| {
            // Now and then, so that it costs nothing by endpoint.
            if all.len() == all.capacity() {
                all.retain(|_, leaving| leaving.strong_count() > 0);
            }
            let new = Arc::default();
            all.insert(of, Arc::downgrade(&new));
            new
        });
        Endpoint::new(endpoint, self.workers, leaving)
    }

    /// Puts a service's endpoints in force; those that stay keep their connections and their record.
    pub(crate) fn set_endpoints(&self, service: &ServicePort, endpoints: &[model::Endpoint]) {
        let backend = self.backend(service);
        let old = backend.endpoints();
        let keep = |endpoint: &model::Endpoint| {
            let same = old.iter().find(|old| old.is(endpoint)).cloned();
            same.unwrap_or_else(|| Arc::new(self.endpoint(endpoint)))
        };
        let new: Vec<_> = endpoints.iter().map(keep).collect();
        let own = self.workload();
        for (endpoint, told) in new.iter().zip(endpoints) {
            endpoint.set_has_others(new.len() > 1);
            endpoint.set_zone(zone(told, own.as_deref()));
        }
        for gone in old.iter().filter(|old| !new.iter().any(|new| Arc::ptr_eq(old, new))) {
            gone.close_unused();
        }
        let near = own.and_then(|own| near(endpoints, &own));
        let near = near
            .map(|near| new.iter().zip(near).filter(|(_, near)| *near).map(|(endpoint, _)| endpoint.clone()).collect());
        backend.replace(new, near);
    }

    /// Puts a destination's kind in force and wakes who waits for it.
    pub(crate) fn set_target(&self, destination: SocketAddr, kind: TargetKind) {
        let mut targets = self.targets.write();
        match targets.get(&destination) {
            Some(target) => target.replace(kind),
            None => {
                let target = Target::new(destination, kind);
                target.used(self.seconds());
                targets.insert(destination, Arc::new(target));
            }
        }
    }

    /// Ends an update: what came together is seen together.
    pub(crate) fn committed(&self, version: String) {
        self.version.store(Arc::new(version));
        self.changed.send_replace(());
    }

    pub(crate) fn remove_target(&self, destination: SocketAddr) {
        self.targets.write().remove(&destination);
    }

    pub(crate) fn remove_backend(&self, service: &ServicePort) {
        if let Some(backend) = self.backends.lock().remove(service) {
            for endpoint in backend.endpoints().iter() {
                endpoint.close_unused();
            }
        }
    }

    /// The kind of a destination that the mesh does not know.
    pub(crate) fn unknown(&self, destination: SocketAddr) -> TargetKind {
        if self.settings.load().as_ref().is_some_and(|settings| settings.egress == Egress::Deny) {
            return TargetKind::Denied;
        }
        Self::by_itself(Endpoint::outside(destination, self.workers))
    }

    fn by_itself(endpoint: Endpoint) -> TargetKind {
        let backend = Arc::new(Backend::new(BackendName::Unknown, vec![Arc::new(endpoint)]));
        TargetKind::Direct { protocol: Protocol::Opaque, backend }
    }

    /// The kind of a workload's own address.
    pub(crate) fn direct(&self, endpoint: &model::Endpoint) -> TargetKind {
        let name = BackendName::Workload(endpoint.workload.to_string().into());
        let own = self.endpoint(endpoint);
        own.set_zone(zone(endpoint, self.workload().as_deref()));
        let backend = Backend::new(name, vec![Arc::new(own)]);
        TargetKind::Direct { protocol: endpoint.protocol, backend: Arc::new(backend) }
    }

    /// Destinations unused for `idle` whose connections are gone, and the least used beyond the cap.
    pub(crate) fn unused(&self, idle: Duration) -> Vec<SocketAddr> {
        let now = self.seconds();
        let targets = self.targets.read();
        let free = targets.iter().filter(|(_, target)| Arc::strong_count(target) == 1);
        let mut free: Vec<_> = free.map(|(address, target)| (target.last_used(), *address)).collect();
        free.sort_unstable();
        let excess = targets.len().saturating_sub(MAX_TARGETS);
        let old = |(used, _): &(u64, SocketAddr)| now.saturating_sub(*used) >= idle.as_secs();
        free.iter()
            .enumerate()
            .filter(|(i, target)| *i < excess || old(target))
            .map(|(_, (_, address))| *address)
            .collect()
    }

    /// Closes idle connections that have had their time; returns how many are gone.
    pub(crate) fn reap(&self) {
        let one = |endpoint: &Arc<Endpoint>| endpoint.pools().iter().for_each(|pool| pool.reap(endpoint.idle()));
        let all = |backend: &Arc<Backend>| backend.endpoints().iter().for_each(one);
        self.backends.lock().values().for_each(all);
        for target in self.targets.read().values() {
            if let TargetKind::Direct { backend, .. } = &**target.kind() {
                all(backend);
            }
        }
        self.apps.read().values().for_each(one);
    }

    /// Describes what is in force, for `/config`.
    pub(crate) fn describe(&self) -> Vec<(SocketAddr, String)> {
        let targets = self.targets.read();
        let mut all: Vec<_> = targets.iter().map(|(address, target)| (*address, target.kind().to_string())).collect();
        all.sort();
        all
    }

    /// Describes the endpoints of every backend, for `/config`.
    pub(crate) fn backends(&self) -> Vec<Arc<Backend>> {
        self.backends.lock().values().cloned().collect()
    }

    pub(crate) fn version(&self) -> Arc<String> {
        self.version.load_full()
    }

    fn seconds(&self) -> u64 {
        self.started.elapsed().as_secs()
    }
}

fn zone(endpoint: &model::Endpoint, own: Option<&model::Workload>) -> Zone {
    own.map_or(Zone::Unknown, |own| Zone::of(&endpoint.zone, &own.zone))
}

/// Says which endpoints the own workload is to prefer, as kube-proxy would: those with a hint for its node; else those with a hint for its zone, when
/// every endpoint has a hint. `None`: all are alike.
fn near(endpoints: &[model::Endpoint], own: &model::Workload) -> Option<Vec<bool>> {
    let has = |all: &[Arc<str>], own: &Arc<str>| !own.is_empty() && all.contains(own);
    let on_node: Vec<_> = endpoints.iter().map(|endpoint| has(&endpoint.for_nodes, &own.node)).collect();
    if on_node.contains(&true) {
        return Some(on_node);
    }
    let in_zone: Vec<_> = endpoints.iter().map(|endpoint| has(&endpoint.for_zones, &own.zone)).collect();
    let is_hinted = endpoints.iter().all(|endpoint| !endpoint.for_zones.is_empty());
    (is_hinted && in_zone.contains(&true)).then_some(in_zone)
}

#[cfg(test)]
pub(crate) mod tests {
    use outrigger_proto::wire;

    use super::*;

    pub(crate) fn store() -> Store {
        let own = WorkloadName { namespace: "shop".into(), name: "cart-1".into() };
        Store::new(own, 1).0
    }

    #[test]
    fn hints_count_for_the_own_node_then_for_the_own_zone_when_all_have_some() {
        let endpoint = |nodes: &[&str], zones: &[&str]| {
            let names = |all: &[&str]| all.iter().map(|name| (*name).to_owned()).collect();
            let (for_nodes, for_zones) = (names(nodes), names(zones));
            let address = "10.0.0.1:80".to_owned();
            model::Endpoint::try_from(wire::Endpoint { address, for_nodes, for_zones, ..Default::default() }).unwrap()
        };
        let own = |node: &str, zone: &str| {
            let wire = wire::Workload { node: node.to_owned(), zone: zone.to_owned(), ..Default::default() };
            model::Workload::try_from(wire).unwrap()
        };
        let by_zone = [endpoint(&[], &["east"]), endpoint(&[], &["west", "south"])];
        let by_node = [endpoint(&["n1"], &["east"]), endpoint(&["n2"], &["east"])];
        let partly = [endpoint(&[], &["east"]), endpoint(&[], &[])];
        for (endpoints, own, expected) in [
            (&by_zone, own("n9", "east"), Some(vec![true, false])),
            (&by_zone, own("n9", "south"), Some(vec![false, true])),
            (&by_zone, own("n9", "north"), None),
            (&by_zone, own("n9", ""), None),
            (&by_node, own("n2", "east"), Some(vec![false, true])),
            (&by_node, own("n3", "east"), Some(vec![true, true])),
            (&partly, own("n9", "east"), None),
        ] {
            assert_eq!(near(endpoints, &own), expected, "{} {}", own.node, own.zone);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn without_the_control_plane_an_unknown_destination_passes_through() {
        let store = store();

        let target = store.target(OrigDst(([192, 0, 2, 1], 443).into())).await.unwrap();

        assert!(matches!(&**target.kind(), TargetKind::Direct { .. }));
        assert!(store.describe().is_empty(), "what was not answered is not remembered");
    }

    #[test]
    fn what_a_workload_says_of_its_end_counts_for_all_of_its_ports_and_for_no_other_pod() {
        let store = store();
        let service =
            |port: u16| ServicePort { namespace: "shop".into(), name: "web".into(), port: port.try_into().unwrap() };
        let endpoint = |address: &str| {
            let (address, workload) = (address.to_owned(), "shop/web-1".to_owned());
            model::Endpoint::try_from(wire::Endpoint { address, workload, ..Default::default() }).unwrap()
        };
        let [http, bytes, namesake] = ["10.0.0.1:80", "10.0.0.1:81", "10.0.0.2:80"].map(endpoint);
        store.set_endpoints(&service(80), &[http]);
        store.set_endpoints(&service(81), &[bytes, namesake]);

        store.backend(&service(81)).endpoints()[0].leaving().told();

        let is_told = |port, at: usize| store.backend(&service(port)).endpoints()[at].leaving().is_told();
        assert!(is_told(80, 0) && is_told(81, 0));
        assert!(!is_told(81, 1), "a pod of the same name at another address");
    }

    #[tokio::test(start_paused = true)]
    async fn unused_destinations_are_let_go_and_used_ones_are_not() {
        let store = store();
        let (idle, used): (SocketAddr, SocketAddr) = (([10, 0, 0, 1], 80).into(), ([10, 0, 0, 2], 80).into());
        store.set_target(idle, store.unknown(idle));
        store.set_target(used, store.unknown(used));
        tokio::time::advance(Duration::from_secs(700)).await;
        let _connection = store.target(OrigDst(used)).await.unwrap();

        assert_eq!(store.unused(Duration::from_secs(600)), [idle]);
    }
}
