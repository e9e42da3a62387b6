//! Puts a sidecar together: a control thread (configuration, certificate, admin, signals) and worker threads that
//! carry traffic and are never held up by it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};
use outrigger_daemon::{Admin, Listeners as AdminListeners, Metrics, give_back_memory, logging, shutdown_signal};
use outrigger_identity::{Identity, TrustBundle};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::time::interval;

use crate::admin;
use crate::admission::Admission;
use crate::certificate::Certificate;
use crate::config::{Explicit, RunArgs};
use crate::connect::Connector;
use crate::direction::Direction;
use crate::drains::Drains;
use crate::edges::Edges;
use crate::limits::{Limits, raise_descriptors};
use crate::listen::{self, Acceptor};
use crate::overload;
use crate::sync::{Client, ControlPlane, StateDir, Store};
use crate::telemetry::{Telemetry, TelemetryConfig};
use crate::tls::TlsState;
use crate::worker::Worker;
use crate::{inbound, outbound};

/// How often idle connections are looked through.
const REAP: Duration = Duration::from_secs(1);

/// Runs a sidecar until a signal ends it.
pub(crate) fn run(args: &RunArgs) -> anyhow::Result<()> {
    logging::init(&args.log_filter, args.log_format)?;
    if !args.admin.ip().is_loopback() {
        bail!("--admin {}: the admin endpoints are served on loopback addresses only", args.admin);
    }
    let control = Builder::new_current_thread().enable_all().build().context("start the control runtime")?;
    control.block_on(start(args))
}

async fn start(args: &RunArgs) -> anyhow::Result<()> {
    let bundle = TrustBundle::from_pem(args.trust_domain.clone(), &anchors(args)?).context("read the trust anchors")?;
    let control_plane = ControlPlane {
        address: args.control_plane.clone(),
        identity: Identity::new(&args.trust_domain, "outrigger-system", "outrigger-control-plane")?,
        mark: args.mark.map(|mark| mark.value()),
    };
    let workers = usize::from(args.workers);
    let tls = Arc::new(TlsState::new());
    let (store, wanted) = Store::new(args.workload.clone(), workers);
    let store = Arc::new(store);
    let metrics = Metrics::new();
    let admission = Arc::new(Admission::new(Limits::new(raise_descriptors(), args.max_connections)));
    let edges = Arc::<Edges>::default();
    let telemetry = Arc::new(Telemetry::new(
        &TelemetryConfig::from(args),
        (&metrics, &edges),
        (store.clone(), tls.clone(), admission.clone()),
    )?);
    let state = |what| args.state_dir.as_deref().map(StateDir::open).transpose().context(what);
    let saved = state("open the state directory")?;
    let certificate = Certificate {
        control_plane: control_plane.clone(),
        tls: tls.clone(),
        bundle: saved.as_ref().map_or_else(|| bundle.clone(), |saved| saved.with_saved_anchors(bundle.clone())),
        token_file: args.token_file.clone(),
        state: saved,
    };
    let saved = state("open the state directory")?;
    let mut client = Client::new(control_plane, store.clone(), tls.clone(), saved, (wanted, edges.clone()));
    if certificate.restore() {
        client.restore();
    }
    let drains = Drains::default();
    let listeners = Listeners::bind(args, workers)?;
    let failed = Arc::new(AtomicBool::new(false));
    for (id, sockets) in listeners.into_iter().enumerate() {
        let connector = |direction| connector(args, (&admission, &tls, &edges), direction);
        let worker = Arc::new(Worker {
            id,
            store: store.clone(),
            tls: tls.clone(),
            to_endpoints: connector(Direction::Outbound),
            to_app: connector(Direction::Inbound),
            telemetry: telemetry.clone(),
            drains: drains.clone(),
            wire: args.wire,
            client_cert_headers: args.client_cert_headers,
            client_headers: args.client_headers,
            max_connection_age: args.max_connection_age,
            request_head_timeout: args.request_head_timeout,
            scrape: args.into(),
        });
        spawn(worker, sockets, admission.clone(), failed.clone())?;
    }
    let status = client.status();
    let listeners = admin_listeners(args).await?;
    let ready = {
        let (store, tls) = (store.clone(), tls.clone());
        move || tls.get().is_some() && store.workload().is_some() && !failed.load(Ordering::Relaxed)
    };
    let config_page = admin::page(store.clone(), tls.clone(), status, telemetry.clone(), admission.clone());
    let leave = drains.inbound.clone();
    let admin = Admin::new(metrics)
        .ready(ready)
        .page("/config", "application/json", config_page)
        .action("/leave", move || leave.start());
    tokio::spawn(admin.serve_on(listeners, drains.inbound.clone()));
    if let Some(probes) = args.probes.clone() {
        let listener = listen::bind_inbound(args.probe_port).and_then(TcpListener::from_std);
        let listener = listener.with_context(|| format!("listen on port {} for probes", args.probe_port))?;
        tokio::spawn(probes.serve(listener));
    }
    tokio::spawn(certificate.run());
    tokio::spawn(client.run());
    tokio::spawn(reap(store));
    let limits = *admission.limits();
    tokio::spawn(overload::watch(admission.clone()));
    tokio::spawn(give_back_memory(drains.outbound.clone()));
    log_limits(&limits);
    tracing::info!(workload = %args.workload, workers, "sidecar is up");

    let signal = shutdown_signal().await?;
    tracing::info!(
        signal,
        in_flight = telemetry.in_flight(),
        "draining: peers are told to leave, requests in flight end"
    );
    let drained = drains.finish(&telemetry, &admission, args.drain_timeout).await;
    telemetry.flush().await;
    tracing::info!(drained, "sidecar ends");
    Ok(())
}

