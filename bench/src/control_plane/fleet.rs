//! The sidecars' half of the protocol, thousands of times.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, ensure};
use hyper_util::rt::TokioIo;
use outrigger_control_plane::ca::{Authority, PublicKey, Subject, control_plane_identity};
use outrigger_identity::{Credentials, Identity, KeyPair, TrustBundle, control_plane_client_config};
use outrigger_proto::wire::mesh_client::MeshClient;
use outrigger_proto::wire::sync_request::Message as Request;
use outrigger_proto::wire::sync_response::Message as Response;
use outrigger_proto::{WorkloadName, wire};
use prost::Message as _;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;

use super::world::World;
use crate::histogram::Histogram;
use crate::process::Pid;

/// Services that each sidecar uses.
const USES: usize = 5;
/// Sidecars that connect at the same time.
const AT_ONCE: usize = 64;
/// Whatever takes longer will not come.
const PATIENCE: Duration = Duration::from_secs(60);

/// All sidecars.
pub(super) struct Fleet {
    sidecars: Vec<Arc<Sidecar>>,
    connected: Vec<JoinHandle<Result<()>>>,
    listen: SocketAddr,
    acks: mpsc::UnboundedSender<usize>,
    acked: mpsc::UnboundedReceiver<usize>,
    /// Sidecars that use each service.
    users: HashMap<usize, usize>,
    /// Changed services: since when, and who has not acked.
    open: HashMap<usize, (Instant, usize)>,
    latencies: Histogram,
    received: Arc<AtomicU64>,
}

struct Sidecar {
    tls: Arc<rustls::ClientConfig>,
    workload: String,
    uses: Vec<usize>,
    held: parking_lot::Mutex<BTreeMap<String, u64>>,
}

impl Fleet {
    /// Makes keys and certificates; says how many were signed in a second of CPU time.
    pub(super) fn new(folder: &Path, listen: SocketAddr, world: &World, count: usize) -> Result<(Self, f64)> {
        // The control plane has locked its own.
        let copy = folder.join("ca-copy");
        std::fs::create_dir_all(&copy)?;
        for entry in std::fs::read_dir(folder.join("ca"))? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                std::fs::copy(entry.path(), copy.join(entry.file_name()))?;
            }
        }
        let domain: outrigger_identity::TrustDomain = "mesh.local".parse()?;
        let now = SystemTime::now();
        let authority = Authority::open(&copy, domain.clone(), Duration::from_secs(86_400), now)?;
        let bundle = TrustBundle::from_pem(domain.clone(), &super::read(&copy.join("root.pem"))?)?;
        let expected = control_plane_identity(&domain)?;

        let mut asked = Vec::with_capacity(count);
        for sidecar in 0..count {
            let (namespace, name) = world.workload(sidecar);
            let key = KeyPair::generate()?;
            let public = PublicKey::from_csr(&key.csr()?)?;
            let identity = Identity::new(&domain, &namespace, "sidecar")?;
            let workload = WorkloadName { namespace: namespace.into(), name: name.into() };
            asked.push((key, public, Subject { identity, workload: Some(workload), uid: None }));
        }
        let this = Pid(std::process::id());
        let cpu = this.cpu_of_all()?;
        let mut chains = Vec::with_capacity(count);
        for (_, public, subject) in &asked {
            chains.push(authority.issue(public, subject, now)?);
        }
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let signed = count as f64 / (this.cpu_of_all()? - cpu).as_secs_f64();

        let mut sidecars = Vec::with_capacity(count);
        for (number, ((key, _, subject), chain)) in asked.into_iter().zip(chains).enumerate() {
            let own = Credentials::new(&key, chain)?;
            let tls = Arc::new(control_plane_client_config(Some(&own), &bundle, &expected)?);
            let workload = subject.workload.map(|workload| workload.to_string()).unwrap_or_default();
            let uses = (0..USES).map(|use_| (number * USES + use_ * 401) % world.services()).collect();
            sidecars.push(Arc::new(Sidecar { tls, workload, uses, held: parking_lot::Mutex::default() }));
        }
        let (acks, acked) = mpsc::unbounded_channel();
        let fleet = Self {
            sidecars,
            connected: Vec::new(),
            listen,
            acks,
            acked,
            users: HashMap::new(),
            open: HashMap::new(),
            latencies: Histogram::default(),
            received: Arc::default(),
        };
        Ok((fleet, signed))
    }

    /// Lets one sidecar that uses every service come and go: what is encoded once, for all, is there from then on.
    pub(super) async fn ask_for_all(&self, services: usize) -> Result<()> {
        let first = self.sidecars.first().context("there are no sidecars")?;
        let uses = (0..services).collect();
        let all = Sidecar {
            tls: first.tls.clone(),
            workload: first.workload.clone(),
            uses,
            held: parking_lot::Mutex::default(),
        };
        let complete = tokio::sync::Notify::new();
        tokio::select! {
            ended = all.follow(self.listen, &self.acks, &self.received, || complete.notify_one()) => {
                ended.and_then(|()| anyhow::bail!("the control plane has ended the call"))
            }
            came = tokio::time::timeout(PATIENCE, complete.notified()) => came.context("a sidecar did not get everything"),
        }
    }

    /// Connects more, until there are so many.
    pub(super) async fn grow(&mut self, count: usize) -> Result<()> {
        let present = self.connected.len();
        for sidecar in &self.sidecars[present..count] {
            for service in sidecar.uses.iter().collect::<std::collections::BTreeSet<_>>() {
                *self.users.entry(*service).or_default() += 1;
            }
        }
        self.connect(present, count).await
    }

    /// Ends all connections and opens them again; returns the bytes of what came then.
    pub(super) async fn reconnect(&mut self) -> Result<u64> {
        let count = self.connected.len();
        self.connected.drain(..).for_each(|task| task.abort());
        self.received.store(0, Ordering::Relaxed);
        self.connect(0, count).await?;
        Ok(self.received.load(Ordering::Relaxed))
    }

    async fn connect(&mut self, from: usize, to: usize) -> Result<()> {
        let gate = Arc::new(Semaphore::new(AT_ONCE));
        let mut ready = Vec::new();
        for sidecar in &self.sidecars[from..to] {
            let (told, up) = oneshot::channel();
            let (sidecar, acks, received) = (sidecar.clone(), self.acks.clone(), self.received.clone());
            let (gate, listen) = (gate.clone(), self.listen);
            self.connected.push(tokio::spawn(async move {
                let place = gate.acquire_owned().await?;
                let mut told = Some((told, place));
                let up = || {
                    if let Some((told, _place)) = told.take() {
                        // Whoever waited may have given up.
                        let _ = told.send(());
                    }
                };
                sidecar.follow(listen, &acks, &received, up).await
            }));
            ready.push(up);
        }
        for (number, up) in ready.into_iter().enumerate() {
            let came = tokio::time::timeout(PATIENCE, up).await.context("a sidecar got nothing")?;
            if came.is_err() {
                let ended = self.connected.swap_remove(from + number).await?;
                return ended.with_context(|| format!("sidecar {}", from + number));
            }
        }
        Ok(())
    }

    /// The service is about to change.
    pub(super) fn expect(&mut self, service: usize) {
        self.count();
        if let Some(users) = self.users.get(&service) {
            self.open.insert(service, (Instant::now(), *users));
        }
    }

    fn count(&mut self) {
        while let Ok(service) = self.acked.try_recv() {
            self.one_acked(service);
        }
    }

    fn one_acked(&mut self, service: usize) {
        if let Some((since, left)) = self.open.get_mut(&service) {
            *left -= 1;
            if *left == 0 {
                self.latencies.record(since.elapsed());
                self.open.remove(&service);
            }
        }
    }

    /// Waits for the last acks; returns how long each change took.
    pub(super) async fn settled(&mut self) -> Result<Histogram> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while !self.open.is_empty() {
            let next = tokio::time::timeout_at(deadline, self.acked.recv()).await;
            let service = next.with_context(|| format!("{} changes were not acked", self.open.len()))?;
            self.one_acked(service.context("all sidecars are gone")?);
        }
        Ok(std::mem::take(&mut self.latencies))
    }
}

