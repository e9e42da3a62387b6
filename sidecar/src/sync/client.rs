//! The stream from the control plane. It asks for what the request path wants, puts in force what comes, and tells
//! the control plane so. When the stream breaks, everything goes on with what is held; the next stream brings only
//! what differs.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use outrigger_daemon::error_chain;
use outrigger_proto::Key;
use outrigger_proto::wire::{self, sync_request, sync_response};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::edges::Edges;
use crate::random::random;
use crate::sync::Store;
use crate::sync::catalog::Catalog;
use crate::sync::dial::ControlPlane;
use crate::sync::report::{self, Reporter};
use crate::sync::saved::StateDir;
use crate::sync::store::MAX_TARGETS;
use crate::tls::TlsState;

/// The wait before the first reconnect; it doubles.
const BACKOFF: Duration = Duration::from_millis(100);
const MAX_BACKOFF: Duration = Duration::from_secs(10);

/// A destination that nobody has used for so long is let go.
const IDLE: Duration = Duration::from_secs(10 * 60);

/// How often to look for such destinations.
const SWEEP: Duration = Duration::from_secs(30);

/// Root keys at most: the destinations that are remembered, and some that are about to be let go.
const MAX_ROOTS: usize = MAX_TARGETS + 256;

/// Updates that have not been committed may hold this many resources.
const MAX_PENDING: usize = 100_000;

/// The sync client of one sidecar.
pub(crate) struct Client {
    control_plane: ControlPlane,
    store: Arc<Store>,
    tls: Arc<TlsState>,
    state: Option<StateDir>,
    wanted: mpsc::Receiver<SocketAddr>,
    catalog: Catalog,
    reporter: Reporter,
    /// Root keys: what is asked for by name.
    roots: HashSet<Key>,
    status: Arc<Mutex<SyncStatus>>,
}

/// How the sync stands, for `/config` and metrics.
#[derive(Clone, Debug, Default)]
pub(crate) struct SyncStatus {
    pub(crate) connected: bool,
    pub(crate) last_commit: Option<Instant>,
    pub(crate) last_error: Option<String>,
    pub(crate) resources: usize,
    pub(crate) refused: Vec<(String, String)>,
    pub(crate) restored: bool,
}

impl Client {
    pub(crate) fn new(
        control_plane: ControlPlane,
        store: Arc<Store>,
        tls: Arc<TlsState>,
        state: Option<StateDir>,
        (wanted, edges): (mpsc::Receiver<SocketAddr>, Arc<Edges>),
    ) -> Self {
        let roots = HashSet::from([Key::Mesh, Key::Workload(store.own().clone())]);
        let catalog = Catalog::new(store.clone(), tls.clone());
        let reporter = Reporter::new(edges);
        Self { control_plane, store, tls, state, wanted, catalog, reporter, roots, status: Arc::default() }
    }

    pub(crate) fn status(&self) -> Arc<Mutex<SyncStatus>> {
        self.status.clone()
    }

    /// Starts from the last good state on disk, if there is one.
    pub(crate) fn restore(&mut self) {
        let Some(resources) = self.state.as_ref().and_then(StateDir::load_resources) else { return };
        let applied = self.catalog.apply(resources, &[]);
        self.roots.extend(self.catalog.addresses().map(Key::Address));
        let mut status = self.status.lock();
        status.restored = true;
        status.resources = applied.acked.len();
        tracing::info!(
            resources = applied.acked.len(),
            refused = applied.refused.len(),
            "restored the last good state"
        );
    }

    /// Syncs for as long as the process lives.
    pub(crate) async fn run(mut self) {
        let mut failures = 0_u32;
        loop {
            let started = Instant::now();
            let ended = match self.connect().await {
                Ok(mut stream) => self.follow(&mut stream).await,
                Err(error) => Err(error),
            };
            self.store.set_connected(false);
            {
                let mut status = self.status.lock();
                status.connected = false;
                status.last_error = ended.as_ref().err().cloned();
            }
            // A stream that lived for a while ends the count: the next attempt may be quick again.
            failures = if started.elapsed() > MAX_BACKOFF { 0 } else { failures + 1 };
            let pause = BACKOFF.saturating_mul(1 << failures.min(10)).min(MAX_BACKOFF);
            // Spread, so that a returning control plane does not meet all sidecars at once.
            let pause = pause.mul_f64(0.5 + (random() % 1000) as f64 / 1000.0);
            let retry_ms = pause.as_millis() as u64;
            match ended {
                Ok(()) => tracing::info!(retry_ms, "the control plane ended the stream; connecting to any replica"),
                Err(error) => {
                    tracing::warn!(
                        error,
                        retry_ms,
                        "configuration stream failed; using cached configuration, retrying"
                    );
                }
            }
            let mut pause = std::pin::pin!(sleep(pause));
            loop {
                tokio::select! {
                    () = &mut pause => break,
                    Some(address) = self.wanted.recv() => remember(&mut self.roots, address),
                }
            }
        }
    }

    async fn connect(&mut self) -> Result<Stream, String> {
        let tls = loop {
            match self.tls.ready().await {
                Ok(tls) => break tls,
                Err(error) => tracing::debug!(%error, "waiting for a certificate"),
            }
        };
        let dialled = self.control_plane.dial(Some(&tls.credentials), &tls.bundle).await;
        let mut client = dialled.map_err(|error| error_chain(&error))?;
        let (requests, queue) = mpsc::channel(64);
        let hello = wire::Hello {
            sidecar_version: outrigger_daemon::VERSION.to_owned(),
            capabilities: vec![report::CAPABILITY.to_owned()],
            subscriptions: self.roots.iter().map(Key::to_string).collect(),
            held: self.catalog.held(),
        };
        let hello = wire::SyncRequest { message: Some(sync_request::Message::Hello(hello)) };
        requests.try_send(hello).map_err(|error| error.to_string())?;
        let response = client.sync(ReceiverStream::new(queue)).await;
        let responses = response.map_err(|status| error_chain(&status))?.into_inner();
        Ok(Stream { requests, responses, pending: Pending::default() })
    }