/// Opens the ports of the admin endpoints.
async fn admin_listeners(args: &RunArgs) -> anyhow::Result<AdminListeners> {
    let all = TcpListener::bind(args.admin)
        .await
        .with_context(|| format!("listen on {} for the admin endpoints", args.admin))?;
    let health = args.health_port.map(|port| {
        let listener = listen::bind_inbound(port).and_then(TcpListener::from_std);
        listener.with_context(|| format!("listen on port {port} for health checks"))
    });
    // Connections to the pod's address come here through the capture.
    let metrics = args.metrics_port.map(|port| {
        let listener = listen::bind((Ipv4Addr::LOCALHOST, port).into()).and_then(TcpListener::from_std);
        listener.with_context(|| format!("listen on port {port} for metrics"))
    });
    Ok(AdminListeners { all, health: health.transpose()?, metrics: metrics.transpose()? })
}

/// What dials for connections of one direction.
fn connector(
    args: &RunArgs,
    (admission, tls, edges): (&Arc<Admission>, &Arc<TlsState>, &Arc<Edges>),
    direction: Direction,
) -> Arc<Connector> {
    Arc::new(Connector {
        admission: admission.clone(),
        edges: edges.clone(),
        direction,
        tls: tls.clone(),
        mark: args.mark.map(|mark| mark.value()),
        captured: args.outbound.is_empty() && args.inbound.is_empty(),
        timeout: args.connect_timeout,
    })
}

/// Starts a worker's thread.
fn spawn(
    worker: Arc<Worker>,
    sockets: Listeners,
    admission: Arc<Admission>,
    failed: Arc<AtomicBool>,
) -> std::io::Result<()> {
    // Detached: workers live as long as the process.
    thread::Builder::new().name(format!("worker-{}", worker.id)).spawn(move || {
        if let Err(error) = work(worker, sockets, &admission) {
            tracing::error!(%error, "a worker could not start");
            failed.store(true, Ordering::Relaxed);
        }
    })?;
    Ok(())
}

fn log_limits(limits: &Limits) {
    tracing::info!(
        descriptors = limits.descriptors,
        descriptors_of_direction = limits.share,
        connections_of_direction = limits.each,
        inbound_connections_without_identity = limits.strangers,
        "limits on connections"
    );
}

fn anchors(args: &RunArgs) -> anyhow::Result<Vec<u8>> {
    match (&args.trust_anchors, &args.trust_anchors_pem) {
        (Some(path), _) => {
            std::fs::read(path).with_context(|| format!("read the trust anchors from {}", path.display()))
        }
        (None, Some(pem)) => Ok(pem.clone().into_bytes()),
        (None, None) => bail!("no trust anchors: give --trust-anchors"),
    }
}

/// Closes what has been idle for long.
async fn reap(store: Arc<Store>) {
    let mut every = interval(REAP);
    loop {
        every.tick().await;
        store.reap();
    }
}

/// The sockets of one worker.
struct Listeners {
    outbound: Vec<(std::net::TcpListener, Option<SocketAddr>)>,
    inbound: Vec<(std::net::TcpListener, Option<SocketAddr>)>,
}

impl Listeners {
    fn bind(args: &RunArgs, workers: usize) -> anyhow::Result<Vec<Self>> {
        (0..workers).map(|_| Self::bind_one(args)).collect()
    }

    fn bind_one(args: &RunArgs) -> anyhow::Result<Self> {
        let explicit = |all: &[Explicit]| -> anyhow::Result<Vec<_>> {
            let bind = |one: &Explicit| {
                let listener = listen::bind(one.listen).with_context(|| format!("listen on {}", one.listen))?;
                Ok((listener, Some(one.stands_for)))
            };
            all.iter().map(bind).collect()
        };
        if !args.outbound.is_empty() || !args.inbound.is_empty() {
            return Ok(Self { outbound: explicit(&args.outbound)?, inbound: explicit(&args.inbound)? });
        }
        let outbound = listen::bind_outbound(args.outbound_port)
            .with_context(|| format!("listen on port {} for outbound connections", args.outbound_port))?;
        let inbound = listen::bind_inbound(args.inbound_port)
            .with_context(|| format!("listen on port {} for inbound connections", args.inbound_port))?;
        Ok(Self { outbound: outbound.into_iter().map(|l| (l, None)).collect(), inbound: vec![(inbound, None)] })
    }
}

/// One worker thread: a runtime of its own, from accept to close.
fn work(worker: Arc<Worker>, sockets: Listeners, admission: &Arc<Admission>) -> anyhow::Result<()> {
    let runtime: Runtime = Builder::new_current_thread().enable_all().build().context("start a worker's runtime")?;
    runtime.block_on(async {
        let acceptor = |direction| Acceptor {
            direction,
            telemetry: worker.telemetry.clone(),
            drain: worker.drains.of(direction).clone(),
            admission: admission.clone(),
        };
        let mut accepting = tokio::task::JoinSet::new();
        for (listener, explicit) in sockets.outbound {
            let worker = worker.clone();
            let listener = TcpListener::from_std(listener)?;
            let acceptor = acceptor(Direction::Outbound);
            accepting.spawn(acceptor.run(listener, move |io, _| outbound::serve(worker.clone(), io, explicit)));
        }
        for (listener, explicit) in sockets.inbound {
            let worker = worker.clone();
            let listener = TcpListener::from_std(listener)?;
            let acceptor = acceptor(Direction::Inbound);
            accepting
                .spawn(acceptor.run(listener, move |io, place| inbound::serve(worker.clone(), io, explicit, place)));
        }
        while accepting.join_next().await.is_some() {}
        anyhow::Ok(())
    })
}
