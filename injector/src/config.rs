//! The injector's settings.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand};
use outrigger_daemon::logging::{self, Format};
use outrigger_identity::TrustDomain;

use crate::patch::MetricsFrom;

/// The admission webhook of Outrigger: gives pods their sidecar.
#[derive(Debug, Parser)]
#[command(name = "outrigger-injector", version)]
pub struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve the webhook
    Run(Box<RunArgs>),
    /// Print the version
    Version,
}

/// Settings of `run`.
#[derive(Debug, clap::Args)]
pub(crate) struct RunArgs {
    /// Where the API server connects to
    #[arg(long, env = "OUTRIGGER_LISTEN", default_value = "0.0.0.0:8443")]
    pub(crate) listen: SocketAddr,

    /// Where /ready, /live and /metrics are served
    #[arg(long, env = "OUTRIGGER_ADMIN", default_value = "127.0.0.1:4184")]
    pub(crate) admin: SocketAddr,

    /// Folder with tls.crt and tls.key, read again when they change
    #[arg(long, env = "OUTRIGGER_TLS_DIR", default_value = "/var/run/outrigger/tls")]
    pub(crate) tls_dir: PathBuf,

    /// PEM file of the trust anchors that sidecars start with, read again when it changes
    #[arg(long, env = "OUTRIGGER_TRUST_ANCHORS", default_value = "/var/run/outrigger/trust/root.pem")]
    pub(crate) trust_anchors: PathBuf,

    /// Folder with the token and the ca.crt of the pod's ServiceAccount, for Events
    #[arg(long, default_value = "/var/run/secrets/kubernetes.io/serviceaccount", hide_default_value = true)]
    pub(crate) service_account: PathBuf,

    /// Image of the sidecar
    #[arg(long, env = "OUTRIGGER_SIDECAR_IMAGE", default_value = concat!("outrigger/sidecar:", env!("CARGO_PKG_VERSION")))]
    pub(crate) sidecar_image: String,

    /// When the kubelet pulls that image; none: as Kubernetes does for its tag
    #[arg(long, env = "OUTRIGGER_SIDECAR_PULL_POLICY", value_parser = ["Always", "IfNotPresent", "Never"])]
    pub(crate) sidecar_pull_policy: Option<String>,

    /// The trust domain of the mesh
    #[arg(long, env = "OUTRIGGER_TRUST_DOMAIN", default_value = "mesh.local")]
    pub(crate) trust_domain: TrustDomain,

    /// Namespace of the mesh
    #[arg(long, env = "POD_NAMESPACE", default_value = "outrigger-system")]
    pub(crate) namespace: String,

    /// Where sidecars send traces, OTLP over gRPC; none: no traces, unless a pod says where
    #[arg(long, env = "OUTRIGGER_SIDECAR_OTLP")]
    pub(crate) sidecar_otlp: Option<String>,

    /// Who may read the metrics of sidecars, unless a pod sets it
    #[arg(long, env = "OUTRIGGER_SIDECAR_METRICS", value_enum, default_value_t)]
    pub(crate) sidecar_metrics: MetricsFrom,

    /// What to log, such as info or info,outrigger_injector=debug
    #[arg(long, env = "OUTRIGGER_LOG", default_value = "info", value_parser = logging::filter)]
    pub(crate) log_filter: String,

    /// How logs look: text or json
    #[arg(long, env = "OUTRIGGER_LOG_FORMAT", default_value = "text")]
    pub(crate) log_format: Format,
}
