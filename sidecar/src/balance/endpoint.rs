//! One address of a backend: who it must be, how it has behaved, and the connections to it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::{Response, Version};
use outrigger_identity::Identity;
use outrigger_proto::{WorkloadName, model};
use tokio::time::Instant;

use crate::balance::crowd::Crowd;
use crate::balance::keep_alive::KeepAlive;
use crate::balance::limit::Connections;
use crate::balance::load::Load;
use crate::balance::{Leaving, Pool, hash};

/// For connections to a sidecar, which does not close those of its peers.
const IDLE_SIDECAR: Duration = Duration::from_secs(60);

pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    /// The identity that it must prove; `None`: dialled in plaintext.
    pub(crate) identity: Option<Identity>,
    pub(crate) workload: Option<WorkloadName>,
    /// A connection to it has met the own app, and no sidecar: the pod called itself.
    is_own_app: AtomicBool,
    load: Load,
    crowd: Crowd,
    failures: AtomicU32,
    ejections: AtomicU32,
    /// Milliseconds since `created`; 0: not ejected.
    ejected_until: AtomicU64,
    created: Instant,
    /// What stands for it in consistent hashing.
    pub(super) seed: u64,
    connections: Arc<Connections>,
    leaving: Arc<Leaving>,
    keep_alive: Arc<KeepAlive>,
    token: OnceLock<u128>,
    /// One for each worker: connections stay on the thread that drives them.
    pools: Box<[Pool]>,
}

impl Endpoint {
    /// An endpoint of the mesh.
    pub(crate) fn new(endpoint: &model::Endpoint, workers: usize) -> Self {
        let mut this = Self::local(endpoint.address, workers);
        this.identity = endpoint.identity.clone();
        this.workload = Some(endpoint.workload.clone());
        this
    }

    /// An address without an identity: the own app, or one outside the mesh.
    pub(crate) fn local(address: SocketAddr, workers: usize) -> Self {
        let (leaving, keep_alive) = (Arc::<Leaving>::default(), Arc::<KeepAlive>::default());
        Self {
            address,
            identity: None,
            workload: None,
            is_own_app: AtomicBool::new(false),
            load: Load::new(),
            crowd: Crowd::default(),
            failures: AtomicU32::new(0),
            ejections: AtomicU32::new(0),
            ejected_until: AtomicU64::new(0),
            created: Instant::now(),
            seed: hash::seed(address),
            connections: Arc::default(),
            token: OnceLock::new(),
            pools: (0..workers.max(1)).map(|_| Pool::new(&leaving, &keep_alive)).collect(),
            leaving,
            keep_alive,
        }
    }

    /// Says whether the endpoint is still the same one, so that its connections and its record stay valid.
    pub(crate) fn is(&self, endpoint: &model::Endpoint) -> bool {
        self.address == endpoint.address
            && self.identity == endpoint.identity
            && self.workload.as_ref() == Some(&endpoint.workload)
    }

    /// Says whether a sidecar is at the other end of its connections, as far as is known.
    pub(crate) fn has_sidecar(&self) -> bool {
        self.identity.is_some() && !self.is_own_app.load(Ordering::Relaxed)
    }

    /// A connection to it has met the own app.
    pub(crate) fn met_own_app(&self) {
        self.is_own_app.store(true, Ordering::Relaxed);
    }

    /// How long its connections may lie idle.
    pub(crate) fn idle(&self) -> Duration {
        if self.has_sidecar() { IDLE_SIDECAR } else { self.keep_alive.limit() }
    }

    pub(crate) fn pool(&self, worker: usize) -> &Pool {
        &self.pools[worker % self.pools.len()]
    }

    pub(crate) fn pools(&self) -> &[Pool] {
        &self.pools
    }

    /// The open connections of all workers.
    pub(crate) fn connections(&self) -> &Arc<Connections> {
        &self.connections
    }

    /// What stands for the endpoint in a session's cookie: the same in every sidecar, and no address to read. It hides the
    /// address from a look, not from somebody who hashes all addresses of the cluster; the mesh does not rest on that.
    pub(crate) fn token(&self) -> u128 {
        *self.token.get_or_init(|| {
            let workload = self.workload.as_ref().map(ToString::to_string).unwrap_or_default();
            let text = format!("outrigger session 1\n{workload}\n{}", self.address);
            let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
            digest.as_ref().iter().take(16).fold(0, |token, byte| token << 8 | u128::from(*byte))
        })
    }

    /// Counts a request until the guard goes.
    pub(crate) fn begin(self: &Arc<Self>) -> InFlight {
        let started = Instant::now();
        self.load.begin(started);
        InFlight { endpoint: self.clone(), started }
    }

    pub(crate) fn better_than(&self, other: &Self) -> bool {
        match (self.is_left_out(), other.is_left_out()) {
            (false, true) => true,
            (true, false) => false,
            // Near ties are left to the draw: equals share evenly.
            _ => self.load.cost() * 1.25 < other.load.cost(),
        }
    }

    pub(crate) fn in_flight(&self) -> u32 {
        self.load.in_flight()
    }

    /// Learns what an answer says of its connection, and of the endpoint's end.
    pub(crate) fn heard_in<B>(&self, response: &Response<B>) {
        if response.version() != Version::HTTP_11 {
            // GOAWAY says it there.
        } else if self.has_sidecar() {
            self.leaving.heard_in(response.headers());
        } else {
            self.keep_alive.heard_in(response.headers());
        }
    }

    /// What it has said of its end; heard only on connections to its sidecar.
    pub(crate) fn leaving(&self) -> &Arc<Leaving> {
        &self.leaving
    }

    /// Says whether others are to be preferred: it fails, or it ends.
    pub(crate) fn is_left_out(&self) -> bool {
        self.ejected() || self.leaving.is_told()
    }

    pub(crate) fn ejected(&self) -> bool {
        let until = self.ejected_until.load(Ordering::Relaxed);
        until != 0 && self.millis() < until
    }

    /// The endpoint answered.
    pub(crate) fn succeeded(&self) {
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
            self.ejections.store(0, Ordering::Relaxed);
            self.ejected_until.store(0, Ordering::Relaxed);
        }
    }

    /// Counts a failure; returns how many there are in a row.
    pub(super) fn failed(&self) -> u32 {
        self.failures.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Leaves the endpoint out: for `base` the first time, then twice as long each time in a row, up to `max`.
    pub(super) fn eject(&self, base: Duration, max: Duration) {
        let before = self.ejections.fetch_add(1, Ordering::Relaxed);
        let time = base.saturating_mul(1 << before.min(20)).min(max);
        self.ejected_until.store(self.millis() + time.as_millis() as u64, Ordering::Relaxed);
    }

    fn millis(&self) -> u64 {
        self.created.elapsed().as_millis() as u64 + 1
    }
}

/// A request in flight at an endpoint.
pub(crate) struct InFlight {
    endpoint: Arc<Endpoint>,
    started: Instant,
}

impl InFlight {
    /// The connection is there only now: dialling it says nothing about the endpoint's answers.
    pub(crate) fn connected(&mut self) {
        self.started = Instant::now();
    }

    /// Says whether it is one of many small requests to the endpoint; to be asked once.
    pub(crate) fn is_in_a_crowd(&self) -> bool {
        self.endpoint.crowd.joined(self.endpoint.in_flight())
    }

    /// The response's head is here, and says how long the body is, or not.
    pub(crate) fn answered(&self, bytes: Option<u64>) {
        self.endpoint.load.observe(self.started.elapsed());
        self.endpoint.crowd.answered(bytes);
    }

    pub(crate) fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.endpoint.load.end();
    }
}