impl Sidecar {
    /// One connection; `up` is called when the first configuration is complete.
    async fn follow(
        &self,
        listen: SocketAddr,
        acks: &mpsc::UnboundedSender<usize>,
        received: &AtomicU64,
        mut up: impl FnMut(),
    ) -> Result<()> {
        let tls = TlsConnector::from(self.tls.clone());
        let connector = tower::service_fn(move |_| {
            let tls = tls.clone();
            async move {
                let io = tokio::net::TcpStream::connect(listen).await?;
                io.set_nodelay(true)?;
                Ok::<_, std::io::Error>(TokioIo::new(tls.connect(listen.ip().into(), io).await?))
            }
        });
        let channel = Endpoint::from_static("http://control-plane").connect_with_connector(connector).await?;
        let (requests, outgoing) = mpsc::channel(8);
        let mut subscriptions = vec!["mesh".to_owned(), format!("workload/{}", self.workload)];
        subscriptions.extend(self.uses.iter().map(|service| World::key(*service)));
        let held =
            self.held.lock().iter().map(|(key, version)| wire::Held { key: key.clone(), version: *version }).collect();
        let hello = wire::Hello { sidecar_version: "bench".to_owned(), subscriptions, held, ..wire::Hello::default() };
        let send = |message| wire::SyncRequest { message: Some(message) };
        requests.send(send(Request::Hello(hello))).await?;
        let mut updates = MeshClient::new(channel).sync(ReceiverStream::new(outgoing)).await?.into_inner();
        while let Some(response) = updates.message().await? {
            received.fetch_add(response.encoded_len() as u64, Ordering::Relaxed);
            let Some(Response::Update(update)) = response.message else { continue };
            let held: Vec<wire::Held> = update
                .resources
                .into_iter()
                .map(|resource| wire::Held { key: resource.key, version: resource.version })
                .collect();
            ensure!(update.removed.is_empty(), "{:?} is gone", update.removed);
            {
                let mut all = self.held.lock();
                all.extend(held.iter().map(|held| (held.key.clone(), held.version)));
            }
            let changed: Vec<usize> = held.iter().filter_map(|held| service_of(&held.key)).collect();
            if !held.is_empty() {
                requests.send(send(Request::Ack(wire::Ack { resources: held }))).await?;
            }
            changed.into_iter().try_for_each(|service| acks.send(service))?;
            if update.commit {
                up();
            }
        }
        Ok(())
    }
}

/// The service whose endpoints a key names.
fn service_of(key: &str) -> Option<usize> {
    key.strip_prefix("endpoints/")?.split('/').nth(1)?.strip_prefix('s')?.parse().ok()
}

/// As many as the machine gives: every sidecar is a connection.
pub(super) fn allow_descriptors() -> Result<()> {
    let mut limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit.current = limit.maximum;
    rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).context("raise the limit on descriptors")
}
