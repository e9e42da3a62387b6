//! One address of a backend: who it must be, how it has behaved, and the connections to it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::{Response, Version};
use outrigger_identity::Identity;
use outrigger_proto::{WorkloadName, model};
use tokio::time::Instant;

use crate::balance::crowd::Crowd;
use crate::balance::health::{Health, OpenCircuit};
use crate::balance::keep_alive::KeepAlive;
use crate::balance::load::Load;
use crate::balance::{Pool, digest};
use crate::headers::Leaving;
use crate::stream::Connections;
use crate::stream::Io;
use crate::zone::Zone;

/// For connections to a sidecar, which does not close those of its peers.
const IDLE_SIDECAR: Duration = Duration::from_secs(60);

pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    /// The identity that it must prove; `None`: dialled in plaintext.
    pub(crate) identity: Option<Identity>,
    pub(crate) workload: Option<WorkloadName>,
    /// A connection to it has met the own app, and no sidecar: the pod called itself.
    is_own_app: AtomicBool,
    is_outside: bool,
    has_others: AtomicBool,
    zone: AtomicU8,
    pub(super) load: Load,
    pub(super) crowd: Crowd,
    pub(super) health: Health,
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
    /// An endpoint of the mesh; all ports of its workload share what that says of its end.
    pub(crate) fn new(endpoint: &model::Endpoint, workers: usize, leaving: Arc<Leaving>) -> Self {
        let mut this = Self::with(endpoint.address, workers, leaving);
        this.identity = endpoint.identity.clone();
        this.workload = Some(endpoint.workload.clone());
        this
    }

    /// An address outside of the mesh.
    pub(crate) fn outside(address: SocketAddr, workers: usize) -> Self {
        Self { is_outside: true, ..Self::local(address, workers) }
    }

    /// An address without an identity: the own app, or one of which nothing is known.
    pub(crate) fn local(address: SocketAddr, workers: usize) -> Self {
        Self::with(address, workers, Arc::default())
    }

    fn with(address: SocketAddr, workers: usize, leaving: Arc<Leaving>) -> Self {
        let keep_alive = Arc::<KeepAlive>::default();
        Self {
            address,
            identity: None,
            workload: None,
            is_own_app: AtomicBool::new(false),
            is_outside: false,
            has_others: AtomicBool::new(false),
            zone: AtomicU8::new(Zone::Unknown as u8),
            load: Load::new(),
            crowd: Crowd::default(),
            health: Health::new(),
            seed: digest::seed(address),
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

    /// Says whether it is known to be outside of the mesh.
    pub(crate) fn is_outside(&self) -> bool {
        self.is_outside
    }

    /// Another endpoint can be asked in its place, or not.
    pub(crate) fn set_has_others(&self, has_others: bool) {
        self.has_others.store(has_others, Ordering::Relaxed);
    }

    /// Says whether another endpoint can be asked in its place.
    pub(crate) fn has_others(&self) -> bool {
        self.has_others.load(Ordering::Relaxed)
    }

    /// It is there, seen from the own workload.
    pub(crate) fn set_zone(&self, zone: Zone) {
        self.zone.store(zone as u8, Ordering::Relaxed);
    }

    /// Says where it is.
    pub(crate) fn zone(&self) -> Zone {
        let zone = self.zone.load(Ordering::Relaxed);
        Zone::ALL.into_iter().find(|known| *known as u8 == zone).unwrap_or(Zone::Unknown)
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

    /// Closes its connections that are not in use; the next requests go on new ones, or on what answers meanwhile.
    pub(crate) fn close_unused(&self) {
        self.pools.iter().for_each(Pool::clear);
    }

    /// A connection of bytes has ended in good order: what carried it may carry the next one.
    pub(crate) fn give_back_tunnel(&self, worker: usize, io: Io) {
        self.pool(worker).put_tunnel(io);
        self.connections.free();
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

    /// Says whether it serves requests in less time than another one; near ties are left to the draw: equals share evenly.
    pub(super) fn better_than(&self, other: &Self) -> bool {
        let now = Instant::now();
        self.cost(now) * 1.25 < other.cost(now)
    }

    fn cost(&self, now: Instant) -> f64 {
        // Who is back is found out by the next request.
        if self.health.wants_probe() { 0.0 } else { self.load.cost(now) }
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

    /// Says whether the next one may go there.
    pub(super) fn is_available(&self) -> bool {
        self.health.is_available() && !self.leaving.is_told()
    }

    /// Says whether it is left out because it failed.
    pub(crate) fn ejected(&self) -> bool {
        self.health.is_open()
    }

    /// Describes it when it is left out because it failed.
    pub(crate) fn circuit(&self) -> Option<OpenCircuit> {
        self.health.circuit()
    }
}