    /// Follows one stream to its end: `Ok` when the control plane ended it, as it does now and then.
    async fn follow(&mut self, stream: &mut Stream) -> Result<(), String> {
        self.reporter.begin();
        let mut sweep = interval(SWEEP);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let step = tokio::select! {
                message = stream.responses.message() => match message {
                    Ok(Some(message)) => self.take(message, stream).await,
                    Ok(None) => return Ok(()),
                    Err(status) => Err(error_chain(&status)),
                },
                Some(address) = self.wanted.recv() => self.subscribe(address, stream).await,
                _ = sweep.tick() => self.let_go(stream).await,
                () = self.reporter.due() => {
                    self.reporter.send(&stream.requests);
                    Ok(())
                }
            };
            step?;
        }
    }

    async fn take(&mut self, message: wire::SyncResponse, stream: &mut Stream) -> Result<(), String> {
        match message.message {
            Some(sync_response::Message::Welcome(welcome)) => {
                tracing::info!(control_plane = welcome.control_plane_version, "configuration stream is open");
                self.store.set_connected(true);
                let mut status = self.status.lock();
                status.connected = true;
                status.last_error = None;
                Ok(())
            }
            Some(sync_response::Message::Update(update)) => {
                stream.pending.resources.extend(update.resources);
                stream.pending.removed.extend(update.removed);
                if stream.pending.resources.len() + stream.pending.removed.len() > MAX_PENDING {
                    return Err("the control plane sent an update without end".to_owned());
                }
                if update.commit { self.commit(stream).await } else { Ok(()) }
            }
            Some(sync_response::Message::Observe(observe)) => {
                self.reporter.observe(&observe);
                Ok(())
            }
            // A message of a newer control plane.
            None => Ok(()),
        }
    }

    async fn commit(&mut self, stream: &mut Stream) -> Result<(), String> {
        let Pending { resources, removed } = std::mem::take(&mut stream.pending);
        let applied = self.catalog.apply(resources, &removed);
        if let Some(state) = &self.state {
            state.save_resources(self.catalog.resources());
        }
        {
            let mut status = self.status.lock();
            status.last_commit = Some(Instant::now());
            status.resources = self.catalog.held().len();
            status.refused.retain(|(key, _)| !applied.acked.iter().any(|acked| acked.key == *key));
            for nack in &applied.refused {
                status.refused.retain(|(key, _)| *key != nack.key);
                status.refused.push((nack.key.clone(), nack.reason.clone()));
            }
        }
        for nack in applied.refused {
            stream.send(sync_request::Message::Nack(nack)).await?;
        }
        if applied.acked.is_empty() {
            return Ok(());
        }
        stream.send(sync_request::Message::Ack(wire::Ack { resources: applied.acked })).await
    }

    async fn subscribe(&mut self, address: SocketAddr, stream: &Stream) -> Result<(), String> {
        if self.roots.len() >= MAX_ROOTS {
            // An app that connects to everywhere; the next sweep is too late.
            self.let_go(stream).await?;
        }
        let key = Key::Address(address);
        if !self.roots.insert(key.clone()) {
            return Ok(());
        }
        stream.send(sync_request::Message::Subscribe(wire::Subscribe { keys: vec![key.to_string()] })).await
    }

    async fn let_go(&mut self, stream: &Stream) -> Result<(), String> {
        let unused = self.store.unused(IDLE);
        if unused.is_empty() {
            return Ok(());
        }
        let mut keys = Vec::new();
        for address in unused {
            let key = Key::Address(address);
            keys.push(key.to_string());
            self.roots.remove(&key);
            self.store.remove_target(address);
        }
        tracing::debug!(count = keys.len(), "letting go of unused destinations");
        stream.send(sync_request::Message::Unsubscribe(wire::Unsubscribe { keys })).await
    }
}

/// Keeps in mind that a destination is wanted, for when the control plane is back: the first of them, as far as they are remembered
/// then. The others pass through meanwhile, and are asked for when they are dialled again.
fn remember(roots: &mut HashSet<Key>, address: SocketAddr) {
    if roots.len() < MAX_ROOTS {
        roots.insert(Key::Address(address));
    }
}

struct Stream {
    requests: mpsc::Sender<wire::SyncRequest>,
    responses: Streaming<wire::SyncResponse>,
    pending: Pending,
}

/// What has come and is not committed.
#[derive(Default)]
struct Pending {
    resources: Vec<wire::Resource>,
    removed: Vec<String>,
}

impl Stream {
    async fn send(&self, message: sync_request::Message) -> Result<(), String> {
        let sent = self.requests.send(wire::SyncRequest { message: Some(message) }).await;
        sent.map_err(|_| "the control plane closed the stream".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_app_dials_while_the_control_plane_is_away_is_bounded() {
        let mut roots = HashSet::new();
        for n in 0..100_000_u32 {
            remember(&mut roots, (n.to_be_bytes(), 80).into());
        }
        assert_eq!(roots.len(), MAX_ROOTS);
    }
}
