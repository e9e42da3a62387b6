//! Puts the parts together and runs them.

mod ground;
mod upkeep;

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use arc_swap::ArcSwap;
use outrigger_daemon::{Admin, Drain, VERSION, give_back_memory, logging, shutdown_signal};
use outrigger_identity::{TlsError, control_plane_server_config};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tracing::info;

use crate::ca::{AuthorityError, Tokens};
use crate::config::{Args, Command, Config, RunArgs, Source, TokenArgs};
use crate::latest::Latest;
use crate::observed::{Look, Observed, document};
use crate::resource::Published;
use crate::serve::{Certifier, Known, Mesh, Metrics, Reporter, Server, Sidecars, Streams};
use crate::state::{Settings, State};
use crate::writer::Writer;
use crate::{pages, serve};

use ground::Ground;
use upkeep::Upkeep;

/// Runs the command.
///
/// # Errors
/// When it cannot start, or `token` cannot mint.
pub async fn run(args: Args) -> anyhow::Result<()> {
    match args.command {
        Command::Run(args) => serve_until_signal(*args).await,
        Command::Token(TokenArgs { workload, ca_dir, lifetime }) => {
            let token = Tokens::open(&ca_dir)?.mint(&workload, lifetime, SystemTime::now())?;
            writeln!(std::io::stdout(), "{token}").context("cannot print the token")
        }
        Command::Version => {
            writeln!(std::io::stdout(), "outrigger-control-plane {VERSION}").context("cannot print the version")
        }
    }
}

async fn serve_until_signal(args: RunArgs) -> anyhow::Result<()> {
    // The Kubernetes client's own warnings say what we say as well. Whoever names it in the filter has the last word.
    logging::init(&format!("kube_runtime=off,kube_client=off,{}", args.log_filter), args.log_format)?;
    let running = start(args.config, Drain::new()).await?;
    let signal = shutdown_signal().await.context("cannot listen for signals")?;
    info!(signal, "draining");
    running.stop().await;
    Ok(())
}

/// A control plane that serves.
#[derive(Debug)]
pub struct Running {
    /// Where sidecars connect to.
    pub listen: SocketAddr,
    /// Where the admin pages are.
    pub admin: SocketAddr,
    /// What it serves.
    pub latest: Latest,
    drain: Drain,
    admin_task: JoinHandle<()>,
}

impl Running {
    /// Stops it: no new connections, streams are told, what is in flight is finished.
    pub async fn stop(self) {
        self.drain.start();
        if !self.drain.finished(DRAIN_LIMIT).await {
            info!(left = self.drain.active(), "some connections did not finish in time");
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.drain.start();
        self.admin_task.abort();
    }
}

/// Starts a control plane on the current runtime.
///
/// # Errors
/// When a folder, the cluster or a port cannot be used.
pub async fn start(config: Config, drain: Drain) -> Result<Running, StartError> {
    let metrics = Metrics::default();
    let Ground { authority, proof, source } = Ground::new(&config, &metrics, &drain).await?;
    let stream_lifetime = (config.source() == Source::Kubernetes).then_some(config.stream_lifetime);
    let Config { listen, admin, inbound_mode, egress, leaf_lifetime, .. } = config;
    let now = SystemTime::now();
    let own = authority.own_credentials(now)?;
    let tls = Arc::new(ArcSwap::from_pointee(control_plane_server_config(&own, &authority.bundle())?));
    let listener = bind(listen).await?;
    let admin_listener = bind(admin).await?;
    let address = |listener: &TcpListener, asked| listener.local_addr().unwrap_or(asked);
    let (listen, admin) = (address(&listener, listen), address(&admin_listener, admin));

    let settings = Settings { bundle: authority.bundle(), egress, inbound: inbound_mode };
    let (snapshots, latest) = Latest::channel(Published::new(State::new(settings), None));
    let (events, received) = mpsc::channel(16);
    let (bundles, bundle) = watch::channel(authority.bundle());
    let registry = outrigger_daemon::Metrics::new();
    registry.register(|registry| metrics.register(registry));
    let sidecars = Sidecars::default();
    let observed = Observed::default();
    drain.spawn(observed.clone().run(drain.clone()));

    drain.spawn(Writer { events: received, bundle, snapshots, metrics: metrics.clone() }.run(drain.clone()));
    let upkeep = Upkeep { authority: authority.clone(), own, tls: tls.clone(), bundles, leaf_lifetime };
    drain.spawn(upkeep.run(drain.clone()));
    drain.spawn(give_back_memory(drain.clone()));
    let streams = Arc::new(Streams {
        latest: latest.clone(),
        sidecars: sidecars.clone(),
        observed: observed.clone(),
        metrics: metrics.clone(),
        drain: drain.clone(),
        lifetime: stream_lifetime,
    });
    let reporter = Reporter {
        latest: latest.clone(),
        progress: sidecars.progress(),
        drain: drain.clone(),
        domain: authority.domain().clone(),
    };
    source.start(events, &authority, (&reporter, &observed), &drain);
    let known = Known::new(latest.clone(), authority.domain().clone());
    let certifier = Certifier::new(authority, proof, known, metrics.clone());
    let server = Server { mesh: Mesh { streams, certifier, reporter }, tls, metrics, drain: drain.clone() };
    drain.spawn(serve::accept(listener, server));
    let pages = pages(registry, latest.clone(), sidecars, observed);
    let admin_task = tokio::spawn(pages.serve(admin_listener, drain.clone()));
    info!(%listen, %admin, version = VERSION, "control plane started");
    Ok(Running { listen, admin, latest, drain, admin_task })
}

fn pages(registry: outrigger_daemon::Metrics, latest: Latest, sidecars: Sidecars, observed: Observed) -> Admin {
    const JSON: &str = "application/json";
    let shown = latest.clone();
    let edges = |look| {
        let observed = observed.clone();
        move || format!("{}\n", document(&observed.look_here(look), look))
    };
    Admin::new(registry)
        .ready(move || latest.get().state.synced())
        .page("/config", JSON, move || format!("{:#}\n", pages::config(&shown.get())))
        .page("/sidecars", JSON, move || format!("{:#}\n", sidecars.json()))
        .page("/edges", JSON, edges(Look::Slow))
        .page("/edges/live", JSON, edges(Look::Live))
}

async fn bind(address: SocketAddr) -> Result<TcpListener, StartError> {
    outrigger_daemon::listen(address).await.map_err(|source| StartError::Bind { address, source })
}

/// Why a control plane cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The folder of objects.
    #[error("{}: not a folder; --config-dir names the folder of YAML files", path.display())]
    ConfigDir {
        /// What was given.
        path: PathBuf,
    },
    /// An option that goes with files.
    #[error("{option} is missing: it goes with objects in files")]
    Missing {
        /// Which one.
        option: &'static str,
    },
    /// The binary has no Kubernetes client.
    #[error("give --config-dir: this binary was built without the feature `kubernetes`")]
    NoKubernetes,
    /// The cluster.
    #[cfg(feature = "kubernetes")]
    #[error(transparent)]
    Cluster(#[from] crate::ClusterError),
    /// The CA.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A port.
    #[error("cannot listen on {address}")]
    Bind {
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
}

/// Streams end at once when they are told to; renewals take milliseconds.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);
