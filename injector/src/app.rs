//! Puts the parts together and runs them.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use outrigger_daemon::{Admin, Drain, Metrics, VERSION, logging, shutdown_signal};
use tracing::info;

use crate::certificate::{self, Files};
use crate::config::{Args, Command, RunArgs};
use crate::events::Events;
use crate::patch::Settings;
use crate::serve::{self, Webhook};

/// Runs the command.
///
/// # Errors
/// When it cannot start.
pub async fn run(args: Args) -> anyhow::Result<()> {
    match args.command {
        Command::Run(args) => serve_until_signal(&args).await,
        Command::Version => {
            writeln!(std::io::stdout(), "outrigger-injector {VERSION}").context("cannot print the version")
        }
    }
}

async fn serve_until_signal(args: &RunArgs) -> anyhow::Result<()> {
    logging::init(&args.log_filter, args.log_format)?;
    let bind = |address| async move {
        outrigger_daemon::listen(address).await.with_context(|| format!("cannot listen on {address}"))
    };
    let (listener, admin) = (bind(args.listen).await?, bind(args.admin).await?);
    let (drain, files) = (Drain::new(), Arc::new(Files::default()));
    let webhook = Arc::new(Webhook {
        files: files.clone(),
        settings: settings(args),
        decisions: Default::default(),
        events: Events::start(&args.service_account),
    });
    let metrics = Metrics::new();
    metrics.register(|registry| serve::register(&webhook.decisions, registry));
    let ready = files.clone();
    tokio::spawn(Admin::new(metrics).ready(move || ready.complete()).serve(admin, drain.clone()));
    drain.spawn(certificate::watch(files, args.tls_dir.clone(), args.trust_anchors.clone(), drain.clone()));
    drain.spawn(serve::accept(listener, webhook, drain.clone()));
    info!(listen = %args.listen, admin = %args.admin, version = VERSION, "injector started");

    let signal = shutdown_signal().await.context("cannot listen for signals")?;
    info!(signal, "draining");
    // The API server may still pick this one for a moment after it was told to go.
    tokio::time::sleep(LINGER).await;
    drain.start();
    if !drain.finished(DRAIN_LIMIT).await {
        info!(left = drain.active(), "some connections did not finish in time");
    }
    Ok(())
}

fn settings(args: &RunArgs) -> Settings {
    Settings {
        image: args.sidecar_image.clone(),
        pull_policy: args.sidecar_pull_policy.clone(),
        control_plane: format!("outrigger-control-plane.{}.svc:4180", args.namespace),
        trust_domain: args.trust_domain.to_string(),
        trust_anchors: String::new(),
        otlp: args.sidecar_otlp.clone(),
        metrics: args.sidecar_metrics,
    }
}

const LINGER: Duration = Duration::from_secs(3);
const DRAIN_LIMIT: Duration = Duration::from_secs(15);
