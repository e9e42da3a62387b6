//! Puts the parts together and runs them.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use arc_swap::ArcSwap;
use outrigger_daemon::{Admin, Drain, VERSION, logging, shutdown_signal};
use outrigger_identity::{Credentials, TlsError, TrustBundle, control_plane_server_config};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tracing::{error, info};

use crate::ca::{Authority, AuthorityError, Tokens};
use crate::config::{Args, Command, Config, RunArgs, TokenArgs};
use crate::serve::{Certifier, Mesh, Metrics, Sidecars, Streams};
use crate::snapshot::{Latest, Snapshot};
use crate::state::{Settings, State};
use crate::writer::Writer;
use crate::{pages, serve, source};

/// Runs the command.
///
/// # Errors
/// When it cannot start, or `token` cannot mint.
pub async fn run(args: Args) -> anyhow::Result<()> {
    match args.command {
        Command::Run(args) => serve_until_signal(args).await,
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
    logging::init(&args.log_filter, args.log_format)?;
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
/// When a folder or a port cannot be used.
pub async fn start(config: Config, drain: Drain) -> Result<Running, StartError> {
    let Config { config_dir, ca_dir, listen, admin, trust_domain, inbound_mode, egress, leaf_lifetime } = config;
    if !config_dir.is_dir() {
        return Err(StartError::ConfigDir { path: config_dir });
    }
    let now = SystemTime::now();
    let authority = Arc::new(Authority::open(&ca_dir, trust_domain, leaf_lifetime, now)?);
    let tokens = Tokens::open(&ca_dir)?;
    let used = authority.used_tokens(now)?;
    let own = authority.own_credentials(now)?;
    let tls = Arc::new(ArcSwap::from_pointee(control_plane_server_config(&own, &authority.bundle())?));
    let listener = bind(listen).await?;
    let admin_listener = bind(admin).await?;
    let address = |listener: &TcpListener, asked| listener.local_addr().unwrap_or(asked);
    let (listen, admin) = (address(&listener, listen), address(&admin_listener, admin));

    let settings = Settings { bundle: authority.bundle(), egress, inbound: inbound_mode };
    let (snapshots, latest) = Latest::channel(Snapshot::new(State::new(settings), None));
    let (events, received) = mpsc::channel(16);
    let (bundles, bundle) = watch::channel(authority.bundle());
    let metrics = Metrics::default();
    let registry = outrigger_daemon::Metrics::new();
    registry.register(|registry| metrics.register(registry));
    let sidecars = Sidecars::default();

    drain.spawn(source::files::run(config_dir, events, drain.clone()));
    drain.spawn(Writer { events: received, bundle, snapshots, metrics: metrics.clone() }.run(drain.clone()));
    let upkeep = Upkeep { authority: authority.clone(), own, tls: tls.clone(), bundles, leaf_lifetime };
    drain.spawn(upkeep.run(drain.clone()));
    let streams =
        Streams { latest: latest.clone(), sidecars: sidecars.clone(), metrics: metrics.clone(), drain: drain.clone() };
    let certifier = Certifier::new(authority, tokens, used, latest.clone(), metrics);
    drain.spawn(serve::accept(listener, tls, Mesh { streams, certifier }, drain.clone()));
    let pages = pages(registry, latest.clone(), sidecars);
    let admin_task = tokio::spawn(pages.serve(admin_listener, drain.clone()));
    info!(%listen, %admin, version = VERSION, "control plane started");
    Ok(Running { listen, admin, latest, drain, admin_task })
}

fn pages(registry: outrigger_daemon::Metrics, latest: Latest, sidecars: Sidecars) -> Admin {
    const JSON: &str = "application/json";
    let shown = latest.clone();
    Admin::new(registry)
        .ready(move || latest.get().state.synced())
        .page("/config", JSON, move || format!("{:#}\n", pages::config(&shown.get())))
        .page("/sidecars", JSON, move || format!("{:#}\n", sidecars.json()))
}

/// Renews our own leaf and the issuer, and picks up new trust anchors; the listener stays as it is.
struct Upkeep {
    authority: Arc<Authority>,
    own: Credentials,
    tls: Arc<ArcSwap<rustls::ServerConfig>>,
    bundles: watch::Sender<TrustBundle>,
    leaf_lifetime: Duration,
}

impl Upkeep {
    async fn run(mut self, drain: Drain) {
        // Wall clock time may jump, and a laptop sleeps: look often instead of sleeping long.
        let tick = LOOK.min(self.leaf_lifetime / 10);
        let mut next_refresh = tokio::time::Instant::now() + REFRESH;
        loop {
            tokio::select! {
                () = drain.started() => return,
                () = tokio::time::sleep(tick) => {}
            }
            let now = SystemTime::now();
            let mut renew = self.own.not_after().duration_since(now).unwrap_or_default() < self.own.lifetime() / 2;
            if tokio::time::Instant::now() >= next_refresh {
                next_refresh = tokio::time::Instant::now() + REFRESH;
                match self.authority.refresh(now) {
                    Ok(changed) => renew |= changed,
                    Err(error) => error!(%error, "cannot refresh the CA: what was in use stays in use"),
                }
            }
            if renew {
                self.renew(now);
            }
        }
    }

    fn renew(&mut self, now: SystemTime) {
        let bundle = self.authority.bundle();
        let renewed = self.authority.own_credentials(now).map_err(StartError::from).and_then(|own| {
            let config = control_plane_server_config(&own, &bundle)?;
            Ok((own, config))
        });
        match renewed {
            Ok((own, config)) => {
                self.tls.store(Arc::new(config));
                self.own = own;
                self.bundles.send_if_modified(|current| {
                    let changed = *current != bundle;
                    *current = bundle;
                    changed
                });
                info!("renewed the control plane's own leaf");
            }
            Err(error) => error!(%error, "cannot renew the control plane's own leaf"),
        }
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| StartError::Bind { address, source })
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

/// How often certificates are looked at.
const LOOK: Duration = Duration::from_secs(60);

/// How often the CA directory is read.
const REFRESH: Duration = Duration::from_secs(60 * 60);

/// Streams end at once when they are told to; renewals take milliseconds.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);
